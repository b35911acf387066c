"""What calls of a user's CUDA kernel come to: types of results, blocks and threads, arguments.

    definition = Definition(text, found, origin, settings, inout=(), zero=())
    definition.call(types, ())          Call(results, CudaLaunch)
    run_emulated(device, call, arrays)  its results

Everything that the text and a user's functions say is checked against each other here.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend.array import Array
from tracejit.frontend.call import call_user
from tracejit.frontend.cuda_text import (
    KernelText,
    Parameter,
    c_text,
    dtypes_of,
    replaced,
    with_c_linkage,
)
from tracejit.ir.graph import params_key
from tracejit.ir.types import DTYPES, TensorType, kind, short
from tracejit.kernel.gpu.source import CudaLaunch, CudaSource
from tracejit.record import dataclass
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.source import here

Function = Callable[..., Any]

#: threads that a block may have, on every GPU
MOST_THREADS = 1024


@dataclass(frozen=True)
class Call:
    """What a call with operands of certain types comes to."""

    results: tuple[TensorType, ...]
    launch: CudaLaunch


@dataclass(frozen=True)
class Settings:
    """What a user says of a kernel: the arguments of ``cuda_kernel``."""

    out: Any
    grid: Any
    block: Any
    shared: Any
    args: Any
    static: Mapping[str, Any]
    defines: Any
    header: bool
    numpy: Function | None
    batch: Any


class Definition:
    """A kernel, and what its user says of it."""

    def __init__(
        self,
        text: str,
        found: KernelText,
        origin: tuple[str, int] | None,
        settings: Settings,
        inout: Sequence[str] = (),
        zero: Sequence[str] = (),
    ) -> None:
        self.name = found.name
        self.text = text
        self.origin = origin
        self.settings = settings
        pointers = [p for p in found.parameters if p.pointer]
        self.parameters = found.parameters
        self.results = tuple(p for p in pointers if not p.const)
        self._check_names(inout, zero)
        self.inout, self.zero = frozenset(inout), frozenset(zero)
        self.operands = tuple(p for p in pointers if p.const or p.name in self.inout)
        self.numbers = tuple(p for p in found.parameters if not p.pointer)
        self._check_definition()
        self.calls: dict[Any, Call] = {}

    # ---- definition ----

    def _check_names(self, inout: Sequence[str], zero: Sequence[str]) -> None:
        results = [p.name for p in self.results]
        for what, names in (("inout", inout), ("zero", zero)):
            for name in names:
                if name not in results:
                    raise ArgumentError(
                        f"cuda_kernel: {what} names {name!r}, which is no result of `{self.name}`",
                        at=here(),
                        hint=f"results, pointers that are not const: {', '.join(results)}",
                    )
        if both := set(inout) & set(zero):
            raise ArgumentError(
                f"cuda_kernel: {both.pop()!r} is in inout and in zero: it begins as one of them",
                at=here(),
            )

    def _check_definition(self) -> None:
        name, settings = self.name, self.settings
        if not self.results:
            raise ArgumentError(
                f"cuda_kernel: `{name}` has no result: all its pointers are const", at=here()
            )
        wanted = [p for p in self.results if p.name not in self.inout]
        if wanted and settings.out is None:
            raise ArgumentError(
                f"cuda_kernel: out= is missing: the types of {_names(wanted)} of `{name}`",
                at=here(),
                hint=f"out=lambda {', '.join(p.name for p in self.operands)}: ...; a pointer that "
                "is only read is declared const",
            )
        for p in self.parameters:
            if not settings.defines and not dtypes_of(p.type, self.text):
                raise ArgumentError(
                    f"cuda_kernel: `{p.type}`, the type of `{p.name}` of `{name}`, is unknown",
                    at=here(),
                    hint="elements are float, double, __half, __nv_bfloat16, bool, float2 and "
                    "integers; a word of your own is given by defines=",
                )

    # ---- types and launch ----

    def call(self, types: tuple[TensorType, ...], params: dict[str, Any]) -> Call:
        """What a call with these types and static arguments comes to. Raises ArgumentError and
        DTypeError for what does not fit the kernel's parameters.
        """
        key = (types, params_key(params))
        found = self.calls.get(key)
        if found is None:
            found = self.calls[key] = self._call(types, params)
        return found

    def _call(self, types: tuple[TensorType, ...], params: dict[str, Any]) -> Call:
        settings = self.settings

        def ask(what: Any) -> Any:
            return call_user(what, types, params) if callable(what) else what

        defines = {name: c_text(value) for name, value in (ask(settings.defines) or {}).items()}
        text = replaced(self.text, defines)
        results = self._result_types(types, ask(settings.out))
        self._check_types(types, results, text, defines)
        block = _extent(self.name, "block", ask(settings.block))
        threads = math.prod(block) if isinstance(block, tuple) else block
        if not 1 <= threads <= MOST_THREADS:
            raise ArgumentError(
                f"`{self.name}`: a block of {threads} threads: it has 1 to {MOST_THREADS}"
            )
        grid = -(-results[0].size // threads) if settings.grid is None else ask(settings.grid)
        numbers = self._numbers(ask(settings.args), text, defines)
        number_types = iter([short(n.dtype) for n, _ in numbers])
        cuda = CudaSource(
            self.name,
            text=with_c_linkage(text, self.name),
            shared=_whole(self.name, "shared", ask(settings.shared)),
            header=settings.header,
            arguments=tuple("p" if p.pointer else next(number_types) for p in self.parameters),
            origin=self.origin,
        )
        launch = CudaLaunch(
            cuda,
            _extent(self.name, "grid", grid),
            block,
            tuple(passed for _, passed in numbers),
            self._order(),
            tuple(map(self._start, self.results)),
        )
        return Call(results, launch)

    def _order(self) -> tuple[int, ...]:
        """Each parameter's place among operands, results and numbers."""
        places = iter(range(len(self.operands), len(self.operands) + len(self.results)))
        of = {p.name: next(places) for p in self.results}
        of |= {p.name: k for k, p in enumerate(self.operands) if p.name not in of}
        first = len(self.operands) + len(self.results)
        of |= {p.name: first + k for k, p in enumerate(self.numbers)}
        return tuple(of[p.name] for p in self.parameters)

    def _start(self, result: Parameter) -> int | None:
        if result.name in self.zero:
            return -1
        return self.operands.index(result) if result.name in self.inout else None

    def _result_types(self, types: tuple[TensorType, ...], out: Any) -> tuple[TensorType, ...]:
        """``out`` gives those of results that no operand is the beginning of."""
        given = [] if out is None else list(out) if type(out) in (tuple, list) else [out]
        wanted = [p for p in self.results if p.name not in self.inout]
        if len(given) != len(wanted):
            raise ArgumentError(
                f"`{self.name}`: out= gives {len(given)} types for {len(wanted)} results, "
                f"{_names(wanted)}",
                hint="results are the pointers that are not const",
            )
        found = iter([self._type(t, p) for t, p in zip(given, wanted, strict=True)])
        begins = dict(zip((p.name for p in self.operands), types, strict=True))
        return tuple(begins[p.name] if p.name in self.inout else next(found) for p in self.results)

    def _type(self, given: Any, parameter: Parameter) -> TensorType:
        try:
            shape = tuple(map(operator.index, given.shape))
            type = TensorType(np.dtype(given.dtype), shape)
        except (AttributeError, TypeError):
            raise ArgumentError(
                f"`{self.name}`: out= gives no type for `{parameter.name}`: {given!r}",
                hint="a type has shape and dtype: an operand, or tracejit.ShapeDtypeStruct",
            ) from None
        if type.dtype not in DTYPES.values() or min(shape, default=0) < 0:
            raise ArgumentError(f"`{self.name}`: out= gives {given!r} for `{parameter.name}`")
        return type

    def _check_types(
        self,
        types: Sequence[TensorType],
        results: Sequence[TensorType],
        text: str,
        defines: Mapping[str, str],
    ) -> None:
        """Elements are what the kernel's parameters point to."""
        name = self.name
        if len(types) != len(self.operands):
            raise ArgumentError(
                f"`{name}` takes {len(self.operands)} operands; {len(types)} were given"
            )
        for k, (type, parameter) in enumerate(zip(types, self.operands, strict=True), 1):
            legal = self._legal(parameter, text, defines)
            if type.dtype not in legal:
                wanted = " or ".join(d.name for d in legal)
                raise DTypeError(
                    f"`{name}`: operand {k} is {type}; parameter `{parameter.name}` of the kernel "
                    f"is {parameter.text!r}, {wanted}",
                    hint=f"convert it: {parameter.name}.astype({legal[0].name!r})",
                )
        for type, parameter in zip(results, self.results, strict=True):
            legal = self._legal(parameter, text, defines)
            if type.dtype not in legal:
                wanted = " or ".join(d.name for d in legal)
                raise DTypeError(
                    f"`{name}`: result `{parameter.name}` is {type} by out=; the parameter of the "
                    f"kernel is {parameter.text!r}, {wanted}"
                )

    def _legal(
        self, parameter: Parameter, text: str, defines: Mapping[str, str]
    ) -> tuple[np.dtype, ...]:
        """What the elements of a parameter may be."""
        type = replaced(parameter.type, defines)
        found = dtypes_of(type, text)
        if not found:
            raise ArgumentError(
                f"`{self.name}`: `{type}`, the type of `{parameter.name}`, is unknown"
            )
        return found

    def _numbers(
        self, given: Any, text: str, defines: Mapping[str, str]
    ) -> list[tuple[np.ndarray, Any]]:
        """The numbers that the kernel takes: each in its type, and as it is passed."""
        names = [p.name for p in self.numbers]
        if isinstance(given, Mapping):
            unknown = [n for n in given if n not in names] + [n for n in names if n not in given]
            if unknown:
                raise ArgumentError(
                    f"`{self.name}`: args= and the kernel differ in {unknown[0]!r}; its "
                    f"numbers: {', '.join(names)}"
                )
            values = [given[n] for n in names]
        else:
            values = list(given) if isinstance(given, tuple | list) else [given]
        if len(values) != len(names):
            raise ArgumentError(
                f"`{self.name}`: args= gives {len(values)} numbers; the kernel takes "
                f"{len(names)}: {', '.join(names) or 'none'}",
                hint="pointers come from operands and results by themselves",
            )
        found = []
        for value, parameter in zip(values, self.numbers, strict=True):
            dtype = self._legal(parameter, text, defines)[0]
            found.append(_number(f"`{self.name}`", parameter, dtype, value))
        return found


