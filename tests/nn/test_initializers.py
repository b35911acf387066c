"""Initial values: moments, shapes, orthogonality."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracejit import jit, random
from tracejit.errors import ArgumentError, ShapeError
from tracejit.nn import initializers as init

KEY = random.key(7)


def test_constants():
    assert init.zeros(KEY, (2, 2)).tolist() == [[0, 0]] * 2
    assert init.ones(KEY, (2,), np.float64).dtype == np.float64
    assert init.constant(3.5)(KEY, (2,)).tolist() == [3.5, 3.5]


@pytest.mark.parametrize(
    "name, variance",
    [
        ("glorot_normal", 2 / 500),
        ("glorot_uniform", 2 / 500),
        ("xavier_normal", 2 / 500),
        ("xavier_uniform", 2 / 500),
        ("he_normal", 2 / 300),
        ("he_uniform", 2 / 300),
        ("kaiming_normal", 2 / 300),
        ("kaiming_uniform", 2 / 300),
        ("lecun_normal", 1 / 300),
        ("lecun_uniform", 1 / 300),
    ],
)
def test_scaled_to_the_layer(name, variance):
    w = np.asarray(getattr(init, name)()(KEY, (300, 200)))
    assert w.dtype == np.float32
    assert abs(w.var() / variance - 1) < 0.03
    assert abs(w.mean()) < 0.01


def test_kernels_count_their_extent():
    w = np.asarray(init.he_normal()(KEY, (3, 3, 40, 50)))
    assert abs(w.var() * (9 * 40) / 2 - 1) < 0.05
    geo = np.asarray(init.variance_scaling(1.0, "fan_geo_avg", "normal")(KEY, (100, 400)))
    assert abs(geo.var() * 200 - 1) < 0.05


def test_plain_distributions():
    assert abs(np.asarray(init.normal(0.5)(KEY, (10000,))).std() - 0.5) < 0.02
    u = np.asarray(init.uniform(2.0)(KEY, (10000,)))
    assert u.min() >= 0 and u.max() < 2 and abs(u.mean() - 1) < 0.05
    t = np.asarray(init.truncated_normal(3.0)(KEY, (10000,)))
    assert np.abs(t).max() <= 6


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (2, 3, 4)])
def test_orthogonal(shape):
    w = np.asarray(init.orthogonal(2.0)(KEY, shape)).reshape(-1, shape[-1])
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)
    jitted = jit(init.orthogonal(2.0), static_argnums=1)(KEY, shape)
    np.testing.assert_allclose(np.asarray(jitted).reshape(w.shape), w, atol=1e-5)


def test_delta_orthogonal():
    w = np.array(init.delta_orthogonal()(KEY, (3, 3, 4, 6)))
    centre = w[1, 1]
    np.testing.assert_allclose(centre @ centre.T, np.eye(4), atol=1e-5)
    w[1, 1] = 0
    assert not w.any()


def test_wrong_arguments():
    with pytest.raises(ArgumentError, match="mode is one of"):
        init.variance_scaling(1.0, "fan", "normal")
    with pytest.raises(ArgumentError, match="distribution is"):
        init.variance_scaling(1.0, "fan_in", "cauchy")
    with pytest.raises(ShapeError, match="needs two axes"):
        init.he_normal()(KEY, (3,))
    with pytest.raises(ShapeError, match="at least two axes"):
        init.orthogonal()(KEY, (3,))
    with pytest.raises(ShapeError, match="in <= out"):
        init.delta_orthogonal()(KEY, (3, 5, 4))
    assert math.isclose(init.TRUNCATED_STD, 0.8796, abs_tol=1e-4)
