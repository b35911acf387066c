"""What goes around optimisers, and what else ``optim`` has: trees, projections, losses, parts of
batches, assignments; against optax and SciPy. Signatures of all of it.
"""

from __future__ import annotations

import functools
import inspect
import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")
from scipy.optimize import linear_sum_assignment  # noqa: E402

from tracejit import grad, jit, lax, optim, random, tree, vmap  # noqa: E402
from tracejit import numpy as jnp  # noqa: E402
from tracejit.errors import ArgumentError, DTypeError, ShapeError  # noqa: E402

RNG = np.random.default_rng(11)
A = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}
B = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def both(call: Any, *args: Any, tolerance: float = 1e-9, compiled: bool = True) -> Any:
    """``call(module, *args)`` of optax in double precision and of ours, plain and compiled."""
    with jax.enable_x64(True):
        theirs = functools.partial(call, optax)
        if compiled:
            theirs = jax.jit(theirs, compiler_options=QUICK)
        wanted = jax.tree.leaves(theirs(*args))
    ours = functools.partial(call, optim)
    found = ours(*args)
    runs = [found, jit(ours)(*args)] if compiled else [found]
    for run in runs:
        leaves = tree.leaves(run)
        assert len(leaves) == len(wanted)
        for y, z in zip(leaves, wanted, strict=True):
            np.testing.assert_allclose(y, z, tolerance, tolerance)
            assert np.shape(y) == np.shape(z)
    return found


