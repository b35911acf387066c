"""Layout operations: index maps, paddings that cut off, errors, dynamic slices at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.errors import DTypeError, ShapeError
from tracejit.ir.build import building
from tracejit.ir.expr import Load, Var
from tracejit.ir.prim import Linear
from tracejit.ir.types import DTYPES, TensorType, short, type_of
from tracejit.ops import PRIMS, layout

F32, I32 = DTYPES["f32"], DTYPES["i32"]


def f32(*shape: int) -> TensorType:
    return TensorType(F32, shape)


class Operand:
    """Reads of a buffer, as an element rule sees them."""

    def __init__(self, name: str, type: TensorType) -> None:
        self.name, self.type = name, type

    def __call__(self, index: Any, guard: Any = None) -> Load:
        return Load(self.name, tuple(index), short(self.type.dtype), guard)


def element(name: str, *types: TensorType, **params: Any) -> str:
    """The text of one element at index i, j, ..."""
    prim = PRIMS[name]
    out = prim.infer(*types, **params)
    index = tuple(Var("ijkl"[axis], "i64") for axis in range(out.ndim))
    return str(prim.element([Operand("xyz"[k], t) for k, t in enumerate(types)], index, **params))


# ---- index maps ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "new_sizes", "text"),
    [
        ((6,), (2, 3), "x[add(mul(i, 3), j)]"),
        ((2, 3), (6,), "x[idiv(i, 3), irem(i, 3)]"),
        ((2, 3, 4), (6, 4), "x[idiv(i, 3), irem(i, 3), j]"),
        ((5, 1, 7), (5, 7), "x[i, 0, j]"),
        ((5, 7), (1, 5, 7, 1), "x[j, k]"),
        ((1,), (), "x[0]"),
    ],
)
def test_reshape_divides_only_where_axes_do_not_match(
    shape: Any, new_sizes: Any, text: str
) -> None:
    assert element("reshape", f32(*shape), new_sizes=new_sizes) == text


def test_matching_groups_are_the_shortest() -> None:
    assert layout.matching_groups((2, 3, 4, 5), (6, 20)) == [((0, 1), (0,)), ((2, 3), (1,))]
    assert layout.matching_groups((4, 6), (3, 8)) == [((0, 1), (0, 1))]
    assert layout.matching_groups((), (1, 1)) == [((), (0, 1))]


def test_pad_guards_only_the_sides_that_grow() -> None:
    assert (
        element("pad", f32(3), f32(), config=((0, 2, 0),))
        == "select(lt(i, 3), x[i if lt(i, 3)], y[])"
    )
    low = "ge(add(i, -2), 0)"
    assert (
        element("pad", f32(3), f32(), config=((2, 0, 0),))
        == f"select({low}, x[add(i, -2) if {low}], y[])"
    )
    assert element("pad", f32(3), f32(), config=((-1, -1, 0),)) == "x[add(i, 1)]"


def test_concatenate_reads_each_operand_within_its_bounds() -> None:
    text = element("concatenate", f32(2), f32(0), f32(3), dimension=0)
    assert text == "select(lt(i, 2), x[i if lt(i, 2)], z[add(i, -2) if ge(i, 2)])"


def test_transpose_and_slice_compose_plain_indices() -> None:
    assert element("transpose", f32(2, 3, 4), permutation=(2, 0, 1)) == "x[j, k, i]"
    assert element("slice", f32(9), start=(1,), limit=(8,), strides=(3,)) == "x[add(mul(i, 3), 1)]"
    assert element("rev", f32(4, 5), dimensions=(1,)) == "x[i, sub(4, j)]"


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ((1, 2, 0), [9, 1, 2, 3, 9, 9]),
        ((0, 0, 2), [1, 9, 9, 2, 9, 9, 3]),
        ((-1, 0, 0), [2, 3]),
        ((-1, 0, 1), [9, 2, 9, 3]),
        ((-2, -2, 1), [2]),
        ((1, -4, 0), []),
        ((-3, 2, 0), [9, 9]),
    ],
)
def test_pad(config: Any, wanted: list[float]) -> None:
    x = np.array([1, 2, 3], np.float32)
    found = layout.pad.numpy(x, np.float32(9), config=(config,))
    assert found.shape == layout.pad.infer(f32(3), f32(), config=(config,)).shape
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


def test_iota_wraps_small_integers() -> None:
    found = layout.iota.numpy(dtype=DTYPES["u8"], shape=(258,), dimension=0)
    assert found.dtype == np.uint8 and found[256:].tolist() == [0, 1]


def test_dynamic_slice_clamps_at_both_ends() -> None:
    x = np.arange(5.0)
    take = PRIMS["dynamic_slice"].numpy
    for start, first in ((-7, 0), (2, 2), (4, 3), (np.iinfo(np.int32).max, 3)):
        np.testing.assert_array_equal(take(x, np.int32(start), sizes=(2,)), [first, first + 1])
    put = PRIMS["dynamic_update_slice"].numpy
    np.testing.assert_array_equal(put(x, np.array([8.0, 9.0]), np.int32(4)), [0, 1, 2, 8, 9])
    np.testing.assert_array_equal(x, np.arange(5.0))


def test_a_start_on_a_whole_axis_is_not_read() -> None:
    start = TensorType(I32, ())
    text = element("dynamic_slice", f32(4, 5), start, start, sizes=(4, 2))
    assert text == "x[i, add(j, clamp(0, convert[i64](z[]), 3))]"


def test_constants_are_copied_and_read_only() -> None:
    source = np.arange(3)
    held = layout.ConstArray(source)
    source[0] = 7
    found = layout.constant.numpy(value=held)
    assert found.tolist() == [0, 1, 2] and not found.flags.writeable
    assert layout.constant.infer(value=held) == type_of(found)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "types", "params", "message"),
    [
        ("reshape", (f32(2, 3),), {"new_sizes": (4,)}, "f32[2,3] has 6 elements, shape (4,) has 4"),
        ("transpose", (f32(2, 3),), {"permutation": (0, 0)}, "not a permutation of the 2 axes"),
        ("rev", (f32(2),), {"dimensions": (1,)}, "not distinct axes"),
        (
            "slice",
            (f32(4),),
            {"start": (1,), "limit": (5,), "strides": (1,)},
            "1:5:1 is not a range",
        ),
        ("slice", (f32(4),), {"start": (), "limit": (), "strides": ()}, "one entry per axis"),
        ("pad", (f32(2), f32()), {"config": ((-2, -1, 0),)}, "does not fit axis 0"),
        ("pad", (f32(2), f32(1)), {"config": ((0, 0, 0),)}, "the padding value is a scalar"),
        ("concatenate", (f32(2, 3), f32(2, 4)), {"dimension": 0}, "differ in another axis than 0"),
        ("concatenate", (f32(2),), {"dimension": 1}, "not an axis"),
        ("iota", (), {"dtype": F32, "shape": (), "dimension": 0}, "not an axis"),
        ("dynamic_slice", (f32(3),), {"sizes": (2,)}, "one start per axis"),
        ("dynamic_slice", (f32(3), TensorType(I32, ())), {"sizes": (4,)}, "does not fit"),
        ("dynamic_update_slice", (f32(3), f32(4), TensorType(I32, ())), {}, "does not fit into"),
    ],
)
def test_shape_errors(name: str, types: Any, params: Any, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        PRIMS[name].infer(*types, **params)
    assert caught.value.what.startswith(f"{name}: ") and message in caught.value.what


def test_dtype_errors() -> None:
    with pytest.raises(DTypeError, match="pad: dtypes differ: f32 and i32"):
        layout.pad.infer(f32(2), TensorType(I32, ()), config=((0, 0, 0),))
    with pytest.raises(DTypeError, match="concatenate: dtypes differ"):
        layout.concatenate.infer(f32(2), TensorType(I32, (2,)), dimension=0)
    with pytest.raises(DTypeError, match="starts are integers, not f32"):
        PRIMS["dynamic_slice"].infer(f32(2), f32(), sizes=(1,))


# ---- derivatives ---------------------------------------------------------------------------------


def test_slice_and_pad_are_adjoint_in_one_node_each() -> None:
    with building() as b:
        ct = b.input(f32(3))
        layout.slice_.transpose((ct,), (Linear(f32(9)),), start=(1,), limit=(8,), strides=(3,))
    assert [(n.prim.name, n.params["config"]) for n in b.nodes] == [("pad", ((1, 1, 2),))]
