"""The loader of object code against LLVM's linker: equal functions, and what it refuses."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

from tracejit.runtime import loader, native
from tracejit.runtime.loader import Unsupported, load_image

pytestmark = pytest.mark.skipif(not loader.available(), reason="Linux on x86-64 only")

#: constants, a table of functions, data that is written, functions of the C library and a loop
TEXT = """
@table = internal constant [2 x ptr] [ptr @two, ptr @three]
@calls = internal global i64 40, align 8
@zeros = internal global [300 x i8] zeroinitializer, align 64
declare i64 @strlen(ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
@word = private constant [6 x i8] c"hello\\00"
define internal double @two(double %x) {
  %y = fmul double %x, 2.0
  ret double %y
}
define internal double @three(double %x) {
  %y = fmul double %x, 3.0
  ret double %y
}
define double @chosen(i64 %k, double %x) {
  %place = getelementptr ptr, ptr @table, i64 %k
  %f = load ptr, ptr %place
  %y = call double %f(double %x)
  %z = fadd double %y, 0.125
  ret double %z
}
define i64 @count(i64 %n) {
  %old = load i64, ptr @calls
  %new = add i64 %old, 1
  store i64 %new, ptr @calls
  call void @llvm.memset.p0.i64(ptr @zeros, i8 1, i64 %n, i1 false)
  %end = getelementptr i8, ptr @zeros, i64 299
  %last = load i8, ptr %end
  %wide = zext i8 %last to i64
  %length = call i64 @strlen(ptr @word)
  %sum = add i64 %new, %wide
  %all = add i64 %sum, %length
  ret i64 %all
}
"""


def compiled() -> bytes:
    [data] = native.compile_objects([native.text_job(TEXT)], 1)
    return data


def test_functions_work_as_linked_by_llvm() -> None:
    data = compiled()
    image = load_image(data, ["chosen", "count"])
    tracker, linked = native._emitter().link(data, ["chosen", "count"], "loader_test")
    for addresses in (image.addresses, linked):
        chosen = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, ctypes.c_double)
        count = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
        assert [chosen(addresses["chosen"])(k, 5.0) for k in (0, 1)] == [10.125, 15.125]
        assert count(addresses["count"])(299) == 41 + 5
        assert count(addresses["count"])(300) == 42 + 1 + 5
    assert tracker is not None


def test_images_do_not_share_data() -> None:
    data, count = compiled(), ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    images = [load_image(data, ["count"]) for _ in range(2)]
    assert [count(image.addresses["count"])(0) for image in images] == [46, 46]


def test_code_cannot_be_written_and_data_cannot_be_run() -> None:
    image = load_image(compiled(), ["count"])
    with open("/proc/self/maps", encoding="ascii") as maps:
        lines = [line.split() for line in maps]
    rights = {}
    for span, right, *_ in lines:
        low, high = (int(x, 16) for x in span.split("-"))
        for name, address in (
            ("code", image.addresses["count"]),
            ("data", ctypes.addressof(ctypes.c_char.from_buffer(image.memory)) + image.code_bytes),
        ):
            if low <= address < high:
                rights[name] = right
    assert rights == {"code": "r-xp", "data": "rw-p"}


def test_memory_is_given_back() -> None:
    def mappings() -> int:
        with open("/proc/self/maps", encoding="ascii") as maps:
            return sum(1 for _ in maps)

    data = compiled()
    load_image(data, ["count"])
    gc.collect()
    before = mappings()
    for _ in range(50):
        load_image(data, ["count"])
    gc.collect()
    assert mappings() < before + 20


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", bytes(4096), b"MZ" + bytes(200)],
)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(Unsupported):
        load_image(data, ["main"])


def test_every_truncation_is_refused_or_loads() -> None:
    data = compiled()
    for size in np.linspace(0, len(data) - 1, 60).astype(int):
        with pytest.raises(Unsupported):
            load_image(data[:size], ["chosen", "count"])


def test_damaged_objects_are_refused_or_load() -> None:
    data, random = compiled(), np.random.default_rng(0)
    extremes = [0, 1, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
    refused = 0
    for _ in range(1500):
        words = np.frombuffer(data[: len(data) // 8 * 8], np.uint64).copy()
        for _ in range(random.integers(1, 3)):
            words[random.integers(len(words))] = random.choice(np.array(extremes, np.uint64))
        try:
            image = load_image(words.tobytes() + data[words.nbytes :], ["chosen", "count"])
        except Unsupported:
            refused += 1
            continue
        base = ctypes.addressof(ctypes.c_char.from_buffer(image.memory))
        assert all(0 <= a - base < image.code_bytes for a in image.addresses.values())
    assert refused > 500


def test_unknown_names_are_refused() -> None:
    with pytest.raises(Unsupported, match="no nothing"):
        load_image(compiled(), ["nothing"])
    text = "declare i32 @no_such_function()\ndefine i32 @f() {\n"
    text += "  %x = call i32 @no_such_function()\n  ret i32 %x\n}\n"
    [data] = native.compile_objects([native.text_job(text)], 1)
    with pytest.raises(Unsupported, match="no symbol no_such_function"):
        load_image(data, ["f"])


def test_what_it_does_not_know_is_left_to_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "available", lambda: False)
    code = native.compile_llvm(TEXT, ["count"])
    assert not isinstance(code.tracker, loader.Image)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.addresses["count"])(0) == 46
