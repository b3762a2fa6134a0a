"""Counter-based random numbers, the only source of randomness: number k is f(seed, path, lane, index, k), without state.

A `Draws` is a path in a tree of quantities ("camera/distance") for a batch of sample indices. Its numbers come from
Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key is a hash of "seed:path", the
counter is (1 + index div 8, k, lane, 0), and of the eight words of 32 bits that this gives, sample `index` takes word
index mod 8. So a sample has the same numbers alone and in any batch, order or process. A lane, which separates things of
one kind such as the slots of blocks, has the same numbers for any number of lanes. Adding, freezing or removing one quantity
changes no other. Drawing twice from one path repeats the numbers: give every quantity a path of its own.

For rejection sampling, `tries` gives eight candidates for the cost of two: candidate t is w + t w' modulo 2^32, where w are
the words at the path and w' those at its child "again". Any two of them are independent (Joffe 1974, "On a set of almost
deterministic k-independent random variables"), but the eight are equally spaced: if w' is nearly 0, they are nearly equal.
So each further eight candidates use words of their own: candidate 8 e + t is w + t w' of the children "again/e/start" and
"again/e".

Eight consecutive samples share one evaluation of Philox, and NumPy increments the first word of the counter in C: a batch of
consecutive indices takes far less time than the same number of scattered ones.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Philox  # noqa: TID251 (the one place that may)
from numpy.typing import NDArray

from simgen.exact import normal_quantile
from simgen.geometry import Array

_SHARED = 8  # samples that share a counter
_ROW = 8  # candidates that share their words
_GAP = 64  # counters; computing this many takes as long as setting the generator's state once
# If the state had to be set at least _MANY times, for runs of at most _NARROW counters, plain array operations are faster.
_MANY, _NARROW = 128, 8
_HALF = 2**32 - 1  # the lower half of a word

Words = NDArray[np.uint32]


class _Reader:
    """Reads Philox's words for the samples `index` (B,)."""

    def __init__(self, index: NDArray[np.int64]) -> None:
        counters = index // _SHARED
        present = np.unique(counters)
        ends = np.flatnonzero(np.diff(present) > _GAP)
        first = present[np.concatenate([[0], ends + 1])] if len(present) else present
        last = present[np.concatenate([ends, [-1]])] if len(present) else present
        number = last - first + 1
        before = np.cumsum(number) - number
        self.spans = list(zip(first.tolist(), number.tolist(), (before * _SHARED).tolist(), strict=True))
        self.width = int(number.sum()) * _SHARED
        span = np.searchsorted(first, counters, side="right") - 1
        column = index - (first - before)[span] * _SHARED
        together = len(column) and np.array_equal(column, np.arange(column[0], column[0] + len(column)))
        self.column = slice(int(column[0]), int(column[0]) + len(column)) if together else column
        self.philox = Philox(key=0)
        self.state: Any = self.philox.state

    def words(self, key: list[int], lanes: tuple[int, ...], n: int) -> Words:
        """(n, L, B) words under `key`."""
        settings = n * len(lanes) * len(self.spans)
        if settings >= _MANY and self.width <= _SHARED * len(self.spans) * _NARROW:
            return self._many_words(key, lanes, n)
        lines = np.empty((n, len(lanes), self.width), np.uint32)
        for k in range(n):
            for row, lane in enumerate(lanes):
                for first, number, start in self.spans:
                    # NumPy increments the counter before it uses it: the first counter that is used is 1 + first.
                    self.state["state"] = {"counter": (first, k, lane, 0), "key": key}
                    self.philox.state = self.state
                    raw = self.philox.random_raw(4 * number).astype("<u8", copy=False)
                    lines[k, row, start : start + _SHARED * number] = raw.view("<u4")
        return lines[..., self.column]

    def _many_words(self, key: list[int], lanes: tuple[int, ...], n: int) -> Words:
        """The same as `words`, but faster for many short runs of counters: it does not set NumPy's generator for each."""
        first = np.concatenate([1 + start + np.arange(number) for start, number, _ in self.spans])
        counter = np.zeros((4, n, len(lanes), len(first)), np.int64)
        counter[0] = first
        counter[1] = np.arange(n)[:, None, None]
        counter[2] = np.array(lanes, dtype=np.uint64).view(np.int64)[:, None]
        words = philox(counter, np.array(key, np.uint64).view(np.int64)[:, None])
        raw = np.stack(words, axis=-1).astype("<i8", copy=False)
        return raw.view("<u4").reshape(n, len(lanes), self.width)[..., self.column]


