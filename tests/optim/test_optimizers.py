"""Every optimiser and schedule against optax: the same numbers over twenty steps, in both
precisions; dtypes that stay, jit, donation, scan.
"""

from __future__ import annotations

import inspect
import os

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")

from tracejit import grad, jit, lax, optim, tree, vmap  # noqa: E402
from tracejit import numpy as jnp  # noqa: E402
from tracejit.errors import ArgumentError  # noqa: E402

RNG = np.random.default_rng(5)
STEPS = 20
SHAPES = {"w": (3, 4), "b": (4,), "s": ()}


def drawn(dtype, scale=1.0):
    return {k: np.asarray(RNG.normal(size=s) * scale, dtype) for k, s in SHAPES.items()}


def rate(module):
    return module.warmup_cosine_decay_schedule(0.0, 0.1, 5, 15, 0.01)


MASK = {"w": True, "b": False, "s": True}
LABELS = {"w": "fast", "b": "slow", "s": "slow"}

OPTIMIZERS = {
    "sgd": lambda o: o.sgd(0.1),
    "momentum": lambda o: o.sgd(0.1, momentum=0.9),
    "nesterov": lambda o: o.sgd(rate(o), momentum=0.9, nesterov=True),
    "adam": lambda o: o.adam(0.1),
    "adam-root": lambda o: o.adam(rate(o), b1=0.8, b2=0.99, eps=1e-6, eps_root=1e-4),
    "nadam": lambda o: o.nadam(0.1),
    "adamw": lambda o: o.adamw(0.1, weight_decay=0.1),
    "adamw-mask": lambda o: o.adamw(0.1, weight_decay=0.1, mask=MASK),
    "adamw-rate": lambda o: o.adamw(rate(o), weight_decay=rate(o)),
    "nadamw": lambda o: o.nadamw(0.1),
    "amsgrad": lambda o: o.amsgrad(0.1),
    "adamax": lambda o: o.adamax(0.1),
    "adamaxw": lambda o: o.adamaxw(0.1, weight_decay=0.01),
    "adabelief": lambda o: o.adabelief(0.1),
    "yogi": lambda o: o.yogi(0.1),
    "radam": lambda o: o.radam(0.1),
    "radam-nesterov": lambda o: o.radam(0.1, b2=0.99, nesterov=True),
    "novograd": lambda o: o.novograd(0.1, weight_decay=0.01),
    "adagrad": lambda o: o.adagrad(0.1),
    "adadelta": lambda o: o.adadelta(1.0, weight_decay=0.01),
    "rmsprop": lambda o: o.rmsprop(0.1),
    "rmsprop-all": lambda o: o.rmsprop(
        0.1, centered=True, momentum=0.9, nesterov=True, eps=0.1, bias_correction=True
    ),
    "rmsprop-outside": lambda o: o.rmsprop(0.1, eps_in_sqrt=False, initial_scale=1.0),
    "lion": lambda o: o.lion(0.1),
    "lars": lambda o: o.lars(0.1, weight_decay=0.01, trust_ratio_mask=MASK),
    "lamb": lambda o: o.lamb(0.1, weight_decay=0.01),
    "fromage": lambda o: o.fromage(0.1),
    "fromage-rate": lambda o: o.fromage(rate(o)),
    "sign_sgd": lambda o: o.sign_sgd(0.1),
    "signum": lambda o: o.signum(0.1),
    "rprop": lambda o: o.rprop(0.1),
    "clip": lambda o: o.chain(o.clip(0.5), o.sgd(0.1)),
    "clip-global": lambda o: o.chain(o.clip_by_global_norm(1.0), o.adam(0.1)),
    "clip-block": lambda o: o.chain(o.clip_by_block_rms(0.5), o.sgd(0.1)),
    "clip-adaptive": lambda o: o.chain(o.adaptive_grad_clip(0.1), o.sgd(0.1)),
    "normalized": lambda o: o.chain(o.normalize_by_update_norm(2.0), o.sgd(0.1)),
    "ema": lambda o: o.chain(o.ema(0.9), o.scale(-0.1)),
    "centralize": lambda o: o.chain(o.centralize(), o.sgd(0.1)),
    "nonnegative": lambda o: o.chain(o.sgd(0.1), o.keep_params_nonnegative()),
    "masked": lambda o: o.masked(o.adam(0.1), MASK),
    "masked-function": lambda o: o.masked(
        o.scale(-0.1), lambda params: {k: k != "b" for k in params}
    ),
    "partition": lambda o: o.partition({"fast": o.adam(0.1), "slow": o.sgd(0.01)}, LABELS),
    "partition-frozen": lambda o: o.multi_transform(
        {"fast": o.adam(0.1), "slow": o.set_to_zero()}, lambda params: LABELS
    ),
    "frozen": lambda o: o.chain(o.adam(0.1), o.freeze(MASK)),
    "selective": lambda o: o.selective_transform(o.adam(0.1), freeze_mask=MASK),
    "named": lambda o: o.named_chain(("clip", o.clip(0.5)), ("adam", o.adam(0.1))),
    "finite": lambda o: o.apply_if_finite(o.adam(0.1), 3),
    "several": lambda o: o.MultiSteps(o.adam(0.1), 3),
    "several-sum": lambda o: o.MultiSteps(o.sgd(0.1), 2, use_grad_mean=False),
    "injected": lambda o: o.inject_hyperparams(o.adamw)(rate(o), weight_decay=0.01),
    "identity": lambda o: o.chain(o.identity(), o.scale_by_learning_rate(0.1)),
    "lion-smooth": lambda o: o.chain(o.scale_by_lion(mode="smooth"), o.scale(-0.1)),
    "zero-nans": lambda o: o.chain(o.zero_nans(), o.sgd(0.1)),
}