def _names(parameters: Sequence[Parameter]) -> str:
    return ", ".join(f"`{p.name}`" for p in parameters) or "none"


# ---- numbers -------------------------------------------------------------------------------------


def _whole(name: str, what: str, value: Any) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        raise ArgumentError(f"`{name}`: {what}= is an int, not {value!r}") from None
    if found < 0:
        raise ArgumentError(f"`{name}`: {what}={found} is negative")
    return found


def _extent(name: str, what: str, value: Any) -> int | tuple[int, ...]:
    """Blocks or threads: an int, or up to three."""
    if not isinstance(value, tuple | list):
        return _whole(name, what, value)
    if not 1 <= len(value) <= 3:
        raise ArgumentError(f"`{name}`: {what}= has one to three extents, not {len(value)}")
    found = tuple(_whole(name, what, n) for n in value)
    return found[0] if len(found) == 1 else found


def _number(name: str, parameter: Parameter, dtype: np.dtype, value: Any) -> tuple[Any, Any]:
    """A number as an array of the parameter's type, and as it is passed to the kernel."""
    what = f"{name}: {parameter.text!r} cannot be {value!r}"
    if isinstance(value, Array):
        raise ArgumentError(
            f"{name}: `{parameter.name}` is an array; args= are numbers that are known when the "
            "call is traced",
            hint=f"make it an operand: const {parameter.type}* {parameter.name}",
        )
    letter = kind(dtype)
    if letter == "c":
        raise ArgumentError(f"{what}: complex numbers are operands")
    found = np.asarray(value)
    legal = {"b": "b", "i": "biu", "u": "biu", "f": "biuf"}[letter]
    if found.ndim or found.dtype == object or kind(found.dtype) not in legal:
        raise ArgumentError(what, hint=f"it is of type {dtype.name}")
    if letter in "iu" and not np.iinfo(dtype).min <= int(found) <= np.iinfo(dtype).max:
        raise ArgumentError(f"{what}: it does not fit", hint="declare it long long")
    made = found.astype(dtype)
    # 16-bit floats go as their bits, which every driver takes
    passed = made.view(np.uint16)[()] if letter == "f" and dtype.itemsize == 2 else made[()]
    return made, passed


