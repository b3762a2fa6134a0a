"""Training batches of any source: pictures, targets, and the order of the batches."""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from simgen.draws import Draws
from simgen.geometry import Array
from train.data.targets import Targets
from train.pose.view import View

T = TypeVar("T")

_NICE = 10  # of the processes that make batches; 0 is usual, 19 the lowest priority


def pictures_of(batch: "Batch") -> list[NDArray[np.uint8]]:
    """The pictures (H, W, 3) of `batch`."""
    return [np.ascontiguousarray(one) for one in batch.images.permute(0, 2, 3, 1).cpu().numpy()]


def views_of(targets: Targets, tables: Tensor | None = None) -> list[View]:
    """The camera of each picture of `targets`, with the least and greatest X and Y of their `tables` (B, 2, 2) if given. A
    pose or a table that contains NaN is unknown."""
    if tables is None:
        tables = targets.intrinsics.new_full((len(targets), 2, 2), torch.nan)
    parts = targets.intrinsics, targets.distortion, targets.camera_from_world, tables
    return [
        View(matrix, lens, _known(pose), _known(table))
        for matrix, lens, pose, table in zip(*(part.double().cpu().numpy() for part in parts), strict=True)
    ]


def _known(values: Array) -> Array | None:
    return values if np.isfinite(values).all() else None


@dataclass(frozen=True)
class Batch:
    """A training batch: images (B, 3, H, W) uint8, and targets, whose `model` is the kind's place in the source's BlockSet.
    `tables` (B, 2, 2) m are the table's least and greatest X and Y, NaN if unknown. The numbers `cut` (B, 6) and `jitter`
    (B, N, 5) in [-1, 1] select the parts of the pictures that the networks see (see train.fit.step). `bound` (B,) is the
    number of the bound of train.adr at which each picture is, -1 for none; None without randomize=adr.
    """

    images: Tensor
    targets: Targets
    tables: Tensor
    cut: Tensor
    jitter: Tensor
    bound: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        parts = [(item.name, getattr(self, item.name)) for item in fields(self)]
        return replace(self, **{name: part.to(device) for name, part in parts if part is not None})


def chances_of(draws: Draws, slots: int) -> tuple[Tensor, Tensor]:
    """Batch.cut and Batch.jitter for the samples of `draws` with `slots` slots each."""
    numbers = torch.tensor(2 * (draws / "train" / "window").uniform(6 + 5 * slots) - 1).float()
    return numbers[:, :6], numbers[:, 6:].reshape(-1, slots, 5)


def tables_of(table: Array | None, count: int) -> Tensor:
    """Batch.tables of `count` pictures of one `table`, View.table or None."""
    corners = np.full((2, 2), np.nan) if table is None else table
    return torch.tensor(corners).float().expand(count, 2, 2)


class Items(Sampler[int]):
    """The numbers of the items that process `rank` of `world` trains on in each epoch of `length` steps. None is repeated,
    and together the processes take the items that one process with `world` times the batch would take."""

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self.length, self.rank, self.world, self.epoch = length, rank, world, 0
        self._begun = 0, 0  # an epoch, and the number of its steps that an earlier process has done

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def start_at(self, epoch: int, done: int) -> None:
        """Begins with `epoch`, of which `done` steps are left out. Its length stays that of a whole epoch."""
        self.epoch, self._begun = epoch, (epoch, done)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        done = self._begun[1] if self._begun[0] == self.epoch else 0
        first, end = self.epoch * self.length + done, (self.epoch + 1) * self.length
        return iter(range(first * self.world + self.rank, end * self.world, self.world))


def batches(source: Dataset[T], items: Items, *, workers: int) -> DataLoader[T]:
    """The batches of `source` with the numbers `items`, made by `workers` processes, or by this one if `workers` is 0. The
    processes are forked from one that has imported what they need, because importing torch takes seconds, and without CUDA's
    state, which a forked process cannot use."""
    own: dict[str, Any] = {}
    if workers:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["train.data.stream"])
        own = {"persistent_workers": True, "prefetch_factor": 4, "multiprocessing_context": context}
        own["worker_init_fn"] = _behind
    return DataLoader(source, batch_size=None, sampler=items, num_workers=workers, **own)


def _behind(_: int) -> None:
    """Lowers the priority of this process below that of the training: its threads wait for one another, so that all of them
    stand still while a process that makes batches has the core of one."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICE)
