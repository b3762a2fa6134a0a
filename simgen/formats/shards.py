"""Writes a dataset in shards: tar files in the BOP-webdataset layout, the models and an index, to a folder or fsspec URL.

The bytes depend on the dataset and the number of samples per shard alone. One sample is in memory at a time. Shards that an
interrupted run has completed are kept; index.json, without which nothing reads the folder, is written last.
"""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.command.progress import Progress
from simgen.dataset import layout
from simgen.dataset.fields import entries, number, records
from simgen.dataset.layout import MANIFEST
from simgen.dataset.models import Model
from simgen.dataset.read import BopDataset, depth_path, read_depth, read_recipe, read_rgb
from simgen.dataset.scenes import Picture, size_of
from simgen.dataset.shardindex import (
    INDEX,
    KEYS,
    LARGEST_INDEX,
    LARGEST_JSON,
    LARGEST_SAMPLE,
    MODELS,
    MOST_SAMPLES,
    SAMPLES_PER_SHARD,
    Index,
    Shard,
    index_bytes,
    key_of,
    list_name,
    parse_json,
    parse_samples,
    samples_bytes,
    shard_name,
)
from simgen.dataset.shards import CAMERA, DEPTH, INFO, KEYPOINTS, MASK, MASK_VISIBLE, RECIPE, RGB, TRUTH
from simgen.dataset.storage import Storage, open_storage
from simgen.drawings import png_bytes
from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of
from simgen.formats.meshes import textures_of
from simgen.pictures import is_hidden

UNFINISHED = "unfinished.json"  # what is being written; it is there from the beginning to the end
_KEYPOINTS = "scene_keypoints.json"
_TEXTURE = re.compile(r"obj_[a-z0-9._-]+\.(png|jpe?g|mtl)")  # of meshes
_LEFTOVER = re.compile(
    r"\.(shard-\d+|index|key_to_shard|unfinished)\.(tar|json)\.[0-9a-f]+\.tmp"
)  # of a run that was killed


def write_shards(dataset: BopDataset, out: str, samples_per_shard: int = SAMPLES_PER_SHARD) -> Index:
    """The index of the shards that this writes of the pictures of `dataset` to the folder or URL `out`.

    `out` must be empty, or hold what an interrupted run of the same command has left, which is continued. Objects without a
    model and pictures without labels, which opening a dataset leaves out, are left out. Raises ConfigError and DatasetError.
    """
    if not 0 < samples_per_shard <= MOST_SAMPLES:
        raise ConfigError(f"samples_per_shard: got {samples_per_shard}; expected 1 to {MOST_SAMPLES}")
    storage = open_storage(out)
    _begin(storage, dataset, samples_per_shard)
    pictures, scenes = dataset.pictures, _Scenes(dataset)
    sizes: Counter[tuple[int, int]] = Counter()
    shards: list[Shard] = []
    with Progress(f"{out}: wrote", len(pictures), "samples", ending=False) as progress:
        for start in range(0, len(pictures), samples_per_shard):
            chosen = pictures[start : start + samples_per_shard]
            sizes.update(size_of(picture.path) for picture in chosen)
            shards.append(_kept(storage, len(shards), chosen) or _write_shard(storage, len(shards), chosen, scenes))
            progress.update(len(chosen))
    files = _write_models(storage, dataset)
    files[KEYS] = _write_keys(storage, pictures, samples_per_shard)
    posed = sum(picture.camera_from_world is not None for picture in pictures)
    manifest = {key: value for key, value in dataset.manifest.items() if key != "files"}
    index = Index(len(pictures), posed, dataset.split, sizes, tuple(shards), files, manifest)
    storage.write(INDEX, index_bytes(index))
    storage.remove(UNFINISHED)
    return index


