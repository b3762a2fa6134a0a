"""Elementary functions and products of matrices whose last bit no processor changes.

NumPy, BLAS and the C library choose their routines by the processor, and these round differently: on one with AVX-512, NumPy
takes other routines for sine and logarithm. The functions here consist of + - * / and sqrt, one operation at a time, which
IEEE 754 rounds exactly. So a sample has the same bits on every machine. All take and give float64 arrays; results are off by
less than two units in the last place.

The series are those of Taylor after a reduction of the argument (Cody and Waite 1980, "Software Manual for the Elementary
Functions").
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.floating[Any]] | float

# Half of pi in three parts: the first two have 33 bits, so that a product with a whole number below 2^20 is exact.
_HALF_PI = tuple(float.fromhex(part) for part in ("0x1.921fb544p+0", "0x1.0b4611a6p-34", "0x1.3198a2e037073p-69"))
_LN2 = tuple(float.fromhex(part) for part in ("0x1.62e42feep-1", "0x1.a39ef35793c76p-33"))
_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(1, 9))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(2, 10))
_EXP = tuple(1 / math.factorial(k) for k in range(2, 15))
_LOG = tuple(2 / (2 * k + 1) for k in range(1, 12))
_ARCTAN = tuple((-1) ** k / (2 * k + 1) for k in range(1, 13))
_TANGENTS = np.array([0.0, math.sqrt(2) - 1, 1.0])  # of 0, pi / 8 and pi / 4
_LOST = np.array([0.0, -9.667293313452913e-17, 0.0])  # what their rounding lost
_PI_LOST = 1.2246467991473532e-16  # what that of pi lost
_BORDERS = 0.198912367379658, 0.668178637919299  # about those of pi / 16 and 3 pi / 16


def _series(x: Array, coefficients: tuple[float, ...]) -> Array:
    """The polynomial c0 + c1 x + c2 x^2 + ..., by Horner's rule."""
    total = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def sine_cosine(angle: Numbers) -> tuple[Array, Array]:
    """The sine and the cosine of `angle` radians, for angles below a million."""
    x = np.asarray(angle, dtype=np.float64)
    quarters = np.rint(x * (2 / np.pi))
    r = ((x - quarters * _HALF_PI[0]) - quarters * _HALF_PI[1]) - quarters * _HALF_PI[2]
    square = r * r
    sine = r + r * square * _series(square, _SINE)
    half = 0.5 * square
    whole = 1.0 - half
    # What the subtraction loses is added to the small terms.
    cosine = whole + (((1.0 - whole) - half) + square * square * _series(square, _COSINE))
    which = quarters - 4 * np.floor(quarters / 4)
    odd = (which == 1) | (which == 3)
    first, second = np.where(odd, cosine, sine), np.where(odd, sine, cosine)
    return np.where(which >= 2, -first, first), np.where((which == 1) | (which == 2), -second, second)


def sine(angle: Numbers) -> Array:
    return sine_cosine(angle)[0]


def cosine(angle: Numbers) -> Array:
    return sine_cosine(angle)[1]


def tangent(angle: Numbers) -> Array:
    above, below = sine_cosine(angle)
    return np.asarray(above / below)


def exp(x: Numbers) -> Array:
    x = np.asarray(x, dtype=np.float64)
    doublings = np.rint(x * (1 / math.log(2)))
    r = (x - doublings * _LN2[0]) - doublings * _LN2[1]
    return np.asarray(np.ldexp(1.0 + (r + r * r * _series(r, _EXP)), doublings.astype(np.int64)))


def log(x: Numbers) -> Array:
    """The natural logarithm of `x` > 0."""
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), np.where(low, exponent - 1, exponent).astype(np.float64)
    # log m = 2 artanh f
    f = (mantissa - 1) / (mantissa + 1)
    square = f * f
    return np.asarray(exponent * _LN2[0] + (2 * f + (f * square * _series(square, _LOG) + exponent * _LN2[1])))


def power(base: Numbers, exponent: Numbers) -> Array:
    """`base` >= 0 to the power of `exponent`, which for a base of 0 is positive."""
    base = np.asarray(base, dtype=np.float64)
    return np.where(base > 0, exp(np.asarray(exponent, dtype=np.float64) * log(np.where(base > 0, base, 1.0))), 0.0)


def arctan(x: Numbers) -> Array:
    x = np.asarray(x, dtype=np.float64)
    size = np.abs(x)
    steep = size > 1
    ratio = np.where(steep, 1 / np.where(steep, size, 1.0), size)
    step = (ratio > _BORDERS[0]).astype(int) + (ratio > _BORDERS[1])
    near = _TANGENTS[step]
    t = ((ratio - near) - _LOST[step]) / (1 + ratio * near)
    square = t * t
    rest = t + (t * square * _series(square, _ARCTAN) + step * (_PI_LOST / 8))
    eighths = np.where(steep, 4 - step, step) * (np.pi / 8)
    return np.asarray(np.copysign(eighths + np.where(steep, _PI_LOST / 2 - rest, rest), x))


def arctan2(y: Numbers, x: Numbers) -> Array:
    """The angle of (x, y), in (-pi, pi]; 0 of the origin."""
    y, x = np.broadcast_arrays(np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64))
    steep = np.abs(y) > np.abs(x)
    below = np.where(steep, y, x)
    angle = arctan(np.where(steep, x, y) / np.where(below == 0, 1.0, below))
    flat = np.where(x < 0, angle + np.copysign(np.pi, y), angle)
    return np.where(steep, np.copysign(np.pi / 2, y) - angle, flat)


def arccos(x: Numbers) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return arctan2(np.asarray(np.sqrt((1 - x) * (1 + x))), x)


def dot(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> Array:
    """(...) the products of the vectors `a` and `b` (..., n)."""
    a, b = np.asarray(a), np.asarray(b)
    total = a[..., 0] * b[..., 0]
    for k in range(1, a.shape[-1]):
        total = total + a[..., k] * b[..., k]
    return np.asarray(total)


def norm(vectors: Array) -> Array:
    """(...) the lengths of `vectors` (..., n)."""
    return np.asarray(np.sqrt(dot(vectors, vectors)))


def product(a: Array, b: Array) -> Array:
    """(..., n, m) the matrix products of `a` (..., n, k) and `b` (..., k, m)."""
    return dot(a[..., :, None, :], np.swapaxes(b, -1, -2)[..., None, :, :])


# Wichura 1988, "Algorithm AS 241: The Percentage Points of the Normal Distribution", PPND16: for the middle, for the tails
# and for their ends the numerator and the denominator, from the constant on.
_MIDDLE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_END = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def normal_quantile(share: Array) -> Array:
    """The numbers below which a standard normal number is with the probability `share`, in (0, 1)."""
    q = share - 0.5
    r = np.sqrt(-log(np.where(q < 0, share, 1 - share)))

    def ratio(x: Array, parts: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
        return np.asarray(_series(x, parts[0]) / _series(x, parts[1]))

    far = np.where(r <= 5, ratio(r - 1.6, _TAIL), ratio(r - 5, _END))
    return np.where(np.abs(q) <= 0.425, q * ratio(0.180625 - q * q, _MIDDLE), np.copysign(far, q))
