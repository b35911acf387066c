"""``jit(f).lower(*args).compile()``: a program made ahead of its first call, with JAX's names.

>>> program = jit(lambda x: 2 * x).lower(tj.ShapeDtypeStruct((3,), "float32")).compile()
>>> program(np.ones(3, np.float32))
Array([2., 2., 2.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tracejit import source
from tracejit.errors import ArgumentError, user_traceback
from tracejit.frontend.call import FlatCall
from tracejit.frontend.shapes import ShapeDtypeStruct

if TYPE_CHECKING:
    from tracejit.runtime.executable import Stages


class Traced:
    """A function traced for some types of arguments: ``jit(f).trace(*args)``."""

    def __init__(self, call: FlatCall, graph: Any, lower: Callable[[], Lowered]) -> None:
        self._call = call
        #: the graph, which ``make_jaxpr`` gives
        self.jaxpr = self.graph = graph
        #: the Lowered of the same call
        self.lower = lower

    def __repr__(self) -> str:
        return f"<{self.fun_name} traced for {', '.join(map(str, self._call.types))}>"

    @property
    def fun_name(self) -> str:
        return str(self._call.name)

    @property
    def in_tree(self) -> Any:
        """The structure of ``(args, kwargs)``."""
        return self._call.treedef

    @property
    def out_info(self) -> Any:
        """A ShapeDtypeStruct for each result, in a list."""
        return [ShapeDtypeStruct(t.shape, t.dtype) for t in self.graph.output_types]


class Lowered:
    """A function traced for some types of arguments."""

    def __init__(
        self, call: FlatCall, stages: Callable[[], Stages], compiled: Callable[[], Any]
    ) -> None:
        self._call = call
        self._stages = stages
        self._compiled = compiled

    def __repr__(self) -> str:
        return f"<{self._call.name} lowered for {', '.join(map(str, self._call.types))}>"

    @property
    def in_tree(self) -> Any:
        """The structure of ``(args, kwargs)``."""
        return self._call.treedef

    def as_text(self) -> str:
        """The graph before any pass."""
        return str(self._stages().graph)

    @user_traceback
    def compile(self) -> CompiledCall:
        """The program; raises what compiling raises."""
        return CompiledCall(self._call, self._stages(), self._compiled())


class CompiledCall:
    """A program for arguments of fixed structure, shapes and dtypes: other ones are errors."""

    def __init__(
        self, call: FlatCall, stages: Stages, program: Callable[[Sequence[Any]], Any]
    ) -> None:
        self._call = call
        self._stages = stages
        self._program = program

    def __repr__(self) -> str:
        return f"<{self._call.name} compiled for {', '.join(map(str, self._call.types))}>"

    @user_traceback
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = FlatCall.of(self._call.fun, args, kwargs)
        if call.treedef != self._call.treedef:
            raise ArgumentError(
                f"`{call.name}` was compiled for arguments of another structure: "
                f"{self._call.treedef}, not {call.treedef}",
                at=source.here(),
            )
        for name, given, wanted in zip(call.names, call.leaves, self._call.types, strict=True):
            if given.type != wanted:
                raise ArgumentError(
                    f"argument `{name}` of `{call.name}` is {given.type}; it was compiled for "
                    f"{wanted}",
                    at=source.here(),
                )
        return self._program(call.leaves)

    def as_text(self) -> str:
        """The machine's program: LLVM's text, or CUDA C."""
        return "\n\n".join(map(str, self._stages.kernels))

    @property
    def out_info(self) -> Any:
        """A ShapeDtypeStruct for each result, in a list."""
        return [ShapeDtypeStruct(t.shape, t.dtype) for t in self._stages.graph.output_types]

    def memory_analysis(self) -> Any:
        """The memory plan: print it, or read ``arena``, the bytes of all buffers between arguments
        and results.
        """
        return self._stages.plan