def _begin(storage: Storage, dataset: BopDataset, samples_per_shard: int) -> None:
    """Writes what identifies the source to UNFINISHED. Raises ConfigError if there is anything but what a run on the same
    source has left."""
    picked = hashlib.sha256("\n".join(_key(picture) for picture in dataset.pictures).encode()).hexdigest()
    source = {"manifest": _source_of(dataset), "keys": picked, "samples_per_shard": samples_per_shard}
    content = (json.dumps({"source": source}) + "\n").encode()
    there = [name for name in storage.names() if not _LEFTOVER.fullmatch(name)]
    if INDEX in there:
        raise ConfigError(f"out: {storage.url} holds complete shards already; name another folder")
    if UNFINISHED in there:
        if storage.read(UNFINISHED, 1 << 20) != content:
            raise ConfigError(
                f"out: {storage.url} holds unfinished shards of another dataset or samples_per_shard; name another folder"
            )
    elif there:
        raise ConfigError(f"out: {storage.url} is not empty; name a new or empty folder")
    else:
        storage.write(UNFINISHED, content)


def _source_of(dataset: BopDataset) -> str:
    """The SHA-256 of what describes the dataset: its manifest or, without one, the JSON files of its scenes and models, the
    meshes, and the names and sizes of all files of its scenes."""
    if dataset.manifest:
        return hashlib.sha256(json.dumps(dataset.manifest, sort_keys=True).encode()).hexdigest()
    digest = hashlib.sha256()
    for folder in dict.fromkeys(picture.path.parent.parent for picture in dataset.pictures):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not is_hidden(path.name):
                about = sha256_of(path) if path.name.startswith("scene_") else path.stat().st_size
                digest.update(f"{path.relative_to(dataset.root)} {about}\n".encode())
    models = layout.models_folder(dataset.root) / layout.MODELS_INFO
    for path in (models, *(model.mesh for model in dataset.models.values())):
        if path.is_file():
            digest.update(sha256_of(path).encode())
    return digest.hexdigest()


def _kept(storage: Storage, number: int, pictures: Sequence[Picture]) -> Shard | None:
    """The shard that an interrupted run has completed, None if it has not. Its list, which is written after it, has its
    SHA-256."""
    name = shard_name(number)
    if not (storage.exists(list_name(name)) and storage.exists(name)):
        return None
    data, digest = storage.read(list_name(name), LARGEST_INDEX), storage.sha256(name)
    shard = Shard(name, len(pictures), storage.size(name), digest, hashlib.sha256(data).hexdigest())
    try:
        kept = parse_samples(data, shard, storage.name_of(list_name(name)))
    except DatasetError:
        return None
    return shard if kept.shard_sha256 == digest and kept.keys == [_key(picture) for picture in pictures] else None


def _write_shard(storage: Storage, number: int, pictures: Sequence[Picture], scenes: "_Scenes") -> Shard:
    name = shard_name(number)
    rows = []
    with storage.writer(name) as file:
        hashed = _Hashed(file)
        for picture in pictures:
            block = _tar_of(_key(picture), scenes.members(picture))
            if len(block) > LARGEST_SAMPLE:
                raise DatasetError(
                    f"{picture.path}: its sample has {len(block)} bytes; expected at most {LARGEST_SAMPLE}"
                )
            rows.append((_key(picture), len(block), hashlib.sha256(block).hexdigest()))
            hashed.write(block)
        hashed.write(bytes(2 * tarfile.BLOCKSIZE))
        hashed.write(bytes(-hashed.count % tarfile.RECORDSIZE))
    data = samples_bytes(rows, hashed.hexdigest)
    storage.write(list_name(name), data)
    return Shard(name, len(rows), hashed.count, hashed.hexdigest, hashlib.sha256(data).hexdigest())


