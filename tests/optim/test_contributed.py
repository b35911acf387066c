"""Optimisers that look at the objective or at distances, and those of ``optim.contrib``: 20 steps
on one objective by optax and here, compiled step by step and in one scan.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")

from tracejit import jit, lax, optim, tree, value_and_grad  # noqa: E402
from tracejit import numpy as jnp  # noqa: E402

STEPS = 20
RNG = np.random.default_rng(7)
TARGET = {"w": RNG.normal(size=(4, 3)), "b": RNG.normal(size=(3,)), "t": RNG.normal(size=(2, 3, 4))}
FIRST = {"w": RNG.normal(size=(4, 3)), "b": RNG.normal(size=(3,)), "t": RNG.normal(size=(2, 3, 4))}
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def objective(np_: Any, map_: Any) -> Any:
    """A function with a valley, of trees of arrays of this NumPy."""

    def of_leaf(p: Any, goal: Any) -> Any:
        d = p - goal
        return np_.sum(np_.square(d) * (1 + np_.square(p))) + 0.1 * np_.sum(np_.abs(d))

    return lambda params: sum(jax.tree.leaves(map_(of_leaf, params, TARGET)))


OURS, THEIRS = objective(jnp, tree.map), objective(jax.numpy, jax.tree.map)


def contrib(name: str, *args: Any, **kwargs: Any) -> Any:
    return lambda o: getattr(o.contrib, name)(*args, **kwargs)


def dims(o: Any, kind: str) -> Any:
    return getattr(o.contrib, kind)(0, (1, 2))


def plain(o: Any) -> Any:
    return o.chain(o.contrib.normalize(), o.sgd(0.05))


#: name: a function of the module; what ``update`` takes beside gradients is found by name
OPTIMIZERS: dict[str, Any] = {
    "lbfgs": lambda o: o.lbfgs(),
    "lbfgs-rate": lambda o: o.lbfgs(0.05, memory_size=3, scale_init_precond=False, linesearch=None),
    "lbfgs-backtracking": lambda o: o.lbfgs(
        linesearch=o.scale_by_backtracking_linesearch(20, store_grad=True)
    ),
    "backtracking-few": lambda o: o.chain(
        o.sgd(1.0), o.scale_by_backtracking_linesearch(2, decrease_factor=0.5, rtol=0.01)
    ),
    "zoom-capped": lambda o: o.chain(
        o.sgd(1.0), o.scale_by_zoom_linesearch(15, max_learning_rate=0.02, approx_dec_rtol=None)
    ),
    "zoom-few": lambda o: o.chain(o.adam(3.0), o.scale_by_zoom_linesearch(3, curv_rtol=0.01)),
    "adafactor": lambda o: o.adafactor(0.1, min_dim_size_to_factor=2),
    "adafactor-plain": lambda o: o.adafactor(
        0.1, factored=False, momentum=0.9, weight_decay_rate=0.01, dtype_momentum="float64"
    ),
    "adafactor-none": lambda o: o.adafactor(multiply_by_parameter_scale=False),
    "sm3": lambda o: o.sm3(0.1),
    "sm3-decay": lambda o: o.chain(o.scale_by_sm3(0.9, 0.99), o.scale(-0.1)),
    "block-norm": lambda o: o.chain(o.scale_by_param_block_norm(), o.sgd(0.01)),
    "adan": lambda o: o.adan(0.05, weight_decay=0.01),
    "optimistic": lambda o: o.optimistic_gradient_descent(0.01),
    "optimistic-adam": lambda o: o.optimistic_adam_v2(0.05, alpha=0.9, beta=0.8),
    "polyak": lambda o: o.polyak_sgd(f_min=-1.0, eps=0.1),
    "polyak-plus": lambda o: o.polyak_sgd(f_min=100.0, variant="sps+", scaling=0.5),
    "distances": lambda o: o.chain(
        o.scale_by_distance_over_gradients(reps_rel=0.1, param_dtype="float64"), o.scale(-1.0)
    ),
    "every": lambda o: o.chain(o.apply_every(3), o.sgd(0.01)),
    "condition": lambda o: o.chain(
        o.conditionally_transform(o.trace(0.5), lambda step: step % 3 == 0), o.sgd(0.01)
    ),
    "condition-mask": lambda o: o.conditionally_mask(o.adam(0.1), lambda step: step > 4),
    "flatten": lambda o: o.flatten(o.chain(o.clip_by_block_rms(0.5), o.adam(0.1))),
    "skips": lambda o: o.MultiSteps(
        o.sgd(0.01),
        2,
        should_skip_update_fn=functools.partial(o.skip_large_updates, max_squared_norm=60.0),
        accumulator_dtype="float64",
    ),
    "monitored": lambda o: o.chain(
        o.monitor({"norm": tree_of(o).norm, "mean": o.measure_with_ema(tree_of(o).norm, 0.9)}),
        o.snapshot("sum", tree_of(o).sum),
        o.adam(0.1),
    ),
    "acprop": contrib("acprop", 0.05, weight_decay=0.01),
    "ademamix": contrib("ademamix", 0.05, b3=0.99),
    "ademamix-rate": contrib("ademamix", 0.05, alpha=lambda k: k / 8, b3=lambda k: 1 - 1 / (k + 8)),
    "ademamix-simplified": contrib("simplified_ademamix", 0.005, alpha=2.0),
    "adopt": contrib("adopt", 0.05),
    "adopt-nesterov": contrib("adopt", 0.05, nesterov=True, use_clipping=False),
    "cocob": contrib("cocob"),
    "cocob-decay": contrib("cocob", alpha=50.0, weight_decay=0.1),
    "dadapt": contrib("dadapt_adamw", weight_decay=0.01, estim_lr0=1e-3),
    "dog": contrib("dog", init_step=("heuristic", 1e-2), weight_decay=0.01),
    "dog-distance": contrib("dog", init_step=("distance", 0.1)),
    "dog-rate": contrib("dog", init_step=("learning_rate", 0.01)),
    "dowg": contrib("dowg"),
    "madgrad": contrib("madgrad", 0.01, weight_decay=0.01),
    "mechanize": lambda o: o.contrib.mechanize(o.adamw(1.0), s_init=1e-3),
    "momo": contrib("momo", 0.1, weight_decay=0.01),
    "momo-bound": contrib("momo", 1.0, lower_bound=-5.0, adapt_lower_bound=True),
    "momo-adam": contrib("momo_adam", 0.1, weight_decay=0.01),
    "momo-adam-bound": contrib("momo_adam", 0.5, lower_bound=-5.0, adapt_lower_bound=True),
    "muon": contrib("muon", 0.1, weight_decay=0.01),
    "muon-dion": contrib("muon", 0.1, ns_coeffs="dion", nesterov=False, adaptive=True),
    "muon-aol": contrib("muon", 0.1, preconditioning="aol", consistent_rms=0.2),
    "muon-schatten": contrib("muon", 0.1, preconditioning="schatten"),
    "muon-spectral": contrib("muon", 0.1, preconditioning="spectral"),
    "muon-axes": lambda o: o.contrib.muon(
        0.1,
        muon_weight_dimension_numbers={
            "w": o.contrib.MuonDimensionNumbers(1, 0),
            "b": None,
            "t": dims(o, "MuonDimensionNumbers"),
        },
    ),
    "muon-batch": lambda o: o.contrib.muon(
        0.1,
        muon_weight_dimension_numbers=lambda params: {
            "w": None,
            "b": None,
            "t": o.contrib.MuonDimensionNumbers(-1, 1),
        },
    ),
    "galore": contrib("galore", 0.05, rank=2, update_proj_gap=5),
    "galore-axes": lambda o: o.contrib.galore(
        0.05,
        rank=2,
        scale=0.5,
        weight_decay=0.01,
        weight_dimension_numbers={
            "w": o.contrib.GaLoreDimensionNumbers(1, 0),
            "b": None,
            "t": dims(o, "GaLoreDimensionNumbers"),
        },
    ),
    "prodigy": contrib("prodigy", estim_lr0=1e-2, weight_decay=0.01),
    "prodigy-warm": contrib(
        "prodigy", lambda k: (k + 1) / 8, estim_lr0=1e-2, safeguard_warmup=True
    ),
    "plateau": lambda o: o.chain(
        o.adam(1.0), o.contrib.reduce_on_plateau(0.5, patience=2, cooldown=1, rtol=0.05)
    ),
    "plateau-mean": lambda o: o.chain(
        o.sgd(0.02), o.contrib.reduce_on_plateau(0.5, 1, accumulation_size=3, min_scale=0.2)
    ),
    "sam": lambda o: o.contrib.sam(o.sgd(0.02), plain(o)),
    "sam-more": lambda o: o.contrib.sam(o.adam(0.05), plain(o), sync_period=3, reset_state=False),
    "sam-opaque": lambda o: o.contrib.sam(o.adam(0.05), plain(o), 3, opaque_mode=True),
    "schedule-free": lambda o: o.contrib.schedule_free(
        o.sgd(0.02), lambda k: 0.02 / (k + 1.0), b1=0.8, weight_lr_power=1.0
    ),
    "schedule-free-sgd": contrib("schedule_free_sgd", 0.02, 5, weight_decay=0.01),
    "schedule-free-adamw": contrib("schedule_free_adamw", 0.1, weight_decay=0.01),
    "sophia": contrib("sophia", 0.05, update_interval=4),
    "split": lambda o: o.contrib.split_real_and_imaginary(o.adam(0.1)),
}


def tree_of(o: Any) -> Any:
    """``optax.tree`` is a module of its own."""
    return o.tree


#: which extra arguments the update of an optimiser takes
EXTRA = {
    "lbfgs": ("value", "grad", "value_fn"),
    "backtracking": ("value", "grad", "value_fn"),
    "zoom": ("value", "grad", "value_fn"),
    "polyak": ("value",),
    "momo": ("value",),
    "plateau": ("value",),
    "sophia": ("obj_fn",),
    "sam": (),
}


def stepper(name: str, o: Any, f: Any, value_and_grad_: Any) -> tuple[Any, Any]:
    optimizer = OPTIMIZERS[name](o)
    extra = next((v for k, v in EXTRA.items() if name.startswith(k)), ())
    gradient = value_and_grad_(f)

    def step(w: Any, state: Any) -> Any:
        value, g = gradient(w)
        known = {"value": value, "grad": g, "value_fn": f, "obj_fn": f}
        given = {k: known[k] for k in extra}
        if name == "sam-opaque":
            given["grad_fn"] = lambda w, k: gradient(w)[1]
        updates, state = optimizer.update(g, state, w, **given)
        return o.apply_updates(w, updates), state

    return optimizer, step


@functools.cache
def by_optax(name: str) -> Any:
    with jax.enable_x64(True):
        w = jax.tree.map(jax.numpy.asarray, FIRST)
        optimizer, step = stepper(name, optax, THEIRS, jax.value_and_grad)
        state = optimizer.init(w)
        compiled = jax.jit(step, compiler_options=QUICK)
        for _ in range(STEPS):
            w, state = compiled(w, state)
        return jax.tree.map(np.asarray, w), jax.tree.leaves(state)


#: there GaLore's singular vectors, Adafactor's decay, a root of MADGRAD and schedules are computed
#: in single precision
ROUGH = {"galore": 1e-5, "galore-axes": 1e-5, "adafactor": 1e-6, "adafactor-plain": 1e-6}
ROUGH |= {"schedule-free-sgd": 1e-6, "madgrad": 1e-6}
ROUGH["adafactor-none"] = 1e-6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_numbers_as_optax(name: str) -> None:
    wanted, _ = by_optax(name)
    optimizer, step = stepper(name, optim, OURS, value_and_grad)
    w = tree.map(jnp.array, FIRST)
    state = optimizer.init(w)
    compiled = jit(step)
    for _ in range(STEPS):
        w, state = compiled(w, state)
    rough = ROUGH.get(name, 1e-10)
    for key, value in w.items():
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, wanted[key], rough, rough, err_msg=key)


#: those with loops, branches or keys of their own, and one of each kind
SCANNED = (
    *("lbfgs", "lbfgs-backtracking", "zoom-few", "adafactor", "sm3-decay", "polyak", "every"),
    *("condition", "cocob", "prodigy", "mechanize", "momo-adam", "muon-dion", "galore", "plateau"),
    *("sam", "schedule-free-adamw", "sophia"),
)


@pytest.mark.parametrize("name", SCANNED)
def test_in_one_scan(name: str) -> None:
    """All steps in one program; states keep their types."""
    wanted, _ = by_optax(name)
    optimizer, step = stepper(name, optim, OURS, value_and_grad)
    w = tree.map(jnp.array, FIRST)
    state = optimizer.init(w)

    @jit
    def run(w: Any, state: Any) -> Any:
        return lax.scan(lambda c, _: (step(*c), None), (w, state), None, length=STEPS)[0]

    rough = ROUGH.get(name, 1e-10)
    for key, value in run(w, state)[0].items():
        np.testing.assert_allclose(value, wanted[key], rough, rough, err_msg=key)


def shown(state: Any) -> Any:
    """Names, fields and shapes of a state."""
    if isinstance(state, tuple | list):
        fields = getattr(state, "_fields", range(len(state)))
        parts = zip(fields, state, strict=True)
        kind = type(state).__name__ if hasattr(state, "_fields") else "tuple"
        return kind, {f: shown(s) for f, s in parts}
    if isinstance(state, dict):
        return {k: shown(v) for k, v in state.items()}
    return None if state is None else np.shape(state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_are_those_of_optax(name: str) -> None:
    params = tree.map(np.float32, FIRST)
    with jax.enable_x64(True):
        wanted = OPTIMIZERS[name](optax).init(jax.tree.map(jax.numpy.asarray, params))
    ours = OPTIMIZERS[name](optim).init(params)
    assert shown(ours) == shown(wanted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_widens(name: str, dtype: str = "bfloat16") -> None:
    optimizer, step = stepper(name, optim, OURS, value_and_grad)
    w = tree.map(lambda x: jnp.array(x, dtype), FIRST)
    state = optimizer.init(w)
    moved, after = step(w, state)
    assert {x.dtype for x in tree.leaves(moved)} == {jnp.dtype(dtype)}
    if name != "monitored":  # its measurements come with the first step
        pairs = zip(tree.leaves(state), tree.leaves(after), strict=True)
        assert all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs)
