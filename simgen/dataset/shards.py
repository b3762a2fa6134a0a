"""Reads datasets in shards: tar files in the BOP-webdataset layout with an index, in a folder or at an fsspec URL.

Format: https://github.com/thodan/bop_toolkit/blob/master/bop_toolkit_lib/dataset/bop_webdataset.py, and the index of
simgen.dataset.shardindex. Nothing is unpacked and nothing is executed: a sample is read as bytes, compared with its SHA-256,
and taken apart in memory.
"""

import atexit
import hashlib
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.dataset import layout
from simgen.dataset.fields import numbers, record, records
from simgen.dataset.models import models_of
from simgen.dataset.read import BopDataset
from simgen.dataset.scenes import Picture, SceneReader
from simgen.dataset.shardindex import (
    BLOCK,
    FORMAT,
    INDEX,
    LARGEST_INDEX,
    LARGEST_JSON,
    MODELS,
    Index,
    Samples,
    ids_of,
    list_name,
    parse_index,
    parse_json,
    parse_samples,
)
from simgen.dataset.storage import Storage, is_url, open_storage
from simgen.errors import DatasetError, FileError, PictureError
from simgen.files import read_json
from simgen.pictures import decode_picture

RGB = ("rgb.jpg", "rgb.png")
DEPTH, CAMERA, TRUTH, INFO, MASK, MASK_VISIBLE = (
    "depth.png",
    "camera.json",
    "gt.json",
    "gt_info.json",
    "mask.json",
    "mask_visib.json",
)
# Beyond BOP: scene_keypoints.json's entry of the picture, and all values of its scene.
KEYPOINTS, RECIPE = "keypoints.json", "recipe.json"
MEMBERS = frozenset((*RGB, DEPTH, CAMERA, TRUTH, INFO, MASK, MASK_VISIBLE, KEYPOINTS, RECIPE))
_MOST_BLOCKS = 10_000  # in a picture
_MOST_PIXELS = 100_000_000  # of a depth image or mask


