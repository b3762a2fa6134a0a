"""The SHA-256 of every file in a dataset's manifest. A file is compared with its own just before it is used, so that opening
a dataset reads no picture, and a file that was truncated or changed is noticed before anything is learned from it."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from simgen.dataset.fields import record
from simgen.dataset.layout import MANIFEST
from simgen.errors import DatasetError, FileError
from simgen.files import read_json, sha256_of

_DEEPEST = 4  # folders from a picture to the dataset: SPLIT/SCENE/rgb/NAME
_KEPT = 16  # manifests in memory

Hashes = Mapping[str, str]


def manifest_of(root: Path) -> Mapping[str, Any]:
    """The manifest of the dataset in `root`; empty if there is none, or one of another tool. Raises DatasetError if it is
    malformed."""
    return _manifest_and_hashes(root)[0]


def check_there(root: Path) -> None:
    """Raises DatasetError for the first file that the manifest of the dataset in `root` lists and that is missing. Reads
    folders alone."""
    there: dict[Path, set[str]] = {}
    for name in _manifest_and_hashes(root)[1]:
        path = root / name
        if path.parent not in there:
            there[path.parent] = {one.name for one in path.parent.iterdir()} if path.parent.is_dir() else set()
        if path.name not in there[path.parent]:
            raise DatasetError(
                f"{path}: missing, though {MANIFEST} lists it; render again into a new folder or restore it"
            )


def unchanged(path: Path) -> Path:
    """`path`. Raises DatasetError if it is in a complete dataset whose manifest states another SHA-256 for it."""
    for root in path.parents[:_DEEPEST]:
        try:
            hashes = _manifest_and_hashes(root)[1]
        except (FileError, DatasetError):  # above a dataset, of another program; its own is read when it is opened
            continue
        if hashes:
            expected = hashes.get(path.relative_to(root).as_posix())
            if expected is not None and path.is_file() and sha256_of(path) != expected:
                raise DatasetError(
                    f"{path}: truncated or changed since {MANIFEST} was written; restore it or render again"
                )
            break
    return path


def _manifest_and_hashes(root: Path) -> tuple[Mapping[str, Any], Hashes]:
    try:
        about = (root / MANIFEST).stat()
    except OSError:
        return {}, {}
    return _read(root / MANIFEST, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(_KEPT)
def _read(path: Path, modified: int, size: int, number: int) -> tuple[Mapping[str, Any], Hashes]:
    """The manifest, empty if it is another tool's, and the hashes in it by name, none if it is not complete.

    The time when the file was `modified`, its `size` and its inode's `number` tell a new file from the one that was read.
    """
    manifest = read_json(path)
    if not isinstance(manifest, dict) or "status" not in manifest:
        return {}, {}
    hashes: dict[str, str] = {}
    for name, digest in record(manifest.get("files", {}), f"{path}: files").items():
        plain = PurePosixPath(name.replace("\\", "/"))
        if plain.is_absolute() or ".." in plain.parts or not isinstance(digest, str):
            raise DatasetError(
                f"{path}: files: got {name!r}: {digest!r}; expected paths inside the dataset with their SHA-256"
            )
        hashes[plain.as_posix()] = digest
    return manifest, hashes if manifest["status"] == "complete" else {}
