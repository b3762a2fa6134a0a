"""The only source of randomness: number = f(seed, path, lane, index, k), with no state and nothing that is "next".

A `Draws` names a place in a tree of quantities ("camera/distance") for a batch of sample indices. Its numbers come from
Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key is a hash of "seed:path", the
counter is (k, lane, index div 4), and of the four words that this gives, sample `index` takes word index mod 4. So a
sample is the same alone, in any batch, order or process; a lane is the same whatever the number of lanes; and adding,
freezing or removing one quantity moves no other. Drawing twice from one path repeats the numbers: give every quantity a
path of its own.

A number is made of one word of 32 bits. Neighbouring samples share Philox's work, so a batch of a range of indices takes a
quarter of what the same number of scattered ones takes. `Draws.ahead` does the work of many paths at once.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from simgen.geometry import Array

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_AT_ONCE = 16384  # counters: enough to hide what a call costs, few enough to stay in the processor's cache

Words = NDArray[np.uint32]


def philox(counter: ArrayLike, key: ArrayLike) -> Words:
    """Philox4x32-10 of `counter` (4, ...) under `key` (2,), or (2, ...) that broadcasts: (4, ...) random words."""
    counter, key = np.array(counter, dtype=np.uint64), np.asarray(key, dtype=np.uint64)
    tail = (1,) * (counter.ndim - 1)
    key = key.reshape(2, *(key.shape[1:] or tail))
    multipliers, weyl = _MULTIPLIERS.reshape(2, *tail), _WEYL.reshape(2, *tail)
    # Words 0 and 2 go through the same steps side by side, and so do words 1 and 3; each pair takes the other's product.
    even, odd = counter[0::2], counter[1::2]
    product = np.empty(even.shape, np.uint64)
    crossed = product[::-1]
    for _ in range(10):
        np.multiply(even, multipliers, out=product)
        np.right_shift(crossed, _HALF, out=even)
        even ^= odd
        even ^= key
        np.bitwise_and(crossed, _LOW, out=odd)
        key = (key + weyl) & _LOW
    words = np.empty(counter.shape, np.uint32)
    words[0::2], words[1::2] = even, odd
    return words


class Drawn(NamedTuple):
    """That `n` numbers were drawn from each of the lanes `lane` of `path`."""

    path: str
    lane: tuple[int, ...]
    n: int


@dataclass(frozen=True)
class Draws:
    """Random numbers for the samples `index` (B,) of the stream `seed`, at `path`.

    The L numbers in `lane` tell apart things of one kind within a sample, such as the slots of blocks. What is drawn comes
    in R = L B rows: row l B + b is lane l of sample b.
    `trace`, where given, collects all that is drawn, so that a test can assert that no path is used twice.
    `ready` has the words (n, L, B) of what was computed ahead.
    """

    seed: int
    index: NDArray[np.int64]
    path: str = ""
    lane: tuple[int, ...] = (0,)
    trace: list[Drawn] | None = field(default=None, compare=False, repr=False)
    ready: Mapping[Drawn, Words] = field(default_factory=dict, compare=False, repr=False)

    def __truediv__(self, name: str | int) -> "Draws":
        """The child path `name`."""
        path = f"{self.path}/{name}" if self.path else str(name)
        return Draws(self.seed, self.index, path, self.lane, self.trace, self.ready)

    def at(self, rows: Any) -> "Draws":
        """The same path for some of the samples: `rows` indexes the batch."""
        return replace(self, index=self.index[rows], ready={})

    def lanes(self, numbers: Iterable[int]) -> "Draws":
        """The same path for the lanes with these numbers, below 2^32, of each sample."""
        return Draws(self.seed, self.index, self.path, tuple(numbers), self.trace, self.ready)

    def ahead(self, drawn: Iterable[Drawn]) -> "Draws":
        """The same numbers, with those that are `drawn` below computed at once: faster than one by one."""
        drawn = list(drawn)
        if not drawn:
            return self
        samples = self.index.astype(np.uint64)
        blocks, place = np.unique(samples >> np.uint64(2), return_inverse=True)
        column = (self.index & 3) * len(blocks) + place
        # A line is one number of one lane of one path, for all samples.
        lanes = np.array([len(one.lane) for one in drawn])
        sizes = lanes * [one.n for one in drawn]
        keys = np.repeat(np.array([_key(self.seed, one.path) for one in drawn]), sizes, axis=0)
        k, nth = np.divmod(np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(lanes, sizes))
        numbers = np.array([number for one in drawn for number in one.lane], np.int64)
        lane = numbers[np.repeat(np.cumsum(lanes) - lanes, sizes) + nth]
        lines = np.empty((len(k), len(column)), np.uint32)
        step = max(1, _AT_ONCE // max(1, len(blocks)))
        for start in range(0, len(k), step):
            part = slice(start, start + step)
            counter = np.broadcast_arrays(k[part, None], lane[part, None], blocks & _LOW, blocks >> _HALF)
            words = philox(counter, keys[part].T[:, :, None]).swapaxes(0, 1)
            # Every column is there; without "clip" numpy would check that in a copy.
            np.take(words.reshape(len(words), -1), column, axis=1, out=lines[part], mode="clip")
        parts = np.split(lines, np.cumsum(sizes)[:-1])
        ready = {one: part.reshape(one.n, len(one.lane), len(column)) for one, part in zip(drawn, parts, strict=True)}
        return replace(self, ready={**self.ready, **ready})

    def words(self, n: int) -> Words:
        """(R, n) random 32-bit words."""
        drawn = Drawn(self.path, self.lane, n)
        if self.trace is not None:
            self.trace.append(drawn)
        words = self.ready.get(drawn)
        if words is None:
            words = self.ahead([drawn]).ready[drawn]
        return words.reshape(n, len(self.lane) * len(self.index)).T

    def uniform(self, n: int = 1) -> Array:
        """(R, n) numbers in [0, 1), multiples of 2^-32."""
        return np.asarray(self.words(n) * 2.0**-32)

    def between(self, low: Array, high: Array) -> Array:
        """(R, n) numbers, even between `low` and `high`, n ends each."""
        numbers = np.asarray(self.words(len(low)) * ((high - low) * 2.0**-32))
        numbers += low
        return numbers

    def normal(self, n: int = 1) -> Array:
        """(R, n) standard normal numbers, by the inverse of the normal distribution function."""
        # Half a step away from 0 and 1, whose quantiles are infinite.
        return np.asarray(ndtri(self.uniform(n) + 2.0**-33))

    def integers(self, bound: int, n: int = 1) -> NDArray[np.int64]:
        """(R, n) integers in [0, bound), equally likely to within bound / 2^32; `bound` is at most 2^32."""
        return (self.uniform(n) * bound).astype(np.int64)


def _key(seed: int, path: str) -> tuple[int, int]:
    digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