@dataclass(frozen=True)
class StoredSample:
    """One sample as a shard stores it: its files' bytes by the part of their names after the key. `where` names it in
    messages."""

    key: str
    where: str
    members: Mapping[str, bytes]

    @property
    def scene_id(self) -> int:
        return ids_of(self.key)[0]

    @property
    def image_id(self) -> int:
        return ids_of(self.key)[1]

    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, as simgen.pictures.read_picture decodes the file. Raises DatasetError."""
        name = next(name for name in RGB if name in self.members)
        try:
            return decode_picture(self.members[name], Path(f"{self.where}.{name}"))
        except PictureError as error:
            raise DatasetError(f"{error}; it is a picture of a dataset: restore the dataset") from error

    def depth(self, depth_scale: float) -> NDArray[np.float32] | None:
        """(H, W) m, 0 where depth is missing, from units of `depth_scale` mm; None if none is stored.

        Raises DatasetError.
        """
        if DEPTH not in self.members:
            return None
        data = self.members[DEPTH]
        image = None
        # A few bytes of PNG can state a picture of any size, which OpenCV would allocate.
        if (
            data[:8] == b"\x89PNG\r\n\x1a\n"
            and len(data) >= 24
            and np.prod(struct.unpack(">II", data[16:24])) <= _MOST_PIXELS
        ):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 2:
            raise DatasetError(f"{self.where}.{DEPTH}: truncated, or not a PNG of one channel; restore it")
        return np.asarray(image, dtype=np.float32) * np.float32(depth_scale / 1000)

    def masks(self, name: str = MASK_VISIBLE) -> NDArray[np.bool_] | None:
        """(N, H, W): the mask of each block in gt.json, of its visible part, or with MASK of all of it; None if none are
        stored. Raises DatasetError."""
        if name not in self.members:
            return None
        where = f"{self.where}.{name}"
        stored = record(self.json(name), where)
        if len(stored) > _MOST_BLOCKS or set(stored) != {str(k) for k in range(len(stored))}:
            raise DatasetError(f"{where}: expected an entry for each block, '0', '1' and so on")
        masks = [
            _mask(record(stored[str(k)], f"{where}: block {k}"), f"{where}: block {k}") for k in range(len(stored))
        ]
        if len({mask.shape for mask in masks}) > 1:
            raise DatasetError(f"{where}: the masks have different sizes; expected that of the picture")
        return np.stack(masks) if masks else np.zeros((0, 0, 0), bool)

    def json(self, name: str) -> Any:
        """The content of the JSON file `name`. Raises DatasetError if it is missing, too large or malformed."""
        where = f"{self.where}.{name}"
        if name not in self.members:
            raise DatasetError(f"{where}: missing in the shard; write the shards again")
        if len(self.members[name]) > LARGEST_JSON:
            raise DatasetError(f"{where}: has {len(self.members[name])} bytes; expected at most {LARGEST_JSON}")
        return parse_json(self.members[name], where)

    def recipe(self) -> Mapping[str, Any] | None:
        """All values of its scene, as simgen.scene.Scenes of one sample; None if they are not stored.

        Raises DatasetError.
        """
        return record(self.json(RECIPE), f"{self.where}.{RECIPE}") if RECIPE in self.members else None

    def _blocks(self, name: str) -> list[Mapping[str, Any]]:
        value = self.json(name)
        if isinstance(value, list) and len(value) > _MOST_BLOCKS:
            raise DatasetError(f"{self.where}.{name}: has {len(value)} blocks; expected at most {_MOST_BLOCKS}")
        return records(value, f"{self.where}.{name}")

    def picture(self, reader: SceneReader) -> Picture:
        """Its labels as `reader` reads them, in meters and in the block frame. Raises DatasetError."""
        camera = record(self.json(CAMERA), f"{self.where}.{CAMERA}")
        blocks, infos = (self._blocks(name) for name in (TRUTH, INFO))
        path = Path(f"{self.where}.{next(name for name in RGB if name in self.members)}")
        places = tuple(f"{self.where}.{name}" for name in (CAMERA, TRUTH, INFO))
        return reader.labeled(self.scene_id, self.image_id, path, camera, blocks, infos, places)


@dataclass(frozen=True)
class Shards:
    """An opened dataset in shards. `dataset` is all of it but its pictures, of which it has none; `table` states whether the
    world's plane z = 0 is the table's top."""

    storage: Storage
    index: Index
    dataset: BopDataset
    table: bool
    _lists: dict[int, Samples] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.index.samples

    @property
    def reader(self) -> SceneReader:
        """What reads the labels of its samples."""
        return SceneReader(self.dataset.models, None, self.table)

    def read(self, rows: Sequence[int]) -> list[StoredSample]:
        """The samples with the numbers `rows`, in that order, each compared with its SHA-256. Of a remote dataset only their
        bytes are fetched, all at once. Raises DatasetError."""
        places = [self._place(int(row)) for row in rows]
        parts = []
        for shard, number in places:
            start, end = self._samples(shard).offsets[number : number + 2]
            parts.append((self.index.shards[shard].name, int(start), int(end - start)))
        return [
            self._sample(shard, number, data)
            for (shard, number), data in zip(places, self.storage.ranges(parts), strict=True)
        ]

    def __iter__(self) -> Iterator[StoredSample]:
        """All samples in their order, each compared with its SHA-256; each shard is read once, from its beginning to its
        end. Raises DatasetError."""
        for shard, described in enumerate(self.index.shards):
            samples = self._samples(shard)
            if self.storage.size(described.name) > described.bytes:
                raise self._changed(described.name)
            tail = described.bytes - int(samples.offsets[-1])
            pieces = self.storage.stream(described.name, [*np.diff(samples.offsets).tolist(), tail])
            for number in range(described.samples):
                yield self._sample(shard, number, next(pieces))
            if next(pieces).strip(b"\0"):
                raise self._changed(described.name)

    def verify(self) -> None:
        """Reads all shards and compares them with their SHA-256. Raises DatasetError for the first that differs."""
        for shard in self.index.shards:
            if self.storage.sha256(shard.name) != shard.sha256:
                raise self._changed(shard.name)

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """The number of the first sample of each shard, and that of all samples."""
        return np.cumsum([0, *(shard.samples for shard in self.index.shards)], dtype=np.int64)

    def _place(self, row: int) -> tuple[int, int]:
        """The shard of sample `row`, and its number there."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        shard = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return shard, row - int(self._firsts[shard])

    def _changed(self, name: str) -> DatasetError:
        return DatasetError(f"{self.storage.name_of(name)}: changed since {INDEX} was written; restore it")

    def _samples(self, number: int) -> Samples:
        if number not in self._lists:
            shard = self.index.shards[number]
            name = list_name(shard.name)
            data = self.storage.read(name, LARGEST_INDEX)
            self._lists[number] = parse_samples(data, shard, self.storage.name_of(name))
        return self._lists[number]

    def _sample(self, shard: int, number: int, data: bytes) -> StoredSample:
        samples = self._samples(shard)
        key = samples.keys[number]
        where = self.storage.name_of(f"{self.index.shards[shard].name}/{key}")
        if hashlib.sha256(data).hexdigest() != samples.hashes[number]:
            raise DatasetError(f"{where}: changed since {INDEX} was written; restore the shard")
        return StoredSample(key, where, members_of(data, key, where))


def is_shards(root: str) -> bool:
    """Whether `root` is a dataset in shards: a URL, or a folder with their index."""
    if is_url(root):
        return True
    path = Path(root) / INDEX
    if not path.is_file():
        return False
    try:
        content = read_json(path)
    except FileError:
        return not (Path(root) / MODELS).is_dir() or any(Path(root).glob("shard-*.tar"))
    return isinstance(content, dict) and content.get("format") == FORMAT


