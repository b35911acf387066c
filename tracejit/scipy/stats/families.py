"""Distributions as records of standard formulas; the functions users call are made from those.

    _norm = Continuous("norm", logpdf=lambda z: -(z * z + LOG_TWO_PI) / 2, cdf=ndtr, ...)
    logpdf, cdf = _norm.logpdf, _norm.cdf

A formula takes the standardised argument ``(x - loc) / scale`` and the shape parameters, all Arrays
of one floating dtype. What it gives outside of the support is never seen, nor is its derivative.
Parameters that are not allowed (a scale that is not positive ...) give nan, as in SciPy.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.promotion import is_python
from tracejit.lax import loops
from tracejit.scipy.special.operands import apart

Function = Callable[..., Any]
LOG_TWO_PI = math.log(2 * math.pi)
#: of a search for a quantile; where neighbouring floats are more than 1 apart it would not end
MOST_STEPS = 200

_WHAT = {
    "pdf": "The density at x: exp(logpdf).",
    "logpdf": "The logarithm of the density at x: -inf outside of the support.",
    "pmf": "The probability of k: exp(logpmf).",
    "logpmf": "The logarithm of the probability of k: -inf for what is no outcome.",
    "cdf": "The probability of at most {x}.",
    "logcdf": "The logarithm of the probability of at most {x}.",
    "sf": "The probability of more than {x}: 1 - cdf, precise where that is small.",
    "logsf": "The logarithm of the probability of more than {x}.",
    "ppf": "The quantile function, inverse of cdf; nan for {x} outside of [0, 1].",
    "isf": "The inverse of sf; nan for {x} outside of [0, 1].",
}
_END = """

    Operands broadcast (else ShapeError), are real (else DTypeError) and compute in their promoted
    floating dtype, the default one for integers. Differentiable in all of them{but}.
