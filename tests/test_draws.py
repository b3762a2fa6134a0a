"""Draws against the published vectors of its generator, a second implementation, and the laws that it promises."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simgen.draws import Draws, philox

FEW = settings(derandomize=True, deadline=None, max_examples=20)
ONES = 0xFFFFFFFF

# Random123's known answers (examples/kat_vectors, philox4x32 with 10 rounds): counter, key, result.
VECTORS = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 of one counter, in Python's integers: the paper's recurrence, word by word."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & ONES, (p0 >> 32) ^ c3 ^ k1, p0 & ONES
        k0, k1 = (k0 + 0x9E3779B9) & ONES, (k1 + 0xBB67AE85) & ONES
    return [c0, c1, c2, c3]


def plain_words(seed: int, path: str, index: int, lane: int, n: int) -> list[int]:
    """What Draws.words promises for one sample: key from "seed:path", counter (k, lane, index)."""
    digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest()
    key = [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]
    words: list[int] = []
    for k in range(-(-n // 4)):
        words += plain_philox([k, lane, index & ONES, index >> 32], key)
    return words[:n]


def draws(index: object, seed: int = 0, path: str = "camera/distance") -> Draws:
    return Draws(seed, np.asarray(index, dtype=np.int64), path)


class Extreme(Draws):
    """Draws whose every random bit is `bit`."""

    bit = 0

    def words(self, n: int) -> np.ndarray:
        return np.full((len(self.index), n), ONES * self.bit, np.uint32)


class Ones(Extreme):
    bit = 1


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_philox_meets_the_published_vectors(counter: list[int], key: list[int], result: list[int]) -> None:
    assert philox(np.array([counter], np.uint32).T, (key[0], key[1]))[:, 0].tolist() == result
    assert plain_philox(counter, key) == result


def test_philox_of_many_counters_is_philox_of_each() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (4, 50), dtype=np.uint32)
    before = counters.copy()
    many = philox(counters, (ONES, 7))
    assert many.dtype == np.uint32
    assert many.T.tolist() == [plain_philox(c, [ONES, 7]) for c in counters.T.tolist()]
    assert np.array_equal(counters, before)  # the argument is left alone


@FEW
@given(
    seed=st.integers(-(2**70), 2**70),
    index=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5),
    lane=st.integers(0, 1000),
    n=st.integers(1, 11),
)
def test_words_equal_the_plain_implementation(seed: int, index: list[int], lane: int, n: int) -> None:
    words = Draws(seed, np.array(index), "a/b", lane).words(n)
    assert words.tolist() == [plain_words(seed, "a/b", i, lane, n) for i in index]


def test_uniform_has_53_bits_of_two_words_each() -> None:
    words = draws([5, 2**40]).words(6).astype(object)
    expected = [[((a >> 5) * 2**26 + (b >> 6)) / 2**53 for a, b in zip(r[0::2], r[1::2], strict=True)] for r in words]
    assert draws([5, 2**40]).uniform(3).tolist() == expected


def test_the_ends_of_uniform_normal_and_integers() -> None:
    """All bits 0 and all bits 1: uniform stays in [0, 1), integers below the bound, normal finite and symmetric."""
    low, high = Extreme(0, np.array([0])), Ones(0, np.array([0]))
    assert low.uniform().item() == 0
    assert high.uniform().item() == 1 - 2.0**-53
    for bound in (1, 3, 10**6):
        assert low.integers(bound).item() == 0
        assert high.integers(bound).item() == bound - 1
    assert low.normal().item() == pytest.approx(stats.norm.ppf(2.0**-54))
    assert np.isfinite(high.normal()).all()
    assert high.normal().item() == pytest.approx(-low.normal().item(), rel=0.02)


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


def test_lanes_are_neighbours_and_do_not_depend_on_their_number() -> None:
    lanes = draws([4, 9]).lanes(5)
    assert lanes.index.tolist() == [4] * 5 + [9] * 5
    words = lanes.words(3).reshape(2, 5, 3)
    assert words.tolist() == [[plain_words(0, "camera/distance", i, j, 3) for j in range(5)] for i in (4, 9)]
    assert np.array_equal(draws([4, 9]).lanes(2).words(3).reshape(2, 2, 3), words[:, :2])
    assert np.array_equal(lanes.at([6, 1]).words(3), words.reshape(10, 3)[[6, 1]])
    assert np.array_equal((lanes / "x").at([6]).words(2)[0], plain_words(0, "camera/distance/x", 9, 1, 2))


def test_no_two_of_seed_index_lane_and_path_share_a_stream() -> None:
    """In particular seed 0, index 1 is not seed 1, index 0."""
    seen: dict[tuple[int, ...], object] = {}
    for seed in range(12):
        for path in ("", "a", "a/a", "b"):
            words = Draws(seed, np.arange(12), path).lanes(4).words(2)
            for place, pair in enumerate(map(tuple, words.tolist())):
                assert pair not in seen, (seen.get(pair), (seed, path, place))
                seen[pair] = (seed, path, place)
    assert not np.array_equal(draws([1], 0).uniform(4), draws([0], 1).uniform(4))


def test_indices_beyond_32_bits_are_distinct() -> None:
    index = [5, 5 + 2**32, 5 + 2**33, 5 + 2**62]
    words = draws(index).words(2)
    assert len({tuple(row) for row in words.tolist()}) == 4
    assert words.tolist() == [plain_words(0, "camera/distance", i, 0, 2) for i in index]


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
            return getattr(draws(one).lanes(n), name)()[:, 0]
        if along == "path":
            return np.concatenate([getattr(Draws(0, one) / k, name)()[0] for k in range(n)])
        return np.concatenate([getattr(Draws(k, one), name)()[0] for k in range(n)])

    uniform = numbers("uniform")
    assert stats.kstest(uniform, "uniform").pvalue > 0.001
    assert stats.kstest(numbers("normal"), "norm").pvalue > 0.001
    for lag in (1, 2, 4):  # neighbours know nothing of each other
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
    trace: list[str] = []
    root = Draws(0, np.arange(3), trace=trace)
    (root / "a").uniform()
    child = root / "b" / "c"
    child.normal(2)
    child.at([0]).integers(4)
    root.lanes(2).words(1)
    assert trace == ["a", "b/c", "b/c", ""]
    assert np.array_equal((root / "a").uniform(), (Draws(0, np.arange(3)) / "a").uniform())
