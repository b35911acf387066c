"""Keys: typed key arrays and raw ones, made from seeds, split, and combined with data.

In: an integer seed, or a key. Out: keys. ``key`` gives a typed key, a PRNGKeyArray over uint32
words; ``PRNGKey`` gives the words themselves, uint32[2]. All samplers take either; functions that
return keys return the kind they were given. The keys are those of JAX's threefry2x32.

    >>> first, second = split(key(0))
    >>> first
    Array((), dtype=key<fry>) overlaying:
    [1797259609 2579123966]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError, TracejitError
from tracejit.frontend import creation, eager, elementwise, indexing, key_uses, promotion, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axis_number, shape_tuple
from tracejit.frontend.promotion import convert, filled, reshaped
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.numpy.dtypes import prng_key
from tracejit.ops import bits
from tracejit.ops.random_bits import threefry2x32
from tracejit.random import unpartitioned
from tracejit.record import dataclass
from tracejit.tree_nodes import GetAttrKey, register_pytree_with_keys_class

U32, I64, U64 = DTYPES["u32"], DTYPES["i64"], DTYPES["u64"]
IMPLEMENTATION = "threefry2x32"
_HINT = "make a key with random.key(seed)"
_BATCH = "map over keys with vmap, or take one with keys[i]"


class KeyDType:
    """The dtype of typed keys. There is one, ``key_dtype()``."""

    name = "key<fry>"
    type = prng_key
    itemsize = 8
    kind = "V"

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyDType)

    def __hash__(self) -> int:
        return hash(self.name)


_KEY_DTYPE = KeyDType()


@dataclass(frozen=True)
class KeyType:
    """The type of an array of keys: what ``typeof`` gives."""

    shape: tuple[int, ...]
    dtype: KeyDType = _KEY_DTYPE

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"


@register_pytree_with_keys_class
class PRNGKeyArray:
    """An array of keys: a pytree of one leaf ``words``, uint32 with a last axis of 2."""

    __slots__ = ("words",)
    __array_priority__ = 200
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    dtype = _KEY_DTYPE
    itemsize = _KEY_DTYPE.itemsize

    def __init__(self, words: Any) -> None:
        self.words = words

    def tree_flatten_with_keys(self) -> tuple[Any, None]:
        return ((GetAttrKey("words"), self.words),), None

    @classmethod
    def tree_unflatten(cls, static: None, children: Any) -> PRNGKeyArray:
        (words,) = children
        return cls(words)

    # ---- what it is ----

    @property
    def aval(self) -> KeyType:
        return KeyType(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.words.shape[:-1])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    def __repr__(self) -> str:
        words = self.words
        if isinstance(words, Array | np.ndarray) and words.ndim:
            return f"Array({self.shape}, dtype={self.dtype.name}) overlaying:\n{words}"
        return f"PRNGKeyArray({words!r})"

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentError("len() of a single key", at=source.here())
        return self.shape[0]

    def __iter__(self) -> Iterator[PRNGKeyArray]:
        if not self.shape:
            raise ArgumentError("iteration over a single key", at=source.here(), hint="split it")
        return (PRNGKeyArray(words) for words in as_array(self.words))

    def __bool__(self) -> bool:
        raise ArgumentError("a key has no truth value", at=source.here())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise ArgumentError(
            "keys do not convert to numbers",
            at=source.here(),
            hint="random.key_data(key) is the array of their words",
        )

    # ---- comparison ----

    def __eq__(self, other: object) -> Any:
        return elementwise.equal(self._words(), _compared(other)).all(axis=-1)

    def __ne__(self, other: object) -> Any:
        return elementwise.not_equal(self._words(), _compared(other)).any(axis=-1)

    # ---- moving keys ----

    def _words(self) -> Array:
        return as_array(self.words)

    def __getitem__(self, idx: Any) -> PRNGKeyArray:
        parts = idx if isinstance(idx, tuple) else (idx,)
        if not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)
        return PRNGKeyArray(indexing.getitem(self._words(), (*parts, slice(None))))

    def reshape(self, *shape: Any) -> PRNGKeyArray:
        """The keys under another shape."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        return PRNGKeyArray(shaping.reshape(self._words(), (*sizes, 2)))

    def ravel(self) -> PRNGKeyArray:
        """All keys along one axis."""
        return self.reshape(self.size)

    flatten = ravel

    def squeeze(self, axis: int | None = None) -> PRNGKeyArray:
        """Without axes of size 1."""
        kept = [n for n in self.shape if n != 1]
        if axis is None:
            return self.reshape(tuple(kept))
        return PRNGKeyArray(shaping.squeeze(self._words(), axis_number("squeeze", axis, self.ndim)))

    def transpose(self, *axes: Any) -> PRNGKeyArray:
        """With axes permuted."""
        given = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes
        order = [axis_number("transpose", a, self.ndim) for a in given]
        order = order or list(range(self.ndim))[::-1]
        return PRNGKeyArray(shaping.transpose(self._words(), (*order, self.ndim)))

    @property
    def T(self) -> PRNGKeyArray:
        return self.transpose()

    def swapaxes(self, axis1: int, axis2: int) -> PRNGKeyArray:
        """With two axes exchanged."""
        order = list(range(self.ndim))
        i, j = (axis_number("swapaxes", a, self.ndim) for a in (axis1, axis2))
        order[i], order[j] = order[j], order[i]
        return self.transpose(order)

    def take(self, indices: Any, axis: int | None = None) -> PRNGKeyArray:
        """The keys at ``indices`` along ``axis``, of all of them in order by default."""
        keys = self.ravel() if axis is None else self
        number = 0 if axis is None else axis_number("take", axis, self.ndim)
        return PRNGKeyArray(indexing.take(keys._words(), indices, number))

    def copy(self) -> PRNGKeyArray:
        return PRNGKeyArray(self.words)

    def block_until_ready(self) -> PRNGKeyArray:
        return self