BY_RATE = {"nesterov", "adam-root", "adamw-rate", "fromage-rate", "injected"}


#: XLA takes most of the time
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def by_optax(name, params, gradients, wide):
    with jax.enable_x64(wide):
        step = OPTIMIZERS[name](optax)

        def advance(params, state, g):
            updates, state = step.update(g, state, params)
            return optax.apply_updates(params, updates), state

        state = step.init(params)
        compiled = jax.jit(advance, compiler_options=QUICK)
        for g in gradients:
            params, state = compiled(params, state, g)
        return {k: np.asarray(v) for k, v in params.items()}


#: in single precision too; in double precision all of them, where a tolerance says more
SINGLE = ("adam", "nesterov", "radam", "rmsprop-all", "lamb", "partition", "several")
RUNS = [*((name, "float64") for name in OPTIMIZERS), *((name, "float32") for name in SINGLE)]


@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_same_numbers_as_optax(name, dtype):
    first = drawn(dtype)
    gradients = [drawn(dtype, 10.0 ** RNG.uniform(-2, 1)) for _ in range(STEPS)]
    wanted = by_optax(name, first, gradients, dtype == "float64")
    step = OPTIMIZERS[name](optim)

    def train(params, state, g):
        updates, state = step.update(g, state, params)
        return optim.apply_updates(params, updates), state

    compiled = jit(train, donate_argnums=(0, 1))
    params = tree.map(jnp.array, first)
    state = step.init(params)
    for g in gradients:
        params, state = compiled(params, state, g)
    # MultiSteps gathers in float32, and there optax computes schedules
    rough = "several" in name or name in BY_RATE
    tolerance = 1e-4 if dtype == "float32" else 1e-6 if rough else 1e-10
    for key, value in params.items():
        assert value.dtype == dtype
        np.testing.assert_allclose(value, wanted[key], tolerance, tolerance, err_msg=key)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_widens(name, dtype):
    """Updates and states keep their dtypes, whatever the learning rate is."""
    step = OPTIMIZERS[name](optim)
    params = {k: jnp.ones(s, dtype) for k, s in SHAPES.items()}
    state = step.init(params)
    updates, after = step.update(params, state, params)
    assert {u.dtype for u in updates.values()} == {jnp.dtype(dtype)}
    pairs = zip(tree.leaves(state), tree.leaves(after), strict=True)
    assert all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs)


def test_a_rate_that_is_an_array_widens_nothing():
    params = jnp.ones(3)
    for value in (np.float64(0.1), jnp.array(0.1, "float64"), np.array(0.1)):
        step = optim.sgd(value)
        assert step.update(params, step.init(params))[0].dtype == np.float32


@pytest.mark.parametrize("name", ["adam", "nesterov", "partition", "finite", "several"])
def test_through_scan(name):
    step = OPTIMIZERS[name](optim)
    params = tree.map(jnp.array, drawn("float32"))
    gradients = [drawn("float32") for _ in range(6)]

    def train(carry, g):
        params, state = carry
        updates, state = step.update(g, state, params)
        return (optim.apply_updates(params, updates), state), None

    stacked = tree.map(lambda *gs: np.stack(gs), *gradients)
    carry = (params, step.init(params))
    scanned = jit(lambda carry, gs: lax.scan(train, carry, gs)[0][0])(carry, stacked)
    for g in gradients:
        carry, _ = train(carry, g)
    for key in params:
        np.testing.assert_allclose(scanned[key], carry[0][key], 1e-5, 1e-6)


