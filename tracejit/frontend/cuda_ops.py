"""CUDA C kernels of users as operations: with types, derivatives and batching, on every back end.

    saxpy = cuda_kernel(text, out=lambda a, x, y: x, args=lambda a, x, y: x.size)
    saxpy(2.0, x, y)                    saxpy.primitive is the record

What a kernel takes is read from its parameters: pointers to ``const`` are operands, other pointers
are results, and numbers are what ``args`` gives. Types are checked when a call is traced. On a GPU
the kernel is launched, in the program's recording where there is one. On the CPU the operation has
its ``numpy`` meaning, or the kernel itself runs, compiled by g++.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, BackendError, ShapeError
from tracejit.frontend import methods
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import trace_body
from tracejit.frontend.call import arrays_of, call_user, flatten
from tracejit.frontend.cuda_launch import Call, Definition, Settings, host, run_emulated
from tracejit.frontend.cuda_text import Parameter, dtypes_of, find_kernel, read_text
from tracejit.frontend.custom import custom_jvp, custom_vjp
from tracejit.frontend.split import placeholder
from tracejit.frontend.trace import current_trace
from tracejit.ir import build
from tracejit.ir.graph import Atom, ConstArray, Graph, Value, params_key
from tracejit.ir.prim import Partly, Primitive
from tracejit.ir.types import TensorType, type_of
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.layout import constant
from tracejit.source import here
from tracejit.transform import PRIMS
from tracejit.transform.loops import Scan
from tracejit.tree_util import tree_structure

Function = Callable[..., Any]

BATCHES = ("sequential", "broadcast_all")


class cuda_kernel:  # noqa: N801 - called as a function
    """A CUDA C kernel as a function of arrays, for use under jit, grad and vmap.

    The kernel's parameters say what it takes: pointers to ``const`` are operands, other pointers
    results, both in the order of the parameters; numbers are ``args``. What is a function below is
    called with the operands' types (``shape``, ``dtype``, ``size`` ...) and the static arguments by
    name when a call is traced.

    Parameters
    ----------
    source : CUDA C, or the name of a ``.cu`` file. ``extern "C"`` is added where it lacks.
    out : types of the results (anything with shape and dtype), or a function that gives them.
    grid, block : blocks, and threads of a block: an int or up to three, or a function. Without
        ``grid`` there is a thread for each element of the first result.
    args : numbers, in the order of the parameters or by name, or a function.
    shared : bytes of dynamic shared memory, or a function.
    name : which kernel of the text, where there are several.
    inout : names of results that begin as an operand: its value is taken at that place.
    zero : names of results that begin as zeros.
    static : names of keyword arguments of calls, with their defaults if it is a dict.
    defines : words of the text to replace, by name (numbers, dtypes, text), or a function.
    numpy : the meaning in NumPy, for the CPU. Without it the kernel itself runs there, by g++.
    vjp, jvp : derivative rules, ``(fwd, bwd)`` as ``custom_vjp`` takes them, or one as
        ``custom_jvp`` does; its tangent is written without kernels: reverse mode transposes it.
    batch : what vmap does. "sequential": a launch for each example; "broadcast_all": one launch on
        operands with one more axis in front; or a function ``(axis_size, which operands are
        batched, *operands) -> (results, which are batched)``, with batches along axis 0.
    header : whether ``kernels/tracejit.cuh`` stands in front.
    cases : ``() -> [(types, static arguments), ...]`` for ``testing.check_op``.

    Raises ArgumentError for a text without such a kernel and for arguments that do not fit its
    parameters, DTypeError and ShapeError when a call is traced with other types than the kernel's,
    BackendError where it does not compile. Without a derivative rule grad raises MissingRule.

    Attributes: ``primitive`` is the operation's record, ``definition`` what is known of the kernel.

    >>> from tracejit import extend
    >>> scale = extend.cuda_kernel(
    ...     '''__global__ void scale(const float* x, float* y, float factor, int n) {
    ...       int i = blockIdx.x * blockDim.x + threadIdx.x;
    ...       if (i < n) y[i] = factor * x[i];
    ...     }''',
    ...     out=lambda x, factor: x,
    ...     args=lambda x, factor: (factor, x.size),
    ...     static=["factor"],
    ...     numpy=lambda x, factor: np.float32(factor) * x,
    ...     jvp=lambda primals, tangents, factor: (
    ...         scale(*primals, factor=factor), factor * tangents[0]),
    ... )
    >>> scale(jnp.array([1.0, 2.0]), factor=3.0)
    Array([3., 6.], dtype=float32)
    >>> jit(grad(lambda x: scale(x, factor=3.0).sum()))(jnp.ones(2))
    Array([3., 3.], dtype=float32)
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        out: Any = None,
        grid: Any = None,
        block: Any = 256,
        args: Any = (),
        shared: Any = 0,
        name: str | None = None,
        inout: str | Sequence[str] = (),
        zero: str | Sequence[str] = (),
        static: Mapping[str, Any] | Sequence[str] = (),
        defines: Any = None,
        numpy: Function | None = None,
        vjp: tuple[Function, Function] | None = None,
        jvp: Function | None = None,
        batch: Any = "sequential",
        header: bool = False,
        cases: Function | None = None,
    ) -> None:
        text, origin = read_text(source)
        if vjp is not None and jvp is not None:
            raise ArgumentError("cuda_kernel: vjp= and jvp= are two rules for one thing", at=here())
        if not callable(batch) and batch not in BATCHES:
            raise ArgumentError(
                f"cuda_kernel: batch={batch!r} is no way to batch",
                at=here(),
                hint=f"there are {', '.join(map(repr, BATCHES))}, or a function",
            )
        statics = _static(static)
        settings = Settings(out, grid, block, shared, args, statics, defines, header, numpy, batch)
        found = find_kernel(text, name)
        definition = Definition(text, found, origin, settings, _tuple(inout), _tuple(zero))
        self.definition = definition
        self.__name__ = definition.name
        self.vjp, self.jvp = vjp, jvp
        #: the function with its rules, by static arguments
        self.ruled: dict[Any, Any] = {}
        self.primitive = self._record(cases)

    def _record(self, cases: Function | None) -> Primitive:
        name, definition = self.__name__, self.definition
        return Primitive(
            name if name not in PRIMS else f"cuda.{name}",
            infer=self._infer,
            numpy=self._numpy,
            params=tuple(definition.settings.static),
            batch=self._batch,
            cuda=lambda *types, **params: definition.call(types, params).launch,
            cases=cases,
            doc=f"The CUDA kernel `{name}`.",
        )

    def __repr__(self) -> str:
        operands = ", ".join(p.name for p in self.definition.operands)
        return f"<CUDA kernel {self.__name__}({operands})>"

    # ---- calls ----

    def __call__(self, *operands: Any, **static: Any) -> Any:
        arrays, params = self.given(operands, static)
        if current_trace() is None or (self.vjp is None and self.jvp is None):
            return apply(self.primitive, *arrays, **params)
        key = params_key(params)
        found = self.ruled.get(key)
        if found is None:
            found = self.ruled[key] = self._ruled(params)
        return found(*arrays)

    def given(
        self, operands: Sequence[Any], static: dict[str, Any]
    ) -> tuple[list[Array], dict[str, Any]]:
        """What a call is given: operands as Arrays, and all static arguments."""
        return self._arrays(operands), self._params(static)

    def _arrays(self, operands: Sequence[Any]) -> list[Array]:
        """Operands as Arrays; Python's numbers take the type that the kernel wants."""
        names = [p.name for p in self.definition.operands]
        if len(operands) != len(names):
            raise ArgumentError(
                f"`{self.__name__}` takes {len(names)} operands ({', '.join(names)}); "
                f"{len(operands)} were given",
                at=here(),
            )
        arrays = list(arrays_of(operands, names, self.__name__))
        for k, (array, parameter) in enumerate(zip(arrays, self.definition.operands, strict=True)):
            if array._weak:
                dtype = self._wanted(parameter, arrays)
                arrays[k] = methods.astype(array, dtype or array.dtype)
        return arrays

    def _wanted(self, parameter: Parameter, arrays: Sequence[Array]) -> np.dtype | None:
        """The dtype of a number at a parameter: what the text says, else that of an operand whose
        type is the same word.
        """
        found = dtypes_of(parameter.type, self.definition.text)
        if len(found) == 1:
            return found[0]
        for array, other in zip(arrays, self.definition.operands, strict=True):
            if other.type == parameter.type and not array._weak:
                return array.dtype
        return None

    def _params(self, given: dict[str, Any]) -> dict[str, Any]:
        """All static arguments, in the order of their declaration."""
        known = self.definition.settings.static
        for name in given:
            if name not in known:
                raise ArgumentError(
                    f"`{self.__name__}` takes no argument {name!r}",
                    at=here(),
                    hint=f"there are: {', '.join(known)}" if known else "name it in static=",
                )
        found = {**known, **given}
        for name, value in found.items():
            if value is REQUIRED:
                raise ArgumentError(f"`{self.__name__}`: {name}= is missing", at=here())
            try:
                hash(value)
            except TypeError:
                raise ArgumentError(
                    f"`{self.__name__}`: {name}= is static, and {type(value).__name__} cannot be a "
                    "key",
                    at=here(),
                    hint="pass a number, a text or a tuple; arrays are operands",
                ) from None
        return found

    # ---- derivatives ----

    def _ruled(self, params: dict[str, Any]) -> Any:
        """The function with its derivative rules."""

        def run(*operands: Any) -> Any:
            return apply(self.primitive, *map(as_array, operands), **params)

        run.__name__ = self.__name__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            inspect.Parameter(_identifier(p.name, k), inspect.Parameter.POSITIONAL_ONLY)
            for k, p in enumerate(self.definition.operands)
        )
        if self.vjp is not None:
            with_vjp = custom_vjp(run)
            with_vjp.defvjp(*(_with_static(rule, params) for rule in self.vjp))
            return with_vjp
        assert self.jvp is not None
        with_jvp = custom_jvp(run)
        with_jvp.defjvp(_with_static(self.jvp, params))
        return with_jvp

    def defvjp(self, fwd: Function, bwd: Function) -> None:
        """Give the rules as ``custom_vjp`` takes them: ``fwd(*operands) -> (output, residuals)``
        and ``bwd(residuals, cotangent) -> cotangents``; static arguments by name.
        """
        self.vjp, self.jvp = (fwd, bwd), None
        self.ruled.clear()

    def defjvp(self, jvp: Function) -> Function:
        """Give the rule as ``custom_jvp`` takes it: ``jvp(primals, tangents) -> (output,
        tangent)``; static arguments by name.
        """
        self.vjp, self.jvp = None, jvp
        self.ruled.clear()
        return jvp

    # ---- the record ----

    def _infer(self, *types: TensorType, **params: Any) -> Any:
        results = self.definition.call(types, params).results
        return results if len(results) > 1 else results[0]

    def _numpy(self, *arrays: Any, **params: Any) -> Any:
        given = [np.asarray(a) for a in arrays]
        call = self.definition.call(tuple(map(type_of, given)), params)
        meaning = self.definition.settings.numpy
        if meaning is None:
            results = self._emulated(call, given)
        else:
            for k, array in enumerate(given):
                given[k] = array.view()
                given[k].flags.writeable = False
            said = call_user(meaning, given, params)
            results = list(said) if isinstance(said, tuple | list) else [said]
            if len(results) == len(call.results):
                pairs = zip(results, call.results, strict=True)
                results = [np.asarray(r, t.dtype) for r, t in pairs]
        if [r.shape for r in map(np.asarray, results)] != [t.shape for t in call.results]:
            raise ArgumentError(
                f"`{self.__name__}`: numpy= returns shapes {[np.shape(r) for r in results]} where "
                f"the kernel's results are {', '.join(map(repr, call.results))}"
            )
        return tuple(results) if len(results) > 1 else results[0]

    def _emulated(self, call: Call, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            return run_emulated(host(), call, arrays)
        except BackendError as error:
            if error.hint:
                error.hint += f", or give the meaning of `{self.__name__}` in NumPy: numpy="
            raise

    # ---- batching ----

    def _batch(self, size: int, mask: Sequence[bool], xs: Sequence[Atom], **params: Any) -> Any:
        rule = self.definition.settings.batch
        if callable(rule):
            return self._batch_by_rule(rule, size, mask, xs, params)
        if rule == "broadcast_all":
            return self._batch_at_once(size, mask, xs, params)
        with build.building() as builder:
            single = [x.type.with_shape(x.type.shape[m:]) for x, m in zip(xs, mask, strict=True)]
            inner = [
                builder.input(t, p.name)
                for t, p in zip(single, self.definition.operands, strict=True)
            ]
            outs = self.primitive(*inner, **params)
        body = builder.graph(outs if isinstance(outs, tuple) else (outs,), self.__name__)
        order = sorted(range(len(xs)), key=lambda k: mask[k])
        body = Graph(tuple(inner[k] for k in order), body.nodes, body.outputs, body.name)
        fixed = len(xs) - sum(mask)
        return Scan(body, fixed, 0, size, False)(*(xs[k] for k in order))

    def _batch_at_once(
        self, size: int, mask: Sequence[bool], xs: Sequence[Atom], params: dict[str, Any]
    ) -> Any:
        """The kernel itself on operands with one more axis in front."""
        single = (x.type.with_shape(x.type.shape[m:]) for x, m in zip(xs, mask, strict=True))
        wanted = [
            t.with_shape((size, *t.shape))
            for t in self.definition.call(tuple(single), params).results
        ]
        full = [with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)]
        found = self.definition.call(tuple(x.type for x in full), params).results
        if list(found) != wanted:
            raise ShapeError(
                f'`{self.__name__}`: batch="broadcast_all", but on operands with an axis of {size} '
                f"in front out= gives {', '.join(map(repr, found))}, not "
                f"{', '.join(map(repr, wanted))}",
                hint="leave batch= away: the kernel is then launched for each example",
            )
        return self.primitive(*full, **params)

    def _batch_by_rule(
        self,
        rule: Function,
        size: int,
        mask: Sequence[bool],
        xs: Sequence[Atom],
        params: dict[str, Any],
    ) -> Any:
        flags: list[bool] = []

        def run(*operands: Any) -> Any:
            return rule(size, list(mask), *operands, **params)

        def finish(result: Any) -> Any:
            if not isinstance(result, tuple | list) or len(result) != 2:
                raise ArgumentError(
                    f"`{self.__name__}`: the batch rule must return a pair (outputs, which of them "
                    "have the batch axis)",
                    at=here(),
                )
            leaves = flatten(result[0])[0]
            many = isinstance(result[1], tuple | list)
            flags[:] = result[1] if many else [result[1]] * len(leaves)
            return tuple(map(as_array, leaves))

        leaves = [placeholder(x.type) for x in xs]
        names = [p.name for p in self.definition.operands]
        traced = trace_body(
            run, leaves, tree_structure(tuple(leaves)), "vmap", names=names, finish=finish
        )
        single = tuple(x.type.with_shape(x.type.shape[m:]) for x, m in zip(xs, mask, strict=True))
        results = self.definition.call(single, params).results
        found = [y.type for y in traced.graph.outputs]
        wanted = [
            t.with_shape((size, *t.shape)) if flag else t
            for t, flag in zip(results, flags, strict=False)
        ]
        if len(flags) != len(results) or found != wanted:
            raise ShapeError(
                f"`{self.__name__}`: the batch rule returns {', '.join(map(repr, found))}; with a "
                f"batch of {size} the results are "
                f"{', '.join(repr(t.with_shape((size, *t.shape))) for t in results)}"
            )
        captured = [_known(array, self.__name__) for array in traced.captured]
        return Partly(build.current().inline(traced.graph, (*captured, *xs)), tuple(flags))


def _known(array: Array, name: str) -> Value:
    """A concrete Array as a constant of the graph that is being built."""
    if not array._has_value or array._trace is not None:
        raise ArgumentError(f"`{name}`: the batch rule closes over a traced value", at=here())
    return constant(value=ConstArray(np.asarray(array.concrete("a batch rule"))))  # type: ignore[no-any-return]


def _with_static(rule: Function, params: dict[str, Any]) -> Function:
    if not params:
        return rule
    found = functools.partial(rule, **params)
    return functools.update_wrapper(found, rule)


def _identifier(name: str, number: int) -> str:
    return name if name.isidentifier() else f"operand_{number + 1}"


# ---- making one ---------------------------------------------------------------------------------


class _Required:
    """Stands for a static argument without default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


def _static(static: Any) -> dict[str, Any]:
    if isinstance(static, Mapping):
        return dict(static)
    names = (static,) if isinstance(static, str) else tuple(static)
    return dict.fromkeys(names, REQUIRED)


def _tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