def open_shards(root: str, *, names: Mapping[int, str] | None = None, table: bool | None = None) -> Shards:
    """The dataset in shards in the folder or at the URL `root`. Its index and its models are read, and no shard.

    `names` and `table` are those of simgen.dataset.read.open_dataset. Raises DatasetError that names the file at fault.
    """
    storage = open_storage(root)
    if not storage.exists(INDEX):
        raise DatasetError(
            f"{storage.name_of(INDEX)}: missing; expected the folder of a complete dataset in shards. An unfinished one is "
            "completed by the command that began it"
        )
    index = parse_index(storage.read(INDEX, LARGEST_INDEX), storage.name_of(INDEX))
    models_info = _local_models(storage, index) / layout.MODELS_INFO
    models = models_of(
        parse_json(models_info.read_bytes(), storage.name_of(f"{MODELS}/{layout.MODELS_INFO}")), models_info, names
    )
    stated = record(index.manifest.get("table") or {}, f"{storage.name_of(INDEX)}: manifest: table")
    if table and not index.posed:
        raise DatasetError(f"{root}: data.table=true, but no sample states cam_R_w2c and cam_t_w2c; leave it out")
    known = bool(stated) if table is None else table
    center, size = (_pair(stated, key, storage) if table is not False else None for key in ("center", "size"))
    dataset = BopDataset(Path(root), index.split, models, (), center, size, index.manifest)
    return Shards(storage, index, dataset, known)


def members_of(data: bytes, key: str, where: str) -> dict[str, bytes]:
    """The files of the sample `key` in `data`, a part of a tar file, by their names after the key. Raises DatasetError for
    anything but regular files with the names of BOP's layout."""
    members: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        try:
            info = tarfile.TarInfo.frombuf(data[position : position + BLOCK], "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise DatasetError(
                f"{where}: is no part of a tar file at byte {position} ({error}); restore the shard"
            ) from error
        name = info.name
        shown = repr(name if len(name) <= 80 else name[:77] + "...")
        if name.startswith("/") or ".." in name.split("/"):
            raise DatasetError(
                f"{where}: has the file {shown}, whose path leads out of the dataset; do not use this shard"
            )
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise DatasetError(
                f"{where}: {shown} is a link, folder or special file; expected regular files; do not use this shard"
            )
        prefix, _, suffix = name.partition(".")
        if prefix != key or suffix not in MEMBERS or suffix in members:
            raise DatasetError(
                f"{where}: has the file {shown}; expected each of {key}.{{{','.join(sorted(MEMBERS))}}} once"
            )
        start = position + BLOCK
        if not 0 <= info.size <= len(data) - start:
            raise DatasetError(f"{where}: {shown}: has {info.size} bytes, more than its sample; restore the shard")
        members[suffix] = data[start : start + info.size]
        position = start + -(-info.size // BLOCK) * BLOCK
    if sum(name in members for name in RGB) != 1:
        raise DatasetError(f"{where}: expected one of {' and '.join(RGB)}; write the shards again")
    return members


def _mask(entry: Mapping[str, Any], where: str) -> NDArray[np.bool_]:
    """(H, W), from COCO's run lengths by columns, the first of which is outside."""
    size, counts = (_wholes(entry.get(key)) for key in ("size", "counts"))
    if len(size) != 2 or not 0 < size[0] * size[1] <= _MOST_PIXELS or sum(counts) != size[0] * size[1]:
        raise DatasetError(f"{where}: expected a size, height and width, and counts that add up to its pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size, order="F")


def _wholes(value: Any) -> list[int]:
    """`value` if it is a list of whole numbers of at least 0, else an empty list."""
    return value if isinstance(value, list) and all(type(one) is int and one >= 0 for one in value) else []


def _local_models(storage: Storage, index: Index) -> Path:
    """A folder on this machine with the models, compared with their SHA-256: the dataset's own, or a copy that exists as
    long as this process."""
    if f"{MODELS}/{layout.MODELS_INFO}" not in index.files:
        raise DatasetError(
            f"{storage.name_of(INDEX)}: files: lists no {MODELS}/{layout.MODELS_INFO}; write the shards again"
        )
    local = storage.folder
    if local is None:
        local = Path(tempfile.mkdtemp(prefix="simgen-models-"))
        atexit.register(shutil.rmtree, local, ignore_errors=True)
        (local / MODELS).mkdir()
    for name, (count, digest) in index.files.items():
        if not name.startswith(f"{MODELS}/"):
            continue
        data = storage.read(name, count)
        if hashlib.sha256(data).hexdigest() != digest:
            raise DatasetError(f"{storage.name_of(name)}: truncated or changed since {INDEX} was written; restore it")
        if storage.folder is None:
            (local / name).write_bytes(data)
    return local / MODELS


def _pair(stated: Mapping[str, Any], key: str, storage: Storage) -> NDArray[np.float64] | None:
    return numbers(stated, key, (2,), f"{storage.name_of(INDEX)}: manifest: table") if key in stated else None
