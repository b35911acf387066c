"""Memory shared with other libraries: DLPack and __cuda_array_interface__, both ways."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.fake_device import FakeDevice, bytes_at, write
from tracejit.errors import ArgumentError, DeviceError, DTypeError
from tracejit.runtime.gpu import dlpack
from tracejit.runtime.gpu.device import Memory

DTYPES = (np.float32, np.int8, np.uint64, np.bool_, np.complex128, np.float16, ml_dtypes.bfloat16)


def put(data: Any) -> Any:
    return tj.device_put(np.asarray(data), "gpu")


class Foreign:
    """Another library's array on the device, which speaks one protocol or both."""

    def __init__(self, device: FakeDevice, data: np.ndarray) -> None:
        self.data = np.asarray(data)
        self.memory = device.alloc(self.data.nbytes or 1)
        flat = self.data if self.data.flags.c_contiguous else self.data.T
        write(self.memory.address, flat)


class WithInterface(Foreign):
    options: dict[str, Any] = {"version": 3, "stream": None}

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        contiguous = self.data.flags.c_contiguous
        return {
            "shape": self.data.shape,
            "typestr": self.data.dtype.str,
            "data": (self.memory.address if self.data.size else 0, False),
            "strides": None if contiguous else self.data.strides,
            **self.options,
        }


class WithDlpack(Foreign):
    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CUDA, 0)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, **rest: Any) -> Any:
        x = self.data
        strides = tuple(s // x.itemsize for s in x.strides)
        place = self.__dlpack_device__()
        tensor = dlpack.Tensor(self.memory.address, x.shape, strides, x.dtype, place, self.memory)
        return dlpack.export(tensor, versioned=max_version is not None)


class OfTheFirstVersion(WithDlpack):
    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        return super().__dlpack__(stream=stream)


KINDS = (WithInterface, WithDlpack, OfTheFirstVersion)


# ---- out -----------------------------------------------------------------------------------------


def test_arrays_on_the_cpu_have_no_cuda_interface() -> None:
    assert not hasattr(jnp.ones(3), "__cuda_array_interface__")
    assert jnp.ones(3).__dlpack_device__() == (1, 0)
    np.testing.assert_array_equal(np.from_dlpack(jnp.ones(3)), np.ones(3))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d is not ml_dtypes.bfloat16])
def test_the_cuda_interface(gpu: FakeDevice, dtype: Any) -> None:
    data = np.arange(6).reshape(2, 3).astype(dtype)
    found = put(data).__cuda_array_interface__
    assert set(found) == {"shape", "typestr", "data", "strides", "stream", "version"}
    assert (found["shape"], found["typestr"]) == ((2, 3), data.dtype.str)
    assert (found["strides"], found["stream"], found["version"]) == (None, None, 3)
    address, read_only = found["data"]
    assert not read_only
    # the work is done, as the interface names no stream to wait for
    np.testing.assert_array_equal(bytes_at(address, data.nbytes).view(data.dtype), data.ravel())


def test_odd_arrays_through_the_cuda_interface(gpu: FakeDevice) -> None:
    assert put(np.zeros((0, 2))).__cuda_array_interface__["data"] == (0, False)
    assert put(1.0).__cuda_array_interface__["shape"] == ()
    # no typestr says bfloat16
    assert not hasattr(put(np.ones(2, ml_dtypes.bfloat16)), "__cuda_array_interface__")
    seen = []
    tj.jit(lambda x: seen.append(hasattr(x, "__cuda_array_interface__")) or x)(put([1.0]))
    assert seen == [False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [None, (1, 0), (2, 5)])
def test_capsules(gpu: FakeDevice, dtype: Any, version: Any) -> None:
    data = np.arange(6).reshape(2, 3).astype(dtype)
    x = put(data)
    x.block_until_ready()
    assert x.__dlpack_device__() == (dlpack.CUDA, 0)
    for stream in (None, 1, 2, -1, 12345):
        capsule = x.__dlpack__(stream=stream, max_version=version)
        tensor = dlpack.take(capsule)
        assert (tensor.shape, tensor.dtype, tensor.device) == ((2, 3), data.dtype, (2, 0))
        assert tensor.strides == (3, 1)
        found = bytes_at(tensor.address, data.nbytes).view(data.dtype).reshape(2, 3)
        np.testing.assert_array_equal(found, data)
        with pytest.raises(BufferError, match="taken before"):
            dlpack.take(capsule)


