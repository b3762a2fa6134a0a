"""Every kind of distribution against its analytic law and its bounds; every invalid form is refused."""

import colorsys
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simgen.distributions import KINDS, Choice, Constant, parse, parse_words
from simgen.draws import Drawn, Draws
from simgen.errors import ConfigError

FEW = settings(derandomize=True, deadline=None, max_examples=30)
KEY = "randomize.camera.distance"
N = 20000
SURE = 0.001  # the p-value below which a law is refuted; the numbers are the same in every run

HSV = ["hsv", ["uniform", 0, 1], ["uniform", 0, 1], ["uniform", 0, 1]]
WARM = ["hsv", ["uniform", 0, 1], ["uniform", 0, 0.25], ["uniform", 0.85, 1]]

# kind: (leaf, number of numbers), each of them bounded but for the normal distribution
LEAVES: dict[str, tuple[Any, int]] = {
    "constant": (3.5, 1),
    "constant-3": ([1, 2, 3], 3),
    "uniform": (["uniform", -2, 5], 1),
    "uniform-3": (["uniform", [0, 1, 2], [1, 3, 2]], 3),
    "loguniform": (["loguniform", 0.01, 100], 1),
    "loguniform-2": (["loguniform", 1, [2, 8]], 2),
    "normal": (["normal", 10, 2], 1),
    "normal-2": (["normal", [0, 10], [1, 0]], 2),
    "integer": (["integer", -2, 4], 1),
    "choice": (["choice", 1, 5, ["uniform", 7, 9]], 1),
    "choice-3": (["choice", [0, 0, 0], ["uniform", 0.5, 1], HSV], 3),
    "hsv": (HSV, 3),
    "hsv-warm": (WARM, 3),
    "hsv-constant": (["hsv", 0.3, 0.5, 0.8], 3),
    "cap": (["cap", [1, -2, 0.5], 40], 3),
    "cap-sphere": (["cap", [0, 0, -1], 180], 3),
    "cap-point": (["cap", [3, 0, 4], 0], 3),
}


def draws(n: int = N, seed: int = 0) -> Draws:
    return Draws(seed, np.arange(n), KEY)


def samples(leaf: Any, dim: int = 1, n: int = N) -> np.ndarray:
    return parse(leaf, KEY, dim).sample(draws(n))


def refused(leaf: Any, dim: int = 1) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(leaf, KEY, dim)
    message = str(caught.value)
    assert message.startswith(KEY + ":") or message.startswith(KEY + "."), message
    return message


def test_every_kind_is_tested_here() -> None:
    assert set(KINDS) == {name.split("-")[0] for name in LEAVES} - {"constant"}


# ---- laws


def test_constant() -> None:
    assert (samples(2.5) == 2.5).all()
    assert np.array_equal(samples([1, 2, 3], 3, 4), [[1, 2, 3]] * 4)
    assert np.array_equal(samples(7, 3, 2), np.full((2, 3), 7))  # one number stands for all


def test_uniform() -> None:
    assert stats.kstest(samples(["uniform", -2, 5])[:, 0], stats.uniform(-2, 7).cdf).pvalue > SURE
    three = samples(["uniform", [0, 1, 2], [1, 3, 2]], 3)
    assert stats.kstest(three[:, 0], stats.uniform(0, 1).cdf).pvalue > SURE
    assert stats.kstest(three[:, 1], stats.uniform(1, 2).cdf).pvalue > SURE
    assert (three[:, 2] == 2).all()
    assert abs(np.corrcoef(three[:, 0], three[:, 1])[0, 1]) < 4 / math.sqrt(N)
    numbers = samples(["uniform", 0, 1], 3)  # one pair of ends, three numbers that differ
    assert abs(np.corrcoef(numbers.T)[np.triu_indices(3, 1)]).max() < 4 / math.sqrt(N)


def test_loguniform() -> None:
    assert stats.kstest(samples(["loguniform", 0.01, 100])[:, 0], stats.loguniform(0.01, 100).cdf).pvalue > SURE
    two = samples(["loguniform", 1, [2, 8]], 2)
    assert stats.kstest(two[:, 1], stats.loguniform(1, 8).cdf).pvalue > SURE


def test_normal() -> None:
    assert stats.kstest(samples(["normal", 10, 2])[:, 0], stats.norm(10, 2).cdf).pvalue > SURE
    two = samples(["normal", [0, 10], [1, 0]], 2)
    assert stats.kstest(two[:, 0], "norm").pvalue > SURE
    assert (two[:, 1] == 10).all()