TREES = {
    "add": lambda o, a, b: o.tree.add(a, b, a),
    "add_scale": lambda o, a, b: o.tree.add_scale(a, 0.3, b),
    "div": lambda o, a, b: o.tree.div(a, b),
    "clip": lambda o, a, b: o.tree.clip(a, -0.5, 0.5),
    "norms": lambda o, a, b: [
        o.tree.norm(a, ord, squared) for ord in (None, 1, 2, np.inf) for squared in (False, True)
    ],
    "extrema": lambda o, a, b: (o.tree.max(a), o.tree.min(a), o.tree.sum(b), o.tree.vdot(a, b)),
    "like": lambda o, a, b: (
        o.tree.ones_like(a), o.tree.full_like(a, 2.5), o.tree.batch_shape(a, (2,))
    ),
    "where": lambda o, a, b: o.tree.where(o.tree.norm(a) > 0, a, b),
    "moments": lambda o, a, b: (
        o.update_moment(a, b, 0.9, 1),
        o.update_moment_per_elem_norm(a, b, 0.9, 2),
        o.update_infinity_moment(a, b, 0.9, 1e-3),
        o.bias_correction(a, 0.9, 3),
    ),
    "allclose": lambda o, a, b: (o.tree.allclose(a, a), o.tree.allclose(a, b)),
    "utils": lambda o, a, b: o.tree_utils.tree_sub(o.tree_utils.tree_mul(a, b), b),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees(name: str) -> None:
    if name == "moments":  # the count is an array there
        with jax.enable_x64(True):
            wanted = optax.bias_correction(jax.tree.map(jax.numpy.asarray, A), 0.9, np.int32(3))
        found = optim.bias_correction(A, 0.9, 3)
        np.testing.assert_allclose(found["w"], wanted["w"], 1e-9)
        both(lambda o, a, b: TREES[name](o, a, b)[:3] if o is optim else (
            o.update_moment(a, b, 0.9, 1),
            o.update_moment_per_elem_norm(a, b, 0.9, 2),
            o.update_infinity_moment(a, b, 0.9, 1e-3),
        ), A, B)  # fmt: skip
        return
    both(TREES[name], A, B)


def test_parts_of_states() -> None:
    step = optim.chain(optim.clip(1.0), optim.adam(0.1), optim.scale_by_schedule(lambda k: 1.0))
    params = tree.map(jnp.asarray, A)
    state = step.init(params)
    assert (optim.tree.get(state, "mu")["w"] == 0).all()
    assert optim.tree.get(state, "nothing", 5) == 5
    with pytest.raises(ArgumentError, match="2 values called 'count'"):
        optim.tree.get(state, "count")

    def of_adam(path: Any, value: Any) -> bool:
        return any(getattr(k, "tuple_name", "") == "ScaleByAdamState" for k in path)

    found = optim.tree.get(state, "count", filtering=of_adam)
    assert found is state[1][0].count
    changed = optim.tree.set(state, of_adam, count=jnp.array(7))
    assert int(changed[1][0].count) == 7 and int(changed[2].count) == 0
    assert isinstance(optim.tree.get(state, "ScaleByAdamState"), optim.ScaleByAdamState)
    with pytest.raises(ArgumentError, match="nothing is called 'rate'"):
        optim.tree.set(state, rate=1.0)
    names = {str(path[-1]) for path, _ in optim.tree.get_all_with_path(state, "count")}
    assert names == {"ScaleByAdamState.count", "ScaleByScheduleState.count"}
    for make in (optim.adam(0.1), optim.lbfgs(), optim.contrib.prodigy(), optim.adafactor(0.1)):
        first = make.init(params)
        kept = optim.tree_map_params(make, lambda x: x, first, transform_non_params=lambda x: x)
        assert tree.structure(kept) == tree.structure(first)
    ones = optim.tree_map_params(optim.adam(0.1), lambda x, s: x + s, step.init(params)[1], B)
    assert np.allclose(ones[0].nu["w"], B["w"]) and int(ones[0].count) == 0


POINTS = RNG.normal(size=7)
PROJECTIONS = {
    "projection_non_negative": (A,),
    "projection_box": (A, tree.map(lambda x: x - 0.1, B), tree.map(lambda x: x + 0.1, B)),
    "projection_hypercube": (A["w"], 0.5),
    "projection_simplex": (A, 2.0),
    "projection_l1_sphere": (A, 0.5),
    "projection_l1_ball": (A, 1.5),
    "projection_l2_sphere": (A, 0.5),
    "projection_l2_ball": (A, 0.5),
    "projection_linf_ball": (A, 0.5),
    "projection_vector": (A, B),
    "projection_hyperplane": (A, B, np.float64(0.3)),
    "projection_halfspace": (A, B, np.float64(-0.3)),
}


@pytest.mark.parametrize("name", PROJECTIONS)
def test_projections(name: str) -> None:
    args = PROJECTIONS[name]
    found = both(lambda o, *args: getattr(o.projections, name)(*args), *args)
    again = getattr(optim.projections, name)(found, *args[1:])
    for y, z in zip(tree.leaves(again), tree.leaves(found), strict=True):
        np.testing.assert_allclose(y, z, 1e-9, 1e-9)
    assert optim.projections.projection_hypercube(A)["w"].max() <= 1
    single = tree.map(np.float32, args)
    kinds = {x.dtype for x in tree.leaves(getattr(optim.projections, name)(*single))}
    assert kinds == {np.dtype("float32")}


def test_derivative_of_the_simplex() -> None:
    def loss(o: Any, x: Any) -> Any:
        return (o.projections.projection_simplex(x) * np.arange(7.0)).sum()

    with jax.enable_x64(True):
        wanted = jax.grad(functools.partial(loss, optax))(POINTS)
    np.testing.assert_allclose(grad(functools.partial(loss, optim))(POINTS), wanted, 1e-9, 1e-9)


HOT = np.eye(4)[RNG.integers(0, 4, (2, 5, 3))]
LOSSES = {
    "dice_loss": (RNG.normal(size=(2, 5, 3, 4)), HOT),
    "binary_dice_loss": (RNG.normal(size=(2, 5)), RNG.integers(0, 2, (2, 5)).astype(float)),
    "multiclass_generalized_dice_loss": (RNG.normal(size=(2, 5, 3, 4)), HOT),
    "ranking_softmax_loss": (RNG.normal(size=(3, 4)), RNG.integers(0, 3, (3, 4))),
    "sparsemax_loss": (RNG.normal(size=6) * 2, RNG.integers(0, 2, 6)),
    "multiclass_sparsemax_loss": (RNG.normal(size=(5, 4)), RNG.integers(0, 4, 5)),
    "ntxent": (RNG.normal(size=(6, 4)), np.array([0, 1, 0, 1, 2, 2])),
    "ctc_loss_with_forward_probs": (
        RNG.normal(size=(2, 6, 4)), np.repeat([[0.0] * 6, [0, 0, 0, 0, 1, 1]], 1, 0),
        np.array([[1, 1, 3], [2, 1, 0]]), np.array([[0.0, 0, 0], [0, 0, 1]]),
    ),
    "convex_kl_divergence": (np.log([[0.2, 0.8]]), np.array([[0.5, 0.5]])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    def run(o: Any, *args: Any) -> Any:
        return getattr(o.losses, name)(*args)

    both(run, *LOSSES[name], tolerance=1e-7)
    with jax.enable_x64(True):
        rest = LOSSES[name][1:]
        slope = jax.grad(lambda x: jax.tree.leaves(run(optax, x, *rest))[0].sum())
        wanted = jax.jit(slope, compiler_options=QUICK)(LOSSES[name][0])
    found = jit(grad(lambda x: tree.leaves(run(optim, x, *rest))[0].sum()))(LOSSES[name][0])
    np.testing.assert_allclose(found, wanted, 1e-6, 1e-6)


def test_options_of_losses() -> None:
    x, y = LOSSES["dice_loss"]
    for options in (
        {"reduction": "none", "class_weights": np.arange(4.0)},
        {"reduction": "sum", "ignore_background": True, "alpha": 0.3, "beta": 0.7},
        {"axis": (0, 1, 2), "smooth": 0.1},
    ):
        both(lambda o, x, y, k=options: o.losses.dice_loss(x, y, **k), x, y)
    with pytest.raises(ArgumentError, match="'mean', 'sum', 'none'"):
        optim.losses.dice_loss(x, y, reduction="all")
    with pytest.raises(ShapeError, match="differ"):
        optim.losses.dice_loss(x, y[:1])
    logits, labels = LOSSES["ranking_softmax_loss"]
    where = np.array([[True, True, False, True], [False] * 4, [True] * 4])
    both(lambda o, x, y: o.losses.ranking_softmax_loss(x, y, where=where), logits, labels)
    both(
        lambda o, x, y: o.losses.ranking_softmax_loss(
            x, y, where=where, weights=np.arange(4.0), reduce_fn=None
        ),
        logits,
        labels,
    )
    with pytest.raises(DTypeError):
        optim.losses.ntxent(np.ones((2, 2), int), np.ones(2, int))
    young = optim.losses.make_fenchel_young_loss(jax_free_logsumexp)
    scores, targets = RNG.normal(size=(3, 4)), np.eye(4)[:3]
    wanted = optim.losses.softmax_cross_entropy(scores, targets)
    np.testing.assert_allclose(young(scores, targets), wanted, 1e-9)


def jax_free_logsumexp(x: Any) -> Any:
    return jnp.log(jnp.exp(x).sum())


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3), (1, 1), (1, 5), (8, 8), (0, 3)])
def test_assignments(shape: tuple[int, int]) -> None:
    cost = RNG.normal(size=shape)
    rows, columns = jit(optim.assignment.hungarian_algorithm)(cost)
    wanted = linear_sum_assignment(cost)
    assert rows.tolist() == wanted[0].tolist() and columns.tolist() == wanted[1].tolist()
    costs = RNG.integers(0, 5, (3, 4, 5))
    found = vmap(optim.assignment.hungarian_algorithm)(costs)
    for c, r, k in zip(costs, *map(np.asarray, found), strict=True):
        assert c[r, k].sum() == c[linear_sum_assignment(c)].sum()
    with pytest.raises(ShapeError):
        optim.assignment.hungarian_algorithm(np.ones(3))