def philox(counter: Iterable[Any], key: Iterable[Any]) -> tuple[Any, ...]:
    """Philox4x64-10 of counters of four words under keys of two: the recurrence of Salmon et al. 2011, section 4. Words are
    arrays of NumPy or tensors of torch of int64, of which the bits count; keys broadcast against counters."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        (high0, low0), (high1, low1) = _product(c0, 0xD2E7470EE14C6C93), _product(c2, 0xCA5A826395121157)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _signed(0x9E3779B97F4A7C15), k1 + _signed(0xBB67AE8584CAA73B)
    return c0, c1, c2, c3


def _product(a: Any, b: int) -> tuple[Any, Any]:
    """The upper and the lower 64 bits of a * b, from products of their 32-bit halves, which wrap around."""
    a_high, a_low, b_high, b_low = a >> 32 & _HALF, a & _HALF, b >> 32, b & _HALF
    middle = a_high * b_low + (a_low * b_low >> 32 & _HALF)  # below 2^64
    carry = a_low * b_high + (middle & _HALF)
    return a_high * b_high + (middle >> 32 & _HALF) + (carry >> 32 & _HALF), a * _signed(b)


def _signed(word: int) -> int:
    """The number in [-2^63, 2^63) with the 64 bits of `word`."""
    return word - 2**64 if word >= 2**63 else word


class Drawn(NamedTuple):
    """An entry of a trace: `n` numbers were drawn from each of the lanes `lane` of `path`."""

    path: str
    lane: tuple[int, ...]
    n: int


@dataclass(frozen=True)
class Draws:
    """Random numbers for the samples `index` (B,) of the stream `seed`, at `path`.

    The L numbers in `lane` separate things of one kind within a sample, such as the slots of blocks. The T numbers in
    `tried` are candidates for rejection sampling. All methods return R = L T B rows: row (l T + t) B + b is candidate t of
    lane l of sample b. `trace`, if given, records what is drawn, so that a test can assert that no path is used twice.
    """

    seed: int
    index: NDArray[np.int64]
    path: str = ""
    lane: tuple[int, ...] = (0,)
    tried: tuple[int, ...] = (0,)
    trace: list[Drawn] | None = field(default=None, compare=False, repr=False)
    reader: _Reader | None = field(default=None, compare=False, repr=False)

    def __truediv__(self, name: str | int) -> "Draws":
        """The child path `name`."""
        path = f"{self.path}/{name}" if self.path else str(name)
        return Draws(self.seed, self.index, path, self.lane, self.tried, self.trace, self.reader)

    def __post_init__(self) -> None:
        if self.reader is None:
            object.__setattr__(self, "reader", _Reader(self.index))

    @property
    def rows(self) -> int:
        """R, the number of rows that each method returns."""
        return len(self.lane) * len(self.tried) * len(self.index)

    def at(self, rows: Any) -> "Draws":
        """The same path for the samples `rows`, an index into the batch."""
        return replace(self, index=self.index[rows], reader=None)

    def limited(self, most: int, name: str) -> "Draws":
        """The same path, but each sample gets the numbers of one of `most` samples, all equally likely, drawn at the path
        `name`; its own if `most` is 0."""
        return self if most == 0 else replace(self, index=(self / name).integers(most)[:, 0], reader=None)

    def lanes(self, numbers: Iterable[int]) -> "Draws":
        """The same path for the lanes `numbers`, each below 2^64, of each sample."""
        return Draws(self.seed, self.index, self.path, tuple(numbers), self.tried, self.trace, self.reader)

    def tries(self, numbers: Iterable[int]) -> "Draws":
        """The same path for the candidates `numbers`, in ascending order; candidate 0 is what is drawn without `tries`."""
        return Draws(self.seed, self.index, self.path, self.lane, tuple(numbers), self.trace, self.reader)

    def words(self, n: int) -> Words:
        """(R, n) random 32-bit words."""
        assert self.reader is not None
        if self.trace is not None:
            self.trace.append(Drawn(self.path, self.lane, n))
        words = self.reader.words(_key(self.seed, self.path), self.lane, n)
        if self.tried != (0,):
            eights = sorted({t // _ROW for t in self.tried})
            words = np.concatenate([self._tried(words, eight, n) for eight in eights], axis=2)
        return words.reshape(n, self.rows).T

    def _tried(self, words: Words, eight: int, n: int) -> Words:
        """(n, L, T', B) the candidates of the group `eight`; candidate 0 of group 0 is `words` (n, L, B)."""
        assert self.reader is not None
        steps = np.array([t % _ROW for t in self.tried if t // _ROW == eight], np.uint32)[:, None]
        path = f"{self.path}/again/{eight}" if eight else f"{self.path}/again"
        start = self.reader.words(_key(self.seed, f"{path}/start"), self.lane, n) if eight else words
        step = self.reader.words(_key(self.seed, path), self.lane, n)
        return np.asarray(start[:, :, None] + steps * step[:, :, None])

    def uniform(self, n: int = 1) -> Array:
        """(R, n) numbers in [0, 1), multiples of 2^-32."""
        return np.asarray(self.words(n) * 2.0**-32)

    def between(self, low: Array, high: Array) -> Array:
        """(R, n) numbers, uniform between `low` (n,) and `high` (n,)."""
        numbers = np.asarray(self.words(len(low)) * ((high - low) * 2.0**-32))
        numbers += low
        return numbers

    def normal(self, n: int = 1) -> Array:
        """(R, n) standard normal numbers, by the inverse of the normal distribution function."""
        # Half a step is added, because the quantile of 0 is infinite.
        return np.asarray(normal_quantile(self.uniform(n) + 2.0**-33))

    def integers(self, bound: int, n: int = 1) -> NDArray[np.int64]:
        """(R, n) integers in [0, bound), equally likely to within bound / 2^32; `bound` is at most 2^32."""
        return (self.uniform(n) * bound).astype(np.int64)


def block_words(key: int, blocks: int) -> NDArray[np.uint64]:
    """(4 blocks,) the words of Philox4x64-10 with the key (key, 0) and the counters 1 to `blocks`, (c, 0, 0, 0)."""
    return np.asarray(Philox(key=key).random_raw(4 * blocks).astype("<u8", copy=False))


def _key(seed: int, path: str) -> list[int]:
    digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=16).digest()
    return [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")]
