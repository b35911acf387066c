"""Clustering, under SciPy's names: ``vq``.

>>> from tracejit.scipy import cluster
>>> cluster.vq.vq(jnp.array([0.1, 2.9]), jnp.array([0.0, 3.0]))[0]
Array([0, 1], dtype=int32)
"""

from __future__ import annotations

from tracejit.scipy.cluster import vq

__all__ = ["vq"]
