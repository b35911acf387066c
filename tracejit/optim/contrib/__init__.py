"""Optimisers that are newer or more special, with the names, arguments and numbers of
``optax.contrib``.

>>> from tracejit import optim
>>> optimizer = optim.contrib.muon(0.02)
>>> state = optimizer.init({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.optim.contrib.adaptive import (
    MadgradState,
    ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState,
    acprop,
    ademamix,
    adopt,
    madgrad,
    scale_by_acprop,
    scale_by_ademamix,
    scale_by_adopt,
    scale_by_madgrad,
    scale_by_simplified_ademamix,
    simplified_ademamix,
)
from tracejit.optim.contrib.averaged import (
    NormalizeState,
    SAMState,
    ScheduleFreeState,
    normalize,
    sam,
    schedule_free,
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_sgd,
)
from tracejit.optim.contrib.distance import (
    COCOBState,
    DAdaptAdamWState,
    DoGState,
    DoWGState,
    MechanicState,
    ProdigyState,
    cocob,
    dadapt_adamw,
    dog,
    dowg,
    mechanize,
    prodigy,
    scale_by_cocob,
)
from tracejit.optim.contrib.galore import (
    GaLoreState,
    galore,
    scale_by_galore,
)
from tracejit.optim.contrib.matrices import (
    GaLoreDimensionNumbers,
    MuonDimensionNumbers,
)
from tracejit.optim.contrib.muon import (
    MuonState,
    muon,
    scale_by_muon,
)
from tracejit.optim.contrib.private import (
    DifferentiallyPrivateAggregateState,
    SplitRealAndImaginaryState,
    differentially_private_aggregate,
    dpsgd,
    split_real_and_imaginary,
)
from tracejit.optim.contrib.sophia import (
    HutchinsonState,
    SophiaState,
    hutchinson_estimator_diag_hessian,
    sophia,
)
from tracejit.optim.contrib.values import (
    MomoAdamState,
    MomoState,
    ReduceLROnPlateauState,
    momo,
    momo_adam,
    reduce_on_plateau,
)

# fmt: off
__all__ = [
    "COCOBState", "DAdaptAdamWState", "DifferentiallyPrivateAggregateState", "DoGState",
    "DoWGState", "GaLoreDimensionNumbers", "GaLoreState", "HutchinsonState", "MadgradState",
    "MechanicState", "MomoAdamState", "MomoState", "MuonDimensionNumbers", "MuonState",
    "NormalizeState", "ProdigyState", "ReduceLROnPlateauState", "SAMState", "ScaleByAdemamixState",
    "ScaleBySimplifiedAdEMAMixState", "ScheduleFreeState", "SophiaState",
    "SplitRealAndImaginaryState", "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw",
    "differentially_private_aggregate", "dog", "dowg", "dpsgd", "galore",
    "hutchinson_estimator_diag_hessian", "madgrad", "mechanize", "momo", "momo_adam", "muon",
    "normalize", "prodigy", "reduce_on_plateau", "sam", "scale_by_acprop", "scale_by_ademamix",
    "scale_by_adopt", "scale_by_cocob", "scale_by_galore", "scale_by_madgrad", "scale_by_muon",
    "scale_by_simplified_ademamix", "schedule_free", "schedule_free_adamw",
    "schedule_free_eval_params", "schedule_free_sgd", "simplified_ademamix", "sophia",
    "split_real_and_imaginary",
]
# fmt: on

_errors.user_functions(globals())
