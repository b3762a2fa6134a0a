"""The index of a dataset in shards: which shards there are, and where each sample is in its shard, with SHA-256 checksums.

index.json describes the dataset: counts, sizes of its pictures, split, table, recipe, each shard and each other file. It
carries a checksum of itself. shard-NNNNNN.json beside a shard lists its samples in their order: key, bytes, SHA-256. Samples
follow each other without a gap, so the bytes give the offsets.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.dataset.fields import record, require
from simgen.errors import DatasetError

FORMAT, VERSION = "simgen-shards", 1
INDEX = "index.json"
KEYS = "key_to_shard.json"  # of BOP's own shards: the shard's number by the sample's key
MODELS = "models"
BLOCK = 512  # bytes: what a tar file consists of
SAMPLES_PER_SHARD = 1000  # at most, in BOP's own shards
MOST_SAMPLES = 100_000  # in a shard
LARGEST_INDEX = 16 << 20  # bytes of index.json or of a list of samples
LARGEST_JSON = 8 << 20  # bytes of a sample's JSON file
LARGEST_SAMPLE = 512 << 20  # bytes of a sample
LARGEST_MODELS = 4 << 30  # bytes of all files of the models
TAIL = 2 * BLOCK, 20 * BLOCK  # bytes of the empty blocks that end a tar file
_KEY = re.compile(r"(\d{6,24})_(\d{6,24})")
_NAME = re.compile(rf"{MODELS}/[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")  # a file of any name directly below models/
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """One shard: the name of its tar file, its samples, its bytes, its SHA-256, and that of its list of samples."""

    name: str
    samples: int
    bytes: int
    sha256: str
    list_sha256: str


@dataclass(frozen=True)
class Index:
    """The content of index.json. `posed` is the number of samples whose camera's pose in the world is known. `sizes` counts
    the samples by width and height of the picture; `files` has bytes and SHA-256 of each other file. `manifest` is the
    source's manifest.json without its list of files."""

    samples: int
    posed: int
    split: str
    sizes: Mapping[tuple[int, int], int]
    shards: tuple[Shard, ...]
    files: Mapping[str, tuple[int, str]]
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Samples:
    """The samples of a shard: their keys, the offset (N + 1,) of each and of the end, and their SHA-256 in hex; and the
    SHA-256 of the shard."""

    keys: Sequence[str]
    offsets: NDArray[np.int64]
    hashes: Sequence[str]
    shard_sha256: str


def shard_name(number: int) -> str:
    """The name of the tar file of shard `number`."""
    return f"shard-{number:06d}.tar"


def list_name(shard: str) -> str:
    """The name of the list of the samples in the tar file `shard`."""
    return shard.removesuffix(".tar") + ".json"


def key_of(scene: int, image: int) -> str:
    """The key of a sample: the name of its files in a shard, up to the first dot."""
    return f"{scene:06d}_{image:06d}"


def ids_of(key: str) -> tuple[int, int]:
    """Scene and image of a sample's key."""
    match = _KEY.fullmatch(key)
    assert match is not None, key  # checked in parse_samples
    return int(match[1]), int(match[2])


def index_bytes(index: Index) -> bytes:
    """The content of index.json."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "samples": index.samples,
        "posed": index.posed,
        "split": index.split,
        "sizes": [[width, height, count] for (width, height), count in sorted(index.sizes.items())],
        "shards": [vars(shard) for shard in index.shards],
        "files": {name: {"bytes": count, "sha256": digest} for name, (count, digest) in sorted(index.files.items())},
        "manifest": dict(index.manifest),
    }
    return (json.dumps({**content, "checksum": _checksum(content)}, indent=1, allow_nan=False) + "\n").encode()


def parse_index(data: bytes, where: str) -> Index:
    """The index in `data`, the content of index.json at `where`. Raises DatasetError."""
    content = record(parse_json(data, where), where)
    if content.get("format") != FORMAT:
        raise DatasetError(f"{where}: is not an index of shards; expected one that `python -m simgen convert` wrote")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise DatasetError(f"{where}: is of version {version}, which a newer version of simgen wrote; update simgen")
    if version != VERSION:
        raise DatasetError(f"{where}: version: got {version!r}; expected {VERSION}")
    if content.get("checksum") != _checksum({key: value for key, value in content.items() if key != "checksum"}):
        raise DatasetError(f"{where}: changed since it was written; restore it")
    shards = tuple(_shard(one, k, where) for k, one in enumerate(_list(content, "shards", where)))
    sizes = {(row[0], row[1]): row[2] for row in (_size(one, where) for one in _list(content, "sizes", where))}
    files = record(require(content, "files", where), f"{where}: files")
    index = Index(
        samples=_whole(content, "samples", where),
        posed=_whole(content, "posed", where),
        split=_text(content, "split", where),
        sizes=sizes,
        shards=shards,
        files={name: _file(name, one, where) for name, one in files.items()},
        manifest=record(require(content, "manifest", where), f"{where}: manifest"),
    )
    if not (index.samples == sum(shard.samples for shard in shards) == sum(sizes.values()) and index.samples > 0):
        raise DatasetError(f"{where}: samples: got {index.samples}; expected the sum of those of its shards and sizes")
    if sum(count for count, _ in index.files.values()) > LARGEST_MODELS:
        raise DatasetError(f"{where}: files: have more than {LARGEST_MODELS} bytes, which no models have")
    if index.posed > index.samples:
        raise DatasetError(f"{where}: posed: got {index.posed}; expected at most the {index.samples} samples")
    return index


def samples_bytes(rows: Sequence[tuple[str, int, str]], shard_sha256: str) -> bytes:
    """The content of a shard's list of samples: key, bytes and SHA-256 of each, and the SHA-256 of the shard."""
    lines = ",\n".join(json.dumps(list(row)) for row in rows)
    return f'{{"version": {VERSION}, "shard_sha256": "{shard_sha256}", "samples": [\n{lines}\n]}}\n'.encode()


