"""SciPy's special functions, as in ``jax.scipy.special``, with derivatives.

    >>> from tracejit.scipy import special
    >>> special.expit(jnp.array([0.0]))
    Array([0.5], dtype=float32)

Besides JAX's names: the inverses erfcinv, gammaincinv, gammainccinv, betaincinv and betainccinv,
and betaincc, log_expit, psi.
"""

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.scipy.special.gammas import (
    bernoulli,
    beta,
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    betaln,
    comb,
    digamma,
    factorial,
    gamma,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    gammaln,
    gammasgn,
    loggamma,
    multigammaln,
    poch,
    polygamma,
    psi,
    zeta,
)
from tracejit.scipy.special.integrals import (
    bessel_jn,
    exp1,
    expi,
    expn,
    fresnel,
    hyp1f1,
    hyp2f1,
    i0,
    i0e,
    i1,
    i1e,
    sici,
    spence,
    sph_harm_y,
)
from tracejit.scipy.special.logarithms import (
    boxcox,
    boxcox1p,
    entr,
    expit,
    kl_div,
    log_expit,
    log_softmax,
    logit,
    logsumexp,
    rel_entr,
    softmax,
    xlog1py,
    xlogy,
)
from tracejit.scipy.special.normal import (
    dawsn,
    erf,
    erfc,
    erfcinv,
    erfcx,
    erfinv,
    log_ndtr,
    ndtr,
    ndtri,
    owens_t,
    wofz,
)

# fmt: off
__all__ = [
    "bernoulli", "bessel_jn", "beta", "betainc", "betaincc", "betainccinv", "betaincinv", "betaln",
    "boxcox", "boxcox1p", "comb", "dawsn", "digamma", "entr", "erf", "erfc", "erfcinv", "erfcx",
    "erfinv", "exp1", "expi", "expit", "expn", "factorial", "fresnel", "gamma", "gammainc",
    "gammaincc", "gammainccinv", "gammaincinv", "gammaln", "gammasgn", "hyp1f1", "hyp2f1", "i0",
    "i0e", "i1", "i1e", "kl_div", "log_expit", "log_ndtr", "log_softmax", "loggamma", "logit",
    "logsumexp", "multigammaln", "ndtr", "ndtri", "owens_t", "poch", "polygamma", "psi",
    "rel_entr", "sici", "softmax", "spence", "sph_harm_y", "wofz", "xlog1py", "xlogy", "zeta",
]
# fmt: on

_errors.user_functions(globals(), _eager.remembering())
