"""SciPy and scikit-learn on Arrays, by the array API: run as a program, since SciPy reads its
switch when it is imported.

    SCIPY_ARRAY_API=1 python array_api_users.py scipy
    python array_api_users.py sklearn

Prints a line for each function: its name, and "ok" or what is wrong with its answer.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp

Case = Callable[[Callable[[Any], Any]], Any]

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.random((6, 4)), RANDOM.random((6, 4)) + 0.1
POINTS = RANDOM.normal(size=(40, 5)).astype(np.float32)
CLASSES = (POINTS[:, 0] + POINTS[:, 1] > 0).astype(np.int64)
VALUES = (POINTS @ np.arange(1, 6)).astype(np.float32)


def scipy_cases() -> dict[str, Case]:
    import scipy.differentiate as differentiate
    import scipy.fft as fft
    import scipy.integrate as integrate
    import scipy.ndimage as ndimage
    import scipy.optimize.elementwise as elementwise
    import scipy.signal as signal
    import scipy.special as special
    import scipy.stats as stats

    return {
        "special.logsumexp": lambda a: special.logsumexp(a(X), axis=1),
        "special.softmax": lambda a: special.softmax(a(X), axis=1),
        "special.gammaln": lambda a: special.gammaln(a(X)),
        "special.xlogy": lambda a: special.xlogy(a(X), a(Y)),
        "special.rel_entr": lambda a: special.rel_entr(a(X), a(Y)),
        "stats.zscore": lambda a: stats.zscore(a(X)),
        "stats.gmean": lambda a: stats.gmean(a(X)),
        "stats.kurtosis": lambda a: stats.kurtosis(a(X)),
        "stats.entropy": lambda a: stats.entropy(a(X)),
        "stats.ttest_ind": lambda a: stats.ttest_ind(a(X), a(Y)).pvalue,
        "stats.pearsonr": lambda a: stats.pearsonr(a(X), a(Y)).statistic,
        "stats.mannwhitneyu": lambda a: stats.mannwhitneyu(a(X[:, 0]), a(Y[:, 0])).pvalue,
        "stats.rankdata": lambda a: stats.rankdata(a(X), axis=0),
        "signal.convolve": lambda a: signal.convolve(a(X[0]), a(Y[0])),
        "signal.fftconvolve": lambda a: signal.fftconvolve(a(X), a(Y)),
        "signal.detrend": lambda a: signal.detrend(a(X)),
        "signal.lfilter": lambda a: signal.lfilter(a(X[0]), a(Y[0]), a(X[1])),
        "fft.rfft": lambda a: fft.rfft(a(X)),
        "ndimage.gaussian_filter": lambda a: ndimage.gaussian_filter(a(X), 1.0),
        "integrate.trapezoid": lambda a: integrate.trapezoid(a(X), axis=0),
        "integrate.cumulative_simpson": lambda a: integrate.cumulative_simpson(a(X), dx=0.1),
        "integrate.tanhsinh": lambda a: (
            integrate.tanhsinh(lambda t: t**2, a(np.zeros(3)), a(np.ones(3))).integral
        ),
        "differentiate.derivative": lambda a: differentiate.derivative(lambda t: t**3, a(X[0])).df,
        "optimize.elementwise.find_root": lambda a: (
            elementwise.find_root(lambda t: t**2 - 2, (a(np.zeros(2)), a(np.full(2, 2.0)))).x
        ),
    }


def sklearn_cases() -> dict[str, Case]:
    from sklearn import decomposition, discriminant_analysis, linear_model, metrics, preprocessing
    from sklearn.metrics import pairwise

    def discriminant(a: Any) -> Any:
        return discriminant_analysis.LinearDiscriminantAnalysis().fit(a(POINTS), a(CLASSES))

    def ridge(a: Any) -> Any:
        return linear_model.Ridge(solver="svd").fit(a(POINTS), a(VALUES))

    return {
        "LinearDiscriminantAnalysis.predict": lambda a: discriminant(a).predict(a(POINTS)),
        "LinearDiscriminantAnalysis.transform": lambda a: discriminant(a).transform(a(POINTS)),
        "PCA": lambda a: decomposition.PCA(2, svd_solver="full").fit_transform(a(POINTS)),
        "Ridge.coef_": lambda a: ridge(a).coef_,
        "Ridge.predict": lambda a: ridge(a).predict(a(POINTS)),
        "StandardScaler": lambda a: preprocessing.StandardScaler().fit_transform(a(POINTS)),
        "MinMaxScaler": lambda a: preprocessing.MinMaxScaler().fit_transform(a(POINTS)),
        "pairwise.rbf_kernel": lambda a: pairwise.rbf_kernel(a(POINTS)),
        "pairwise.cosine_similarity": lambda a: pairwise.cosine_similarity(a(POINTS)),
        "Ridge.score": lambda a: ridge(a).score(a(POINTS), a(VALUES)),
        "accuracy_score": lambda a: metrics.accuracy_score(a(CLASSES), a(CLASSES[::-1])),
        "r2_score": lambda a: metrics.r2_score(a(VALUES), a(VALUES + 1)),
        "mean_squared_error": lambda a: metrics.mean_squared_error(a(VALUES), a(VALUES + 1)),
    }


#: answers that are Python numbers whatever the namespace
NUMBERS = {"Ridge.score", "accuracy_score", "r2_score", "mean_squared_error"}


def verdict(name: str, case: Case) -> str:
    wanted, found = np.asarray(case(np.asarray)), case(jnp.asarray)
    if name not in NUMBERS and not isinstance(found, tj.Array):
        return f"the answer is a {type(found).__name__}"
    both = np.abs(np.asarray(found)), np.abs(wanted)  # singular vectors have either sign
    return "ok" if np.allclose(*both, rtol=2e-3, atol=2e-4) else f"{found} instead of {wanted}"


def main(which: str) -> None:
    warnings.simplefilter("ignore")
    if which == "scipy":
        cases = scipy_cases()
    else:
        import sklearn

        sklearn.set_config(array_api_dispatch=True)
        cases = sklearn_cases()
    for name, case in cases.items():
        print(f"{name}: {verdict(name, case)}")


if __name__ == "__main__":
    main(sys.argv[1])
