"""jit: calls of a user's function find or make the program for their argument types.

f = jit(fun)
f(x)                 first call at these types: trace, transform, compile; then run
f.stages(x)          graph, optimised, groups, plan, kernels, sources
f.source(x)          one standalone Python module that needs NumPy and Numba only
"""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

import optree

from tracejit import source
from tracejit.config import Settings, config, legal
from tracejit.errors import ArgumentError, hide_frames, user_traceback
from tracejit.frontend import key_uses, watch
from tracejit.frontend.array import Array
from tracejit.frontend.call import (
    FlatCall,
    call_graph,
    call_user,
    check_function,
    flatten,
    function_name,
    trace_call,
)
from tracejit.frontend.compiled import Compiled, kind_of
from tracejit.frontend.devices import CPU, name_of
from tracejit.frontend.lowered import Lowered
from tracejit.frontend.lowered import Traced as AheadOfTime
from tracejit.frontend.named_axes import in_scope
from tracejit.frontend.on_device import OnDevice, choose, compile_on, stages_on
from tracejit.frontend.placement import snapshot
from tracejit.frontend.rewrite import active
from tracejit.frontend.rewrite.entry import controlled
from tracejit.frontend.shapes import eval_shape, stand_ins
from tracejit.frontend.statics import Bound, Split, exact, positions_and_names
from tracejit.frontend.structure import Read, reader
from tracejit.frontend.trace import Traced, current_trace
from tracejit.frontend.wrapping import named_as
from tracejit.lazy import lazy, prefetch
from tracejit.tree_util import NAMESPACE

if TYPE_CHECKING:
    from tracejit.runtime.executable import Stages

# the compiler proper loads when something is first compiled
_executable = lazy("tracejit.runtime.executable")
_replay = lazy("tracejit.runtime.replay")

current_settings = config.current

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
Program = Compiled | OnDevice | Callable[[Sequence[Any]], Any]

#: structures of arguments that a call is compared with before the registry of pytrees is asked
MOST_KNOWN = 4


class Structure:
    """The programs for arguments of one pytree structure, and whether such came again."""

    __slots__ = ("programs", "again")

    def __init__(self) -> None:
        self.programs: dict[Any, Program] = {}
        self.again = False


#: every jitted function alive, for ``clear_caches``
ALL_JITTED: weakref.WeakSet[Jitted] = weakref.WeakSet()


