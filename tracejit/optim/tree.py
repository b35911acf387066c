"""Arithmetic on trees of arrays, with the names of ``optax.tree``.

>>> from tracejit.optim import tree
>>> tree.add_scale({"w": jnp.ones(2)}, 0.5, {"w": jnp.array([2.0, 4.0])})
{'w': Array([2., 3.], dtype=float32)}

Trees are combined leaf by leaf. Numbers take the dtype of the leaves that they are combined with.
``tracejit.optim.tree_utils`` has the same functions as ``tree_add``, ...
"""

from __future__ import annotations

import builtins
import functools
import math
from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import creation, promotion, reductions
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import broadcast_to, convert
from tracejit.ir.types import DTYPES
from tracejit.numpy import allclose as _allclose
from tracejit.numpy import vdot as _vdot
from tracejit.optim.base import cast, mapped, narrow, square_norm
from tracejit.optim.moments import bias_correction as _without_bias
from tracejit.optim.moments import mixed
from tracejit.optim.tree_state import get, get_all_with_path, map_params, set
from tracejit.random import PRNGKeyArray, key_data, normal, split
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map, tree_structure, tree_unflatten

# fmt: off
__all__ = [
    "add", "add_scale", "allclose", "batch_shape", "bias_correction", "cast", "cast_like", "clip",
    "conj", "div", "dtype", "full_like", "get", "get_all_with_path", "map_params", "max", "min",
    "mul", "norm", "ones_like", "random_like", "real", "scale", "set", "size", "split_key_like",
    "sub", "sum", "unwrap_random_key_data", "update_infinity_moment", "update_moment",
    "update_moment_per_elem_norm", "vdot", "where", "zeros_like",
]
# fmt: on

# ---- leaf by leaf --------------------------------------------------------------------------------


def add(tree_x: Any, tree_y: Any, *other_trees: Any) -> Any:
    """The sum of two or more trees."""
    return tree_map(lambda *xs: functools.reduce(ew.add, xs), tree_x, tree_y, *other_trees)


def sub(tree_x: Any, tree_y: Any) -> Any:
    """tree_x - tree_y."""
    return tree_map(ew.subtract, tree_x, tree_y)


def mul(tree_x: Any, tree_y: Any) -> Any:
    """tree_x * tree_y."""
    return tree_map(ew.multiply, tree_x, tree_y)


def div(tree_x: Any, tree_y: Any) -> Any:
    """tree_x / tree_y."""
    return tree_map(ew.divide, tree_x, tree_y)


def scale(scalar: Any, tree: Any) -> Any:
    """scalar * tree."""
    return tree_map(lambda x: ew.multiply(narrow(scalar, as_array(x)), x), tree)


def add_scale(tree_x: Any, scalar: Any, tree_y: Any) -> Any:
    """tree_x + scalar * tree_y; None in ``tree_x`` stays."""
    return mapped(
        lambda x, y: ew.add(x, ew.multiply(narrow(scalar, as_array(y)), y)), tree_x, tree_y
    )


def conj(tree: Any) -> Any:
    """The complex conjugate."""
    return tree_map(ew.conjugate, tree)


def real(tree: Any) -> Any:
    """The real part."""
    return tree_map(ew.real, tree)


def clip(tree: Any, min_value: Any = None, max_value: Any = None) -> Any:
    """Each element within [min_value, max_value]; None is no limit."""
    return tree_map(lambda x: ew.clip(x, min_value, max_value), tree)


def where(condition: Any, tree_x: Any, tree_y: Any) -> Any:
    """``tree_x`` where the condition is true, else ``tree_y``."""
    return tree_map(lambda x, y: ew.select(condition, x, y), tree_x, tree_y)


