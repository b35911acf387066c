"""A function whose shapes are annotated, checked when it is called (for test_interop.py)."""

from beartype import beartype
from jaxtyping import Float, jaxtyped

import tracejit as tj

Matrix, Row, Column = (Float[tj.Array, shape] for shape in ("n m", "m", "n"))


@jaxtyped(typechecker=beartype)
def product(a: Matrix, b: Row) -> Column:
    return a @ b
