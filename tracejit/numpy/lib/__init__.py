"""``numpy.lib``: what programs use of it, ``stride_tricks``.

>>> jnp.lib.stride_tricks.sliding_window_view(jnp.arange(4), 3)
Array([[0, 1, 2],
       [1, 2, 3]])
"""

from tracejit.numpy.lib import stride_tricks as stride_tricks

__all__ = ["stride_tricks"]
