"""Recomputation in the backward pass, gathered under JAX's name for the module.

>>> from tracejit.ad_checkpoint import checkpoint
>>> checkpoint is tj.checkpoint
True
"""

from __future__ import annotations

from tracejit.frontend.remat import checkpoint, checkpoint_name, checkpoint_policies

remat = checkpoint

__all__ = ["checkpoint", "checkpoint_name", "checkpoint_policies", "remat"]