def test_states_are_those_of_optax():
    params = drawn("float32")
    for name in (
        "adam",
        "momentum",
        "rmsprop",
        "lion",
        "yogi",
        "adadelta",
        "novograd",
        "partition",
    ):
        ours, theirs = OPTIMIZERS[name](optim).init(params), OPTIMIZERS[name](optax).init(params)

        def shown(state):
            if isinstance(state, tuple):
                fields = getattr(state, "_fields", range(len(state)))
                parts = zip(fields, state, strict=True)
                return type(state).__name__, {f: shown(s) for f, s in parts}
            if isinstance(state, dict):
                return {k: shown(v) for k, v in state.items()}
            return state.shape, str(state.dtype)

        assert shown(ours) == shown(theirs)


SCHEDULES = {
    "constant": lambda o: o.constant_schedule(0.5),
    "linear": lambda o: o.linear_schedule(0.1, 1.0, 10, 3),
    "polynomial": lambda o: o.polynomial_schedule(1.0, 0.1, 2.5, 10),
    "polynomial-none": lambda o: o.polynomial_schedule(1.0, 0.1, 2, 0),
    "piecewise": lambda o: o.piecewise_constant_schedule(1.0, {5: 0.5, 12: 0.1}),
    "exponential": lambda o: o.exponential_decay(1.0, 5, 0.7, 2),
    "staircase": lambda o: o.exponential_decay(1.0, 5, 0.7, 0, True, 0.3),
    "growing": lambda o: o.exponential_decay(1.0, 5, 1.5, end_value=3.0),
    "cosine": lambda o: o.cosine_decay_schedule(1.0, 15, 0.1, 2.0),
    "warm-constant": lambda o: o.warmup_constant_schedule(0.0, 1.0, 4),
    "warm-cosine": lambda o: o.warmup_cosine_decay_schedule(0.1, 1.0, 4, 18, 0.05),
    "warm-exponential": lambda o: o.warmup_exponential_decay_schedule(0.1, 1.0, 4, 3, 0.5),
    "joined": lambda o: o.join_schedules(
        [o.constant_schedule(1.0), o.linear_schedule(1.0, 0.0, 5), o.constant_schedule(7.0)], [3, 9]
    ),
    "restarts": lambda o: o.sgdr_schedule(
        [
            {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 8},
            {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 2, "decay_steps": 10},
        ]
    ),
    "interpolated": lambda o: o.piecewise_interpolate_schedule("linear", 1.0, {4: 2.0, 10: 0.1}),
    "interpolated-cosine": lambda o: o.piecewise_interpolate_schedule("cosine", 1.0, {4: 2.0}),
    "onecycle": lambda o: o.linear_onecycle_schedule(20, 1.0),
    "onecycle-cosine": lambda o: o.cosine_onecycle_schedule(20, 1.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    ours = SCHEDULES[name](optim)
    with jax.enable_x64(True):
        schedule = jax.vmap(lambda k: SCHEDULES[name](optax)(k) + 0 * k)
        theirs = jax.jit(schedule, compiler_options=QUICK)(np.arange(25.0))
    np.testing.assert_allclose([float(ours(k)) for k in range(25)], theirs, 1e-9, 1e-9)
    traced = jit(lambda ks: lax.map(lambda k: jnp.asarray(ours(k), "float64"), ks))
    np.testing.assert_allclose(traced(jnp.arange(25)), theirs, 1e-9, 1e-9)
    assert (jnp.ones(2) * ours(jnp.asarray(3))).dtype == np.float32


def test_many_nets_at_once_and_derivatives_through_steps():
    step = optim.adam(0.1, eps_root=1e-8)

    def loss(w):
        return ((w - 1) ** 2).sum()

    def after(rate, w, steps=3):
        step = optim.adam(rate, eps_root=1e-8)
        state = step.init(w)
        for _ in range(steps):
            updates, state = step.update(grad(loss)(w), state, w)
            w = optim.apply_updates(w, updates)
        return w

    nets = jnp.arange(6.0).reshape(3, 2)
    states = vmap(step.init)(nets)
    assert states[0].count.shape == (3,)
    moved = jit(vmap(lambda w, s: step.update(grad(loss)(w), s, w)[0]))(nets, states)
    np.testing.assert_allclose(nets + moved, [after(0.1, w, 1) for w in nets], 1e-6)
    slope = jit(grad(lambda rate: loss(after(rate, jnp.full(2, 3.0, "float64")))))(0.1)
    values = [loss(after(0.1 + e, jnp.full(2, 3.0, "float64"))) for e in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (values[0] - values[1]) / 2e-5, 1e-4)


def test_not_finite_updates_are_left_out():
    step = optim.apply_if_finite(optim.adam(0.1), 2)
    params = jnp.ones(2)
    state = step.init(params)
    bad = jnp.array([1.0, jnp.nan])
    updates, state = step.update(params, state, params)
    good = state.inner_state
    for count in (1, 2):
        updates, state = step.update(bad, state, params)
        assert updates.tolist() == [0, 0] and int(state.notfinite_count) == count
        assert (state.inner_state[0].mu == good[0].mu).all()
    updates, state = step.update(bad, state, params)
    assert np.isnan(np.asarray(updates)[1]) and int(state.total_notfinite) == 3
    skipping = optim.MultiSteps(optim.sgd(1.0), 2, should_skip_update_fn=optim.skip_not_finite)
    state = skipping.init(params)
    for g, made in ((params, False), (bad, False), (3 * params, True)):
        updates, state = skipping.update(g, state, params)
        assert bool(skipping.has_updated(state)) is made
    assert updates.tolist() == [-2, -2]


def test_averages_and_norms():
    new, old = {"a": jnp.array([3.0])}, {"a": jnp.array([1.0])}
    assert optim.incremental_update(new, old, 0.5)["a"].tolist() == [2]
    assert optim.periodic_update(new, old, jnp.array(4), 2)["a"].tolist() == [3]
    assert optim.periodic_update(new, old, 5, 2)["a"].tolist() == [1]
    assert float(optim.global_norm({"a": jnp.array([3.0]), "b": jnp.array([4j])})) == 5
    assert optim.apply_updates({"a": None, "b": jnp.ones(1, "float16")}, {"a": None, "b": 1.0})[
        "b"
    ].dtype == np.dtype("float16")


def test_hyperparameters_can_be_replaced():
    step = optim.inject_hyperparams(optim.adam, static_args="b1")(learning_rate=0.1, b1=0.5)
    params = jnp.zeros(2)
    state = step.init(params)
    assert set(state.hyperparams) == {"learning_rate", "b2", "eps", "eps_root"}
    assert {h.dtype for h in state.hyperparams.values()} == {np.dtype("float32")}
    advance = jit(step.update)
    first, _ = advance(jnp.ones(2), state, params)
    state.hyperparams["learning_rate"] = jnp.array(0.2)
    second, _ = advance(jnp.ones(2), state, params)
    np.testing.assert_allclose(second, 2 * first, 1e-6)


@pytest.mark.parametrize("space", ["optim", "losses"])
def test_signatures_are_those_of_optax(space):
    ours, theirs = (optim, optax) if space == "optim" else (optim.losses, optax.losses)
    compared = 0
    for name in ours.__all__:
        other = getattr(theirs, name, None)
        if not inspect.isfunction(other) or not inspect.isfunction(getattr(ours, name)):
            continue  # states, classes, and partial functions
        found, wanted = (
            inspect.signature(f).parameters.values() for f in (getattr(ours, name), other)
        )
        assert [(p.name, p.kind) for p in found] == [(p.name, p.kind) for p in wanted], name
        for p, q in zip(found, wanted, strict=True):  # functions and optimisers are our own
            own = callable(p.default) or hasattr(p.default, "init") or p.name == "precision"
            same = p.default == q.default or str(p.default) == str(q.default)  # of an enumeration
            assert own or same, (name, p.name)
        compared += 1
    assert compared > (80 if space == "optim" else 15)


def test_wrong_calls():
    params = {"w": jnp.ones(2), "b": jnp.ones(2)}
    step = optim.adamw(0.1)
    with pytest.raises(ArgumentError, match="update needs the parameters"):
        step.update(params, step.init(params))
    with pytest.raises(ArgumentError, match="no transformation for the labels 'c'"):
        optim.partition({"a": optim.sgd(1.0)}, {"w": "a", "b": "c"}).init(params)
    with pytest.raises(ArgumentError, match="is no gradient transformation"):
        optim.chain(0.1)
    with pytest.raises(ArgumentError, match="a state of 1 parts for 2"):
        optim.sgd(0.1).update(params, (optim.EmptyState(),))
    with pytest.raises(ArgumentError, match="a number or a schedule"):
        optim.adam("fast")
    with pytest.raises(TypeError, match="differ at"):
        optim.apply_updates(params, {"w": jnp.ones(2)})
    with pytest.raises(ArgumentError, match="decay_steps is positive"):
        optim.cosine_decay_schedule(1.0, 0)
    with pytest.raises(ArgumentError, match="'hard', 'smooth', 'refined'"):
        optim.scale_by_lion(mode="soft")
    with pytest.raises(ArgumentError, match="1 boundaries, not at 0"):
        optim.join_schedules([optim.constant_schedule(1.0)] * 2, [])