class _Hashed:
    """Writes to a file, and knows the number and the SHA-256 of the bytes so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.count, self._digest = file, 0, hashlib.sha256()

    @property
    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self._digest.update(data)
        self.count += len(data)


def _tar_of(key: str, members: Mapping[str, bytes]) -> bytes:
    """The files of one sample as a part of a tar file: in the order of their names, and with nothing in their headers that
    depends on who writes them, where and when."""
    parts = io.BytesIO()
    for suffix in sorted(members):
        info = tarfile.TarInfo(f"{key}.{suffix}")
        info.size, info.mode = len(members[suffix]), 0o644
        parts.write(info.tobuf(tarfile.USTAR_FORMAT))
        parts.write(members[suffix])
        parts.write(bytes(-info.size % tarfile.BLOCKSIZE))
    return parts.getvalue()


class _Scenes:
    """The files of a dataset's samples. The JSON files of one scene are in memory at a time."""

    def __init__(self, dataset: BopDataset) -> None:
        self.models: Mapping[int, Model] = dataset.models
        self.root, self.path = dataset.root.resolve(), dataset.root
        files = dataset.manifest.get("files")
        self.hashes: Mapping[str, str] = files if isinstance(files, Mapping) else {}
        self._folder: Path | None = None
        self._content: dict[str, dict[int, Any]] = {}

    def members(self, picture: Picture) -> dict[str, bytes]:
        """The files of one sample, by their names after the key. Raises DatasetError."""
        folder, image = picture.path.parent.parent, picture.image_id
        self._open(folder)
        where = f"{folder / layout.TRUTHS}: image {image}"
        blocks = records(self._content[layout.TRUTHS].get(image), where)
        kept = [
            k for k, block in enumerate(blocks) if int(number(block, "obj_id", f"{where}, block {k}")) in self.models
        ]
        infos = self._content[layout.INFOS].get(image)
        members = {
            CAMERA: _json(self._content[layout.CAMERAS][image], f"{folder / layout.CAMERAS}: image {image}"),
            TRUTH: _json([blocks[k] for k in kept], where),
            INFO: _json(
                _computed(picture) if infos is None else [infos[k] for k in kept],
                f"{folder / layout.INFOS}: image {image}",
            ),
            **self._rgb(picture),
        }
        depth = depth_path(picture)
        if depth.is_file():
            members[DEPTH] = self.read(depth) if depth.suffix == ".png" else self._depth(depth)
        if not self.hashes:  # whether they are whole is unknown
            read_rgb(picture.path)
            read_depth(picture)
        for name in (MASK, MASK_VISIBLE):
            masks = self._masks(folder / name.removesuffix(".json"), picture, kept)
            if masks is not None:
                members[name] = _json(masks, str(folder))
        if image in self._content[_KEYPOINTS]:
            where = f"{folder / _KEYPOINTS}: image {image}"
            points = records(self._content[_KEYPOINTS][image], where)
            if len(points) != len(blocks):
                raise DatasetError(f"{where}: has {len(points)} blocks, and {len(blocks)} in {layout.TRUTHS}")
            members[KEYPOINTS] = _json([points[k] for k in kept], where)
        recipe = read_recipe(picture)
        if recipe is not None:
            members[RECIPE] = _json(recipe, f"{folder}/sample: image {image}")
        return members

    def _open(self, folder: Path) -> None:
        if folder == self._folder:
            return
        self._content = {}
        for name, optional in (
            (layout.CAMERAS, False),
            (layout.TRUTHS, False),
            (layout.INFOS, True),
            (_KEYPOINTS, True),
        ):
            there = (folder / name).is_file() or not optional
            path = folder / name
            self._content[name] = entries(parse_json(self.read(path), str(path)), path, "image") if there else {}
        self._folder = folder

    def _depth(self, path: Path) -> bytes:
        """The PNG file of the depth image `path`, a TIFF of 16 bits. Raises DatasetError for any other."""
        depth = cv2.imdecode(np.frombuffer(self.read(path), np.uint8), cv2.IMREAD_UNCHANGED)
        if depth is None or depth.ndim != 2 or depth.dtype != np.uint16:
            raise DatasetError(f"{path}: shards hold depth of one channel and 16 bits; write it as such a PNG file")
        return cv2.imencode(".png", depth)[1].tobytes()

    def _rgb(self, picture: Picture) -> dict[str, bytes]:
        """The picture's bytes; what is neither JPEG nor PNG as PNG, because BOP's shards have no others."""
        suffix = picture.path.suffix.lower()
        if suffix in (".jpg", ".jpeg"):
            return {RGB[0]: self.read(picture.path)}
        data = self.read(picture.path)
        return {RGB[1]: data if suffix == ".png" else png_bytes(read_rgb(picture.path))}

    def _masks(self, folder: Path, picture: Picture, kept: Sequence[int]) -> dict[str, Any] | None:
        """The run lengths of the masks of the blocks `kept`, None if the dataset stores none."""
        paths = [folder / f"{picture.path.stem}_{k:06d}.png" for k in kept]
        if not folder.is_dir() or (paths and not any(path.is_file() for path in paths)):
            return None
        found = {}
        for k, path in enumerate(paths):
            data = self.read(path)
            mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
            if mask is None:
                raise DatasetError(f"{path}: truncated or not an image; restore it")
            found[str(k)] = {"counts": _runs(np.asarray(mask) > 0), "size": list(mask.shape)}
        return found

    def read(self, path: Path) -> bytes:
        """The bytes of a file of the dataset. Raises DatasetError where it cannot be read, has another SHA-256 than the
        manifest states, or is a link to a file elsewhere, which would be published."""
        if not path.resolve().is_relative_to(self.root):
            raise DatasetError(f"{path}: is a link out of the dataset; copy the file itself to its place")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore it") from error
        stated = self.hashes.get(path.relative_to(self.path).as_posix())
        if stated is not None and hashlib.sha256(data).hexdigest() != stated:
            raise DatasetError(f"{path}: truncated or changed since {MANIFEST} was written; restore it or render again")
        return data