def test_linear_algebra() -> None:
    m = RNG.normal(size=(4, 4))
    m = m @ m.T + np.eye(4)
    value, vector = optim.power_iteration(m, num_iters=500, error_tolerance=1e-12)
    np.testing.assert_allclose(value, np.linalg.eigvalsh(m)[-1], 1e-9)
    np.testing.assert_allclose(m @ np.asarray(vector), float(value) * np.asarray(vector), 1e-5)
    found, _ = optim.power_iteration(lambda x: {"a": 3 * x["a"]}, v0={"a": jnp.ones(2)})
    assert float(found) == pytest.approx(3)
    with pytest.raises(ArgumentError, match="needs v0"):
        optim.power_iteration(lambda x: x)
    for p in (1, 2, 4, 8):
        root, error = jit(lambda m, p=p: optim.matrix_inverse_pth_root(m, p))(m)
        np.testing.assert_allclose(np.linalg.matrix_power(root, p) @ m, np.eye(4), 1e-4, 1e-4)
        assert float(error) < 1e-4
    a, b = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    both(lambda o, a, b: o.nnls(a, b, 50), a, b)
    both(lambda o, a, b: o.nnls(a, b[:, 0], 50, L=40.0), a, b)


def quadratic(w: Any, x: Any, y: Any) -> Any:
    return ((x @ w["w"] + w["b"] - y) ** 2).sum() + (w["b"] ** 4).sum()


