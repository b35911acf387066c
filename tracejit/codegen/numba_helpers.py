"""Functions that generated Numba modules call: what Python spells differently from the scalar
operations.

In: the names a kernel's text uses. Out: their definitions as source text, with those that they need
themselves.

    >>> needed("y[i] = maximum(x[i], F32_0)")
    ('maximum',)
    >>> print(definitions(("maximum",)))
    @numba.njit(error_model="numpy")
    def maximum(a, b): ...

Values of float16 and bfloat16 are computed as float32 numbers that the narrow type can hold;
``f16_decode`` and ``f16_encode`` go between those and the 16 bits of a buffer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

_EXTREMA = '''
def maximum(a, b):
    """The larger one; nan if either is."""
    return a if a > b or a != a else b


def minimum(a, b):
    """The smaller one; nan if either is."""
    return a if a < b or a != a else b


def square(x):
    return x * x


def log_gamma(x):
    """math.lgamma, inf at both infinities whatever the C library says."""
    return np.inf if np.isinf(x) else math.lgamma(x)
'''

_INTEGERS = '''
def wrap_add(x, y):
    """x + y modulo 2**64: Numba leaves the overflow of signed integers undefined."""
    return np.int64(np.uint64(x) + np.uint64(y))


def wrap_sub(x, y):
    """x - y modulo 2**64."""
    return np.int64(np.uint64(x) - np.uint64(y))


def wrap_mul(x, y):
    """x * y modulo 2**64."""
    return np.int64(np.uint64(x) * np.uint64(y))


def int_div(x, y):
    """Quotient toward zero; x / 0 = 0 and the lowest integer over -1 wraps."""
    if y == 0:
        return np.int64(0)
    if y == -1:
        return wrap_sub(0, x)
    quotient = x // y
    return quotient + 1 if quotient < 0 and quotient * y != x else quotient


def int_rem(x, y):
    """Remainder with the sign of x; x rem 0 = 0."""
    return np.int64(0) if y == 0 or y == -1 else x - int_div(x, y) * y


def uint_div(x, y):
    """Quotient; x / 0 = 0."""
    return np.uint64(0) if y == 0 else x // y


def uint_rem(x, y):
    """Remainder; x rem 0 = 0."""
    return np.uint64(0) if y == 0 else x % y


def shift_left(x, n):
    """x << n; every bit is gone where n is no number of bits."""
    return x << n if 0 <= n < 64 else x ^ x


def shift_right(x, n):
    """x >> n; what is left beyond the width is the sign."""
    return x >> n if 0 <= n < 64 else (x >> 63 if x < 0 else x ^ x)


def count_ones(x):
    """How many bits of an unsigned 64-bit number are set."""
    count = 0
    while x != 0:
        x = x & (x - np.uint64(1))
        count += 1
    return count


def count_leading_zeros(x, width):
    """Zeros in front of the first set bit among the lowest ``width`` bits."""
    while x != 0:
        x = x >> np.uint64(1)
        width -= 1
    return width


def int_pow(x, n):
    """Power by squaring, modulo 2**64; with a negative exponent 0, but 1 for 1 and +-1 for -1."""
    base = np.uint64(x)
    if n < 0:
        odd = n & 1
        return base if x == 1 or (x == -1 and odd) else np.uint64(1 if x == -1 else 0)
    result = np.uint64(1)
    while n != 0:
        if n & 1:
            result = result * base
        base = base * base
        n = n >> 1
    return result


def check_index(i, extent, flag):
    """i limited to [0, extent); raises the kernel's flag when it was outside."""
    if i < 0 or i >= extent:
        flag[0] = 1
    return max(min(i, extent - 1), 0)
'''

_COMPLEX = '''
def complex_div(x, y):
    """Smith's quotient, which neither overflows early nor raises at 0."""
    if abs(y.real) >= abs(y.imag):
        if y.real == 0:
            return complex(x.real / abs(y.real), x.imag / abs(y.real))
        ratio = y.imag / y.real
        scale = y.real + y.imag * ratio
        return complex((x.real + x.imag * ratio) / scale, (x.imag - x.real * ratio) / scale)
    ratio = y.real / y.imag
    scale = y.imag + y.real * ratio
    return complex((x.real * ratio + x.imag) / scale, (x.imag * ratio - x.real) / scale)


def complex_sign(x):
    """x / |x|; 0 at 0."""
    size = abs(x)
    return x if size == 0 else complex(x.real / size, x.imag / size)


def complex_expm1(x):
    """exp(x) - 1, precise near 0."""
    half = math.sin(x.imag / 2)
    real = math.expm1(x.real) * math.cos(x.imag) - (half + half) * half
    imag = math.exp(x.real) * math.sin(x.imag)
    if math.isfinite(real) and math.isfinite(imag):
        return complex(abs(real) if real == 0 else real, imag)
    plain = np.exp(x)
    return complex(plain.real - 1, plain.imag)


def complex_tanh(x):
    """tanh, 1 and -1 far out: products of large numbers are nan there."""
    if math.isinf(x.real):
        return complex(math.copysign(1.0, x.real), math.copysign(0.0, x.imag))
    return np.tanh(x)


def complex_tan(x):
    """tan, 1j and -1j far up and down."""
    if math.isinf(x.imag):
        return complex(math.copysign(0.0, x.real), math.copysign(1.0, x.imag))
    return np.tan(x)
