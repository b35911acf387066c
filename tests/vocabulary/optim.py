"""Cases of ``tracejit.optim``: what is a function of arrays. Optimisers and schedules are compared
with optax in tests/optim.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Draw, case, ints, positive, real

OPTIM = "tracejit.optim."


def tree(*kinds: Draw) -> dict[str, Any]:
    return dict(zip("ab", kinds, strict=True))


def both(function: Any) -> Any:
    """A reference, leaf by leaf."""
    return lambda x, y, *rest: {k: function(x[k], y[k], *rest) for k in x}


ONE, TWO = tree(real(3), real(2, 2)), tree(real(3), real(2, 2))
CASES = [
    case(OPTIM + "apply_updates", ONE, TWO, reference=both(np.add)),
    case(
        *(OPTIM + "incremental_update", ONE, TWO, 0.25),
        reference=both(lambda new, old, s: s * new + (1 - s) * old),
    ),
    *(
        case(
            *(OPTIM + "periodic_update", ONE, TWO, steps, 2),
            reference=both(lambda new, old, n, p: new if n % p == 0 else old),
        )
        for steps in (3, 4)
    ),
    case(
        *(OPTIM + "global_norm", tree(positive(3), positive(2, 2))),
        reference=lambda x: np.sqrt(sum((v * v).sum() for v in x.values())),
    ),
    case(
        *(OPTIM + "safe_increment", ints(4, below=9, dtype="int32")),
        reference=lambda x: x + 1,
        grad="no float operand",
    ),
    case(
        *(OPTIM + "safe_increment", np.int32(2**31 - 1)),
        reference=lambda x: x,
        grad="no float operand",
    ),
]