def test_second_order() -> None:
    x, y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    v = RNG.normal(size=8)
    with pytest.warns(DeprecationWarning):
        both(lambda o, w, x, y: o.second_order.hvp(quadratic, v, w, x, y), A, x, y)
        both(lambda o, w, x, y: o.second_order.hessian_diag(quadratic, w, x, y), A, x, y)
        both(lambda o, w, x, y: o.second_order.fisher_diag(quadratic, w, x, y), A, x, y)


def test_perturbed_functions() -> None:
    """The keys of trees are those of optax, and so are all numbers."""

    def run(o: Any, key: Any, x: Any) -> Any:
        soft = o.perturbations.make_perturbed_fun(lambda x: x["w"] * x["b"], 50, 0.5)
        plain = o.perturbations.make_perturbed_fun(
            lambda x: x["w"].sum(), 20, 0.5, o.perturbations.Normal(), False
        )
        return soft(key, x), plain(key, x)

    with jax.enable_x64(True):
        x = jax.tree.map(jax.numpy.asarray, A)
        theirs = functools.partial(run, optax, jax.random.PRNGKey(3))
        wanted = jax.jit(theirs, compiler_options=QUICK)(x)
        slope = jax.jit(jax.grad(lambda x: theirs(x)[0].sum()), compiler_options=QUICK)(x)
    key = random.PRNGKey(3)
    for y, z in zip(jit(functools.partial(run, optim))(key, A), wanted, strict=True):
        np.testing.assert_allclose(y, z, 1e-9, 1e-9)
    found = jit(grad(lambda x: run(optim, key, x)[0].sum()))(A)
    np.testing.assert_allclose(found["w"], slope["w"], 1e-9, 1e-9)


def test_noise() -> None:
    """Draws are those of optax for the same key."""
    for name in ("noisy_sgd", "dpsgd"):
        w = np.ones((4, 3), np.float32) if name == "dpsgd" else np.ones(3, np.float32)

        def run(o: Any, key: Any, w: Any, name: str = name) -> Any:
            if name == "noisy_sgd":
                step = o.noisy_sgd(0.1, key=key)
            else:
                step = o.chain(
                    o.contrib.differentially_private_aggregate(1.0, 0.5, key=key), o.sgd(0.1)
                )
            state = step.init(w)
            found = []
            for _ in range(3):
                updates, state = step.update(w, state, w)
                found.append(updates)
            return found

        wanted = run(optax, jax.random.key(5), jax.numpy.asarray(w))
        for y, z in zip(run(optim, random.key(5), w), wanted, strict=True):
            np.testing.assert_allclose(y, z, 1e-5, 1e-5)
    assert optim.add_noise(1.0, 1.0, 3).init(w).rng_key.shape == ()
    with pytest.raises(ArgumentError, match="not both"):
        optim.add_noise(1.0, 1.0, 3, seed=4)
    private = optim.contrib.dpsgd(0.1, 1.0, 0.0, seed=0, momentum=0.9)
    with pytest.raises(ShapeError, match="examples along their first axis"):
        private.update(jnp.ones(()), private.init(jnp.ones(())))


def test_clipping_of_examples() -> None:
    g = {"a": RNG.normal(size=(4, 3)), "b": RNG.normal(size=(4, 2, 2))}
    both(lambda o, g: o.per_example_global_norm_clip(g, 1.5), g)
    both(lambda o, g: o.per_example_layer_norm_clip(g, 1.5), g)
    both(lambda o, g: o.per_example_layer_norm_clip(g, 1.5, uniform=False), g)
    both(lambda o, x: o.transforms.unitwise_norm(x), A["w"])
    both(lambda o, x: o.transforms.unitwise_clip(abs(x), 0 * x + 0.5, x), A["w"])


def test_lookahead() -> None:
    def run(o: Any, first: Any) -> Any:
        step = o.lookahead(o.adam(0.1), 3, 0.5, reset_state=True)
        w = o.LookaheadParams.init_synced(first)
        state = step.init(w)
        for _ in range(7):
            updates, state = step.update(w.fast, state, w)
            w = o.apply_updates(w, updates)
        return w.fast, w.slow

    both(run, A["w"])
    with pytest.raises(ArgumentError, match="LookaheadParams"):
        optim.lookahead(optim.sgd(0.1), 2, 0.5).update(A, optim.lookahead(
            optim.sgd(0.1), 2, 0.5).init(A), A)  # fmt: skip