"""


def log1mexp(t: Any) -> Any:
    """log(1 - exp(-t)) for t >= 0, precise near 0 and for large t (Maechler, 2012)."""
    near = ew.log(-ew.expm1(-t))
    return ew.select(t < math.log(2), near, ew.log1p(-ew.exp(-t)))


def least(cdf: Function, q: Any, params: Sequence[Any], start: Any) -> Any:
    """The least whole number k >= 0 with cdf(k, *params) >= q, for 0 < q < 1; nan where there is
    none, and for nan.

    The bound is doubled from ``start`` until it is one, then the interval is halved. The slope is
    0: quantiles go in steps.
    """
    q, start, *params = (stop_gradient(x) for x in (q, start, *params))
    inner = ew.select(ew.logical_and(q > 0, q < 1), q, 0.5)
    high = ew.floor(start) + inner * 0

    def going(state: Any) -> Any:
        low, high, found, count = state
        open_ = ew.logical_or(ew.logical_not(found), high - low > 1)
        return ew.logical_and(open_.any(), count < MOST_STEPS)

    def body(state: Any) -> Any:
        low, high, found, count = state
        at = ew.select(found, ew.floor((low + high) / 2), high)
        below = cdf(at, *params) < inner
        beyond = ew.select(found, high, 2 * high + 1)
        low, high = ew.select(below, at, low), ew.select(below, beyond, at)
        return low, high, ew.logical_or(found, ew.logical_not(below)), count + 1

    begin = (high * 0 - 1, high, ew.not_equal(inner, inner), 0)
    _, high, found, _ = loops.while_loop(going, body, begin)
    return ew.select(found, high, np.nan) + q * 0


def is_positive(p: Any) -> Any:
    """Whether a parameter is above 0: the usual condition."""
    return p > 0


def anything(p: Any) -> Any:
    """No condition on a parameter, but that it is no nan."""
    return p == p


def _log_of(part: Function, rest: Function) -> Function:
    """The logarithm of a probability, from that of the rest where it is near 1."""

    def logarithm(*xs: Any) -> Any:
        probability = part(*xs)
        near_one = ew.log1p(-rest(*xs))
        return ew.select(probability > 0.5, near_one, ew.log(probability))

    return logarithm


class _Family:
    """Formulas, and how operands become what they take."""

    def __init__(
        self,
        name: str,
        shapes: Sequence[str] = (),
        *,
        support: Function,
        valid: Sequence[Function] | None,
        domain: Function | None,
        arguments: dict[str, str] | None,
        formulas: dict[str, Function],
        doc: str,
    ) -> None:
        self.name, self.shapes, self.support = name, tuple(shapes), support
        self.valid = tuple(valid or (is_positive,) * len(self.shapes))
        self.domain = domain
        self.arguments = arguments or {}
        self.formulas = formulas
        self.doc = doc

    def formula(self, name: str) -> Function | None:
        """A formula of the family, from the complementary one where it has none of its own."""
        if name in self.formulas:
            return self.formulas[name]
        pairs = {"logcdf": ("cdf", "sf"), "logsf": ("sf", "cdf")}
        if name in pairs and all(part in self.formulas for part in pairs[name]):
            return _log_of(*(self.formulas[part] for part in pairs[name]))
        return None

    def public(
        self, name: str, first: str, more: Sequence[tuple[str, Any]], run: Function
    ) -> Function:
        """``run`` under a public name, with its signature: the argument, shapes, defaults."""
        parameter = inspect.Parameter
        names = [parameter(n, parameter.POSITIONAL_OR_KEYWORD) for n in (first, *self.shapes)]
        names += [parameter(n, parameter.POSITIONAL_OR_KEYWORD, default=d) for n, d in more]
        signature = inspect.Signature(names)

        def function(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.name}.{name}(): {error}") from None
            bound.apply_defaults()
            return run(*bound.arguments.values())

        function.__name__ = function.__qualname__ = name
        function.__module__ = f"tracejit.scipy.stats.{self.name}"
        function.__signature__ = signature  # type: ignore[attr-defined]
        what = _WHAT[name].format(x=first)
        but = f" but `{first}`" if first == "k" else ""
        function.__doc__ = f"{what}\n\n    {self.doc}" + _END.format(but=but)
        return function

    def poisoned(self, x: Any, given: Sequence[Any], params: Sequence[Any]) -> Any:
        """``x``, nan where a parameter is not allowed. Python numbers are looked at once."""
        for raw, param, valid in zip(given, params, self.valid, strict=True):
            if not (is_python(raw) and valid(raw)):
                x = ew.select(valid(param), x, np.nan)
        if self.domain is not None:
            x = ew.select(self.domain(*params), x, np.nan)
        return x

    def between(self, name: str, formula: Function, first: float, last: float) -> Function:
        """The public function that is ``first`` below the support and ``last`` above it."""
        raise NotImplementedError

    def _probability(self, name: str, first: float, last: float) -> Function:
        formula = self.formula(name)
        if formula is None:
            raise AttributeError(f"{self.name} has no {name}")
        return self.between(name, formula, first, last)

    @property
    def cdf(self) -> Function:
        return self._probability("cdf", 0.0, 1.0)

    @property
    def sf(self) -> Function:
        return self._probability("sf", 1.0, 0.0)

    @property
    def logcdf(self) -> Function:
        return self._probability("logcdf", -np.inf, 0.0)

    @property
    def logsf(self) -> Function:
        return self._probability("logsf", 0.0, -np.inf)


class Continuous(_Family):
    """A distribution with a location and a scale.

    ``support(*shapes)``: the standardised interval. ``valid``: for each shape whether it is allowed
    (by default: positive), ``domain`` for all together.
    """

    def __init__(
        self,
        name: str,
        shapes: Sequence[str] = (),
        *,
        support: Function = lambda *_: (-np.inf, np.inf),
        valid: Sequence[Function] | None = None,
        domain: Function | None = None,
        arguments: dict[str, str] | None = None,
        doc: str = "",
        open_ends: bool = False,
        **formulas: Function,
    ) -> None:
        super().__init__(
            name,
            shapes,
            support=support,
            valid=valid,
            domain=domain,
            arguments=arguments,
            formulas=formulas,
            doc=doc,
        )
        self.open_ends = open_ends

    def _standard(self, what: str, x: Any, rest: Sequence[Any]) -> tuple[Any, ...]:
        """z, the shapes, loc, scale and the support."""
        x, *params, loc, scale = apart(f"{self.name}.{what}", x, *rest)
        if not (is_python(rest[-1]) and rest[-1] > 0):
            scale = ew.select(scale > 0, scale, np.nan)
        return x, params, loc, scale, self.support(*params)

    def _of_x(self, what: str, run: Function) -> Function:
        def evaluate(x: Any, *rest: Any) -> Array:
            x, params, loc, scale, ends = self._standard(what, x, rest)
            z = self.poisoned((x - loc) / scale, rest[:-2], params)
            return run(z, params, scale, ends)  # type: ignore[no-any-return]

        return self.public(what, "x", (("loc", 0), ("scale", 1)), evaluate)

    @property
    def logpdf(self) -> Function:
        return self._of_x("logpdf", self._logpdf)

    @property
    def pdf(self) -> Function:
        return self._of_x("pdf", lambda *xs: ew.exp(self._logpdf(*xs)))

    def _logpdf(self, z: Any, params: Any, scale: Any, ends: Any) -> Any:
        low, high = ends
        below = z <= low if self._is_open(low) else z < low
        above = z >= high if self._is_open(high) else z > high
        found = self.formulas["logpdf"](z, *params) - ew.log(scale)
        return ew.select(ew.logical_or(below, above), -np.inf, found)

    def _is_open(self, end: Any) -> bool:
        return self.open_ends or (is_python(end) and math.isinf(end))

    def between(self, name: str, formula: Function, first: float, last: float) -> Function:
        def run(z: Any, params: Any, scale: Any, ends: Any) -> Any:
            low, high = ends
            found = ew.select(z >= high, last, formula(z, *params))
            return ew.select(z <= low, first, found)

        return self._of_x(name, run)

    def _quantile(self, what: str, ends_at: tuple[int, int]) -> Function:
        """``ends_at``: at which of 0 and 1 the lower and the upper end of the support are taken."""

        def evaluate(q: Any, *rest: Any) -> Array:
            q, params, loc, scale, ends = self._standard(what, q, rest)
            q = self.poisoned(q, rest[:-2], params)
            q = ew.select(ew.logical_or(q < 0, q > 1), np.nan, q)
            found = self.formulas[what](q, *params)
            for at, end in zip(ends_at, ends, strict=True):
                found = ew.select(q == at, end, found)
            return found * scale + loc  # type: ignore[no-any-return]

        argument = self.arguments.get(what, "q")
        return self.public(what, argument, (("loc", 0), ("scale", 1)), evaluate)

    @property
    def ppf(self) -> Function:
        return self._quantile("ppf", (0, 1))

    @property
    def isf(self) -> Function:
        return self._quantile("isf", (1, 0))


class Discrete(_Family):
    """A distribution of whole numbers with a location. Formulas take ``k - loc``, floored."""

    def __init__(
        self,
        name: str,
        shapes: Sequence[str] = (),
        *,
        support: Function = lambda *_: (0, np.inf),
        valid: Sequence[Function] | None = None,
        domain: Function | None = None,
        doc: str = "",
        **formulas: Function,
    ) -> None:
        super().__init__(
            name,
            shapes,
            support=support,
            valid=valid,
            domain=domain,
            arguments=None,
            formulas=formulas,
            doc=doc,
        )

    def _of_k(self, what: str, run: Function) -> Function:
        def evaluate(k: Any, *rest: Any) -> Array:
            k, *params, loc = apart(f"{self.name}.{what}", k, *rest)
            z = self.poisoned(k - loc, rest[:-1], params)
            return run(z, params, self.support(*params))  # type: ignore[no-any-return]

        return self.public(what, "k", (("loc", 0),), evaluate)

    @property
    def logpmf(self) -> Function:
        return self._of_k("logpmf", self._logpmf)

    @property
    def pmf(self) -> Function:
        return self._of_k("pmf", lambda *xs: ew.exp(self._logpmf(*xs)))

    def _logpmf(self, k: Any, params: Any, ends: Any) -> Any:
        low, high = ends
        beyond = ew.logical_or(ew.logical_or(k < low, k > high), ew.isposinf(k))
        no_outcome = ew.logical_or(beyond, ew.less(ew.floor(k), k))
        return ew.select(no_outcome, -np.inf, self.formulas["logpmf"](k, *params))

    def between(self, name: str, formula: Function, first: float, last: float) -> Function:
        def run(k: Any, params: Any, ends: Any) -> Any:
            low, high = ends
            whole = ew.floor(k)
            found = ew.select(whole >= high, last, formula(whole, *params))
            return ew.select(whole < low, first, found)

        return self._of_k(name, run)

    @property
    def ppf(self) -> Function:
        def evaluate(q: Any, *rest: Any) -> Array:
            q, *params, loc = apart(f"{self.name}.ppf", q, *rest)
            q = self.poisoned(q, rest[:-1], params)
            q = ew.select(ew.logical_or(q < 0, q > 1), np.nan, q)
            low, high = self.support(*params)
            found = ew.select(q == 1, high, self.formulas["ppf"](q, *params))
            # SciPy: the largest number of which the probability of at most that is 0
            return ew.select(q == 0, low - 1, found) + loc  # type: ignore[no-any-return]

        return self.public("ppf", "q", (("loc", 0),), evaluate)