eager.HOLDERS[PRNGKeyArray] = "words"


def _compared(other: Any) -> Array:
    if not isinstance(other, PRNGKeyArray):
        raise ArgumentError(
            f"a key compares with keys only, not with {type(other).__name__}", at=source.here()
        )
    return other._words()


# ---- checking keys -------------------------------------------------------------------------------


def checked(name: str, key: Any) -> tuple[Array, bool]:
    """The words of keys of any shape, and whether they were typed; ArgumentError for no keys."""
    if isinstance(key, PRNGKeyArray):
        return as_array(key.words), True
    if not isinstance(key, Array | np.ndarray):
        raise ArgumentError(
            f"{name}: {type(key).__name__} is not a key", at=source.here(), hint=_HINT
        )
    words = as_array(key)
    if words.dtype != U32 or words.ndim == 0 or words.shape[-1] != 2:
        raise ArgumentError(
            f"{name}: a raw key is u32[2], not {words.type}", at=source.here(), hint=_HINT
        )
    return words, False


def single(name: str, key: Any) -> Array:
    """The words u32[2] of one key, which is used by this."""
    words = one(name, key)[0]
    key_uses.consume(words)
    return words


def one(name: str, key: Any) -> tuple[Array, bool]:
    """The words of one key and whether it was typed."""
    words, typed = checked(name, key)
    if words.ndim != 1:
        raise ArgumentError(
            f"{name}: takes a single key, not an array of keys of shape {words.shape[:-1]}",
            at=source.here(),
            hint=_BATCH,
        )
    return words, typed


def like_given(words: Array, typed: bool) -> Any:
    """Words of new keys as keys of the kind the caller gave."""
    key_uses.fresh(words)
    return PRNGKeyArray(words) if typed else words


def seeded(words: Array, typed: bool) -> Any:
    """Words that a seed gave as a key."""
    key_uses.begin(words)
    return PRNGKeyArray(words) if typed else words


# ---- seeds ---------------------------------------------------------------------------------------


def _check_implementation(name: str, impl: Any) -> None:
    if impl is None or impl == IMPLEMENTATION or isinstance(impl, KeyDType):
        return
    raise ArgumentError(
        f"{name}: there is no implementation {impl!r}",
        at=source.here(),
        hint=f"keys are of {IMPLEMENTATION!r}",
    )


def _seed_words(name: str, seed: Any) -> Array:
    """The high and low word of a seed. Negative seeds of 32 bits have high word 0, as in JAX."""
    if isinstance(seed, PRNGKeyArray):
        raise ArgumentError(f"{name}: the seed is a key already", at=source.here())
    if isinstance(seed, int) and not isinstance(seed, np.generic):
        if not -(2**63) <= seed < 2**64:
            raise ArgumentError(f"{name}: the seed {seed} has more than 64 bits", at=source.here())
        seed = np.asarray(seed % 2**64, U64).view(I64)
    number = _integer_scalar(name, "seed", seed)
    low = convert(convert(number, U64), U32)
    return shaping.stack([_high_word(number), low])


def _high_word(number: Array) -> Array:
    if number.dtype.itemsize < 8:
        return filled(0, TensorType(U32, ()))
    wide = convert(number, U64)
    shifted = elementwise.run(bits.shift_right_logical, wide, convert(as_array(32), U64))
    high = convert(shifted, U32)
    if kind(number.dtype) == "u":
        return high
    short = elementwise.logical_and(number >= -(2**31), number < 0)
    return elementwise.select(short, filled(0, high.type), high)


