"""Malformed and malicious datasets in shards: each is refused in one line, and nothing else happens."""

import hashlib
import json
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from builders import tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_dataset import write_dataset

from simgen.dataset.read import open_dataset
from simgen.dataset.scenes import SceneReader
from simgen.dataset.shardindex import INDEX, index_bytes, parse_index, samples_bytes
from simgen.dataset.shards import DEPTH, MASK_VISIBLE, StoredSample, members_of, open_shards
from simgen.dataset.storage import open_storage
from simgen.errors import DatasetError, FileError
from simgen.files import read_json
from simgen.formats.shards import _tar_of, write_shards

KEY = "000000_000000"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    write_dataset(root / "set", np.array([[0.1, 0.0, 0.045], [-0.1, 0.1, 0.045]]))
    write_shards(open_dataset(root / "set", table=True), str(root / "out"))
    return root / "out"


@pytest.fixture
def shards(clean: Path, tmp_path: Path) -> Path:
    for name, data in tree(clean).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def content(root: Path | str) -> list[Any]:
    """All that can be read from the shards in `root`."""
    found = open_shards(str(root))
    models = {number: (one.name, one.size.tolist()) for number, one in found.dataset.models.items()}
    samples = [(one.key, dict(one.members), one.rgb().tobytes(), str(one.picture(found.reader))) for one in found]
    assert [one.members for one in found.read(range(len(found)))] == [one[1] for one in samples]
    return [models, found.index, [(key, members, rgb) for key, members, rgb, _ in samples]]


def publish(root: Path, blocks: list[bytes]) -> None:
    """Replaces the samples of the one shard by `blocks`, with lists and checksums that fit: as an attacker would."""
    index = parse_index((root / INDEX).read_bytes(), "")
    data = b"".join(blocks) + bytes(2 * 512)
    digest = hashlib.sha256(data).hexdigest()
    rows = [(f"000000_{k:06d}", len(block), hashlib.sha256(block).hexdigest()) for k, block in enumerate(blocks)]
    listed = samples_bytes(rows, digest)
    shard = replace(
        index.shards[0],
        samples=len(blocks),
        bytes=len(data),
        sha256=digest,
        list_sha256=hashlib.sha256(listed).hexdigest(),
    )
    changed = replace(index, samples=len(blocks), posed=0, sizes={(64, 48): len(blocks)}, shards=(shard,))
    (root / shard.name).write_bytes(data)
    (root / "shard-000000.json").write_bytes(listed)
    (root / INDEX).write_bytes(index_bytes(changed))


def first(root: Path) -> dict[str, bytes]:
    return dict(next(iter(open_shards(str(root)))).members)