class Jitted(Generic[P, R]):
    """A function compiled on demand, once per structure, dtypes and shapes of its arguments."""

    def __init__(
        self,
        fun: Callable[..., Any],
        static: frozenset[int | str],
        donate: frozenset[int | str],
        backend: str | None,
        mode: str | None,
        threads: int | None,
        device: Any = None,
    ) -> None:
        named_as(self, fun)
        self._fun = fun
        self._static = static
        self._donate = donate
        self._backend, self._mode, self._threads = backend, mode, threads
        self._device = device
        self._in_class = False
        ALL_JITTED.add(self)
        self._plain = not static
        self._splits: dict[Any, Split] = {}
        self.clear_cache()

    def __repr__(self) -> str:
        return f"<jit of {function_name(self._fun)}>"

    def __set_name__(self, owner: type, name: str) -> None:
        self._in_class = True
        self._plain = False

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Jitted[P, R]: ...

    @overload
    def __get__(
        self: Jitted[Concatenate[Any, Q], R], instance: object, owner: Any = None
    ) -> Callable[Q, R]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        """By name: of this, or of the function where that has the name itself. ArgumentError for
        functions that no name leads to.
        """
        module, name = self._fun.__module__, self._fun.__qualname__
        found = _find(module, name)
        if found is self:
            return (_find, (module, name))
        if found is not self._fun:
            raise ArgumentError(
                f"`{name}` of {module} cannot be pickled: it is not found by that name",
                at=source.here(),
                hint="define it at the top of a module; lambdas and local functions have no name",
            )
        options = (self._static, self._donate, self._backend, self._mode, self._threads)
        return (Jitted, (self._fun, *options, self._device))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:  # in place of user_traceback: one Python call less on the fast path
            given, split, fixed = (args, kwargs), None, None
            if not self._plain:
                split, args, kwargs, fixed = self._split(args, kwargs)
            if current_trace() is not None:
                return self._join_trace(self._bound(split, *given), args, kwargs, fixed)
            settings = id(current_settings())
            for read, programs in self._known:
                leaves = read(args, kwargs)
                if leaves is not None:
                    kinds = [a._kind if type(a) is Array else kind_of(a) for a in leaves]
                    program = programs.get((settings, fixed, *kinds))
                    if program is not None:
                        return program(leaves)
            return self._search(self._bound(split, *given), args, kwargs, fixed)
        except Exception as error:
            hide_frames(error)
            raise

    def _search(self, fun: Callable[..., Any], args: Any, kwargs: Any, fixed: Any) -> Any:
        """Run the program for these arguments, made where there is none yet."""
        leaves, treedef = flatten((args, kwargs))
        structure = self._structures.get(treedef)
        if structure is None:
            structure = self._structures.setdefault(treedef, Structure())
        settings = config.current()
        kinds = [kind_of(leaf) for leaf in leaves]
        call = None
        if None in kinds:  # what converts to an array does so once: it may do otherwise next time
            call = FlatCall.of(fun, args, kwargs)
            leaves = call.leaves
            kinds = [kind_of(leaf) for leaf in leaves]
        key = (id(settings), fixed, *kinds)
        program = structure.programs.get(key)
        if program is None:
            call = call or FlatCall.of(fun, args, kwargs)
            keep = not self._donate or watch.wanted(settings)  # the arguments are looked at again
            donated = frozenset() if keep else self._donated(fun, args, kwargs)
            program = structure.programs[key] = self._compile(call, settings, donated)
        elif not structure.again:
            structure.again = True
            read = reader(treedef)
            if read is not None:
                self._known = ((read, structure.programs), *self._known[: MOST_KNOWN - 1])
        return program(leaves)

    # ---- static arguments ----

    def _split(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Split, tuple[Any, ...], dict[str, Any], Any]:
        """Which arguments are static, the others, and the static ones as a key."""
        first = type(args[0]) if args and self._in_class else None
        split = self._splits.get((len(args), first, *kwargs))
        if split is None:
            split = self._splits[len(args), first, *kwargs] = self._new_split(args, kwargs)
        if not split.fixed:
            return split, args, kwargs, None
        fixed = tuple([(k, *exact(args[k])) for k in split.positions])
        fixed += tuple([(name, *exact(kwargs[name])) for name in split.names])
        try:
            hash(fixed)
        except TypeError:
            self._check_hashable({**dict(enumerate(args)), **kwargs}, split)
        rest = {name: kwargs[name] for name in split.other_names} if kwargs else kwargs
        return split, tuple([args[k] for k in split.others]), rest, fixed

    def _new_split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Split:
        count = len(args)
        static = {k for k in range(count) if k in self._static or k - count in self._static}
        if args and self._in_class and self._is_instance(args[0]):
            static.add(0)
        return Split(
            tuple(sorted(static)),
            tuple(k for k in range(count) if k not in static),
            tuple(sorted(name for name in kwargs if name in self._static)),
            tuple(name for name in kwargs if name not in self._static),
        )

    def _bound(self, split: Split | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function of the dynamic arguments alone."""
        if split is None or not split.fixed:
            return self._fun
        named = {name: kwargs[name] for name in split.names}
        return Bound(self._fun, args, split.positions, named)

    def _of_dynamic(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """The function of the dynamic arguments alone, and these."""
        split, dynamic, rest, _ = self._split(args, kwargs)
        return self._bound(split, args, kwargs), dynamic, rest

    def _is_instance(self, first: Any) -> bool:
        """Whether ``first`` is the ``self`` of a method: an object of the class that holds this
        function.
        """
        held = inspect.getattr_static(type(first), self.__name__, None)
        return held is self and optree.tree_is_leaf(first, namespace=NAMESPACE)

    def _check_hashable(self, given: dict[int | str, Any], split: Split) -> None:
        for key in (*split.positions, *split.names):
            value = given[key]
            try:
                hash(value)
            except TypeError as error:
                name = f"argument {key}" if isinstance(key, int) else f"`{key}`"
                raise ArgumentError(
                    f"static {name} of `{function_name(self._fun)}` is not hashable: "
                    f"{type(value).__name__}",
                    at=source.here(),
                    hint="pass a tuple instead of a list, or do not mark it static",
                ) from error

    # ---- compiling ----

    def _donated(self, fun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> frozenset[int]:
        """The numbers of the leaves that are donated."""
        places = (
            [k for k in range(len(fun.args)) if k not in fun.static]
            if isinstance(fun, Bound)
            else list(range(len(args)))
        )
        count = len(fun.args) if isinstance(fun, Bound) else len(args)
        names = sorted(kwargs)
        given = [k in self._donate or k - count in self._donate for k in places]
        given += [name in self._donate for name in names]
        donated: list[bool] = []
        for tree, is_given in zip((*args, *map(kwargs.get, names)), given, strict=True):
            donated += [is_given] * len(flatten(tree)[0])
        return frozenset(k for k, is_given in enumerate(donated) if is_given)

    def _compile(
        self, call: FlatCall, settings: Settings, donated: frozenset[int] = frozenset()
    ) -> Program:
        if settings.disable_jit:
            return watch.op_by_op(call)
        if settings.log_compiles:
            watch.log(call)
        with watch.no_leaks():
            traced = trace_call(call, "jit")
        captured = _snapshot(traced)
        graph, outputs = traced.graph, traced.outputs
        device, bound = choose(call, traced.captured, self._device, self._backend)
        if (self._mode or settings.mode) == "debug":
            _replay.replay_passes(graph, [a._data for a in (*captured, *call.leaves)])
        executable = compile_on(
            graph,
            device,
            backend=self._backend,
            mode=self._mode,
            threads=self._threads,
            donated=frozenset(len(captured) + k for k in donated),
        )
        program: Program
        if device is CPU:
            program = Compiled(executable, captured, outputs, CPU if bound else None)
        else:
            program = OnDevice(executable, captured, outputs.treedef, outputs.weak, device, bound)
        if watch.wanted(settings):
            return watch.Watched(program, replace(traced, captured=captured), settings)
        return program

    def _join_trace(self, fun: Callable[..., Any], args: Any, kwargs: Any, fixed: Any) -> Any:
        """Inside another trace a jitted function is one ``call`` node."""
        if config.current().disable_jit:
            return call_user(fun, args, kwargs)
        call = FlatCall.of(fun, args, kwargs)
        kinds = [kind_of(leaf) for leaf in call.leaves]
        key = (call.treedef, fixed, config.current(), in_scope(), *kinds)
        traced = self._graphs.get(key)
        if traced is None:
            with active.rewriting(None):  # by its own option, not by the caller's
                traced = trace_call(call, "jit")
            if all(a._trace is None for a in traced.captured):
                traced = replace(traced, captured=_snapshot(traced))
                self._graphs[key] = traced
        key_uses.consume_all(call.leaves, traced)
        outs = call_graph(traced.graph, [*traced.captured, *call.leaves])
        key_uses.note_results(outs, traced)
        return traced.outputs.build(outs)

    # ---- looking inside ----

    @user_traceback
    def stages(self, *args: Any, **kwargs: Any) -> Stages:
        """All stages of the program for these arguments, on the device it would run on; nothing is
        run.

        Arguments may be arrays or ShapeDtypeStructs.
        """
        return self._stages_of(self._call_of(args, kwargs))

    def _stages_of(self, call: FlatCall) -> Stages:
        traced = trace_call(call, "jit")
        device, _ = choose(call, traced.captured, self._device, self._backend)
        return stages_on(traced.graph, device, self._threads)  # type: ignore[no-any-return]

    @user_traceback
    def trace(self, *args: Any, **kwargs: Any) -> AheadOfTime:
        """What ``jax.jit(f).trace`` gives: ``.graph`` (also ``.jaxpr``) and ``.lower()``. Arguments
        may be arrays or ShapeDtypeStructs.
        """
        call = self._call_of(args, kwargs)
        return AheadOfTime(call, trace_call(call, "jit").graph, lambda: self.lower(*args, **kwargs))

    @user_traceback
    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """What ``jax.jit(f).lower`` gives: ``.as_text()``, and ``.compile()`` for a program of
        these types alone. Arguments may be arrays or ShapeDtypeStructs.
        """
        call = self._call_of(args, kwargs)
        return Lowered(
            call, lambda: self._stages_of(call), lambda: self._compile(call, config.current())
        )

    @user_traceback
    def source(self, *args: Any, **kwargs: Any) -> str:
        """The program for these arguments as a Python module that needs only NumPy and Numba."""
        graph = trace_call(self._call_of(args, kwargs), "jit").graph
        return stages_on(graph, CPU, self._threads).sources.numba  # type: ignore[no-any-return]

    def _call_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FlatCall:
        """A call whose arguments may be ShapeDtypeStructs."""
        fun, args, kwargs = self._of_dynamic(args, kwargs)
        return FlatCall.of(fun, *stand_ins(args, kwargs))

    def clear_cache(self) -> None:
        """Forget all compiled programs."""
        self._structures: dict[Any, Structure] = {}
        #: code that takes arguments of a structure apart, and the programs for these
        self._known: tuple[tuple[Read, dict[Any, Program]], ...] = ()
        self._graphs: dict[Any, Traced] = {}

    def cache_size(self) -> int:
        """How many programs have been compiled."""
        return sum(len(structure.programs) for structure in list(self._structures.values()))

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes and dtypes of the results."""
        fun, args, kwargs = self._of_dynamic(args, kwargs)
        return eval_shape(fun, *args, **kwargs)


def _snapshot(traced: Traced) -> tuple[Array, ...]:
    """Copies of the arrays a program captured: it keeps the values they had when it was traced."""
    return tuple(snapshot(array) for array in traced.captured)


def _find(module: str, name: str) -> Any:
    """What is called so, for pickle; None where nothing is."""
    found: Any = __import__(module, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


class JitOptions(TypedDict, total=False):
    """The keyword arguments of ``jit``, for type checkers."""

    static_argnums: int | Sequence[int] | None
    static_argnames: str | Iterable[str] | None
    donate_argnums: int | Sequence[int] | None
    donate_argnames: str | Iterable[str] | None
    backend: str | None
    mode: str | None
    threads: int | None
    device: Any
    inline: bool
    keep_unused: bool
    control_flow: bool


@overload
def jit(fun: Callable[P, R], **options: Unpack[JitOptions]) -> Jitted[P, R]: ...


@overload
def jit(
    fun: None = None, **options: Unpack[JitOptions]
) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...


@user_traceback
def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    backend: str | None = None,
    mode: str | None = None,
    threads: int | None = None,
    device: Any = None,
    inline: bool = False,
    keep_unused: bool = False,
    control_flow: bool = False,
) -> Any:
    """Compile ``fun`` when it is called. Use as ``@jit`` or ``@jit(static_argnames="n")``.

    ``static_argnums``/``static_argnames``: arguments whose values, not only types, the program
    depends on; they must be hashable. ``donate_argnums``/``donate_argnames``: arguments the caller
    will not use again: where a result can take the memory of an Array among them it does, and the
    Array is deleted. ``backend``: llvm, numba, numpy or cuda; ``mode``: default, fast_compile or
    debug; ``threads``: how many; ``device``: a Device or a name ("cpu", "cuda:1") where the program
    runs, wherever its arguments are. ``control_flow``: ``if``, ``while``, ``for``, ``and`` and the
    like work on traced values, in ``fun`` and in the functions of the user's own that it calls.
    ``inline`` and ``keep_unused`` are accepted for compatibility with JAX and change nothing.

    Raises ArgumentError for a static argument that is not hashable or an option that does not
    exist; the calls raise DeviceError for a device that is not there.

    >>> @jit(static_argnames="power")
    ... def scaled(x, power):
    ...     return x**power / jnp.sum(x)
    >>> scaled(jnp.array([1.0, 3.0]), power=2)
    Array([0.25, 2.25], dtype=float32)
    >>> jit(lambda x: x if x > 0 else 0.1 * x, control_flow=True)(-3.0)
    Array(-0.3, dtype=float32)
    """
    if fun is None:
        return functools.partial(
            jit,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
            backend=backend,
            mode=mode,
            threads=threads,
            device=device,
            control_flow=control_flow,
        )
    check_function("jit", fun)
    load_compiler()
    _check_options(backend, mode, threads, device)
    donate = positions_and_names(fun, "donate", donate_argnums, donate_argnames)
    static = positions_and_names(fun, "static", static_argnums, static_argnames)
    run = controlled(fun) if control_flow else fun
    jitted = Jitted(run, static, donate, backend, mode, threads, device)
    jitted.__wrapped__ = fun
    return jitted


def _check_options(backend: str | None, mode: str | None, threads: int | None, device: Any) -> None:
    """Raise ArgumentError for options of ``jit`` that do not exist, or do not go together."""
    for name, option in (("backend", backend), ("mode", mode), ("threads", threads)):
        if option is not None:
            legal(name, option)
    if device is None:
        return
    place = name_of(device)
    if backend is not None and (place == "cpu") == (backend == "cuda"):
        raise ArgumentError(
            f"jit: the {backend} back end does not run on {place}",
            at=source.here(),
            hint="give one of `backend` and `device`",
        )


@functools.cache
def load_compiler() -> None:
    """Begin to load the compiler beside whatever the user does until the first call."""
    prefetch(lambda: _executable.warm_up())