def test_what_a_capsule_keeps_is_let_go(gpu: FakeDevice) -> None:
    x = put(np.ones(3))
    memory = weakref.ref(next(iter(x._place.memories.values())))
    taken = dlpack.take(x.__dlpack__(max_version=(1, 0)))
    unused = x.__dlpack__()
    del x
    gpu.flush()
    gc.collect()
    assert memory() is not None
    np.testing.assert_array_equal(bytes_at(taken.address, 24).view(np.float64), np.ones(3))
    del unused
    assert memory() is not None
    del taken
    gc.collect()
    dlpack.sweep()  # as the next capsule does
    assert memory() is None
    assert not dlpack._exported


def test_a_consumer_that_refuses_says_why(gpu: FakeDevice) -> None:
    with pytest.raises((RuntimeError, BufferError), match="[Uu]nsupported"):
        np.from_dlpack(put(np.ones(3)))


def test_a_capsule_for_the_host(gpu: FakeDevice) -> None:
    class Wrapped:
        def __init__(self, x: Any) -> None:
            self.x = x

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **options: Any) -> Any:
            options |= {"dl_device": (1, 0)}
            return self.x.__dlpack__(**options)

    np.testing.assert_array_equal(np.from_dlpack(Wrapped(put(np.ones(3)))), np.ones(3))
    x = put(np.ones(3))
    with pytest.raises(BufferError, match="is not shared with"):
        x.__dlpack__(dl_device=(2, 5))
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    tensor = dlpack.take(x.__dlpack__(copy=True))
    assert tensor.address != x.__cuda_array_interface__["data"][0]


def test_lent_memory_is_not_reused(gpu: FakeDevice) -> None:
    f = tj.jit(lambda x: x + 1, donate_argnums=0)
    for lend in (lambda x: x.__dlpack__(), lambda x: x.__cuda_array_interface__):
        x = put(np.ones(3))
        held = lend(x)
        np.testing.assert_array_equal(f(x), np.full(3, 2))
        np.testing.assert_array_equal(x, np.ones(3))
        del held