def test_integer_has_both_ends() -> None:
    numbers = samples(["integer", -2, 4])[:, 0]
    values, counts = np.unique(numbers, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2, 3, 4]
    assert stats.chisquare(counts).pvalue > SURE
    assert (samples(["integer", 3, 3]) == 3).all()


def test_choice_is_equally_likely_and_each_option_keeps_its_law() -> None:
    numbers = samples(["choice", 1, 5, ["uniform", 7, 9]])[:, 0]
    third = numbers[numbers >= 7]
    assert stats.chisquare([(numbers == 1).sum(), (numbers == 5).sum(), len(third)]).pvalue > SURE
    assert stats.kstest(third, stats.uniform(7, 2).cdf).pvalue > SURE
    twice = samples(["choice", 1, 1, 5])[:, 0]  # repetition weighs
    assert stats.chisquare([(twice == 1).sum(), (twice == 5).sum()], [N * 2 / 3, N / 3]).pvalue > SURE


def test_options_of_a_choice_draw_from_paths_of_their_own() -> None:
    """Replacing one option leaves the samples that chose another bit-identical."""
    left = samples(["choice", ["uniform", 0, 1], ["uniform", 2, 3]])[:, 0]
    right = samples(["choice", ["normal", 50, 1], ["uniform", 2, 3]])[:, 0]
    second = (left >= 2) & (left <= 3)
    assert np.array_equal(left[second], right[second])
    assert (right[~second] > 40).all()
    # The options' numbers are not functions of each other.
    both = parse(["choice", ["uniform", 0, 1], ["uniform", 0, 1]], KEY)
    assert isinstance(both, Choice)
    first, other = (option.sample(draws() / k)[:, 0] for k, option in enumerate(both.options))
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("leaf", [HSV, WARM, ["hsv", ["choice", 0, 1, 0.5], ["integer", 0, 1], 0.7]])
def test_hsv_is_what_colorsys_makes_of_its_parts(leaf: list[Any]) -> None:
    rgb = samples(leaf, 3, 500)
    parts = [parse(part, KEY).sample(draws(500) / name)[:, 0] for part, name in zip(leaf[1:], "hsv", strict=True)]
    expected = [colorsys.hsv_to_rgb(*hsv) for hsv in zip(*parts, strict=True)]
    assert np.allclose(rgb, expected, rtol=0, atol=1e-14)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


@FEW
@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_hsv_constants_equal_colorsys(hsv: tuple[float, float, float]) -> None:
    assert np.allclose(samples(["hsv", *hsv], 3, 1)[0], colorsys.hsv_to_rgb(*hsv), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("axis", "angle"), [([1, -2, 0.5], 40), ([0, 0, 1], 90), ([0, 0, -3], 10), ([0, 1, 0], 180)])