def member(name: str, data: bytes = b"{}", **header: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in header.items():
        setattr(info, key, value)
    return info.tobuf(header.pop("format", tarfile.GNU_FORMAT)) + data + bytes(-len(data) % 512)


def pax(name: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.pax_headers = {"path": "../evil"}
    return info.tobuf(tarfile.PAX_FORMAT)


MEMBERS = {
    "absolute": (member(f"/etc/{KEY}.gt.json"), "leads out of the dataset"),
    "parent": (member(f"../{KEY}.gt.json"), "leads out of the dataset"),
    "parent within": (member(f"a/../../{KEY}.gt.json"), "leads out of the dataset"),
    "symlink": (member(f"{KEY}.recipe.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
    "hard link": (member(f"{KEY}.recipe.json", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is a link"),
    "folder": (member(f"{KEY}.recipe.json", b"", type=tarfile.DIRTYPE), "folder"),
    "device": (member(f"{KEY}.recipe.json", b"", type=tarfile.CHRTYPE), "special file"),
    "sparse": (member(f"{KEY}.recipe.json", type=tarfile.GNUTYPE_SPARSE), "special file"),
    "long name": (member(f"{KEY}.{'a' * 200}"), "special file"),
    "pax": (pax(f"{KEY}.recipe.json"), "special file|leads out"),
    "pickle": (member(f"{KEY}.label.pyd"), "expected each of"),
    "of another sample": (member("000000_000001.recipe.json"), "expected each of"),
    "in a folder": (member(f"a/{KEY}.recipe.json"), "expected each of"),
    "twice": (member(f"{KEY}.gt.json"), "expected each of .* once"),
    "too large": (member(f"{KEY}.recipe.json", b"", size=10**10), "more than its sample"),
    "no header": (b"x" * 512, "is no part of a tar file at byte"),
    "zeros": (bytes(512), "is no part of a tar file at byte"),
    "short": (b"abc".ljust(512, b"\0"), "is no part of a tar file at byte"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_file_that_is_not_bops(name: str, shards: Path) -> None:
    block, message = MEMBERS[name]
    publish(shards, [_tar_of(KEY, first(shards)) + block])
    with pytest.raises(DatasetError, match=rf"{KEY}: .*{message}") as caught:
        content(shards)
    assert "\n" not in str(caught.value)
    assert not (shards.parent / "evil").exists()


def png(width: int, height: int) -> bytes:
    """A gray PNG of 8 bits that states its size and holds one byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">II", width, height) + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        value = json.loads(members[name])
        members[name] = json.dumps(change(value) or value).encode()

    return apply


def put(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: data})


CONTENTS: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "NaN": (put("gt.json", b'[{"obj_id": NaN}]'), r"gt\.json: cannot be read as JSON \(NaN"),
    "infinity": (put("camera.json", b'{"cam_K": [1e999,0,0,0,1,0,0,0,1]}'), r"camera\.json: cam_K: .*finite"),
    "huge number": (edited("gt.json", lambda gt: gt[0].update(cam_t_m2c=[10**400, 0, 1])), "cam_t_m2c: .*finite"),
    "type": (edited("gt.json", lambda gt: gt[0].update(cam_R_m2c="x")), r"gt\.json, block 0: cam_R_m2c: .*9 finite"),
    "object": (put("gt.json", b"{}"), r"gt\.json: got {}; expected a list"),
    "list": (put("camera.json", b"[]"), r"camera\.json: got \[\]; expected an object"),
    "not UTF-8": (put("camera.json", b'{"\xff\xfe": 1}'), r"camera\.json: cannot be read as JSON"),
    "deep": (put("camera.json", b"[" * 200_000), r"camera\.json: cannot be read as JSON \(too deep"),
    "a million": (put("gt.json", b"[" + b"{}," * 999_999 + b"{}]"), r"gt\.json: has 1000000 blocks; expected at most"),
    "large": (put("gt_info.json", b"[" + b" " * (9 << 20) + b"]"), r"gt_info\.json: has \d+ bytes; expected at most"),
    "counts": (put("gt_info.json", b"[]"), r"gt_info\.json: has 0 blocks, and 1"),
    "missing": (lambda members: members.pop("gt_info.json"), r"gt_info\.json: missing"),
    "no picture": (lambda members: members.pop("rgb.png"), "expected one of rgb.jpg and rgb.png"),
    "two pictures": (put("rgb.jpg", b""), "expected one of rgb.jpg and rgb.png"),
    "truncated picture": (lambda members: members.update({"rgb.png": members["rgb.png"][:200]}), r"rgb\.png: "),
    "bomb": (put("rgb.png", png(100_000, 100_000)), r"rgb\.png: is larger than \d+ megapixels"),
    "no image": (put("rgb.png", b"<html>"), r"rgb\.png: is not a picture"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_contents_that_no_dataset_has(name: str, shards: Path) -> None:
    change, message = CONTENTS[name]
    members = first(shards)
    change(members)
    publish(shards, [_tar_of(KEY, members)])
    with pytest.raises(DatasetError, match=rf"{KEY}.*{message}") as caught:
        content(shards)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_masks_and_depth_that_no_picture_has() -> None:
    def sample(name: str, data: bytes) -> StoredSample:
        return StoredSample(KEY, "here", {name: data})

    for bomb in (png(60_000, 60_000), png(10, 10), b"", b"\x89PNG"):
        with pytest.raises(DatasetError, match=r"here\.depth\.png: truncated"):
            sample(DEPTH, bomb).depth(1.0)
    sizes: list[Any] = [[10**6, 10**6], [2], [2, 3, 1], "2x3", [True, 6], [2.0, 3.0], [-2, -3], [0, 0], None]
    runs: list[Any] = [(size, [10**12]) for size in sizes]
    runs += [([2, 3], counts) for counts in ([5], [-1, 7], [6.0], ["6"], {}, [10**30], [])]
    for size, counts in runs:
        data = json.dumps({"0": {"size": size, "counts": counts}}).encode()
        with pytest.raises(DatasetError, match=r"mask_visib\.json: block 0: expected a size"):
            sample(MASK_VISIBLE, data).masks()
    with pytest.raises(DatasetError, match="expected an entry for each block"):
        sample(MASK_VISIBLE, b'{"1": {}}').masks()
    masks = sample(MASK_VISIBLE, b'{"0": {"size": [2, 3], "counts": [1, 2, 3]}}').masks()
    assert masks is not None and masks.tolist() == [[[False, True, False], [True, False, False]]]


def rewrite(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A change of index.json with a checksum that fits."""

    def apply(root: Path) -> None:
        index = json.loads((root / INDEX).read_text())
        del index["checksum"]
        change(index)
        digest = hashlib.sha256(json.dumps(index, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        (root / INDEX).write_text(json.dumps({**index, "checksum": digest}))

    return apply


def cut(name: str, count: int) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:count])  # type: ignore[arg-type,return-value]


TREES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (lambda root: (root / INDEX).unlink(), r"index\.json: missing; expected .* complete"),
    "empty index": (cut(INDEX, 0), r"index\.json: cannot be read as JSON"),
    "other index": (lambda root: (root / INDEX).write_text('{"format": "x"}'), "is not an index of shards"),
    "newer": (
        rewrite(lambda index: index.update(version=2)),
        "version 2, which a newer version of simgen wrote; update simgen",
    ),
    "older": (rewrite(lambda index: index.update(version="1")), "version: got '1'; expected 1"),
    "edited": (
        lambda root: (root / INDEX).write_text((root / INDEX).read_text().replace("train", "test")),
        "changed since",
    ),
    "sum": (rewrite(lambda index: index.update(samples=3)), "samples: got 3; expected the sum"),
    "name": (rewrite(lambda index: index["shards"][0].update(name="../x.tar")), r"name: got '\.\./x\.tar'"),
    "file": (
        rewrite(lambda index: index["files"].update({"models/../../x": {}})),
        "is no name of a file below models/",
    ),
    "folder": (rewrite(lambda index: index["files"].update({"/etc/passwd": {}})), "is no name of a file below models/"),
    "bytes": (rewrite(lambda index: index["shards"][0].update(bytes=10**12)), "its samples have"),
    "models": (
        rewrite(lambda index: index["files"]["models/models_info.json"].update(bytes=10**12)),
        "files: have more",
    ),
    "hash": (rewrite(lambda index: index["shards"][0].update(list_sha256="0" * 63)), "64 hexadecimal digits"),
    "shard gone": (lambda root: (root / "shard-000000.tar").unlink(), r"shard-000000\.tar: missing; restore it"),
    "shard truncated": (cut("shard-000000.tar", 12_000), r"shard-000000\.tar: truncated: \d+ bytes where"),
    "shard longer": (
        lambda root: (root / "shard-000000.tar").open("ab").write(b"x"),
        r"shard-000000\.tar: changed since",
    ),
    "list gone": (lambda root: (root / "shard-000000.json").unlink(), r"shard-000000\.json: missing"),
    "list truncated": (cut("shard-000000.json", 50), r"shard-000000\.json: truncated or changed"),
    "model gone": (lambda root: (root / "models/models_info.json").unlink(), r"models_info\.json: missing"),
    "model truncated": (cut("models/models_info.json", 30), r"models_info\.json: truncated or changed"),
    "model longer": (lambda root: (root / "models/models_info.json").open("ab").write(b" "), "has more than"),
}


@pytest.mark.parametrize("name", TREES)
def test_files_that_are_not_those_of_the_index(name: str, shards: Path) -> None:
    change, message = TREES[name]
    change(shards)
    with pytest.raises(DatasetError, match=message) as caught:
        content(shards)
    assert "\n" not in str(caught.value) and str(shards) in str(caught.value)


def test_a_remote_that_vanishes(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    for name, data in tree(clean).items():
        system.pipe_file(f"/vanishing/{name}", data)
    found = open_shards("memory://vanishing")
    samples = iter(found)
    next(samples)
    assert len(found.read([1, 0])) == 2

    def broken(*_: Any, **__: Any) -> Any:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(system, "cat_file", broken)
    with pytest.raises(
        DatasetError, match=r"^memory://vanishing/shard-000000\.tar: cannot be read \(.*reset.*connection"
    ):
        found.read([0])
    monkeypatch.undo()
    system.rm("/vanishing", recursive=True)
    with pytest.raises(DatasetError, match=r"^memory://vanishing/shard-000000\.tar: missing"):
        found.read([0])
    with pytest.raises(DatasetError, match=r"^memory://vanishing/index\.json: missing"):
        open_shards("memory://vanishing")


def test_urls_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match=r"^nothing://x: cannot be opened \(.*\); check the URL"):
        open_storage("nothing://x")

    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(DatasetError, match=r"^s3://b/x: .*; pip install 'simgen\[s3\]'$"):
        open_storage("s3://b/x")


def test_a_full_disk_leaves_what_was_there(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(str(tmp_path))
    storage.write("a", b"before")

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with pytest.raises(DatasetError, match=r"cannot be written \(No space left"), storage.writer("a") as file:
        file.write(b"after")
        full()
    assert tree(tmp_path) == {"a": b"before"}


# ---- fuzzed

_fuzz = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
_edits = st.lists(
    st.tuples(st.integers(0, 2**20), st.sampled_from(["set", "cut", "insert"]), st.binary(max_size=6)),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, edits: list[tuple[int, str, bytes]]) -> bytes:
    for place, how, piece in edits:
        place %= len(data) + 1
        rest = b"" if how == "cut" else piece + data[place + (len(piece) if how == "set" else 0) :]
        data = data[:place] + rest
    return data


@pytest.fixture(scope="module")
def opened(clean: Path) -> tuple[SceneReader, dict[str, bytes]]:
    return open_shards(str(clean)).reader, first(clean)


@pytest.fixture(scope="module")
def fuzzed(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], list[Any]]:
    """A copy, its files, and what is read from them."""
    root = tmp_path_factory.mktemp("fuzzed") / "out"
    shutil.copytree(clean, root)
    return root, tree(root), content(root)


@_fuzz
@given(number=st.integers(0, 100), edits=_edits)
def test_any_change_of_bytes_is_noticed(
    fuzzed: tuple[Path, dict[str, bytes], list[Any]], number: int, edits: list[tuple[int, str, bytes]]
) -> None:
    """In any file: an error, or the very data."""
    root, files, before = fuzzed
    name = sorted(files)[number % len(files)]
    (root / name).write_bytes(mutated(files[name], edits))
    try:
        after = content(root)
    except DatasetError as error:
        assert str(error).startswith(str(root))
    else:
        assert after == before
    finally:
        (root / name).write_bytes(files[name])


@_fuzz
@given(edits=_edits)
def test_any_tar_gives_files_or_an_error(
    opened: tuple[SceneReader, dict[str, bytes]], edits: list[tuple[int, str, bytes]]
) -> None:
    block = mutated(_tar_of(KEY, opened[1]), edits)
    try:
        members = members_of(block, KEY, "here")
    except DatasetError as error:
        assert str(error).startswith("here")
    else:
        assert sum(map(len, members.values())) <= len(block)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(["cam_K", "obj_id", "0"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@_fuzz
@given(name=st.sampled_from(["camera.json", "gt.json", "gt_info.json"]), key=st.integers(0, 12), value=_json)
def test_any_label_gives_a_picture_or_an_error(
    opened: tuple[SceneReader, dict[str, bytes]], name: str, key: int, value: Any
) -> None:
    reader, members = opened[0], dict(opened[1])
    content = json.loads(members[name])
    entry = content if isinstance(content, dict) else content[0]
    keys = sorted([*entry, "dist_opencv5", "size_mm", "depth_scale"])
    if key < len(keys):
        entry[keys[key]] = value
    else:
        content = value
    members[name] = json.dumps(content).encode()
    sample = StoredSample(KEY, "here", members)
    try:
        sample.picture(reader)
    except DatasetError as error:
        assert str(error).startswith("here")


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000, "\xff", ""], ids=["deep", "digits", "not UTF-8", "empty"])
def test_json_files_that_python_cannot_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=r"a\.json: cannot be read as JSON"):
        read_json(tmp_path / "a.json")
