"""einsum: parsed here, contracted two operands at a time by ``dot_general``, cheapest pair first.

>>> einsum("ij,jk->ik", jnp.ones((2, 3)), jnp.ones((3, 4))).shape
(2, 4)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise, linear, promotion, reductions, shaping
from tracejit.frontend.array import as_array
from tracejit.record import dataclass
from tracejit.source import here

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Term:
    """An operand with one label for each of its axes, no label twice."""

    array: Any
    labels: str


# ---- parsing -------------------------------------------------------------------------------------


def _failed(spec: str, problem: str, hint: str = "") -> ArgumentError:
    return ArgumentError(f"einsum {spec!r}: {problem}", at=here(), hint=hint)


def _from_lists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """``einsum(a, [0, 1], b, [1, 2], [0, 2])`` as a text and operands."""
    arrays, lists = list(operands[0::2]), list(operands[1::2])
    output = arrays.pop() if len(operands) % 2 else None

    def text(labels: Any) -> str:
        return "".join("..." if k is Ellipsis else LETTERS[k] for k in labels)

    spec = ",".join(map(text, lists)) + ("" if output is None else "->" + text(output))
    return spec, arrays


@lru_cache(maxsize=1024)
def parse(spec: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[str, ...], str]:
    """Labels of every operand and of the result, the ellipsis written out; ArgumentError or
    ShapeError if wrong.
    """
    text = spec.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(shapes):
        raise _failed(spec, f"names {len(terms)} operands, {len(shapes)} are given")
    bad = set(text.replace("->", "").replace("...", "")) - set(LETTERS) - {","}
    if bad or ("-" in inputs + output or ">" in inputs + output) or "," in output:
        raise _failed(
            spec,
            "a subscript is a letter, '...' stands for further axes",
            "write it as 'ij,jk->ik'",
        )
    free = [c for c in LETTERS if c not in text]
    wide = max(
        (
            len(s) - len(t.replace("...", ""))
            for t, s in zip(terms, shapes, strict=True)
            if "..." in t
        ),
        default=0,
    )
    dots = "".join(free[: max(wide, 0)])
    labels = []
    for k, (term, shape) in enumerate(zip(terms, shapes, strict=True), 1):
        extra = len(shape) - len(term.replace("...", ""))
        if term.count("...") > 1 or extra < 0 or (extra and "..." not in term):
            raise _failed(spec, f"operand {k} has {len(shape)} axes, its subscripts are {term!r}")
        labels.append(term.replace("...", dots[len(dots) - extra :] if extra else ""))
    if not arrow:
        every = "".join(labels)
        once = sorted(c for c in set(every) - set(dots) if every.count(c) == 1)
        output = dots + "".join(once)
    else:
        output = output.replace("...", dots)
    if set(dots) - set(output):
        raise _failed(spec, "the axes of '...' are not in the result", "write '...' after '->' too")
    if len(set(output)) != len(output):
        raise _failed(spec, "a subscript occurs twice in the result")
    unknown = set(output) - set("".join(labels))
    if unknown:
        raise _failed(spec, f"the result's subscript {min(unknown)!r} is in no operand")
    _check_sizes(spec, labels, shapes)
    return tuple(labels), output


def _check_sizes(spec: str, labels: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
    sizes: dict[str, tuple[int, int]] = {}
    for k, (term, shape) in enumerate(zip(labels, shapes, strict=True), 1):
        for label, n in zip(term, shape, strict=True):
            size, first = sizes.get(label, (1, k))
            if size != 1 and n not in (1, size):
                raise ShapeError(
                    f"einsum {spec!r}: subscript {label!r} has size {size} in operand {first} "
                    f"and {n} in operand {k}",
                    at=here(),
                )
            if label not in sizes or size == 1:
                sizes[label] = (n, k)


# ---- one operand ---------------------------------------------------------------------------------


def _unrepeated(term: Term) -> Term:
    """A label that occurs twice becomes the diagonal of its axes."""
    array, labels = term.array, term.labels
    for label in set(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            size = max(array.shape[i], array.shape[j])
            if array.shape[i] != array.shape[j]:  # one of them is 1: it counts as repeated
                shape = tuple(size if k in (i, j) else n for k, n in enumerate(array.shape))
                array = promotion.broadcast_to(array, shape)
            array = shaping.diagonal(array, 0, i, j)
            labels = labels[:i] + labels[i + 1 : j] + labels[j + 1 :] + label
    return Term(array, labels)


def _without(term: Term, kept: set[str]) -> Term:
    """Labels that nobody else needs are summed away."""
    axes = tuple(k for k, label in enumerate(term.labels) if label not in kept)
    if not axes:
        return term
    array = reductions.sum(term.array, axes, dtype=term.array.dtype)
    return Term(array, "".join(label for label in term.labels if label in kept))


# ---- two operands --------------------------------------------------------------------------------


def _squeezed(term: Term, sizes: dict[str, int]) -> Term:
    """Axes of size 1 whose label is wider elsewhere are dropped: the product broadcasts over
    them.
    """
    thin = tuple(k for k, c in enumerate(term.labels) if term.array.shape[k] == 1 and sizes[c] != 1)
    if not thin:
        return term
    labels = "".join(c for k, c in enumerate(term.labels) if k not in thin)
    return Term(shaping.squeeze(term.array, thin), labels)


def _product(a: Term, b: Term, kept: set[str], preferred: Any) -> Term:
    """The product of two terms, summed over the labels of both that are not ``kept``."""
    a = _without(a, kept | set(b.labels))
    b = _without(b, kept | set(a.labels))
    shared = [c for c in a.labels if c in b.labels]
    batch = [c for c in shared if c in kept]
    summed = [c for c in shared if c not in kept]
    if not summed and not (set(a.labels) ^ set(b.labels)):
        order = [b.labels.index(c) for c in a.labels]
        return Term(elementwise.multiply(a.array, shaping.transpose(b.array, order)), a.labels)

    def places(term: Term, labels: list[str]) -> tuple[int, ...]:
        return tuple(term.labels.index(c) for c in labels)

    found = linear.dot_general(
        a.array,
        b.array,
        (places(a, summed), places(b, summed)),
        (places(a, batch), places(b, batch)),
        preferred,
    )
    rest = [c for c in a.labels if c not in shared] + [c for c in b.labels if c not in shared]
    return Term(found, "".join(batch + rest))


def plan(labels: Sequence[str], output: str, sizes: dict[str, int]) -> list[tuple[int, int]]:
    """Which two terms to contract next, each time the pair whose product takes the fewest
    multiplications.

    Positions are those in the list of terms at that time; the product is appended to it.
    """
    terms = [set(t) for t in labels]
    steps: list[tuple[int, int]] = []
    while len(terms) > 1:
        best: tuple[int, int, int, int] | None = None
        for i in range(len(terms)):
            for j in range(i + 1, len(terms)):
                others = set(output).union(*(t for k, t in enumerate(terms) if k not in (i, j)))
                work = math.prod(sizes[c] for c in terms[i] | terms[j])
                result = math.prod(sizes[c] for c in (terms[i] | terms[j]) & others)
                grown = (
                    result
                    - math.prod(sizes[c] for c in terms[i])
                    - math.prod(sizes[c] for c in terms[j])
                )
                if best is None or (work, grown) < best[:2]:
                    best = (work, grown, i, j)
        assert best is not None
        i, j = best[2:]
        steps.append((i, j))
        others = set(output).union(*(t for k, t in enumerate(terms) if k not in (i, j)))
        joined = (terms[i] | terms[j]) & others
        terms = [t for k, t in enumerate(terms) if k not in (i, j)] + [joined]
    return steps


def _sizes(terms: Sequence[Term]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term in terms:
        for label, n in zip(term.labels, term.array.shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    return sizes


def _read(subscripts: Any, operands: Sequence[Any]) -> tuple[str, list[Any]]:
    if isinstance(subscripts, str):
        if not operands:
            raise _failed(subscripts, "no operands are given")
        return subscripts, [as_array(x) for x in operands]
    spec, arrays = _from_lists((subscripts, *operands))
    return spec, [as_array(x) for x in arrays]


def einsum(
    subscripts: Any,
    /,
    *operands: Any,
    out: None = None,
    optimize: Any = "auto",
    precision: Any = None,
    preferred_element_type: Any = None,
    _dot_general: Any = None,
    out_sharding: Any = None,
    dtype: Any = None,
    order: str = "K",
    casting: str = "safe",
) -> Any:
    """Sums of products named by subscripts: "ij,jk->ik", "...ij->...ji", "bhqd,bhkd->bhqk".

    A subscript missing from the result is summed over; without "->" those that occur once stay, in
    alphabetic order.

    ``dtype``, of the operands, is checked by NumPy's rule ``casting``. Raises ArgumentError for
    subscripts that make no sense, ShapeError where sizes differ.

    >>> a, b = jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4))
    >>> jnp.einsum("bij,bjk->bik", a, b).shape
    (5, 2, 4)
    """
    elementwise.no_out("einsum", out)
    spec, arrays = _read(subscripts, operands)
    labels, output = parse(spec, tuple(a.shape for a in arrays))
    to = None if dtype is None else promotion.canonical(dtype)
    if to is not None and not all(np.can_cast(a.dtype, to, casting) for a in arrays):
        raise DTypeError(f"einsum: an operand to {to} is not {casting!r}", at=here())
    arrays = promotion.promoted("einsum", *arrays, to=to)
    terms = [_unrepeated(Term(a, t)) for a, t in zip(arrays, labels, strict=True)]
    sizes = _sizes(terms)
    terms = [_squeezed(t, sizes) for t in terms]
    for i, j in plan([t.labels for t in terms], output, sizes):
        others = set(output).union(*(t.labels for k, t in enumerate(terms) if k not in (i, j)))
        made = _product(terms[i], terms[j], others, preferred_element_type)
        terms = [t for k, t in enumerate(terms) if k not in (i, j)] + [made]
    final = _without(terms[0], set(output))
    return shaping.transpose(final.array, [final.labels.index(c) for c in output])


def einsum_path(
    subscripts: Any, /, *operands: Any, optimize: Any = "auto"
) -> tuple[list[Any], str]:
    """The order in which ``einsum`` contracts, and a table of it."""
    spec, arrays = _read(subscripts, operands)
    labels, output = parse(spec, tuple(np.shape(a) for a in arrays))
    terms = [Term(a, t) for a, t in zip(arrays, labels, strict=True)]
    steps = plan(labels, output, _sizes(terms))
    lines = [f"{spec}: {len(steps)} contractions"]
    current = list(labels)
    for i, j in steps:
        others = set(output).union(*(t for k, t in enumerate(current) if k not in (i, j)))
        joined = "".join(c for c in dict.fromkeys(current[i] + current[j]) if c in others)
        lines.append(f"  {current[i]},{current[j]}->{joined}")
        current = [t for k, t in enumerate(current) if k not in (i, j)] + [joined]
    return ["einsum_path", *steps], "\n".join(lines)