def _key(picture: Picture) -> str:
    return key_of(picture.scene_id, picture.image_id)


def _json(value: Any, where: str) -> bytes:
    try:
        data = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise DatasetError(f"{where}: holds a number that is not finite; correct it") from error
    if len(data) > LARGEST_JSON:
        raise DatasetError(f"{where}: has {len(data)} bytes; expected at most {LARGEST_JSON} for one picture")
    return data


def _computed(picture: Picture) -> list[dict[str, Any]]:
    """The entries of scene_gt_info.json that opening the dataset has computed."""
    return [
        {
            "bbox_obj": list(one.box_amodal),
            "bbox_visib": list(one.box_visible),
            "px_count_visib": one.visible_pixels,
            "visib_fract": one.visible_fraction,
        }
        for one in picture.instances
    ]


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths of `mask` (H, W): by columns, outside and inside in turn, beginning outside."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends.tolist(), flat.size]).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def _write_models(storage: Storage, dataset: BopDataset) -> dict[str, tuple[int, str]]:
    """Writes models_info.json and the meshes as models/; bytes and SHA-256 of each."""
    source = layout.models_folder(dataset.root)
    meshes = [model.mesh for model in dataset.models.values() if model.mesh.is_file()]
    named = {path for model in dataset.models.values() if model.mesh.is_file() for path in textures_of(model)}
    textures = sorted({*named, *(path for path in layout.visible(source) if _TEXTURE.fullmatch(path.name.lower()))})
    files = {}
    scenes = _Scenes(dataset)
    for path in [source / layout.MODELS_INFO, *meshes, *textures]:
        data = scenes.read(path)
        storage.write(f"{MODELS}/{path.name}", data)
        files[f"{MODELS}/{path.name}"] = len(data), hashlib.sha256(data).hexdigest()
    return files


def _write_keys(storage: Storage, pictures: Sequence[Picture], samples_per_shard: int) -> tuple[int, str]:
    """Writes BOP's key_to_shard.json; its bytes and SHA-256."""

    def lines() -> Iterator[str]:
        for k, picture in enumerate(pictures):
            yield f'{"," if k else "{"}\n"{_key(picture)}": {k // samples_per_shard}'
        yield "\n}\n"

    with storage.writer(KEYS) as file:
        hashed = _Hashed(file)
        for line in lines():
            hashed.write(line.encode())
    return hashed.count, hashed.hexdigest
