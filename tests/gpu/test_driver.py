"""Programs on a device's stream: what is launched, recorded and replayed, and that results hold."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.host_kernels import needs_compiler
from tests.gpu.places import Counting, Places, f32, softmaxes, two
from tracejit import debug, lax, nn
from tracejit.kernel.program import HostCall, KernelCall
from tracejit.runtime.gpu import driver as drivers
from tracejit.runtime.gpu import executable as executables
from tracejit.runtime.gpu import registry
from tracejit.runtime.gpu.driver import Segment
from tracejit.runtime.gpu.host_device import HostDevice

pytestmark = needs_compiler


@pytest.fixture
def device() -> Counting:
    return Counting()


# ---- recordings ----------------------------------------------------------------------------------


def test_a_program_is_recorded_the_second_time(device: Counting) -> None:
    places = Places(device, softmaxes, *two())
    (segment,) = places.segments
    places.check(*two())
    launches, recorded, replays = device.taken()
    assert launches >= 2 and (recorded, replays) == (0, 0)
    places.check(*two(1))
    assert device.taken() == (launches, 1, 1)
    for seed in range(2, 6):
        places.check(*two(seed))
    assert device.taken() == (0, 0, 4)
    assert len(segment.recordings) == 1


def test_other_addresses_have_recordings_of_their_own(
    device: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executables, "WANDERS", 1000)
    places = Places(device, softmaxes, *two())
    (segment,) = places.segments
    assert segment.kept == drivers.REMEMBERED
    segment.kept = 3
    for _ in range(4):
        places.more()
    for _ in range(2):
        for place in (0, 1, 2):
            places.check(*two(place), place=place)
    assert device.taken()[1:] == (3, 3) and len(segment.recordings) == 3
    for place in (3, 3, 0, 1, 2, 3):  # 0 was the one that had waited longest
        places.check(*two(place), place=place)
    assert device.taken()[1:] == (1, 4) and len(segment.recordings) == 3
    assert len(segment.known) <= drivers.REMEMBERED


def test_addresses_that_come_once_are_forgotten(
    device: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executables, "WANDERS", 1000)
    monkeypatch.setattr(drivers, "REMEMBERED", 3)
    places = Places(device, softmaxes, *two())
    for _ in range(5):
        places.more()
    for _ in range(3):  # a round of more than are remembered is not worth recording
        for place in range(6):
            places.check(*two(place), place=place)
    assert device.taken()[1:] == (0, 0)
    assert len(places.segments[0].known) == 3


def test_large_programs_keep_few_recordings() -> None:
    assert Segment((), (), drivers.MOST).kept == drivers.HELD // drivers.MOST
    assert Segment((), (), drivers.HELD * 2).kept == 1


def test_operands_that_wander_get_places(device: Counting) -> None:
    places = Places(device, softmaxes, *two())
    kept = [places.more() for _ in range(executables.WANDERS + 3)]
    for place in kept:
        places.check(*two(place), place=place)
    own = places.executable.staging.own
    assert all(address is not None for address in own)
    device.taken()
    copies = device.copies
    for place in kept:
        places.check(*two(place + 50), place=place)
    assert device.taken() == (0, 0, len(kept))
    assert device.copies == copies + 4 * len(kept)


def test_only_the_operand_that_wanders_is_copied(device: Counting) -> None:
    places = Places(device, softmaxes, *two())
    operands, results = places.sets[0]
    for seed in range(executables.WANDERS + 3):
        x = device.alloc(places.types[0].nbytes)
        places.sets.append(([x, operands[1]], results))
        places.check(*two(seed), place=len(places.sets) - 1)
    own = places.executable.staging.own
    assert own[0] is not None and own[1:] == [None] * 3


def test_large_or_single_operands_stay_where_they_are(device: Counting) -> None:
    places = Places(device, lambda x: jnp.sin(x) * 2, two()[0])
    for _ in range(executables.WANDERS + 3):
        places.check(two()[0], place=places.more())
    assert places.executable.staging.own == [None, None] and device.taken()[1:] == (0, 0)
    places = Places(device, softmaxes, *two())
    places.executable.staging.types = tuple(
        t.with_shape((1 << 24,)) for t in places.executable.staging.types
    )
    for _ in range(executables.WANDERS + 3):
        places.check(*two(), place=places.more())
    assert set(places.executable.staging.own) == {None}


def test_without_memory_for_places_operands_stay(device: Counting) -> None:
    places = Places(device, softmaxes, *two())
    kept = [places.more() for _ in range(executables.WANDERS + 3)]
    places.check(*two())
    before = device.properties
    object.__setattr__(before, "memory", device.used)
    for place in kept:
        places.check(*two(), place=place)
    assert set(places.executable.staging.own) == {None}


def test_what_cannot_be_recorded_runs_launch_by_launch(device: Counting) -> None:
    places = Places(device, softmaxes, *two())
    device.refuses = "operation not permitted when stream is capturing"
    places.check(*two())
    with pytest.warns(RuntimeWarning, match="launch by launch.*when stream is capturing"):
        places.check(*two(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        places.check(*two(2))
    assert device.taken()[1:] == (1, 0)


# ---- loops ---------------------------------------------------------------------------------------


def recurrence(h: Any, xs: Any, w: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(nn.softmax(h @ w) + x)
        return h, h[1] * 2

    return lax.scan(step, h, xs), lax.scan(step, h, xs, reverse=True)[1]


def for_recurrence(seed: int = 0, rows: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = ((4, 5), (rows, 5), (5, 5))
    return [random.normal(size=shape).astype(f32) for shape in shapes]


@pytest.mark.parametrize("rows", [5, 4])  # the carry ends in either of its places
def test_a_scan_is_unrolled_into_a_recording(device: Counting, rows: int) -> None:
    given = for_recurrence(0, rows)
    places = Places(device, recurrence, *given)
    (segment,) = places.segments
    assert segment.launches >= 2 * rows
    for seed in range(4):
        places.check(*for_recurrence(seed, rows))
    launches, recorded, replays = device.taken()
    assert (recorded, replays) == (1, 3) and launches >= 4 * rows


def test_a_long_scan_runs_step_by_step(device: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "MOST", 4)
    places = Places(device, recurrence, *for_recurrence())
    assert sum(not isinstance(part, Segment) for part in places.executable.driver.parts) == 2
    for seed in range(4):
        places.check(*for_recurrence(seed))
    _, recorded, replays = device.taken()
    assert recorded >= 10 and replays >= 30  # each step of both has its row's address
    places.check(*for_recurrence())
    assert device.taken()[1] == 0


def test_rows_that_are_not_aligned(device: Counting) -> None:
    """Rows of 20 bytes: kernels must not take 16 bytes of them at a time. Every access is
    checked.
    """
    checked = HostDevice(checks=True)
    places = Places(checked, recurrence, *for_recurrence())
    for seed in range(3):
        places.check(*for_recurrence(seed))

    def rows(xs: Any) -> Any:
        return lax.scan(lambda c, x: (c + x[::-1].sum(), jnp.exp(x)), jnp.float32(0), xs)

    wide = np.random.default_rng(0).normal(size=(4, 37)).astype(f32)
    Places(checked, rows, wide).check(wide)
    checked.synchronize()


def test_nested_scans_of_odd_rows() -> None:
    def inner(c: Any, x: Any) -> Any:
        return lax.scan(lambda c, y: (jnp.sin(c + y @ y), jnp.cumsum(y * c)), c, x)

    def outer(c: Any, xs: Any) -> Any:
        return lax.scan(inner, c, xs)

    xs = np.random.default_rng(1).normal(size=(3, 2, 5)).astype(f32)
    places = Places(HostDevice(checks=True), outer, f32(0), xs)
    for _ in range(3):
        places.check(f32(0.5), xs)


def halving(x: Any) -> Any:
    def body(c: Any) -> Any:
        x, k = c
        return nn.softmax(x @ x) * 0.5 + x * 0.25, k + 1

    return lax.while_loop(lambda c: (c[0] * c[0]).sum() > 0.5, body, (x, 0))


def test_while_loops_replay_their_bodies(device: Counting) -> None:
    x = 3 * np.random.default_rng(0).normal(size=(4, 4)).astype(f32)
    places = Places(device, halving, x)
    for factor in (1, 2, 0.001, 1, 3):
        places.check(x * f32(factor))
    assert device.taken()[1] <= 6 and device.taken() == (0, 0, 0)
    before = device.replays
    places.check(x)
    assert device.recorded == 0 and device.replays > before


def branches(x: Any, k: Any) -> Any:
    return lax.switch(
        k,
        [
            lambda x: nn.softmax(x @ x),
            lambda x: lax.fori_loop(0, k * 3, lambda i, y: nn.softmax(y @ x), x),
            lambda x: x,
        ],
        x,
    )


def test_branches_replay_what_is_chosen(device: Counting) -> None:
    x = np.random.default_rng(0).normal(size=(4, 4)).astype(f32)
    places = Places(device, branches, x, np.int32(0))
    for k in (0, 1, 2, 0, 1, 2, 0, 1, 2, -5, 9):
        places.check(x, np.int32(k))
    device.taken()
    for k in (0, 1, 2):
        places.check(x + f32(1), np.int32(k))
    launches, recorded, replays = device.taken()
    assert recorded == 0 and replays >= 2


def test_loops_in_loops_in_branches(device: Counting) -> None:
    def f(x: Any) -> Any:
        def outer(c: Any, k: Any) -> Any:
            c = lax.fori_loop(
                0, k, lambda i, y: lax.cond(i == 1, lambda y: y @ y, lambda y: y * 2, y), c
            )
            return nn.softmax(c) + lax.while_loop(
                lambda y: y[0, 0] < 3, lambda y: y + jnp.abs(y) + 0.5, c
            ), jnp.sum(c)

        return lax.scan(outer, x, jnp.arange(4))

    x = np.random.default_rng(0).normal(size=(3, 3)).astype(f32)
    places = Places(device, f, x)
    for _ in range(4):
        places.check(x)


# ---- calls of the host ---------------------------------------------------------------------------


def doubled(x: Any) -> Any:
    return tj.pure_callback(lambda x: np.asarray(x) * 2, tj.ShapeDtypeStruct(x.shape, x.dtype), x)


def test_host_calls_between_recordings(device: Counting) -> None:
    seen: list[float] = []

    def f(x: Any) -> Any:
        y = nn.softmax(x @ x)
        debug.callback(lambda y: seen.append(float(y.sum())), y)
        z = doubled(jnp.exp(y @ x))
        return nn.softmax(z @ x) + y

    x = two()[0][:, :5]
    places = Places(device, f, x)
    assert sum(isinstance(c, HostCall) for c in places.executable.program.calls) == 2
    for factor in (1, 2, 3, 4):
        places.launch(x * f32(factor))
    _, recorded, replays = device.taken()
    assert recorded >= 1 and replays == 3 * recorded
    np.testing.assert_allclose(seen, [5] * 4, rtol=1e-5)
    places.check(x)


def test_host_calls_in_loops(device: Counting, capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: Any, n: Any) -> Any:
        def step(c: Any, row: Any) -> Any:
            debug.print("{c:.0f}", c=c.sum() * 0)
            c = doubled(c) * 0.25 + nn.softmax(row @ x)
            return c, row * c[0]

        def body(i: Any, c: Any) -> Any:
            return doubled(nn.softmax(c @ x)) - c

        first, rows = lax.scan(step, x[0], x)
        return lax.fori_loop(0, n, body, first), rows

    x = two()[0][:, :5]
    places = Places(device, f, x, np.int32(3))
    for n in (3, 0, 4):
        places.check(x, np.int32(n))
    assert capsys.readouterr().out == "0\n" * 30  # by the interpreter too


def test_a_host_call_that_fails_leaves_the_program_well(device: Counting) -> None:
    wrong = [True]

    def on_host(x: Any) -> Any:
        if wrong[0]:
            raise KeyError("mine")
        return np.asarray(x)

    def f(x: Any, i: Any) -> Any:
        y = nn.softmax(x @ x)[i]
        return tj.pure_callback(on_host, tj.ShapeDtypeStruct(y.shape, y.dtype), y) * 2

    jitted = tj.jit(f)
    with registry.emulated(device):
        x = tj.device_put(two()[0][:, :5], "gpu")
        good, bad = jnp.array([0, 1]), jnp.array([0, 9])
        with pytest.raises(KeyError, match="mine"):
            jitted(x, good)
        with pytest.raises(KeyError, match="mine"):
            jitted(x, bad)
        with pytest.raises(IndexError):  # of that call
            tj.devices("gpu")[0].synchronize()
        wrong[0] = False
        expected = jitted(np.asarray(x), np.asarray(good))
        for _ in range(3):
            np.testing.assert_allclose(jitted(x, good), expected, rtol=1e-5)


def test_a_host_call_may_call_the_program_it_is_part_of(device: Counting) -> None:
    depth = [0]

    def on_host(x: Any) -> Any:
        if depth[0] == 2:
            return np.asarray(x)
        depth[0] += 1
        try:
            return np.asarray(f(tj.device_put(np.asarray(x) * 2, "gpu")))
        finally:
            depth[0] -= 1

    @tj.jit
    def f(x: Any) -> Any:
        y = nn.softmax(x @ x)  # lives in the arena across the host call
        z = tj.pure_callback(on_host, tj.ShapeDtypeStruct(x.shape, x.dtype), x)
        return y @ z

    def wanted(x: np.ndarray, depth: int) -> np.ndarray:
        e = np.exp(x @ x - (x @ x).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True) @ (wanted(2 * x, depth + 1) if depth < 2 else x)

    x = two()[0][:, :5]
    with registry.emulated(device):
        for _ in range(3):
            found = np.asarray(f(tj.device_put(x, "gpu")))
            np.testing.assert_allclose(found, wanted(x, 0), rtol=1e-4)


# ---- forms of programs ---------------------------------------------------------------------------

TABLE = np.arange(12, dtype=f32).reshape(3, 4)

FORMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "constants": (lambda x: (x @ TABLE + TABLE[:2], jnp.asarray(TABLE)), (np.ones((2, 3), f32),)),
    "no inputs": (lambda: (jnp.arange(5) * 2, nn.softmax(jnp.ones((3, 3)) @ jnp.ones(3))), ()),
    "empty": (
        lambda x, y: (x * 2, jnp.sum(x, axis=0), y.T @ y, jnp.concatenate([x, x])),
        (np.ones((0, 4), f32), np.ones((0, 3), f32)),
    ),
    "an empty scan": (
        lambda x, xs: lax.scan(lambda c, r: (nn.softmax(c) + r, c), x, xs),
        (np.ones(3, f32), np.ones((0, 3), f32)),
    ),
    "results that are operands": (lambda x, y: (y, x, x, x + y, x), (f32(2), f32(3))),
    "nothing": (lambda x: (), (f32(2),)),
    "counters": (lambda x: (jnp.sum(x), jnp.max(x), jnp.argmax(x)), (two()[0],)),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_programs(device: Counting, name: str) -> None:
    fun, args = FORMS[name]
    places = Places(device, fun, *args)
    for _ in range(4):
        places.check(*args)
        for memory in places.sets[0][1]:
            device.fill(memory.address, 0xFF, memory.nbytes)


def test_counters_are_zero_again_after_each_run(device: Counting) -> None:
    x = np.random.default_rng(0).normal(size=(3, 5000)).astype(f32)
    places = Places(device, lambda x: (jnp.sum(x), jnp.sum(x * x, axis=1), jnp.min(x)), x)
    plan = places.executable.program.plan
    counters = [s for s in plan.storages if s.kind == "zero"]
    for _ in range(20):
        places.check(x)
    for s in counters:
        found = np.ones(s.nbytes, np.uint8)
        device.to_host(found, places.executable.memory.fixed["zero", s.number])
        assert not found.any()


def test_a_large_program_is_cut_once(device: Counting) -> None:
    """Cutting looks at every step once: 3000 of them take no time to speak of."""
    places = Places(device, softmaxes, *two())
    driver = places.executable.driver
    steps = places.executable.program.plan.steps * 3000
    calls, real = [0], driver.count

    def count(step: Any) -> int:
        calls[0] += 1
        return real(step)

    driver.count = count  # type: ignore[method-assign]
    parts = list(driver.cut(steps))
    assert calls[0] == len(steps)
    assert (
        sum(part.launches for part in parts if isinstance(part, Segment))
        == sum(
            len(c.chain) if isinstance(c, KernelCall) else 1
            for c in places.executable.program.calls
        )
        * 3000
    )


def test_memory_is_given_back_with_the_program(device: Counting) -> None:
    places = Places(device, lambda x: softmaxes(x, TABLE[:, :].repeat(2, 0)), two()[0])
    for _ in range(3):
        places.check(two()[0])
    held = device.used
    gc.disable()  # nothing waits for the garbage collector
    try:
        places.executable = None  # type: ignore[assignment]
        assert device.used < held
    finally:
        gc.enable()
    del places
    gc.collect()
    assert device.used == 0


# ---- several at once -----------------------------------------------------------------------------


def test_programs_that_take_turns(device: Counting) -> None:
    programs = [
        Places(device, softmaxes, *two()),
        Places(device, recurrence, *for_recurrence()),
        Places(device, lambda x, y: softmaxes(x * 2, y), *two()),
    ]
    for seed in range(4):
        programs[0].check(*two(seed))
        programs[1].check(*for_recurrence(seed))
        programs[2].check(*two(seed + 9))


def test_threads_call_one_program(device: Counting) -> None:
    """Each has arguments and results of its own; arena, recordings and the stream are shared."""
    places = Places(device, softmaxes, *two())
    other = Places(device, recurrence, *for_recurrence())
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for seed in range(6):
                places.check(*two(seed + 10 * number), place=number)
                other.check(*for_recurrence(seed + 10 * number), place=number)
        except BaseException as error:
            failures.append(error)

    for _ in range(3):
        places.more()
        other.more()
    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_thread_works_while_another_records(device: Counting) -> None:
    """What one thread puts on the stream is no part of what another records."""
    a, b = device.alloc(8), device.alloc(8)
    device.fill(a.address, 1, 8)
    device.fill(b.address, 1, 8)

    def other() -> None:
        device.fill(b.address, 2, 8)
        found = np.zeros(8, np.uint8)
        device.to_host(found, b.address)
        assert set(found.tolist()) == {2}

    def work() -> None:
        device.fill(a.address, 3, 8)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    recording = device.record(work)
    device.fill(b.address, 4, 8)
    recording.launch()
    found = np.zeros(16, np.uint8)
    device.to_host(found[:8], a.address)
    device.to_host(found[8:], b.address)
    assert found.tolist() == [3] * 8 + [4] * 8


@pytest.fixture
def emulated(device: Counting) -> Iterator[Counting]:
    with registry.emulated(device):
        yield device


def test_a_new_batch_size_compiles_nothing(emulated: Counting) -> None:
    random = np.random.default_rng(0)
    w, v = (random.normal(size=s).astype(f32) for s in ((12, 40), (40, 7)))
    scale = random.normal(size=12).astype(f32)

    def layer_norm(x: Any, w: Any, v: Any, scale: Any) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred * lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * scale

    programs = {
        "mlp": lambda x, w, v, scale: jnp.tanh(x @ w + 1) @ v,
        "mlp gradient": tj.grad(
            lambda x, w, v, scale: (jnp.tanh(x @ w + 1) @ v).sum(), argnums=(1, 2)
        ),
        "softmax": lambda x, w, v, scale: nn.softmax(x * scale),
        "layer norm": layer_norm,
    }
    for name, program in programs.items():
        jitted = tj.jit(program, device="gpu")
        sizes = (300, 64, 17, 130)
        for k, batch in enumerate(sizes):
            x = random.normal(size=(batch, 12)).astype(f32)
            before = emulated.loaded
            found = jitted(x, w, v, scale)
            assert emulated.loaded == before or k == 0, (name, batch)
            for a, b in zip(
                tj.tree.leaves(found), tj.tree.leaves(tj.jit(program)(x, w, v, scale)), strict=True
            ):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert emulated.loaded > 0


def test_training_replays_one_recording(emulated: Counting) -> None:
    def step(w: Any, x: Any) -> Any:
        loss, grad = tj.value_and_grad(lambda w: jnp.mean((nn.softmax(x @ w) - 0.3) ** 2))(w)
        return w - 0.1 * grad, loss

    jitted, here = tj.jit(step, donate_argnums=0), tj.jit(step)
    x, w = two()
    there, data = tj.device_put(w, "gpu"), tj.device_put(x, "gpu")
    for _ in range(12):
        there, loss = jitted(there, data)
        w, expected = here(w, x)
        np.testing.assert_allclose(float(loss), float(expected), rtol=1e-4)
    np.testing.assert_allclose(there, w, rtol=1e-4)
    _, recorded, replays = emulated.taken()
    assert replays >= 5 and recorded <= 4
