"""Memory for results: when it is used again, and by whom."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tracejit.ir.types import DTYPES, TensorType
from tracejit.runtime import buffers
from tracejit.runtime.buffers import Place, Shelf, empty, place_of, pointer, ready, regain


def test_a_place_is_an_address_that_is_aligned() -> None:
    place = Shelf(100).take()
    assert place % buffers.ALIGN == 0
    array = place.array((25,), np.dtype(np.float32))
    assert pointer(array) == place
    array[:] = 1.0
    assert place.memory.nbytes >= 100 + place - pointer(place.memory)


def test_what_nobody_holds_is_taken_again() -> None:
    shelf = Shelf(64)
    first = shelf.take()
    address = int(first)
    assert shelf.take() != address
    del first
    held = [shelf.take() for _ in range(2)]
    assert address in held
    assert len(shelf.places) == 2


def test_an_array_and_each_view_of_it_keep_the_memory() -> None:
    shelf = Shelf(64)
    array = shelf.take().array((4, 4), np.dtype(np.float32))
    view = array.reshape(2, 8)[1:, ::2]
    address = pointer(array)
    del array
    held = [shelf.take() for _ in range(3)]
    assert address not in held
    del view
    held = [shelf.take() for _ in range(4)]
    assert address in held


def test_many_results_that_stay_are_all_different() -> None:
    shelf = Shelf(64)
    held = [shelf.take() for _ in range(100)]
    assert len(set(held)) == 100
    del held[50]
    for _ in range(1000):
        shelf.take()
    assert len(shelf.places) <= 101


def test_no_two_threads_get_one_place() -> None:
    shelf = Shelf(8)
    wrong: list[int] = []

    def work(me: int) -> None:
        for k in range(2000):
            place = shelf.take()
            cell = place.array((), np.dtype(np.int64))
            cell[()] = me * 10_000 + k
            if int(cell) != me * 10_000 + k:
                wrong.append(me)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_in_excess_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = buffers.Pool()
    monkeypatch.setattr(buffers, "_pool", pool)
    monkeypatch.setattr(buffers, "KEEP", 1000)
    shelf = buffers.shelf(512)
    held = [shelf.take() for _ in range(2)]
    assert [place.shelved for place in held] == [True, True]
    held += [shelf.take() for _ in range(2)]
    assert [place.shelved for place in held] == [False, False, True, True]
    held[0].array((512,), np.dtype(np.uint8))[:] = 7  # what is in use stays
    assert len(set(held)) == 4


def test_a_place_is_regained_only_where_nobody_else_holds_it() -> None:
    shelf = Shelf(64)
    places: list[int] = [shelf.take()]
    address = int(places[0])
    held = places[0]
    assert regain(places, 0) is None
    assert places[0] is held
    assert isinstance(held, Place)
    view = held.array((16,), np.dtype(np.float32))
    del held
    assert regain(places, 0) is None
    del view
    place = regain(places, 0)
    assert place == address == places[0]
    assert not isinstance(places[0], Place)
    held = [shelf.take() for _ in range(3)]
    assert address not in held


def test_memory_that_is_not_of_the_pool_is_never_regained() -> None:
    places: list[int] = [place_of(np.zeros(16))]
    assert regain(places, 0) is None
    shelf = Shelf(64)
    place = shelf.take()
    place.shelved = False
    places = [place]
    del place
    assert regain(places, 0) is None


@pytest.mark.parametrize("name", DTYPES)
def test_empty_arrays_of_every_dtype(name: str) -> None:
    for shape in ((), (0,), (3, 5)):
        array = empty(TensorType(DTYPES[name], shape))
        assert (array.shape, array.dtype) == (shape, DTYPES[name])
        assert array.flags.c_contiguous and array.flags.writeable


def test_pointers() -> None:
    base = np.arange(20.0).reshape(4, 5)
    for array in (base, base[1:], base[:, 2], base.T, np.zeros(()), base.astype(DTYPES["bf16"])):
        assert pointer(array) == array.__array_interface__["data"][0]
        assert buffers._slow_pointer(array) == pointer(array)


def test_ready_copies_what_is_not_contiguous() -> None:
    base = np.arange(6.0).reshape(2, 3)
    assert ready(base) is base
    for array in (base.T, base[:, ::2], base[::-1]):
        assert ready(array).flags.c_contiguous
        np.testing.assert_array_equal(ready(array), array)
    assert type(ready(np.float32(1.0))) is np.ndarray


def test_arrays_of_a_subclass_are_not_copied(tmp_path: Path) -> None:
    kept = np.memmap(tmp_path / "data", np.float32, "w+", shape=(5,))
    assert ready(kept) is kept
    assert pointer(kept) == buffers._slow_pointer(kept)
