"""What type checkers make of wrapped functions. Checked by mypy in ``.ci/run``: every line that is
marked as an error must be one.
"""

from typing import Any, assert_type

import tracejit as tj


@tj.jit
def plain(x: float, n: int = 2) -> str:
    return str(x * n)


@tj.jit(static_argnames="n")
def with_options(x: float, n: int = 2) -> str:
    return str(x * n)


class Model:
    @tj.jit
    def step(self, x: float) -> int:
        return int(x)


def check() -> None:
    assert_type(plain(1.0, n=3), str)
    assert_type(with_options(1.0), str)
    assert_type(Model().step(2.0), int)
    assert_type(tj.vmap(plain)(1.0), str)
    assert_type(tj.checkpoint(plain)(1.0), str)
    assert_type(tj.grad(plain)(1.0), Any)
    plain("no")  # type: ignore[arg-type]
    Model().step("no")  # type: ignore[arg-type]
    tj.vmap(plain)(1.0, 2, 3)  # type: ignore[call-arg]
    tj.grad(plain)()  # type: ignore[call-arg]
    tj.jit(plain, no_such=1)  # type: ignore[call-overload]
    plain.stages(1.0)
    plain.lower(1.0).compile()(1.0)