def parse_samples(data: bytes, shard: Shard, where: str) -> Samples:
    """The samples in `data`, the list of `shard` at `where`. Raises DatasetError."""
    if hashlib.sha256(data).hexdigest() != shard.list_sha256:
        raise DatasetError(f"{where}: truncated or changed since {INDEX} was written; restore it")
    content = record(parse_json(data, where), where)
    rows = _list(content, "samples", where)
    if len(rows) != shard.samples:
        raise DatasetError(f"{where}: has {len(rows)} samples; expected the {shard.samples} of {INDEX}")
    for k, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and _KEY.fullmatch(row[0])):
            raise DatasetError(f"{where}: sample {k}: expected a key such as {key_of(0, k)}, bytes and a SHA-256")
        if not _is_whole(row[1]) or row[1] % BLOCK or not 0 < row[1] <= LARGEST_SAMPLE:
            raise DatasetError(f"{where}: sample {row[0]}: expected a multiple of {BLOCK} up to {LARGEST_SAMPLE} bytes")
        if not (isinstance(row[2], str) and _HASH.fullmatch(row[2])):
            raise DatasetError(f"{where}: sample {row[0]}: expected a SHA-256 of 64 hexadecimal digits")
    offsets = np.cumsum([0, *(row[1] for row in rows)], dtype=np.int64)
    if not TAIL[0] <= shard.bytes - offsets[-1] <= TAIL[0] + TAIL[1]:
        raise DatasetError(f"{where}: its samples have {offsets[-1]} bytes, and {shard.name} has {shard.bytes}")
    digest = _hash(content, "shard_sha256", where)
    return Samples([row[0] for row in rows], offsets, [row[2] for row in rows], digest)


def parse_json(data: bytes, where: str) -> Any:
    """The JSON in `data`, which must hold finite numbers. Raises DatasetError that begins with `where`."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are a ValueError
        cause = "too deep" if isinstance(error, RecursionError) else str(error)
        raise DatasetError(f"{where}: cannot be read as JSON ({cause}); restore it") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _shard(value: Any, number: int, where: str) -> Shard:
    place = f"{where}: shard {number}"
    one = record(value, place)
    name, samples = _text(one, "name", place), _whole(one, "samples", place)
    if name != shard_name(number):
        raise DatasetError(f"{place}: name: got {name!r}; expected {shard_name(number)}")
    if not 0 < samples <= MOST_SAMPLES:
        raise DatasetError(f"{place}: samples: got {samples}; expected 1 to {MOST_SAMPLES}")
    return Shard(
        name, samples, _whole(one, "bytes", place), _hash(one, "sha256", place), _hash(one, "list_sha256", place)
    )


def _file(name: str, value: Any, where: str) -> tuple[int, str]:
    place = f"{where}: file {name[:80]!r}"
    if name != KEYS and not _NAME.fullmatch(name):
        raise DatasetError(f"{place}: is no name of a file below {MODELS}/")
    one = record(value, place)
    count = _whole(one, "bytes", place)
    return count, _hash(one, "sha256", place)


def _size(value: Any, where: str) -> tuple[int, int, int]:
    if not (isinstance(value, list) and len(value) == 3 and all(_is_whole(part) and part > 0 for part in value)):
        raise DatasetError(
            f"{where}: sizes: expected a width, a height and a number of samples, three whole numbers above 0"
        )
    width, height, count = value
    return width, height, count


def _list(entry: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = require(entry, key, where)
    if not isinstance(value, list):
        raise DatasetError(f"{where}: {key}: expected a list")
    return value


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = require(entry, key, where)
    if not isinstance(value, str):
        raise DatasetError(f"{where}: {key}: expected text")
    return value


def _hash(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = _text(entry, key, where)
    if not _HASH.fullmatch(value):
        raise DatasetError(f"{where}: {key}: expected a SHA-256 of 64 hexadecimal digits")
    return value


def _whole(entry: Mapping[str, Any], key: str, where: str) -> int:
    value = require(entry, key, where)
    if not _is_whole(value) or value < 0:
        raise DatasetError(f"{where}: {key}: expected a whole number of at least 0")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
