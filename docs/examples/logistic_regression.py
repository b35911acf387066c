"""Logistic regression by Newton's method, against scikit-learn's own.

The loss is written once; ``grad`` and ``hessian`` give what Newton's method needs. The data are
scikit-learn's: 569 tumours, 30 measurements of each, benign or malignant.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import nn


def loss(params, x, y, strength):
    """Negative log likelihood with a penalty on the weights; the last parameter is the bias."""
    logits = x @ params[:-1] + params[-1]
    signs = 2 * y - 1
    penalty = 0.5 * params[:-1] @ params[:-1]
    return jnp.sum(nn.softplus(-signs * logits)) + strength * penalty


@tj.jit
def newton_step(params, x, y, strength):
    slope = tj.grad(loss)(params, x, y, strength)
    curvature = tj.hessian(loss)(params, x, y, strength)
    return params - jnp.linalg.solve(curvature, slope), jnp.linalg.norm(slope)


def fit(x, y, strength=1.0):
    params = jnp.zeros(x.shape[1] + 1, dtype=x.dtype)
    for step in range(20):
        params, slope = newton_step(params, x, y, strength)
        print(f"step {step}: gradient {float(slope):.1e}")
        if slope < 1e-8:  # no jit here: a value is a value
            break
    return params


def data():
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    x = (x - x[:400].mean(0)) / x[:400].std(0)
    return x[:400], y[:400], x[400:], y[400:]


def main(small=False):
    x, y, x_held, y_held = data()
    params = fit(x, y)
    right = (x_held @ params[:-1] + params[-1] > 0) == y_held

    # The standard errors of the estimate: the diagonal of the inverse of the curvature.
    covariance = jnp.linalg.inv(tj.hessian(loss)(params, x, y, 1.0))
    surest = jnp.argmax(jnp.abs(params[:-1]) / jnp.sqrt(jnp.diag(covariance))[:-1])

    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, y)
    difference = np.abs(np.append(theirs.coef_, theirs.intercept_) - np.asarray(params)).max()
    print(f"right on held-out data: {float(right.mean()):.3f}")
    print(f"scikit-learn: {theirs.score(x_held, y_held):.3f}, largest difference {difference:.1e}")
    print("surest sign:", load_breast_cancer().feature_names[int(surest)])
    return {"accuracy": float(right.mean()), "difference": float(difference)}


if __name__ == "__main__":
    main()