def test_cap_is_uniform_on_the_sphere_around_its_axis(axis: list[float], angle: float) -> None:
    vectors = samples(["cap", axis, angle], 3)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-12)
    axis = np.array(axis) / np.linalg.norm(axis)
    height, low = vectors @ axis, math.cos(math.radians(angle))
    assert stats.kstest(height, stats.uniform(low, 1 - low).cdf).pvalue > SURE
    side = np.cross(axis, [0.6, 0, 0.8])
    side /= np.linalg.norm(side)
    turn = np.arctan2(vectors @ np.cross(axis, side), vectors @ side)
    assert stats.kstest(turn, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > SURE
    assert abs(np.corrcoef(height, turn)[0, 1]) < 4 / math.sqrt(N)


def test_cap_of_no_angle_is_its_axis() -> None:
    assert np.allclose(samples(["cap", [3, 0, 4], 0], 3, 5), [0.6, 0, 0.8], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LEAVES)
def test_support_holds_all_samples_and_is_reached(name: str) -> None:
    leaf, dim = LEAVES[name]
    distribution = parse(leaf, KEY, dim)
    assert distribution.dim == dim
    low, high = distribution.support()
    assert low.shape == high.shape == (dim,)
    numbers = distribution.sample(draws())
    assert numbers.shape == (N, dim)
    assert numbers.dtype == np.float64
    assert (numbers >= low - 1e-12).all()
    assert (numbers <= high + 1e-12).all()
    if not name.startswith("normal"):
        # 0.05 of the range: a corner of a color cube is reached that closely by 20000 samples.
        assert (numbers.min(axis=0) <= low + 0.05 * (high - low) + 1e-12).all(), f"{low} is less than any sample"
        assert (numbers.max(axis=0) >= high - 0.05 * (high - low) - 1e-12).all(), f"{high} is more than any sample"


def test_normal_support_is_what_draws_can_reach() -> None:
    """A normal leaf may leave its support in no sample: bounds are checked once, on the support."""
    low, high = parse(["normal", 10, 2], KEY).support()
    least = 10 + 2 * stats.norm.ppf(2.0**-33)
    assert low[0] <= least
    assert high[0] >= 10 - (least - 10)
    assert high[0] - low[0] < 2 * 2 * 6.5


@pytest.mark.parametrize("name", LEAVES)
def test_each_sample_depends_on_its_index_alone(name: str) -> None:
    leaf, dim = LEAVES[name]
    distribution = parse(leaf, KEY, dim)
    whole = distribution.sample(draws(50))
    backwards = distribution.sample(Draws(0, np.arange(50)[::-1], KEY))
    assert np.array_equal(backwards[::-1], whole)
    for i in (0, 17, 49):
        assert np.array_equal(distribution.sample(Draws(0, np.array([i]), KEY))[0], whole[i])


@pytest.mark.parametrize("name", LEAVES)
def test_no_path_is_drawn_from_twice(name: str) -> None:
    leaf, dim = LEAVES[name]
    trace: list[Drawn] = []
    parse(leaf, KEY, dim).sample(Draws(0, np.arange(100), KEY, trace=trace))
    paths = [drawn.path for drawn in trace]
    assert len(paths) == len(set(paths))
    assert all(path.startswith(KEY) for path in paths)
    assert bool(paths) != name.startswith(("constant", "hsv-constant"))


@pytest.mark.parametrize("name", LEAVES)
def test_what_is_drawn_depends_on_no_number(name: str) -> None:
    leaf, dim = LEAVES[name]
    traces: list[list[Drawn]] = []
    for index in (np.arange(0), np.arange(1), np.arange(5, 200)):
        traces.append([])
        numbers = parse(leaf, KEY, dim).sample(Draws(0, index, KEY, trace=traces[-1]).lanes(range(3)))
        assert numbers.shape == (3 * len(index), dim)
    assert traces[0] == traces[1] == traces[2]


@pytest.mark.parametrize("name", LEAVES)
def test_lanes_are_independent_of_each_other_and_of_their_number(name: str) -> None:
    leaf, dim = LEAVES[name]
    distribution = parse(leaf, KEY, dim)
    many = distribution.sample(draws(50).lanes(range(4))).reshape(4, 50, dim)
    assert np.array_equal(distribution.sample(draws(50).lanes(range(2))).reshape(2, 50, dim), many[:2])
    assert np.array_equal(distribution.sample(draws(50).lanes([3])), many[3])
    assert np.array_equal(distribution.sample(draws(50)), many[0])
    if not name.startswith(("constant", "hsv-constant", "cap-point")):
        assert not np.array_equal(many[0], many[1])


@FEW
@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_uniform_stays_within_any_ends(low: float, width: float) -> None:
    numbers = samples(["uniform", low, low + width], 1, 200)
    assert (numbers >= low).all()
    assert (numbers <= low + width).all()


# ---- what is refused


@pytest.mark.parametrize(
    ("leaf", "dim", "message"),
    [
        # kinds
        (["unifrom", 0, 1], 1, "unknown kind 'unifrom'"),
        (["Uniform", 0, 1], 1, "expected one of uniform, loguniform, normal, integer, choice, hsv, cap"),
        (["uniform"], 1, "[uniform, low, high]"),
        (["uniform", 1], 1, "[uniform, low, high]"),
        (["uniform", 0, 1, 2], 1, "[uniform, low, high]"),
        # ends
        (["uniform", 2, 1], 1, "swap"),
        (["uniform", [0, 2], [1, 1]], 2, "swap"),
        (["loguniform", 2, 1], 1, "swap"),
        (["loguniform", 0, 1], 1, "above 0"),
        (["loguniform", -1, 1], 1, "above 0"),
        (["normal", 0, -1], 1, "negative"),
        (["normal", [0, 0], [1, -1]], 2, "negative"),
        (["integer", 0.5, 2], 1, "whole"),
        (["integer", 0, 2.5], 1, "whole"),
        (["integer", 3, 2], 1, "swap"),
        # what is no number
        (math.nan, 1, "number or [kind, arguments...]"),
        (math.inf, 1, "number or [kind, arguments...]"),
        (-math.inf, 1, "number or [kind, arguments...]"),
        (None, 1, "number or [kind, arguments...]"),
        ("0.5", 1, "'0.5'"),
        ("uniform", 1, "'uniform'"),
        ({"low": 1}, 1, "number or [kind, arguments...]"),
        (["uniform", math.nan, 1], 1, "nan"),
        (["uniform", 0, math.inf], 1, "inf"),
        (["normal", 0, math.nan], 1, "nan"),
        (["integer", 0, math.inf], 1, "inf"),
        (["uniform", "0", 1], 1, "'0'"),
        (["uniform", None, 1], 1, "None"),
        (["uniform", [[0]], 1], 1, "[uniform, low, high]"),
        (["uniform", {"a": 1}, 1], 1, "[uniform, low, high]"),
        (["uniform", ["uniform", 0, 1], 2], 1, "[uniform, low, high]"),
        # dimensions
        ([1, 2], 1, "number or [kind, arguments...]"),
        ([1, 2], 3, "numbers or [kind, arguments...]"),
        ([], 1, "number or [kind, arguments...]"),
        ([], 3, "numbers or [kind, arguments...]"),
        ([1, 2, "x"], 3, "numbers or [kind, arguments...]"),
        ([[1, 2, 3]], 3, "numbers or [kind, arguments...]"),
        (["uniform", [0, 0], [1, 1]], 3, "expected 3 numbers, got 2"),
        (["uniform", [0, 0, 0], [1, 1, 1]], 1, "expected 1 numbers, got 3"),
        (["integer", [0, 0], 1], 2, "[integer, low, high]"),
        (["integer", 0, 2**32], 1, "more than 2^32"),
        # choice
        (["choice"], 1, "nothing to choose from"),
        (["choice", 1, "x"], 1, "'x'"),
        (["choice", 1, ["uniform", 2, 1]], 1, "swap"),
        (["choice", [0, 0, 0], [1, 1]], 3, "numbers or [kind, arguments...]"),
        # colors and directions
        (["hsv", 0, 1], 3, "[hsv, hue, saturation, value]"),
        (["hsv", 0, 1, 1], 1, "color"),
        (["hsv", 0, 1, ["uniform", 0, 1.1]], 3, "v leaves [0, 1]"),
        (["hsv", 0, -0.1, 1], 3, "s leaves [0, 1]"),
        (["hsv", 0, ["normal", 0.5, 0.1], 1], 3, "s leaves [0, 1]"),
        (["hsv", ["uniform", 1, 0], 1, 1], 3, "swap"),
        (["hsv", "red", 1, 1], 3, "'red'"),
        (["cap", [0, 0, 0], 10], 3, "axis that is not 0"),
        (["cap", [0, 0], 10], 3, "expected 3 numbers, got 2"),
        (["cap", [0, 0, 1], -1], 3, "[0, 180]"),
        (["cap", [0, 0, 1], 181], 3, "[0, 180]"),
        (["cap", [0, 0, 1], 10], 1, "direction"),
        (["cap", [0, 0, 1]], 3, "[cap, [x, y, z], angle_deg]"),
    ],
)
def test_what_is_wrong_is_refused_by_its_full_key(leaf: Any, dim: int, message: str) -> None:
    assert message in refused(leaf, dim)


def test_a_message_repeats_what_was_written() -> None:
    assert "['uniform', 2, 1]" in refused(["uniform", 2, 1])
    for kind, (_, usage) in KINDS.items():
        assert usage.startswith(f"[{kind}, ")
        assert usage in refused([kind] if kind == "choice" else [kind, {}, {}, {}, {}], 3)


# ---- words


WORDS = ("flat", "gradient", "checker")


def test_words_become_their_places() -> None:
    assert parse_words("checker", KEY, WORDS) == Constant((2.0,))
    assert parse_words(["choice", "gradient"], KEY, WORDS) == Constant((1.0,))
    numbers = parse_words(["choice", "flat", "flat", "checker"], KEY, WORDS).sample(draws())[:, 0]
    counts = [(numbers == k).sum() for k in range(3)]
    assert counts[1] == 0
    assert stats.chisquare([counts[0], counts[2]], [N * 2 / 3, N / 3]).pvalue > SURE


@pytest.mark.parametrize(
    "leaf", ["wood", ["choice", "flat", "wood"], ["flat", "checker"], ["choice"], 1, None, [], ["choice", ["flat"]]]
)
def test_unknown_words_are_refused_with_the_options(leaf: Any) -> None:
    with pytest.raises(ConfigError, match=r"flat, gradient, checker") as caught:
        parse_words(leaf, KEY, WORDS)
    assert str(caught.value).startswith(KEY + ":")
