"""data.raycast.device=cuda: the training's process draws the pictures, and others sample the scenes that these show.

A GPU draws hundreds of pictures in the time in which one core of a CPU samples a scene of each. One process draws them all,
because each would need a copy of all textures in the GPU's memory.
"""

from collections.abc import Iterable, Iterator

from torch.utils.data import DataLoader, Dataset, Sampler

from simgen.scene import Scenes
from train.data.batch import Batch, Items, batches, processes
from train.data.stream import Stream


def loader_of(source: Dataset[Batch], items: Items, *, workers: int) -> Iterable[Batch]:
    """The batches of `source` with the numbers `items`."""
    if isinstance(source, Stream) and source.on_gpu:
        return Drawing(source, items, workers=workers)
    return batches(source, items, workers=workers)


class Drawing:
    """The batches of `stream` with the numbers `items`, on its device, with scenes that `workers` processes sample, or this
    one if `workers` is 0. They are those that the stream has by itself."""

    def __init__(self, stream: Stream, items: Items, *, workers: int) -> None:
        self.stream, self.sampler = stream, items  # Lightning sets the epoch of a loader's `sampler`
        self._scenes: DataLoader[list[Scenes]] = DataLoader(
            _Sampled(stream),
            batch_size=None,
            sampler=_Numbers(stream, items),
            collate_fn=_as_it_is,
            **processes(workers),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        scenes = iter(self._scenes)
        for item in self.sampler:
            yield self.stream.batch(item, lambda _: next(scenes))


class _Sampled(Dataset[list[Scenes]]):
    """The scenes of each batch that is drawn, by number."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, number: int) -> list[Scenes]:
        return self.stream.sampled(number)


class _Numbers(Sampler[int]):
    """The numbers of the batches that are to be drawn for `items`."""

    def __init__(self, stream: Stream, items: Items) -> None:
        self.stream, self.items = stream, items

    def __iter__(self) -> Iterator[int]:
        return iter(list(self.stream.drawn_for(self.items)))


def _as_it_is(scenes: list[Scenes]) -> list[Scenes]:
    return scenes