# ---- in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)])
def test_foreign_arrays_as_arguments(gpu: FakeDevice, kind: Any, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x = kind(gpu, data)
    f = tj.jit(lambda x: x + 1)
    before = gpu.uploads
    for _ in range(4):
        y = f(x)
        assert y.device.platform == "gpu"
        np.testing.assert_array_equal(y, data + 1)
    assert gpu.uploads == before
    array = jnp.asarray(x)
    assert (array.shape, array.dtype, array.device.platform) == (shape, data.dtype, "gpu")
    if data.size:
        assert array.__cuda_array_interface__["data"][0] == x.memory.address
    assert jnp.from_dlpack(x).device is array.device
    np.testing.assert_array_equal(tj.device_put(x, "cpu"), data)
    np.testing.assert_array_equal(jnp.sin(x), jnp.sin(data))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_of_foreign_arrays(gpu: FakeDevice, dtype: Any) -> None:
    x = WithDlpack(gpu, np.arange(3).astype(dtype))
    np.testing.assert_array_equal(jnp.from_dlpack(x), x.data)
    assert jnp.from_dlpack(x).dtype == dtype


def test_the_owner_lives_as_long_as_the_array(gpu: FakeDevice) -> None:
    for kind in KINDS:
        x = kind(gpu, np.ones(3))
        memory, data = weakref.ref(x.memory), x.data
        array = jnp.asarray(x)
        del x
        gpu.flush()
        gc.collect()
        assert memory() is not None
        np.testing.assert_array_equal(array, data)
        del array
        gpu.flush()
        gc.collect()
        assert memory() is None


@pytest.mark.parametrize("kind", KINDS)
def test_exchanged_axes_are_put_in_order(gpu: FakeDevice, kind: Any) -> None:
    x = kind(gpu, np.arange(6.0).reshape(2, 3).T)
    before = gpu.uploads
    np.testing.assert_array_equal(jnp.asarray(x), x.data)
    assert gpu.uploads == before


@pytest.mark.parametrize("kind", (WithInterface, WithDlpack))
def test_memory_that_begins_at_an_odd_place_is_copied(gpu: FakeDevice, kind: Any) -> None:
    data = np.arange(1000, dtype=np.float32)
    foreign = kind(gpu, data)
    foreign.data = data[1:]  # a view, as ``tensor[1:]`` is
    foreign.memory = Memory(foreign.memory.address + 4, data.nbytes - 4, foreign.memory)
    x = jnp.asarray(foreign)
    [memory] = x._place.memories.values()
    assert memory.address % 16 == 0
    np.testing.assert_array_equal(x + 1, data[1:] + 1)


def test_gaps_are_refused(gpu: FakeDevice) -> None:
    class Strided(WithInterface):
        options = {"version": 3, "strides": (16,), "stream": None}

    with pytest.raises(ArgumentError, match="do not lie one after the other") as caught:
        jnp.asarray(Strided(gpu, np.ones(3)))
    assert "test_interop.py" in str(caught.value) and "contiguous copy" in str(caught.value)


def test_what_no_array_can_hold(gpu: FakeDevice) -> None:
    for typestr in ("<M8[s]", ">f4", "<c32"):

        class Odd(WithInterface):
            options = {"version": 3, "typestr": typestr, "stream": None}

        with pytest.raises(DTypeError, match="not supported"):
            jnp.asarray(Odd(gpu, np.ones(3)))

    class Masked(WithInterface):
        options = {"version": 3, "mask": np.ones(3, bool)}

    with pytest.raises(ArgumentError, match="mask"):
        jnp.asarray(Masked(gpu, np.ones(3)))


def test_streams_of_others(gpu: FakeDevice) -> None:
    for options in ({"version": 2}, {"version": 3, "stream": 1}, {"version": 3, "stream": 99}):

        class Streamed(WithInterface):
            pass

        Streamed.options = options
        np.testing.assert_array_equal(jnp.asarray(Streamed(gpu, np.ones(3))), np.ones(3))


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, gpu: FakeDevice) -> None:
    from tracejit.runtime.gpu import registry

    things = [kind(gpu, np.ones(3)) for kind in KINDS]
    monkeypatch.setattr(registry, "gpus", lambda: ())
    for x in things:
        with pytest.raises(DeviceError, match="there is no GPU"):
            jnp.from_dlpack(x)


def test_our_own_arrays(gpu: FakeDevice) -> None:
    x = put(np.ones(3))
    assert jnp.from_dlpack(x).device is x.device
    assert jnp.from_dlpack(x, copy=True)._place is not x._place
    assert jnp.from_dlpack(x, device="cpu").device.platform == "cpu"
    assert jnp.from_dlpack(np.ones(3)).device.platform == "cpu"


def test_an_array_written_to_by_its_owner_is_copied_where_a_program_keeps_it(
    gpu: FakeDevice,
) -> None:
    foreign = WithInterface(gpu, np.ones(100))
    held = jnp.asarray(foreign)
    f = tj.jit(lambda x: x * held)
    np.testing.assert_array_equal(f(2.0), np.full(100, 2))
    write(foreign.memory.address, np.full(100, 7.0))
    np.testing.assert_array_equal(f(2.0), np.full(100, 2))


# ---- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_cupy_both_ways() -> None:
    cupy = pytest.importorskip("cupy")
    x = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
    y = tj.jit(lambda x: x * 2)(x)
    assert y.device.platform == "gpu"
    np.testing.assert_array_equal(y, cupy.asnumpy(x) * 2)
    assert cupy.asarray(y).data.ptr == y.__cuda_array_interface__["data"][0]
    assert cupy.from_dlpack(y).data.ptr == y.__cuda_array_interface__["data"][0]
    np.testing.assert_array_equal(cupy.asnumpy(cupy.from_dlpack(y)), y)
    np.testing.assert_array_equal(jnp.asarray(x.T), cupy.asnumpy(x.T))


@pytest.mark.gpu
def test_torch_both_ways() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch without CUDA")
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1000, dtype=dtype, device="cuda") * 3
        y = tj.jit(lambda x: x * 2)(x)
        np.testing.assert_array_equal(y, np.full(1000, 6))
        back = torch.from_dlpack(y)
        assert back.data_ptr() == y._place.memories[y.device].address
        assert float((back + 1).sum()) == 7000
