"""Draws against the published vectors of its generator, a second implementation, and its documented properties."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simgen.draws import _MANY, Drawn, Draws, philox

FEW = settings(derandomize=True, deadline=None, max_examples=20)
ONES, WORD = 2**64 - 1, 2**32 - 1

# Random123's known answers (tests/kat_vectors, philox4x64 with 10 rounds): counter, key, result.
VECTORS = [
    (
        [0, 0, 0, 0],
        [0, 0],
        [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B],
    ),
    (
        [ONES] * 4,
        [ONES] * 2,
        [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0],
    ),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        [0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6],
    ),
]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 of one counter, in Python's integers: the paper's recurrence, word by word."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & ONES, (p0 >> 64) ^ c3 ^ k1, p0 & ONES
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & ONES, (k1 + 0xBB67AE8584CAA73B) & ONES
    return [c0, c1, c2, c3]


def plain_words(seed: int, path: str, index: int, lane: int, n: int) -> list[int]:
    """What Draws.words promises of one sample: key of "seed:path", counter (1 + index div 8, k, lane, 0), and of the eight
    halves, the lower one of each word first, half index mod 8."""
    digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=16).digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")]
    words = [plain_philox([1 + index // 8, k, lane, 0], key)[index % 8 // 2] for k in range(n)]
    return [word >> 32 if index % 2 else word & WORD for word in words]


def draws(index: object, seed: int = 0, path: str = "camera/distance") -> Draws:
    return Draws(seed, np.asarray(index, dtype=np.int64), path)


class Extreme(Draws):
    """Draws whose every random bit is `bit`."""

    bit = 0

    def words(self, n: int) -> np.ndarray:
        return np.full((len(self.index), n), WORD * self.bit, np.uint32)


class Ones(Extreme):
    bit = 1


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_philox_meets_the_published_vectors(counter: list[int], key: list[int], result: list[int]) -> None:
    assert plain_philox(counter, key) == result
    counters, keys = (np.array(words, np.uint64).view(np.int64)[:, None] for words in (counter, key))
    assert np.stack(philox(counters, keys)).view(np.uint64).T.tolist() == [result]


@FEW
@given(
    seed=st.integers(-(2**70), 2**70),
    index=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5),
    lane=st.integers(0, 2**63),
    n=st.integers(1, 11),
)
def test_words_equal_the_plain_implementation(seed: int, index: list[int], lane: int, n: int) -> None:
    words = Draws(seed, np.array(index), "a/b").lanes([lane]).words(n)
    assert words.tolist() == [plain_words(seed, "a/b", i, lane, n) for i in index]


def test_uniform_has_the_32_bits_of_a_word() -> None:
    words = draws([5, 2**40]).words(6).astype(object)
    assert draws([5, 2**40]).uniform(6).tolist() == [[word / 2**32 for word in row] for row in words]
    ends = np.array([-1.0, 0.0, 3.0]), np.array([1.0, 1e-9, 3.0])
    between = draws(range(9)).between(*ends)
    assert between.tolist() == (ends[0] + (ends[1] - ends[0]) * draws(range(9)).uniform(3)).tolist()


def test_the_ends_of_uniform_normal_and_integers() -> None:
    """All bits 0 and all bits 1: uniform stays in [0, 1), integers below the bound, normal finite and symmetric."""
    low, high = Extreme(0, np.array([0])), Ones(0, np.array([0]))
    assert low.uniform().item() == 0
    assert high.uniform().item() == 1 - 2.0**-32
    assert low.between(np.array([2.0]), np.array([5.0])).item() == 2
    assert 5 - 1e-9 < high.between(np.array([2.0]), np.array([5.0])).item() < 5
    for bound in (1, 3, 10**6, 2**31 + 1, 2**32):
        assert low.integers(bound).item() == 0
        assert high.integers(bound).item() == bound - 1
    assert low.normal().item() == pytest.approx(stats.norm.ppf(2.0**-33))
    assert high.normal().item() == pytest.approx(-low.normal().item(), rel=1e-7)


@FEW
@given(index=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8), seed=st.integers(0, 2**64))
def test_a_sample_alone_is_the_sample_in_any_batch(index: list[int], seed: int) -> None:
    whole = draws(index, seed)
    numbers = whole.uniform(3)
    assert np.array_equal(draws(index[::-1], seed).uniform(3), numbers[::-1])
    for row, i in enumerate(index):
        assert np.array_equal(draws([i], seed).uniform(3)[0], numbers[row])
    keep = np.arange(len(index)) % 2 == 0
    assert np.array_equal(whole.at(keep).uniform(3), numbers[keep])


def test_more_numbers_leave_the_first_ones_as_they_were() -> None:
    for name in ("words", "uniform", "normal"):
        many = getattr(draws(range(7)), name)(9)
        for n in range(1, 9):
            assert np.array_equal(getattr(draws(range(7)), name)(n), many[:, :n])


def test_lanes_do_not_depend_on_their_number() -> None:
    lanes = draws([4, 9]).lanes(range(5))
    words = lanes.words(3).reshape(5, 2, 3)  # all samples' first lane, then all samples' second
    assert words.tolist() == [[plain_words(0, "camera/distance", i, j, 3) for i in (4, 9)] for j in range(5)]
    assert np.array_equal(draws([4, 9]).lanes(range(2)).words(3).reshape(2, 2, 3), words[:2])
    assert np.array_equal(draws([4, 9]).lanes([4, 1]).words(3).reshape(2, 2, 3), words[[4, 1]])
    assert np.array_equal(draws([4, 9]).lanes([0]).words(3), draws([4, 9]).words(3))
    assert np.array_equal(lanes.at([1]).words(3), words[:, 1])
    assert lanes.at([1, 1, 0]).words(3).reshape(5, 3, 3).tolist() == words[:, [1, 1, 0]].tolist()
    assert (lanes / "x").at([1]).words(2)[1].tolist() == plain_words(0, "camera/distance/x", 9, 1, 2)
    assert draws([4, 9]).lanes([]).words(3).shape == draws([4, 9]).lanes([]).uniform(3).shape == (0, 3)


@FEW
@given(
    index=st.lists(st.integers(0, 2000), min_size=1, max_size=40),
    ends=st.tuples(st.integers(0, 3000), st.integers(0, 700)),
)
def test_ranges_gaps_and_repeats_are_read_right(index: list[int], ends: tuple[int, int]) -> None:
    """However the samples lie in Philox's counters: side by side, a few or many counters apart, twice, backwards."""
    near = np.arange(ends[0], ends[0] + ends[1])
    for batch in (np.array(index), near, near[::-1], near + 2**62, np.concatenate([near, index, near])):
        words = draws(batch).words(1)[:, 0]
        few = np.arange(len(batch))[:: max(1, len(batch) // 16)]
        assert words[few].tolist() == [plain_words(0, "camera/distance", int(batch[k]), 0, 1)[0] for k in few]


@pytest.mark.parametrize("index", [[0], [5, 6], [4, 9, 77, 2**62, 77, 1], range(3, 60)])
def test_many_numbers_begin_with_the_few(index: list[int]) -> None:
    """Many at once come from array operations, few from NumPy's generator: the same words."""
    one = draws(list(index)).lanes([0, 7, 2**63])
    many = one.words(2 * _MANY)
    assert np.array_equal(many[:, :5], one.words(5))
    assert many[-1].tolist() == plain_words(0, "camera/distance", index[-1], 2**63, 2 * _MANY)


def test_tries_are_steps_of_a_second_word_eight_in_a_row() -> None:
    index, path = [4, 9, 77], "camera/distance"
    tries = draws(index).lanes([5, 2]).tries([0, 1, 3, 8, 15, 199]).words(2).reshape(2, 6, 3, 2)
    for row, lane in enumerate((5, 2)):
        for place, t in enumerate((0, 1, 3, 8, 15, 199)):
            start, step = (
                (f"{path}/again/{t // 8}/start", f"{path}/again/{t // 8}") if t > 7 else (path, f"{path}/again")
            )
            for column, i in enumerate(index):
                firsts, steps = (plain_words(0, one, i, lane, 2) for one in (start, step))
                expected = [(a + t % 8 * b) % 2**32 for a, b in zip(firsts, steps, strict=True)]
                assert tries[row, place, column].tolist() == expected
    assert np.array_equal(tries[:, 0], draws(index).lanes([5, 2]).words(2).reshape(2, 3, 2))
    assert draws([]).tries([0, 1]).words(2).shape == draws([4]).lanes([]).tries(range(3)).words(2).shape == (0, 2)


def test_any_two_tries_are_independent() -> None:
    numbers = draws(np.arange(20000)).tries(range(6)).uniform().reshape(6, 20000)
    for k, left in enumerate(numbers):
        assert stats.kstest(left, "uniform").pvalue > 0.001
        for right in numbers[:k]:
            table = np.histogram2d(left, right, bins=8, range=[[0, 1], [0, 1]])[0]
            assert stats.chisquare(table.ravel()).pvalue > 0.001


def test_no_unlucky_step_keeps_the_tries_in_one_place() -> None:
    """Of 200 tries in the unit square, some are in each of its quarters, in each of 200,000 samples; where a single row of
    them would leave a quarter empty in several (a step next to nothing, or to a half)."""
    empty = 0
    for first in range(0, 200_000, 10_000):
        tries = draws(np.arange(first, first + 10_000)).tries(range(200)).uniform(2).reshape(200, 10_000, 2)
        quarter = (2 * tries).astype(int) @ np.array([1, 2])
        empty += sum(int((~(quarter == number).any(0)).sum()) for number in range(4))
    assert empty == 0


def test_no_two_of_seed_index_lane_and_path_share_a_stream() -> None:
    """In particular seed 0, index 1 is not seed 1, index 0."""
    seen: dict[tuple[int, ...], object] = {}
    for seed in range(12):
        for path in ("", "a", "a/a", "b"):
            words = Draws(seed, np.arange(12), path).lanes(range(4)).words(2)
            for place, pair in enumerate(map(tuple, words.tolist())):
                assert pair not in seen, (seen.get(pair), (seed, path, place))
                seen[pair] = (seed, path, place)
    assert not np.array_equal(draws([1], 0).uniform(4), draws([0], 1).uniform(4))


def test_indices_beyond_32_bits_are_distinct() -> None:
    index = [5, 5 + 2**32, 5 + 2**33, 5 + 2**62]
    words = draws(index).words(2)
    assert len({tuple(row) for row in words.tolist()}) == 4
    assert words.tolist() == [plain_words(0, "camera/distance", i, 0, 2) for i in index]
    assert draws([]).words(2).shape == (0, 2)


def test_child_paths() -> None:
    root = Draws(3, np.arange(4))
    assert (root / "camera" / "distance").path == (root / "camera/distance").path == "camera/distance"
    assert (root / "place" / 2).path == "place/2"
    assert np.array_equal((root / "a" / "b").words(1), Draws(3, np.arange(4), "a/b").words(1))


@pytest.mark.parametrize("along", ["index", "k", "lane", "path", "seed"])
def test_uniform_and_normal_follow_their_laws_in_every_direction(along: str) -> None:
    n = 20000 if along in ("index", "k", "lane") else 3000
    one = np.array([7])

    def numbers(name: str) -> np.ndarray:
        if along == "index":
            return getattr(draws(np.arange(n)), name)()[:, 0]
        if along == "k":
            return getattr(draws(one), name)(n)[0]
        if along == "lane":
            return getattr(draws(one).lanes(range(n)), name)()[:, 0]
        if along == "path":
            return np.concatenate([getattr(Draws(0, one) / k, name)()[0] for k in range(n)])
        return np.concatenate([getattr(Draws(k, one), name)()[0] for k in range(n)])

    uniform = numbers("uniform")
    assert stats.kstest(uniform, "uniform").pvalue > 0.001
    assert stats.kstest(numbers("normal"), "norm").pvalue > 0.001
    for lag in (1, 2, 4):  # neighbors are uncorrelated
        assert abs(np.corrcoef(uniform[:-lag], uniform[lag:])[0, 1]) < 4 / np.sqrt(n)


def test_streams_are_not_correlated() -> None:
    columns = [draws(np.arange(20000), seed, path).uniform()[:, 0] for seed in (0, 1) for path in ("a", "b", "a/b")]
    for left, right in pairwise(columns):
        assert abs(np.corrcoef(left, right)[0, 1]) < 4 / np.sqrt(20000)


@pytest.mark.parametrize("bound", [1, 2, 7])
def test_integers_are_equally_likely(bound: int) -> None:
    numbers = draws(np.arange(20000)).integers(bound)[:, 0]
    assert numbers.dtype == np.int64
    counts = np.bincount(numbers, minlength=bound)
    assert len(counts) == bound
    assert bound == 1 or stats.chisquare(counts).pvalue > 0.001


def test_trace_collects_each_path_that_is_drawn_from() -> None:
    trace: list[Drawn] = []
    root = Draws(0, np.arange(3), trace=trace)
    (root / "a").uniform()
    child = root / "b" / "c"
    child.normal(2)
    child.at([0]).integers(4)
    root.lanes(range(2)).words(1)
    expected = [Drawn("a", (0,), 1), Drawn("b/c", (0,), 2), Drawn("b/c", (0,), 1), Drawn("", (0, 1), 1)]
    assert trace == expected
    assert np.array_equal((root / "a").uniform(), (Draws(0, np.arange(3)) / "a").uniform())
