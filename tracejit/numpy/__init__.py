"""NumPy's namespace on tracejit's Arrays: the same names, argument order and meaning.

    >>> import tracejit.numpy as jnp
    >>> jnp.linspace(0, 1, 3) @ jnp.ones(3)
    Array(1.5, dtype=float32)

Creation functions default to ``config.default_float`` and
``config.default_int``.
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit.frontend import axes as _axes
from tracejit.frontend import eager as _eager
from tracejit.frontend.array import Array
from tracejit.frontend.creation import (
    arange,
    array,
    asarray,
    eye,
    full,
    full_like,
    ones,
    ones_like,
    tri,
    tril,
    triu,
    zeros,
    zeros_like,
)
from tracejit.frontend.elementwise import (
    absolute,
    add,
    angle,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    bitwise_and,
    bitwise_count,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cbrt,
    ceil,
    clip,
    conjugate,
    copysign,
    cos,
    cosh,
    divide,
    divmod,
    equal,
    exp,
    exp2,
    expm1,
    float_power,
    floor,
    floor_divide,
    fmod,
    greater,
    greater_equal,
    imag,
    isfinite,
    isinf,
    isnan,
    isneginf,
    isposinf,
    left_shift,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    power,
    real,
    reciprocal,
    remainder,
    right_shift,
    rint,
    round,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
)
from tracejit.frontend.indexing import take, take_along_axis
from tracejit.frontend.linear import (
    cross,
    dot,
    inner,
    kron,
    matmul,
    matvec,
    outer,
    tensordot,
    trace,
    vdot,
    vecdot,
    vecmat,
)
from tracejit.frontend.methods import astype, copy
from tracejit.frontend.ordering import (
    argsort,
    compress,
    lexsort,
    nonzero,
    repeat,
    searchsorted,
    sort,
)
from tracejit.frontend.reductions import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    max,
    mean,
    min,
    prod,
    ptp,
    std,
    sum,
    var,
)
from tracejit.frontend.shaping import (
    broadcast_to,
    concatenate,
    diagonal,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    ravel,
    reshape,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
)
from tracejit.numpy import exceptions, fft, lib, linalg, polynomial, random, testing
from tracejit.numpy import extras as _extras
from tracejit.numpy import into as _into
from tracejit.numpy import ufuncs as _ufuncs
from tracejit.numpy.contraction import einsum, einsum_path
from tracejit.numpy.dtypes import (
    bfloat16,
    bool_,
    can_cast,
    cdouble,
    complex64,
    complex128,
    complex_,
    csingle,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    float_,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    int_,
    iscomplexobj,
    isdtype,
    isrealobj,
    isscalar,
    issubdtype,
    promote_types,
    result_type,
    single,
    uint,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tracejit.numpy.elementwise import (
    allclose,
    array_equal,
    array_equiv,
    choose,
    deg2rad,
    fabs,
    fmax,
    fmin,
    frexp,
    gcd,
    heaviside,
    hypot,
    i0,
    isclose,
    iscomplex,
    isreal,
    lcm,
    ldexp,
    logaddexp,
    logaddexp2,
    modf,
    nan_to_num,
    piecewise,
    rad2deg,
    select,
    sinc,
    spacing,
    unwrap,
    where,
)
from tracejit.numpy.extras import *  # noqa: F403
from tracejit.numpy.fitting import polyfit, roots
from tracejit.numpy.functional import (
    apply_along_axis,
    apply_over_axes,
    array_repr,
    array_str,
    fromfile,
    load,
    save,
    savez,
    vectorize,
)
from tracejit.numpy.histograms import (
    bincount,
    digitize,
    histogram,
    histogram2d,
    histogram_bin_edges,
    histogramdd,
)
from tracejit.numpy.host import (
    copyto,
    errstate,
    genfromtxt,
    geterr,
    loadtxt,
    ndenumerate,
    ndindex,
    putmask,
    savetxt,
    seterr,
)
from tracejit.numpy.info import __array_api_version__ as __array_api_version__
from tracejit.numpy.info import __array_namespace_info__ as __array_namespace_info__
from tracejit.numpy.joining import (
    append,
    array_split,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block,
    broadcast_arrays,
    broadcast_shapes,
    column_stack,
    delete,
    diag,
    diagflat,
    dsplit,
    dstack,
    fill_diagonal,
    fliplr,
    flipud,
    hsplit,
    hstack,
    insert,
    pad,
    resize,
    roll,
    rollaxis,
    rot90,
    split,
    unstack,
    vsplit,
    vstack,
)
from tracejit.numpy.picking import (
    argpartition,
    argwhere,
    extract,
    flatnonzero,
    packbits,
    partition,
    place,
    put,
    put_along_axis,
    sort_complex,
    unpackbits,
)
from tracejit.numpy.quantiles import (
    median,
    nanmedian,
    nanpercentile,
    nanquantile,
    percentile,
    quantile,
)
from tracejit.numpy.ranges import (
    bartlett,
    blackman,
    c_,
    diag_indices,
    diag_indices_from,
    empty,
    empty_like,
    from_dlpack,
    frombuffer,
    fromfunction,
    fromiter,
    fromstring,
    geomspace,
    hamming,
    hanning,
    identity,
    index_exp,
    indices,
    ix_,
    kaiser,
    linspace,
    logspace,
    mask_indices,
    meshgrid,
    mgrid,
    ogrid,
    r_,
    ravel_multi_index,
    s_,
    tril_indices,
    tril_indices_from,
    triu_indices,
    triu_indices_from,
    unravel_index,
    vander,
)
from tracejit.numpy.series import (
    convolve,
    correlate,
    diff,
    ediff1d,
    gradient,
    interp,
    poly,
    polyadd,
    polyder,
    polydiv,
    polyint,
    polymul,
    polysub,
    polyval,
    trapezoid,
    trim_zeros,
)
from tracejit.numpy.setops import (
    intersect1d,
    isin,
    setdiff1d,
    setxor1d,
    union1d,
    unique,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from tracejit.numpy.statistics import (
    average,
    corrcoef,
    cov,
    cumulative_prod,
    cumulative_sum,
    nanargmax,
    nanargmin,
    nancumprod,
    nancumsum,
    nanmax,
    nanmean,
    nanmin,
    nanprod,
    nanstd,
    nansum,
    nanvar,
)
from tracejit.numpy.ufuncs import frompyfunc, ufunc

# abstract families of dtypes and printing are NumPy's own
ComplexWarning = np.exceptions.ComplexWarning
character = np.character
complexfloating = np.complexfloating
flexible = np.flexible
floating = np.floating
generic = np.generic
get_printoptions = np.get_printoptions
inexact = np.inexact
integer = np.integer
iterable = np.iterable
number = np.number
object_ = np.object_
printoptions = np.printoptions
set_printoptions = np.set_printoptions
signedinteger = np.signedinteger
unsignedinteger = np.unsignedinteger

__version__ = np.__version__  # of the NumPy whose meaning the names have
e = np.e
euler_gamma = np.euler_gamma
inf = np.inf
nan = np.nan
newaxis = None
pi = np.pi

abs = absolute
acos = arccos
acosh = arccosh
asin = arcsin
asinh = arcsinh
atan = arctan
atan2 = arctan2
atanh = arctanh
amax = max
amin = min
around = round
bitwise_invert = bitwise_not
bitwise_left_shift = left_shift
bitwise_right_shift = right_shift
bool = bool_
concat = concatenate
conj = conjugate
degrees = rad2deg
radians = deg2rad
invert = bitwise_not
mod = remainder
ndarray = Array
permute_dims = transpose
pow = power
true_divide = divide


def ndim(a: Any) -> int:
    """How many axes ``a`` has."""
    return asarray(a).ndim


def shape(a: Any) -> tuple[int, ...]:
    """The sizes of the axes of ``a``."""
    return asarray(a).shape


def size(a: Any, axis: Any = None) -> int:
    """How many elements ``a`` has, in all, along one axis or along several.

    >>> jnp.size(jnp.ones((2, 3, 4)), axis=(0, 2))
    8
    """
    shape = np.shape(a) if isinstance(a, list | tuple) else asarray(a).shape
    return _math.prod(shape[k] for k in _axes.axes_tuple("size", axis, len(shape)))


def __getattr__(name: str) -> Any:
    if name in ("ma", "poly1d"):  # NumPy's own, which read Arrays as NumPy arrays
        return getattr(np, name)
    hint = _extras.about_missing(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}" + (hint and f": {hint}"))


# fmt: off
__all__ = [
    "Array", "ComplexWarning", "abs", "absolute", "acos", "acosh", "add", "all", "allclose",
    "amax", "amin", "angle", "any", "append", "apply_along_axis", "apply_over_axes", "arange",
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax",
    "argmin", "argpartition", "argsort", "argwhere", "around", "array", "array_equal",
    "array_equiv", "array_repr", "array_split", "array_str", "asarray", "asin", "asinh",
    "astype", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d", "atleast_3d", "average",
    "bartlett", "bfloat16", "bincount", "bitwise_and", "bitwise_count", "bitwise_invert",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "blackman", "block", "bool", "bool_", "broadcast_arrays", "broadcast_shapes",
    "broadcast_to", "c_", "can_cast", "cbrt", "cdouble", "ceil", "character", "choose", "clip",
    "column_stack", "complex128", "complex64", "complex_", "complexfloating", "compress",
    "concat", "concatenate", "conj", "conjugate", "convolve", "copy", "copysign", "copyto",
    "corrcoef", "correlate", "cos", "cosh", "count_nonzero", "cov", "cross", "csingle",
    "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "deg2rad", "degrees", "delete",
    "diag", "diag_indices", "diag_indices_from", "diagflat", "diagonal", "diff", "digitize",
    "divide", "divmod", "dot", "double", "dsplit", "dstack", "dtype", "e", "ediff1d", "einsum",
    "einsum_path", "empty", "empty_like", "equal", "errstate", "euler_gamma", "exp", "exp2",
    "expand_dims", "expm1", "extract", "eye", "fabs", "fft", "fill_diagonal", "finfo",
    "flatnonzero", "flexible", "flip", "fliplr", "flipud", "float16", "float32", "float64",
    "float_", "float_power", "floating", "floor", "floor_divide", "fmax", "fmin", "fmod",
    "frexp", "from_dlpack", "frombuffer", "fromfile", "fromfunction", "fromiter", "frompyfunc",
    "fromstring", "full", "full_like", "gcd", "generic", "genfromtxt", "geomspace",
    "get_printoptions", "geterr", "gradient", "greater", "greater_equal", "hamming", "hanning",
    "heaviside", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd", "hsplit",
    "hstack", "hypot", "i0", "identity", "iinfo", "imag", "index_exp", "indices", "inexact",
    "inf", "inner", "insert", "int16", "int32", "int64", "int8", "int_", "integer", "interp",
    "intersect1d", "invert", "isclose", "iscomplex", "iscomplexobj", "isdtype", "isfinite",
    "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "isrealobj", "isscalar",
    "issubdtype", "iterable", "ix_", "kaiser", "kron", "lcm", "ldexp", "left_shift", "less",
    "less_equal", "lexsort", "linalg", "linspace", "load", "loadtxt", "log", "log10", "log1p",
    "log2", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logspace", "mask_indices", "matmul", "matrix_transpose", "matvec", "max",
    "maximum", "mean", "median", "meshgrid", "mgrid", "min", "minimum", "mod", "modf",
    "moveaxis", "multiply", "nan", "nan_to_num", "nanargmax", "nanargmin", "nancumprod",
    "nancumsum", "nanmax", "nanmean", "nanmedian", "nanmin", "nanpercentile", "nanprod",
    "nanquantile", "nanstd", "nansum", "nanvar", "ndarray", "ndenumerate", "ndim", "ndindex",
    "negative", "newaxis", "nextafter", "nonzero", "not_equal", "number", "object_", "ogrid",
    "ones", "ones_like", "outer", "packbits", "pad", "partition", "percentile", "permute_dims",
    "pi", "piecewise", "place", "poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint",
    "polymul", "polysub", "polyval", "positive", "pow", "power", "printoptions", "prod",
    "promote_types", "ptp", "put", "put_along_axis", "putmask", "quantile", "r_", "rad2deg",
    "radians", "random", "ravel", "ravel_multi_index", "real", "reciprocal", "remainder",
    "repeat", "reshape", "resize", "result_type", "right_shift", "rint", "roll", "rollaxis",
    "roots", "rot90", "round", "s_", "save", "savetxt", "savez", "searchsorted", "select",
    "set_printoptions", "setdiff1d", "seterr", "setxor1d", "shape", "sign", "signbit",
    "signedinteger", "sin", "sinc", "single", "sinh", "size", "sort", "sort_complex",
    "spacing", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum",
    "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "trace",
    "transpose", "trapezoid", "tri", "tril", "tril_indices", "tril_indices_from", "trim_zeros",
    "triu", "triu_indices", "triu_indices_from", "true_divide", "trunc", "ufunc", "uint",
    "uint16", "uint32", "uint64", "uint8", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "unpackbits", "unravel_index", "unsignedinteger",
    "unstack", "unwrap", "vander", "var", "vdot", "vecdot", "vecmat", "vectorize", "vsplit",
    "vstack", "where", "zeros", "zeros_like",
]
# fmt: on
__all__ += [*_extras.__all__, "exceptions", "lib", "polynomial", "testing"]

#: what reads files or settings of NumPy's, or writes into its arguments
_OTHERS = (
    *("array_repr", "array_str", "copyto", "errstate", "fill_diagonal", "fromfile", "genfromtxt"),
    *("get_printoptions", "geterr", "load", "loadtxt", "place", "printoptions", "put", "putmask"),
    *("save", "savetxt", "savez", "savez_compressed", "set_printoptions", "seterr"),
)

_ufuncs.with_methods(globals())
_errors.user_functions(globals(), _eager.remembering(*_OTHERS, around=_into.writing))