def _integer_scalar(name: str, what: str, x: Any) -> Array:
    try:
        number = as_array(x)
    except TracejitError as error:
        raise ArgumentError(
            f"{name}: the {what} is an integer, not {x!r}", at=source.here()
        ) from error
    if kind(number.dtype) not in "biu":
        raise ArgumentError(
            f"{name}: the {what} is an integer, not {number.type}", at=source.here()
        )
    if number.ndim:
        raise ArgumentError(
            f"{name}: the {what} is a scalar, not {number.type}",
            at=source.here(),
            hint="map over several with vmap",
        )
    return promotion.relabelled(number, False)


def key(seed: Any, *, impl: Any = None, dtype: Any = None) -> PRNGKeyArray:
    """A typed key from an integer seed. Seeds of up to 64 bits count in full.

    ``dtype`` may be ``random.key_dtype()``, the dtype that keys have. Raises ArgumentError for a
    seed that is no integer scalar.

    >>> random.key(42)
    Array((), dtype=key<fry>) overlaying:
    [ 0 42]
    """
    _check_implementation("key", impl)
    if dtype is not None and dtype != _KEY_DTYPE:
        raise ArgumentError(f"key: keys have dtype {_KEY_DTYPE}, not {dtype}", at=source.here())
    return seeded(_seed_words("key", seed), True)


def PRNGKey(seed: Any, *, impl: Any = None) -> Array:
    """A raw key uint32[2] from an integer seed; ``key`` gives a typed one."""
    _check_implementation("PRNGKey", impl)
    return seeded(_seed_words("PRNGKey", seed), False)


# ---- words of keys -------------------------------------------------------------------------------


def key_data(keys: Any) -> Array:
    """The words of keys: uint32 with a last axis of 2."""
    return checked("key_data", keys)[0]


def wrap_key_data(key_bits_array: Any, *, impl: Any = None, dtype: Any = None) -> PRNGKeyArray:
    """Typed keys over words."""
    if impl is not None and dtype is not None:
        raise ArgumentError("wrap_key_data: give impl or dtype, not both", at=source.here())
    _check_implementation("wrap_key_data", impl if dtype is None else dtype)
    words, typed = checked("wrap_key_data", key_bits_array)
    if typed:
        raise ArgumentError("wrap_key_data: these are typed keys already", at=source.here())
    return PRNGKeyArray(words)


def key_impl(keys: Any) -> str:
    """The name of the implementation of keys."""
    checked("key_impl", keys)
    return IMPLEMENTATION


def key_dtype(impl_spec: Any = None) -> KeyDType:
    """The dtype of typed keys."""
    _check_implementation("key_dtype", impl_spec)
    return _KEY_DTYPE


def clone(key: Any) -> Any:
    """The same key once more, for uses that mean to draw the same numbers again."""
    words, typed = checked("clone", key)
    key_uses.again(words)
    return PRNGKeyArray(words) if typed else words


# ---- new keys from a key -------------------------------------------------------------------------


def split_words(words: Array, shape: tuple[int, ...]) -> Array:
    """Words of shape (*shape, 2): key p is the cipher's output at counter p."""
    if not config.threefry_partitionable:
        return unpartitioned.split(words, shape)
    size = math.prod(shape)
    k0, k1 = (promotion.broadcast_to(words[k], (size,)) for k in (0, 1))
    high, low = filled(0, TensorType(U32, (size,))), creation.iota(U32, (size,), 0)
    pair = apply(threefry2x32, k0, k1, high, low)
    return reshaped(shaping.stack(list(pair), 1), (*shape, 2))


def split_into(words: Array, num: int = 2) -> list[Array]:
    """``num`` keys, as words."""
    keys = split_words(words, (num,))
    return [keys[k] for k in range(num)]


def split(key: Any, num: Any = 2) -> Any:
    """New independent keys from one: ``num`` of them, or an array of the shape ``num``.

    Threefry-2x32 with the key of 0 ... num - 1 (Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", 2011). Raises ArgumentError for what is not a single key.

    >>> random.split(random.key(0), 3).shape
    (3,)
    """
    words, typed = one("split", key)
    key_uses.consume(words)
    return like_given(split_words(words, shape_tuple(num, "split: num")), typed)


def fold_in(key: Any, data: Any) -> Any:
    """A new key from a key and a 32-bit integer: the same pair always gives the same key.

    >>> keys = vmap(lambda step: random.fold_in(random.key(0), step))(jnp.arange(3))
    >>> keys.shape
    (3,)
    """
    words, typed = one("fold_in", key)
    if isinstance(data, int) and not isinstance(data, np.generic):
        if not 0 <= data < 2**32:
            raise ArgumentError(
                f"fold_in: data is an unsigned integer of 32 bits, not {data}", at=source.here()
            )
        data = np.asarray(data, U32)
    number = convert(_integer_scalar("fold_in", "data", data), U32)
    pair = apply(threefry2x32, words[0], words[1], filled(0, number.type), number)
    return like_given(shaping.stack(list(pair)), typed)
