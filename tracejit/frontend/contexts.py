"""Blocks in which calls behave otherwise, with JAX's names: each is a setting (``config.py``), and
also works as ``with tj.settings(...)``.

    with tj.debug_nans():          a nan that is computed is an error that names the operation
        step(params, batch)

``named_scope`` names operations, ``ensure_compile_time_eval`` computes while a function is traced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tracejit import source
from tracejit.config import Settings, matmul_precision, settings
from tracejit.errors import ArgumentError, user_traceback
from tracejit.frontend import trace, watch
from tracejit.frontend.call import check_function, function_name

Block = AbstractContextManager[Settings]


@user_traceback
def debug_nans(new_val: bool = True) -> Block:
    """A block in which an operation that computes nan raises NonFiniteError, with the user's line
    and the range of its operands.

    A compiled function runs as ever; where a result holds nan it runs again, operation by
    operation, up to the first that computes one.

    >>> with tj.debug_nans():
    ...     jit(lambda x: jnp.log(x - 1) * 2)(0.5)
    Traceback (most recent call last):
    ...
    tracejit.errors.NonFiniteError: log: computed nan
    ...
    """
    return settings(debug_nans=new_val)


@user_traceback
def debug_infs(new_val: bool = True) -> Block:
    """``debug_nans`` for inf.

    >>> with tj.debug_infs():
    ...     1 / jnp.zeros(2)
    Traceback (most recent call last):
    ...
    tracejit.errors.NonFiniteError: div: computed inf
    ...
    """
    return settings(debug_infs=new_val)


@user_traceback
def debug_key_reuse(new_val: bool = True) -> Block:
    """A block in which a random key that is used twice raises KeyReuseError.

    >>> with tj.debug_key_reuse():
    ...     key = random.key(0)
    ...     random.normal(key), random.uniform(key)
    Traceback (most recent call last):
    ...
    tracejit.errors.KeyReuseError: random: the key [0, 0] is used again
    ...
    """
    return settings(check_keys=new_val)


@user_traceback
def log_compiles(new_val: bool = True) -> Block:
    """A block in which the logger "tracejit" warns of every compilation: which function, for which
    types, called where.

    >>> with tj.log_compiles():
    ...     jit(lambda x: x + 1)(1.0)
    Array(2., dtype=float32)
    """
    return settings(log_compiles=new_val)


@user_traceback
def no_execution(new_val: bool = True) -> Block:
    """A block in which a call of a compiled function is a BackendError: to find calls in places
    that should only trace.

    >>> with tj.no_execution():
    ...     jit(lambda x: x + 1)(1.0)
    Traceback (most recent call last):
    ...
    tracejit.errors.BackendError: `<lambda>` was called where programs do not run
    ...
    """
    return settings(no_execution=new_val)


@user_traceback
def disable_jit(disable: bool = True) -> Block:
    """A block in which jitted functions run op by op, and the bodies of loops in Python: prints and
    debuggers see values.

    >>> with tj.disable_jit():
    ...     jit(lambda x: x + 1 if x > 0 else x)(1.0)
    Array(2., dtype=float32)
    """
    return settings(disable_jit=disable)


@user_traceback
def default_matmul_precision(new_val: str | None) -> Block:
    """A block in which products and convolutions of float32 on a GPU have this precision, by JAX's
    names. "float32" and "highest" are float32; whatever is less precise is tf32, whose operands are
    rounded to 10 bits. On the CPU all are float32.

    Raises ArgumentError for a name that JAX does not have.

    >>> with tj.default_matmul_precision("highest"):
    ...     tj.config.precision
    'f32'
    """
    return settings(precision=matmul_precision(new_val))


@user_traceback
def enable_x64(new_val: bool = True) -> Block:
    """A block in which new floating arrays are float64, or float32.

    >>> with tj.enable_x64():
    ...     jnp.ones(2).dtype
    dtype('float64')
    """
    return settings(default_float="float64" if new_val else "float32")


@contextmanager
def transfer_guard(new_val: str) -> Iterator[None]:
    """A block of no consequence: moves of arrays between devices are not watched.

    >>> with tj.transfer_guard("allow"):
    ...     jnp.ones(1)
    Array([1.], dtype=float32)
    """
    yield


@user_traceback
def threefry_partitionable(new_val: bool = True) -> Block:
    """A block in which random numbers are those of JAX since 0.5, or those from before.

    >>> with tj.threefry_partitionable(False):
    ...     random.bits(random.key(0))
    Array(1797259609, dtype=uint32)
    """
    return settings(threefry_partitionable=new_val)


@contextmanager
def numpy_rank_promotion(new_val: str) -> Iterator[None]:
    """A block of no consequence: shapes of different ranks broadcast.

    >>> with tj.numpy_rank_promotion("allow"):
    ...     jnp.ones((1, 2)) + jnp.ones(2)
    Array([[2., 2.]], dtype=float32)
    """
    yield


@contextmanager
def numpy_dtype_promotion(new_val: str) -> Iterator[None]:
    """A block in which dtypes promote: "standard". Raises ArgumentError for anything else; what the
    setting ``promotion`` says holds on.

    >>> with tj.numpy_dtype_promotion("standard"):
    ...     (jnp.ones(2) + jnp.ones(2, "float64")).dtype
    dtype('float64')
    """
    if new_val != "standard":
        raise ArgumentError(
            f"numpy_dtype_promotion: {new_val!r} is not provided",
            at=source.here(),
            hint='"standard" is',
        )
    yield


# ---- leaks ---------------------------------------------------------------------------------------


@contextmanager
def check_tracer_leaks(new_val: bool = True) -> Iterator[None]:
    """A block after which no traced value may be alive: LeakedTracerError names the one that is.
    Without it such a value is an error when it is used.

    >>> kept = []
    >>> with tj.check_tracer_leaks():
    ...     jit(lambda x: kept.append(x) or x)(1.0)
    Traceback (most recent call last):
    ...
    tracejit.errors.LeakedTracerError: a value traced by jit of `<lambda>` (f32[]) is still ...
    ...
    """
    with settings(check_leaks=new_val), watch.no_leaks():
        yield


def checking_leaks() -> AbstractContextManager[None]:
    """``check_tracer_leaks()``.

    >>> with tj.checking_leaks():
    ...     jit(lambda x: x)(1.0)
    Array(1., dtype=float32)
    """
    return check_tracer_leaks()


# ---- names ---------------------------------------------------------------------------------------


@contextmanager
def named_scope(name: str) -> Iterator[None]:
    """Operations traced in this block carry ``name`` where stages and errors show their lines;
    names of nested blocks are joined by "/". Also a decorator.

    >>> def layer(x):
    ...     with tj.named_scope("layer"):
    ...         return jnp.tanh(x)
    >>> "[layer]" in str(tj.make_graph(layer, 1.0))
    True
    """
    with source.scope(name):
        yield


def named_call(fun: Callable[..., Any], *, name: str | None = None) -> Callable[..., Any]:
    """``fun`` with its operations in a ``named_scope`` of its name, or of ``name``.

    >>> tj.named_call(jnp.tanh, name="squash")(0.0)
    Array(0., dtype=float32)
    """
    check_function("named_call", fun)
    return functools.wraps(fun)(named_scope(name or function_name(fun))(fun))


# ---- time of evaluation --------------------------------------------------------------------------


@contextmanager
def ensure_compile_time_eval() -> Iterator[None]:
    """A block in which operations on concrete values are computed while a function is traced, so
    that Python control flow on them works. Traced values are errors in it.

    >>> @jit
    ... def f(x):
    ...     with tj.ensure_compile_time_eval():
    ...         many = jnp.sum(jnp.arange(3)) > 2  # here and now
    ...     return x * 3 if many else x
    >>> f(2.0)
    Array(6., dtype=float32)
    """
    with trace.outside():
        yield
