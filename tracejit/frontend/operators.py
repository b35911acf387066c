"""The operators and methods of ``Array``, each one line: what they do is in the modules behind
``methods``.

class Array(Operators): ...      (frontend/array.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from tracejit import source
from tracejit.errors import ArgumentError, user_methods
from tracejit.frontend import at_once, methods


def binary(name: str) -> Any:
    """``a op b``; NotImplemented for operands that are no arrays, so that their own operator gets
    its turn.
    """
    quickly = at_once.operator(name)

    def operator(self: Any, other: Any) -> Any:
        found = quickly(self, other)
        if found is not None:
            return found
        return getattr(methods, name)(self, other) if methods.is_operand(other) else NotImplemented

    return operator


def reflected(name: str) -> Any:
    """``b op a`` for an Array a on the right."""
    quickly = at_once.operator(name, reflected=True)

    def operator(self: Any, other: Any) -> Any:
        found = quickly(self, other)
        if found is not None:
            return found
        return getattr(methods, name)(other, self) if methods.is_operand(other) else NotImplemented

    return operator


@user_methods()
class _Probe:
    """Sees how often an object is referred to when it is written into."""

    seen = 0

    def __setitem__(self, idx: Any, value: Any) -> None:
        _Probe.seen = getrefcount(self)


def _lost() -> int:
    """The references to an object that only the statement which writes into it holds; -1 where
    this Python does not tell.
    """
    _Probe()[0] = 0
    alone = _Probe.seen
    held = _Probe()
    held[0] = 0
    return alone if _Probe.seen > alone else -1


_LOST = _lost()


_product = at_once.operator("multiply")


class Operators:
    """Arithmetic, comparison, indexing and NumPy's array methods."""

    __slots__ = ()
    if TYPE_CHECKING:
        type: Any
        nbytes: int
        block_until_ready: Any

    __add__, __radd__ = binary("add"), reflected("add")
    __sub__, __rsub__ = binary("subtract"), reflected("subtract")
    __mul__, __rmul__ = binary("multiply"), reflected("multiply")
    __truediv__, __rtruediv__ = binary("divide"), reflected("divide")
    __floordiv__, __rfloordiv__ = binary("floor_divide"), reflected("floor_divide")
    __mod__, __rmod__ = binary("remainder"), reflected("remainder")
    __divmod__, __rdivmod__ = binary("divmod"), reflected("divmod")
    __matmul__, __rmatmul__ = binary("matmul"), reflected("matmul")
    __and__, __rand__ = binary("bitwise_and"), reflected("bitwise_and")
    __or__, __ror__ = binary("bitwise_or"), reflected("bitwise_or")
    __xor__, __rxor__ = binary("bitwise_xor"), reflected("bitwise_xor")
    __lshift__, __rlshift__ = binary("left_shift"), reflected("left_shift")
    __rshift__, __rrshift__ = binary("right_shift"), reflected("right_shift")
    __lt__, __le__ = binary("less"), binary("less_equal")
    __gt__, __ge__ = binary("greater"), binary("greater_equal")
    __eq__, __ne__ = binary("equal"), binary("not_equal")

    def __pow__(self, other: Any, modulo: None = None) -> Any:
        if type(other) is int and other == 2:
            found = _product(self, self)
            if found is not None:
                return found
        return methods.power(self, other) if methods.is_operand(other) else NotImplemented

    def __rpow__(self, other: Any, modulo: None = None) -> Any:
        return methods.power(other, self) if methods.is_operand(other) else NotImplemented

    def __neg__(self) -> Any:
        return methods.negative(self)

    def __pos__(self) -> Any:
        return methods.positive(self)

    def __abs__(self) -> Any:
        return methods.absolute(self)

    def __invert__(self) -> Any:
        return methods.bitwise_not(self)

    def __round__(self, ndigits: int | None = None) -> Any:
        return methods.round(self, ndigits or 0)

    def __getitem__(self, idx: Any) -> Any:
        found = at_once.getitem(self, idx)
        if found is not None:
            return found
        return methods.getitem(self, idx)

    def __setitem__(self, idx: Any, value: Any) -> None:
        if getrefcount(self) == _LOST:
            raise ArgumentError(
                "x[i] = v writes into an array that nothing refers to: no other one changes",
                at=source.here(),
                hint="there are no views: for a[i][j] = v write a[i, j] = v or a.at[i, j].set(v)",
            )
        if not at_once.setitem(self, idx, value):
            methods.setitem(self, idx, value)

    def __iter__(self) -> Iterator[Any]:
        return methods.iterate(self)

    def __contains__(self, value: Any) -> bool:
        return bool(methods.any(methods.equal(self, value)))

    # ---- views ----

    @property
    def at(self) -> Any:
        """``x.at[idx].set(v)``: copies with a part changed."""
        return methods.At(self)

    @property
    def T(self) -> Any:
        return methods.transpose(self)

    @property
    def mT(self) -> Any:
        return methods.matrix_transpose(self)

    @property
    def real(self) -> Any:
        return methods.real(self)

    @real.setter
    def real(self, value: Any) -> None:
        methods.set_part(self, value, "real")

    @property
    def imag(self) -> Any:
        return methods.imag(self)

    @imag.setter
    def imag(self, value: Any) -> None:
        methods.set_part(self, value, "imag")

    @property
    def flat(self) -> Any:
        """The elements in row-major order, to index, to write and one by one."""
        return methods.Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        methods.fill(self, value)

    @property
    def base(self) -> None:
        """None: an Array is no view of another one."""

    @property
    def flags(self) -> Any:
        """NumPy's flags of the array that NumPy sees: in row-major order, to be read only."""
        return methods.asarray_flags(self)

    @property
    def strides(self) -> tuple[int, ...]:
        """How many bytes lie between neighbours along each axis, in row-major order."""
        return methods.strides_of(self)

    @property
    def device(self) -> Any:
        """The Device it lies on; of a traced value the default one."""
        return methods.device_of(self)

    def devices(self) -> set[Any]:
        """The device it lies on, as a set."""
        return {methods.device_of(self)}

    @property
    def sharding(self) -> Any:
        """Where it lies: on one device."""
        return methods.sharding_of(self)

    @property
    def aval(self) -> Any:
        """Its type: dtype and shape."""
        return self.type

    @property
    def is_fully_addressable(self) -> bool:
        return True

    @property
    def is_fully_replicated(self) -> bool:
        return True

    @property
    def committed(self) -> bool:
        """Whether it is bound to its device."""
        return methods.is_bound(self)

    def addressable_data(self, index: int) -> Any:
        """The part of it on device ``index``: all of it."""
        return self

    def platform(self) -> str:
        return str(methods.device_of(self).platform)

    def is_ready(self) -> bool:
        """Whether its value is there; on a GPU this waits."""
        self.block_until_ready()
        return True

    def copy_to_host_async(self) -> None:
        """Nothing: a copy to the host is made when its value is asked for."""

    def on_device_size_in_bytes(self) -> int:
        return int(self.nbytes)

    def clone(self) -> Any:
        return methods.copy(self)

    def tobytes(self, order: str = "C") -> bytes:
        return methods.to_bytes(self, order)

    def to_device(self, device: Any, *, stream: Any = None) -> Any:
        """The same value on a device, bound to it: ``tracejit.device_put``."""
        return methods.device_put(self, device)

    # ---- moving elements ----

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
        return methods.reshape(self, methods.sizes_of(shape), order)

    def ravel(self, order: str = "C") -> Any:
        return methods.ravel(self, order)

    def flatten(self, order: str = "C") -> Any:
        return methods.flattened(self, order)

    def transpose(self, *axes: Any) -> Any:
        return methods.transpose(self, methods.sizes_of(axes) if axes and axes != (None,) else None)

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        return methods.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Any:
        return methods.squeeze(self, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        return methods.diagonal(self, offset, axis1, axis2)

    def repeat(
        self, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None
    ) -> Any:
        return methods.repeat(self, repeats, axis, total_repeat_length=total_repeat_length)

    def take(
        self,
        indices: Any,
        axis: int | None = None,
        out: None = None,
        mode: str | None = None,
        fill_value: Any = None,
    ) -> Any:
        return methods.take(self, indices, axis, out, mode, fill_value=fill_value)

    def copy(self, order: str = "C") -> Any:
        return methods.copy(self)

    def astype(
        self,
        dtype: Any,
        copy: bool = False,
        device: Any = None,
        *,
        order: str = "K",
        casting: str = "unsafe",
        subok: bool = True,
    ) -> Any:
        return methods.astype_as(self, dtype, casting, device)

    def view(self, dtype: Any = None) -> Any:
        return methods.view(self, dtype)

    # ---- reductions ----

    def sum(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
        promote_integers: bool = True,
    ) -> Any:
        return methods.sum(self, axis, dtype, out, keepdims, initial, where, promote_integers)

    def prod(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
        promote_integers: bool = True,
    ) -> Any:
        return methods.prod(self, axis, dtype, out, keepdims, initial, where, promote_integers)

    def mean(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: bool = False,
        *,
        where: Any = None,
    ) -> Any:
        return methods.mean(self, axis, dtype, out, keepdims, where=where)

    def var(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        where: Any = None,
        correction: float | None = None,
    ) -> Any:
        return methods.var(
            self, axis, dtype, out, ddof, keepdims, where=where, correction=correction
        )

    def std(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        where: Any = None,
        correction: float | None = None,
    ) -> Any:
        return methods.std(
            self, axis, dtype, out, ddof, keepdims, where=where, correction=correction
        )

    def min(
        self,
        axis: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> Any:
        return methods.min(self, axis, out, keepdims, initial, where)

    def max(
        self,
        axis: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> Any:
        return methods.max(self, axis, out, keepdims, initial, where)

    def ptp(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return methods.ptp(self, axis, out, keepdims)

    def argmin(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return methods.argmin(self, axis, out, keepdims)

    def argmax(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return methods.argmax(self, axis, out, keepdims)

    def any(
        self, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
    ) -> Any:
        return methods.any(self, axis, out, keepdims, where=where)

    def all(
        self, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
    ) -> Any:
        return methods.all(self, axis, out, keepdims, where=where)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
        return methods.cumsum(self, axis, dtype, out)

    def cumprod(self, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
        return methods.cumprod(self, axis, dtype, out)

    def trace(
        self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
    ) -> Any:
        return methods.trace(self, offset, axis1, axis2, dtype, out)

    # ---- elements ----

    def dot(self, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
        return methods.dot(self, b, preferred_element_type=preferred_element_type)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Any:
        return methods.clip(self, min, max, out=out)

    def round(self, decimals: int = 0, out: None = None) -> Any:
        return methods.round(self, decimals, out)

    def conj(self) -> Any:
        return methods.conjugate(self)

    def conjugate(self) -> Any:
        return methods.conjugate(self)

    # ---- order ----

    def sort(
        self,
        axis: int | None = -1,
        *,
        kind: Any = None,
        order: None = None,
        stable: bool = True,
        descending: bool = False,
    ) -> Any:
        return methods.sort(self, axis, stable=stable, descending=descending)

    def argsort(
        self,
        axis: int | None = -1,
        *,
        kind: Any = None,
        order: None = None,
        stable: bool = True,
        descending: bool = False,
    ) -> Any:
        return methods.argsort(self, axis, stable=stable, descending=descending)

    def searchsorted(
        self, v: Any, side: str = "left", sorter: Any = None, *, method: str = "scan"
    ) -> Any:
        return methods.searchsorted(self, v, side, sorter)

    def nonzero(self, *, fill_value: Any = None, size: int | None = None) -> Any:
        return methods.nonzero(self, size=size, fill_value=fill_value)

    def compress(
        self,
        condition: Any,
        axis: int | None = None,
        *,
        size: int | None = None,
        fill_value: Any = 0,
    ) -> Any:
        return methods.compress(condition, self, axis, size=size, fill_value=fill_value)

    # ---- what NumPy does in place ----

    def fill(self, value: Any) -> None:
        """``x[...] = value``."""
        methods.setitem(self, ..., value)

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        """``x.flat[indices] = values``."""
        methods.put(self, indices, values, mode)

    def resize(self, *args: Any, **kwargs: Any) -> None:
        raise methods.immutable("resize()", "use numpy.resize(x, shape)")

    def partition(self, *args: Any, **kwargs: Any) -> None:
        raise methods.immutable("partition()", "use numpy.partition(x, kth)")

    def tofile(self, fid: Any, sep: str = "", format: str = "%s") -> None:
        """Write the elements to a file, as bytes or as text."""
        self.concrete("tofile()").tofile(fid, sep, format)  # type: ignore[attr-defined]

    def setflags(self, *args: Any, **kwargs: Any) -> None:
        raise methods.immutable("setflags()", "")