# ---- the kernel itself on the CPU ----------------------------------------------------------------


@functools.cache
def host() -> HostDevice:
    """The device that plays a GPU for calls on the CPU."""
    return HostDevice()


def run_emulated(device: Any, call: Call, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of one launch on a device."""
    launch = call.launch
    function = device.load([launch.source])[launch.source.name]
    operands = [device.alloc(max(a.nbytes, 1)) for a in arrays]
    for memory, array in zip(operands, arrays, strict=True):
        if array.nbytes:
            device.to_device(memory.address, np.ascontiguousarray(array))
    results = [device.alloc(max(t.nbytes, 1)) for t in call.results]
    for memory, type, start in zip(results, call.results, launch.starts, strict=True):
        if start is not None and start < 0:
            device.fill(memory.address, 0, type.nbytes)
        elif start is not None:
            device.copy(memory.address, operands[start].address, type.nbytes)
    given = [*(m.address for m in (*operands, *results)), *launch.scalars]
    args = [given[k] for k in launch.order or range(len(given))]
    device.launch(function, launch.grid, launch.block, args, launch.source.shared)
    found = []
    for memory, type in zip(results, call.results, strict=True):
        array = np.empty(type.shape, type.dtype)
        if array.nbytes:
            device.to_host(array, memory.address)
        found.append(array)
    device.synchronize()
    return found
