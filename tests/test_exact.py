"""Elementary functions with known bits: right to two units in the last place, and the same on every processor."""

import hashlib
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from simgen import exact
from simgen.geometry import Array

RNG = np.random.default_rng(0)
ANGLES = np.concatenate(
    [RNG.uniform(-7, 7, 300), RNG.uniform(-1e5, 1e5, 200), np.arange(-8, 9) * np.pi / 4, [1e-9, -1e-300]]
)
POSITIVE = np.concatenate(
    [np.exp(RNG.uniform(-40, 40, 300)), RNG.uniform(0.4, 2.5, 200), [1.0, 0.5, np.nextafter(1, 2)]]
)
SIGNED = np.concatenate([RNG.uniform(-3, 3, 300), RNG.normal(size=100) * 1e4, [0.0, 1, -1, np.inf, -np.inf]])
EXPONENTS = np.concatenate([RNG.uniform(-30, 30, 400), [0.0, 1, -1, 1e-12]])
UNIT = np.concatenate([RNG.uniform(-1, 1, 300), [1.0, -1, 0, 1 - 1e-12]])
FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[..., object], Array]] = {
    "sine": (exact.sine, mpmath.sin, ANGLES),
    "cosine": (exact.cosine, mpmath.cos, ANGLES),
    "tangent": (exact.tangent, mpmath.tan, RNG.uniform(-1.5, 1.5, 300)),
    "exp": (exact.exp, mpmath.exp, EXPONENTS),
    "log": (exact.log, mpmath.log, POSITIVE),
    "arctan": (exact.arctan, mpmath.atan, SIGNED),
    "arccos": (exact.arccos, mpmath.acos, UNIT),
}


def off(found: Array, truth: list[object]) -> float:
    """The greatest error in units in the last place, of values that are not as good as 0."""
    units = [
        float(abs(mpmath.mpf(float(one)) - two) / max(np.spacing(abs(float(two))), 2e-17))
        for one, two in zip(found, truth, strict=True)
        if np.isfinite(one)
    ]
    return max(units)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_right_to_two_units_in_the_last_place(name: str) -> None:
    function, truth, values = FUNCTIONS[name]
    with mpmath.workprec(200):
        assert off(function(values), [truth(mpmath.mpf(float(x))) for x in values]) < 2


def test_arctan2_in_all_quadrants() -> None:
    y, x = RNG.normal(size=(2, 400))
    with mpmath.workprec(200):
        assert off(exact.arctan2(y, x), [mpmath.atan2(a, b) for a, b in zip(y.tolist(), x.tolist(), strict=True)]) < 2
    axes = exact.arctan2(np.array([0.0, 1, 0, -1, 0]), np.array([1.0, 0, -1, 0, 0]))
    assert axes.tolist() == [0, np.pi / 2, np.pi, -np.pi / 2, 0]


def test_powers_and_products() -> None:
    base, exponent = RNG.uniform(0.1, 9, 300), RNG.uniform(-4, 4, 300)
    np.testing.assert_allclose(exact.power(base, exponent), base**exponent, rtol=1e-14)
    a, b = RNG.normal(size=(5, 1, 4, 3)), RNG.normal(size=(6, 3, 2))
    np.testing.assert_allclose(exact.product(a, b), a @ b, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(exact.norm(b), np.linalg.norm(b, axis=-1), rtol=1e-15)
    np.testing.assert_allclose(exact.dot(b, b[..., ::-1, :]), (b * b[..., ::-1, :]).sum(-1), rtol=1e-13, atol=1e-15)


def test_the_bits_are_known() -> None:
    """A processor that gives others breaks the promise that samples are the same everywhere."""
    x = np.arange(1, 4001) / 257.0
    values = [
        *exact.sine_cosine(x * 37), exact.tangent(x / 12), exact.exp(x - 9), exact.log(x), exact.power(x, x / 7),
        exact.arctan(x - 8), exact.arctan2(x - 8, 5 - x), exact.arccos(x / 16 - 0.5),
        exact.product(x.reshape(-1, 4, 4) / 3, x.reshape(-1, 4, 4) / 7), exact.norm(x.reshape(-1, 4) / 3),
    ]  # fmt: skip
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part, dtype="<f8").tobytes() for part in values)).hexdigest()
    assert digest[:16] == "738708e161779ee0"