def test_parts_of_batches() -> None:
    x, y = RNG.normal(size=(6, 3)), RNG.normal(size=(3, 6))
    for kind, size in zip(("SUM", "MEAN", "RUNNING_MEAN", "CONCAT"), (1, 2, 3, 2), strict=True):

        def run(o: Any, x: Any, y: Any, kind: str = kind, size: int = size) -> Any:
            how = getattr(o.microbatching.AccumulationType, kind)
            f = o.microbatch(
                lambda a, x, y: {"u": x * a, "v": (x * y.T).sum(1)}, (1, 2), size, how,
                in_axes=(0, 1),
            )  # fmt: skip
            return f(2.0, x, y)

        both(run, x, y)

    def gradients(o: Any, w: Any, x: Any, limit: Any) -> Any:
        f = o.microbatching.micro_grad(
            lambda w, x: ((x @ w) ** 2).sum(), microbatch_size=2,
            metrics_fn=lambda g: abs(g).sum(), transform_fn=lambda g: g.clip(-1, 1),
            num_real_microbatches=limit,
        )  # fmt: skip
        found, rest = f(w, x)
        return found, rest.values, rest.metrics

    both(lambda o, w, x: gradients(o, w, x, None), np.ones(3), x)
    both(lambda o, w, x, limit: gradients(o, w, x, limit), np.ones(3), x, 2)
    mapped = optim.microbatching.micro_vmap(lambda x: x.sum(), microbatch_size=3)
    np.testing.assert_allclose(mapped(x), x.sum(1))
    with pytest.raises(ShapeError, match="a batch of 6 in parts of 4"):
        optim.microbatch(lambda x: x, 0, 4)(x)


def test_schedules_with_a_state() -> None:
    class Falling:
        def init(self) -> Any:
            return jnp.array(1.0)

        def update(self, state: Any, *, value: Any, **_: Any) -> Any:
            return state * value

        def __call__(self, state: Any, **_: Any) -> Any:
            return state

    step = optim.inject_hyperparams(optim.sgd)(learning_rate=Falling())
    state = step.init(jnp.ones(1))
    for _ in range(2):
        updates, state = step.update(jnp.ones(1), state, value=0.5)
    assert updates.tolist() == [-0.5]
    distribution = optim.multi_normal(jnp.zeros(3), jnp.zeros(3))
    wanted = optax.multi_normal(np.zeros(3), np.zeros(3)).log_prob(np.ones((2, 3)))
    np.testing.assert_allclose(distribution.log_prob(np.ones((2, 3))), wanted, 1e-6)
    assert distribution.sample((4,), random.key(0)).shape == (4, 3)


def test_value_and_gradient_of_a_state() -> None:
    calls = []

    def f(w: Any) -> Any:
        calls.append(1)
        return ((w - 1) ** 2).sum()

    state = optim.lbfgs().init(jnp.ones(2))
    known = optim.value_and_grad_from_state(f)
    value, g = known(jnp.array([3.0, 1.0]), state=state)
    assert float(value) == 4 and g.tolist() == [4, 0]
    filled = optim.tree.set(state, value=jnp.array(5.0), grad=jnp.ones(2))
    value, g = known(jnp.array([3.0, 1.0]), state=filled)
    assert float(value) == 5 and g.tolist() == [1, 1]
    with pytest.raises(ArgumentError, match="store_grad=True"):
        known(jnp.ones(2), state=optim.scale_by_backtracking_linesearch(3).init(jnp.ones(2)))
    step = optim.scale_by_backtracking_linesearch(3)
    with pytest.raises(ArgumentError, match="takes no argument 'x'"):
        step.update(
            jnp.ones(2), step.init(jnp.ones(2)), jnp.ones(2), value=1.0, grad=jnp.ones(2),
            value_fn=f, x=1,
        )  # fmt: skip