'''

_HALF = '''
def f16_decode(bits):
    """The float16 with these bits, as a float32."""
    magnitude = (np.int64(bits) & 0x7FFF) << 13
    value = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    if magnitude >= 0x7C00 << 13:
        value = np.uint32(magnitude | 0x7F800000).view(np.float32)
    return -value if np.int64(bits) & 0x8000 else value


def f16_encode(x):
    """The bits of a float32 that float16 holds."""
    bits = np.int64(np.float32(x).view(np.uint32))
    magnitude = bits & 0x7FFFFFFF
    if magnitude > 0x7F800000:
        half = 0x7E00
    elif magnitude == 0x7F800000:
        half = 0x7C00
    elif magnitude < 0x38800000:  # below 2**-14, a multiple of 2**-24
        half = np.int64(abs(x) * np.float32(2.0**24))
    else:
        half = (magnitude - 0x38000000) >> 13
    return np.uint16((bits >> 16 & 0x8000) | half)


def f16_round(x):
    """The float16 nearest to a float32, as a float32."""
    bits = np.int64(np.float32(x).view(np.uint32))
    magnitude = bits & 0x7FFFFFFF
    if magnitude < 0x38800000:  # below 2**-14: adding 0.5 rounds to a multiple of 2**-24
        return math.copysign((abs(x) + np.float32(0.5)) - np.float32(0.5), x)
    if magnitude > 0x7F800000:
        return x
    if magnitude >= 0x477FF000:  # 65520 and beyond
        return math.copysign(np.float32(np.inf), x)
    return np.uint32((bits + 0xFFF + (bits >> 13 & 1)) & 0xFFFFE000).view(np.float32)


def f16_round_wide(x):
    """The float16 nearest to a float64, as a float32."""
    size = abs(x)
    if size < 2.0**-14:  # adding 2**28 rounds to a multiple of 2**-24
        return np.float32(math.copysign((size + 2.0**28) - 2.0**28, x))
    if size >= 65520.0 or size != size:
        return np.float32(math.copysign(np.inf, x) if size == size else x)
    bits = np.float64(x).view(np.int64)
    rounded = (bits + 0x1FFFFFFFFFF + (bits >> 42 & 1)) >> 42 << 42
    return np.float32(np.int64(rounded).view(np.float64))


def bf16_decode(bits):
    """The bfloat16 with these bits, as a float32."""
    return np.uint32(np.int64(bits) << 16).view(np.float32)


def bf16_encode(x):
    """The bits of a float32 that bfloat16 holds."""
    return np.uint16(np.int64(np.float32(x).view(np.uint32)) >> 16)


def bf16_round(x):
    """The bfloat16 nearest to a float32, as a float32."""
    bits = np.int64(np.float32(x).view(np.uint32))
    if x != x:
        return np.float32(np.nan)
    return np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def step_16(bits, x, y):
    """The bits next to those of x in the direction of y, for formats of sign and magnitude."""
    if x == 0:
        return np.uint16(0x8001 if y < 0 else 1)
    return np.uint16(np.int64(bits) + (1 if (x < y) == (x > 0) else -1))


def f16_nextafter(x, y):
    if x == y or x != x or y != y:
        return x + y if x != y else y
    return f16_decode(step_16(f16_encode(x), x, y))


def bf16_nextafter(x, y):
    if x == y or x != x or y != y:
        return x + y if x != y else y
    return bf16_decode(step_16(bf16_encode(x), x, y))
'''

_FMA = '''
@intrinsic
def fma(context, a, b, c):
    """a * b + c, rounded once."""

    def build(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, b, c), build
'''

_TO_INTEGER = '''
def to_{name}(x):
    """Toward zero; the nearest {name} beyond the ends; 0 for nan."""
    if x != x:
        return np.{name}(0)
    if x <= {low!r}:
        return np.{name}({least})
    if x >= {high!r}:
        return np.{name}({most})
    return np.{name}(x)
'''

_INTEGER_NAMES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_DECORATOR = '@numba.njit(error_model="numpy")'


def _conversion(name: str) -> str:
    info = np.iinfo(name)
    least, most = int(info.min), int(info.max)
    return _TO_INTEGER.format(name=name, least=least, most=most, low=float(least), high=float(most))


def _functions(*texts: str) -> dict[str, str]:
    """Name -> decorated definition, from texts that hold several definitions at the left margin."""
    found: dict[str, str] = {}
    for text in texts:
        for part in re.split(r"\n(?=def |@)", text):
            name = re.search(r"^def (\w+)", part, re.MULTILINE)
            if name is not None:
                body = part.strip()
                found[name[1]] = body if body.startswith("@") else f"{_DECORATOR}\n{body}"
    return found


HELPERS: dict[str, str] = {
    **_functions(_EXTREMA, _INTEGERS, _COMPLEX, _HALF, *map(_conversion, _INTEGER_NAMES)),
    "fma": _FMA.strip(),
}


def needed(text: str) -> tuple[str, ...]:
    """The helpers that ``text`` calls, directly or through others, each after those it calls
    itself.
    """
    order: dict[str, None] = {}

    def visit(part: str, skip: str = "") -> None:
        for name in re.findall(r"(?<![.\w])(\w+)\(", part):
            if name in HELPERS and name != skip and name not in order:
                visit(HELPERS[name], name)
                order[name] = None

    visit(text)
    return tuple(order)


def definitions(names: Iterable[str]) -> str:
    """The source of these helpers, two blank lines between them."""
    return "\n\n\n".join(HELPERS[name] for name in names)