def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all elements agree within tolerances, as ``numpy.allclose``."""
    found = tree_map(lambda x, y: _allclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan), a, b)
    return functools.reduce(ew.logical_and, tree_leaves(found), True)


# ---- trees like others ---------------------------------------------------------------------------


def zeros_like(tree: Any, dtype: Any = None) -> Any:
    """Zeros in place of each leaf."""
    return tree_map(lambda x: creation.zeros_like(as_array(x), dtype=dtype), tree)


def ones_like(tree: Any, dtype: Any = None) -> Any:
    """Ones in place of each leaf."""
    return tree_map(lambda x: creation.ones_like(as_array(x), dtype=dtype), tree)


def full_like(tree: Any, fill_value: Any, dtype: Any = None) -> Any:
    """``fill_value`` in place of each element."""
    return tree_map(lambda x: creation.full_like(as_array(x), fill_value, dtype=dtype), tree)


def batch_shape(tree: Any, shape: tuple[int, ...] = ()) -> Any:
    """Each leaf repeated along new leading axes."""
    return tree_map(lambda x: broadcast_to(as_array(x), (*shape, *as_array(x).shape)), tree)


def cast_like(tree: Any, other_tree: Any) -> Any:
    """Each leaf in the dtype of the leaf of the other tree."""
    return tree_map(
        lambda x, y: convert(as_array(x), y.dtype) if hasattr(y, "dtype") else x, tree, other_tree
    )


def dtype(tree: Any, mixed_dtype_handler: str | None = None) -> np.dtype:
    """The dtype of all leaves; of several the one that ``mixed_dtype_handler`` says: "promote",
    "highest" or "lowest". float32 for a tree without leaves.

    Raises DTypeError where leaves differ and nothing says how they are to be combined.
    """
    choices = {"promote": _promoted, "highest": _promoted, "lowest": _lower}
    found = [as_array(x).dtype for x in tree_leaves(tree)]
    if not found:
        return DTYPES["f32"]
    if mixed_dtype_handler is None:
        if len({*found}) > 1:
            names = ", ".join(sorted({str(d) for d in found}))
            raise DTypeError(
                f"tree.dtype: leaves are of {names}",
                at=here(),
                hint='give mixed_dtype_handler: "promote", "highest" or "lowest"',
            )
        return found[0]
    if mixed_dtype_handler not in choices:
        raise ArgumentError(
            f"tree.dtype: mixed_dtype_handler is None or one of {', '.join(map(repr, choices))}, "
            f"not {mixed_dtype_handler!r}",
            at=here(),
        )
    return functools.reduce(choices[mixed_dtype_handler], found)


def _promoted(a: np.dtype, b: np.dtype) -> np.dtype:
    return promotion.promote_types(a, b)


def _lower(a: np.dtype, b: np.dtype) -> np.dtype:
    """The one that the other can hold."""
    return b if _promoted(a, b) == a else a


# ---- reductions ----------------------------------------------------------------------------------


def size(tree: Any) -> int:
    """How many elements there are."""
    return builtins.sum(math.prod(as_array(x).shape) for x in tree_leaves(tree))


def vdot(tree_x: Any, tree_y: Any) -> Any:
    """The inner product, of conj(tree_x) with tree_y."""
    products = tree_map(lambda x, y: _vdot(x, y), tree_x, tree_y)
    return functools.reduce(ew.add, tree_leaves(products), 0)


def sum(tree: Any, associative_reduction: bool = False) -> Any:
    """The sum of all elements."""
    return functools.reduce(ew.add, (reductions.sum(x) for x in tree_leaves(tree)), 0)


def max(tree: Any) -> Any:
    """The largest of all elements; -inf where there are none."""
    parts = (reductions.max(x) for x in tree_leaves(tree) if as_array(x).size)
    return functools.reduce(ew.maximum, parts, -math.inf)


def min(tree: Any) -> Any:
    """The smallest of all elements; inf where there are none."""
    parts = (reductions.min(x) for x in tree_leaves(tree) if as_array(x).size)
    return functools.reduce(ew.minimum, parts, math.inf)


def norm(tree: Any, ord: Any = None, squared: bool = False) -> Array:
    """The norm of all elements as one vector: ``ord`` None or 2, 1, or infinity; or its square."""
    if ord is None or ord == 2:
        total = as_array(sum(tree_map(square_norm, tree)))
        return total if squared else ew.sqrt(total)  # type: ignore[no-any-return]
    if ord == 1:
        found = sum(tree_map(ew.absolute, tree))
    elif ord in (math.inf, "inf", "infinity"):
        found = max(tree_map(ew.absolute, tree))
    else:
        raise ArgumentError(f"tree.norm: ord is None, 1, 2 or inf, not {ord!r}", at=here())
    return ew.square(found) if squared else as_array(found)  # type: ignore[no-any-return]


# ---- running averages ----------------------------------------------------------------------------


def update_moment(updates: Any, moments: Any, decay: Any, order: int) -> Any:
    """(1 - decay) * updates**order + decay * moments."""
    return mapped(lambda g, m: mixed(decay, ew.power(g, order), m), updates, moments)


def update_infinity_moment(updates: Any, moments: Any, decay: Any, eps: Any) -> Any:
    """max(abs(updates) + eps, decay * moments)."""

    def one(g: Any, m: Any) -> Any:
        m = as_array(m)
        size = ew.add(ew.absolute(g), narrow(eps, m))
        return ew.maximum(size, ew.multiply(narrow(decay, m), m))

    return mapped(one, updates, moments)


def update_moment_per_elem_norm(updates: Any, moments: Any, decay: Any, order: int) -> Any:
    """(1 - decay) * abs(updates)**order + decay * moments."""

    def power(g: Any) -> Any:
        if order == 2:
            return square_norm(g)
        if np.issubdtype(as_array(g).dtype, np.complexfloating):
            return ew.power(ew.absolute(g), order)
        return ew.power(g, order)

    return mapped(lambda g, m: mixed(decay, power(g), m), updates, moments)


def bias_correction(moment: Any, decay: Any, count: Any) -> Any:
    """moment / (1 - decay**count): an average that began at zero, over the weight it has seen."""
    return _without_bias(moment, decay, as_array(count))


# ---- random trees --------------------------------------------------------------------------------


def split_key_like(rng_key: Any, target_tree: Any) -> Any:
    """A key for each leaf."""
    treedef = tree_structure(target_tree)
    keys = split(rng_key, treedef.num_leaves)
    return tree_unflatten(treedef, [keys[k] for k in range(treedef.num_leaves)])


def random_like(rng_key: Any, target_tree: Any, sampler: Any = normal, dtype: Any = None) -> Any:
    """``sampler(key, shape, dtype)`` in place of each leaf, from keys of their own.

    >>> from tracejit.optim import tree
    >>> tree.random_like(random.key(0), {"w": jnp.ones((2, 2))})["w"].shape
    (2, 2)
    """
    leaves = [as_array(x) for x in tree_leaves(target_tree)]
    keys = split(rng_key, len(leaves))
    drawn = [sampler(keys[k], leaf.shape, dtype or leaf.dtype) for k, leaf in enumerate(leaves)]
    return tree_unflatten(tree_structure(target_tree), drawn)


def unwrap_random_key_data(input_tree: Any) -> Any:
    """The words of typed keys in their place; other leaves stay."""

    def is_key(x: Any) -> bool:
        return isinstance(x, PRNGKeyArray)

    return tree_map(lambda x: key_data(x) if is_key(x) else x, input_tree, is_leaf=is_key)


_errors.user_functions(globals())