def test_many_searches_at_once() -> None:
    """A line search under vmap is as many searches."""
    step = optim.lbfgs()

    def f(w: Any) -> Any:
        return ((w - 1) ** 4).sum() + (w**2).sum()

    def after(w: Any) -> Any:
        def body(c: Any, _: Any) -> Any:
            w, state = c
            value, g = optim.value_and_grad_from_state(f)(w, state=state)
            updates, state = step.update(g, state, w, value=value, grad=g, value_fn=f)
            return (optim.apply_updates(w, updates), state), None

        return lax.scan(body, (w, step.init(w)), None, length=4)[0][0]

    starts = jnp.array(RNG.normal(size=(3, 2)))
    many = jit(vmap(after))(starts)
    np.testing.assert_allclose(many, [after(w) for w in starts], 1e-8, 1e-8)


SPACES = "contrib projections perturbations second_order tree tree_utils transforms".split()


@pytest.mark.parametrize("space", [*SPACES, "assignment", "microbatching"])
def test_signatures_are_those_of_optax(space: str) -> None:
    ours, theirs = getattr(optim, space), getattr(optax, space)
    compared = 0
    for name in ours.__all__:
        other = getattr(theirs, name)
        if not inspect.isfunction(other) or not inspect.isfunction(getattr(ours, name)):
            continue
        found, wanted = (
            list(inspect.signature(f).parameters.values()) for f in (getattr(ours, name), other)
        )
        assert [(p.name, p.kind) for p in found] == [(p.name, p.kind) for p in wanted], name
        for p, q in zip(found, wanted, strict=True):
            assert is_own(p.default) or p.default == q.default, (name, p.name)
        compared += 1
    assert compared > 0


def is_own(default: Any) -> bool:
    """A function, an optimiser or an object of the module's own."""
    return (
        callable(default)
        or hasattr(default, "init")
        or hasattr(default, "sample")
        or (type(default).__name__ == "AccumulationType")
    )


def test_names_are_those_of_optax() -> None:
    missing = {name for name in dir(optax) if not name.startswith("_")} - set(dir(optim))
    assert missing == {"experimental"}
    assert not {n for n in dir(optax.contrib) if not n.startswith("_")} - set(dir(optim.contrib))
    for space in ("losses", "schedules", *SPACES):
        theirs = {n for n in dir(getattr(optax, space)) if not n.startswith("_")}
        assert theirs - set(dir(getattr(optim, space))) <= {"functools", "typing"}, space


def test_wrong_calls() -> None:
    w = jnp.ones((2, 2))
    c = optim.contrib
    for make, what in (
        (lambda: optim.scale_by_lbfgs(0), "memory_size 0"),
        (lambda: optim.scale_by_zoom_linesearch(5, initial_guess_strategy=2), "'one' or 'keep'"),
        (lambda: optim.scale_by_polyak(variant="x"), "'sps' or 'sps\\+'"),
        (lambda: optim.optimistic_adam(lambda k: 0.1), "is a number"),
        (lambda: optim.lookahead(optim.sgd(0.1), 0, 0.5), "sync_period 0"),
        (lambda: c.sam(optim.sgd(0.1), optim.sgd(0.1), 0), "sync_period 0"),
        (lambda: c.dog(init_step=("far", 1.0)), "'distance', 'heuristic'"),
        (lambda: c.reduce_on_plateau(factor=2.0), "between 0 and 1"),
        (lambda: c.reduce_on_plateau(rtol=0.0), "tolerances"),
        (lambda: c.muon(0.1, ns_coeffs="fast"), "'standard', 'dion'"),
        (lambda: c.galore(0.1, rank=0), "positive integer"),
        (lambda: c.scale_by_muon(preconditioning="x").update(
            w, c.scale_by_muon().init(w)), "'frobenius', 'spectral'"),
        (lambda: c.momo().update(w, c.momo().init(w), w, value=None), "needs value="),
        (lambda: c.sophia(0.1).update(w, c.sophia(0.1).init(w), w), "needs obj_fn="),
        (lambda: c.schedule_free_eval_params((), w), "takes a ScheduleFreeState"),
        (lambda: optim.tree.norm(w, 3), "1, 2 or inf"),
        (lambda: optim.tree.dtype(w, "widest"), '"promote"|promote'),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=what):
            make()
    with pytest.raises(DTypeError, match="leaves are of"):
        optim.tree.dtype([np.float32(1), np.float64(1)])
    with pytest.raises(DTypeError, match="scale_by_sm3"):
        optim.scale_by_sm3().init(jnp.ones(2) * 1j)
