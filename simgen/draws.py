"""The only source of randomness: number = f(seed, path, index, k), with no state and nothing that is "next".

A `Draws` names a place in a tree of quantities ("camera/distance") for a batch of sample indices. Its numbers come from
Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key is a hash of "seed:path", the
counter is (k, lane, index). So a sample is the same alone, in any batch, order or process, and adding, freezing or removing
one quantity moves no other. Drawing twice from one path repeats the numbers: give every quantity a path of its own.
"""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simgen.geometry import Array

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85

Words = NDArray[np.uint32]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 of `counter` (4, n) under `key` (2 words): (4, n) random words."""
    c0, c1, c2, c3 = np.array(counter, dtype=np.uint32)
    k0, k1 = key
    product0, product1 = np.empty(len(c0), "<u8"), np.empty(len(c0), "<u8")
    # The low and high halves of the products, without a copy.
    (low0, high0), (low1, high1) = (p.view("<u4").reshape(-1, 2).T for p in (product0, product1))
    for _ in range(10):
        np.multiply(c0, _M0, out=product0)
        np.multiply(c2, _M1, out=product1)
        c0, c1, c2, c3 = high1 ^ c1 ^ np.uint32(k0), low1.copy(), high0 ^ c3 ^ np.uint32(k1), low0.copy()
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


@dataclass(frozen=True)
class Draws:
    """Random numbers for the samples `index` (B,) of the stream `seed`, at `path`.

    `lane` (B,) tells apart things of one kind within a sample, such as the slots of blocks: it is a part of the counter.
    `trace`, where given, collects every path that is drawn from, so that a test can assert that no path is used twice.
    """

    seed: int
    index: NDArray[np.int64]
    path: str = ""
    lane: NDArray[np.int64] | int = 0
    trace: list[str] | None = field(default=None, compare=False, repr=False)

    def __truediv__(self, name: str | int) -> "Draws":
        """The child path `name`."""
        return replace(self, path=f"{self.path}/{name}" if self.path else str(name))

    def at(self, rows: Any) -> "Draws":
        """The same path for some of the samples: `rows` indexes the batch."""
        return replace(self, index=self.index[rows], lane=self.lane if isinstance(self.lane, int) else self.lane[rows])

    def lanes(self, n: int) -> "Draws":
        """The same path for `n` lanes of each sample, a batch of B n in which a sample's lanes are neighbours."""
        return replace(self, index=np.repeat(self.index, n), lane=np.tile(np.arange(n), len(self.index)))

    @cached_property
    def key(self) -> tuple[int, int]:
        digest = hashlib.blake2b(f"{self.seed}:{self.path}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def words(self, n: int) -> Words:
        """(B, n) random 32-bit words."""
        if self.trace is not None:
            self.trace.append(self.path)
        blocks = -(-n // 4)
        index = self.index.astype(np.uint64)[:, None]
        lane = np.broadcast_to(np.asarray(self.lane, dtype=np.uint64), self.index.shape)[:, None]
        parts = (np.arange(blocks, dtype=np.uint64), lane, index & np.uint64(0xFFFFFFFF), index >> np.uint64(32))
        counter = np.stack(np.broadcast_arrays(*parts)).reshape(4, -1).astype(np.uint32)
        return philox(counter, self.key).T.reshape(len(self.index), 4 * blocks)[:, :n]

    def uniform(self, n: int = 1) -> Array:
        """(B, n) numbers in [0, 1), of 53 random bits each."""
        words = self.words(2 * n)
        high, low = (words[:, 0::2] >> 5).astype(np.float64), (words[:, 1::2] >> 6).astype(np.float64)
        return (high * (1 << 26) + low) / (1 << 53)

    def normal(self, n: int = 1) -> Array:
        """(B, n) standard normal numbers, by the inverse of the normal distribution function."""
        # Half a step away from 0, and at most the number below 1: the quantiles of 0 and 1 are infinite.
        return np.asarray(ndtri(np.minimum(self.uniform(n) + 0.5**54, 1 - 0.5**53)))

    def integers(self, bound: int, n: int = 1) -> NDArray[np.int64]:
        """(B, n) integers in [0, bound)."""
        return np.floor(self.uniform(n) * bound).astype(np.int64)
