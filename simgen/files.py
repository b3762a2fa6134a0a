"""Atomic file writing, JSON reading and writing, hashes, and the differences between two JSON values."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simgen.errors import FileError


def read_json(path: Path) -> Any:
    """The content of the JSON file `path`. Raises FileError that names the file where it is missing or malformed."""
    try:
        return json.loads(path.read_bytes())  # of bytes json detects UTF-8, UTF-16 and a BOM
    except FileNotFoundError as error:
        raise FileError(f"{path}: missing; expected a JSON file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"{path}: cannot be read as JSON ({error}); restore or correct it") from error


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Writes `value`, which must hold finite numbers, as the JSON file `path`: all of it or nothing. Raises FileError."""
    write_file(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode())


def write_file(path: Path, data: bytes) -> None:
    """Writes `data` as the file `path`: all of it or nothing, so that a crash leaves the old file or the new one.

    Makes the folder where it is missing. Raises FileError where writing fails.
    """
    with _beside(path, data) as temporary:
        temporary.replace(path)


def write_new_file(path: Path, data: bytes) -> bool:
    """Writes `data` as the file `path`, all of it or nothing, and returns whether it did: an existing file is kept.

    Makes the folder where it is missing. Raises FileError where writing fails.
    """
    with _beside(path, data) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                path.open("xb").close()
            except FileExistsError:
                return False
            temporary.replace(path)
    return True


@contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    """A temporary file with `data` beside `path`, which is removed at the end unless it was renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError while `path` is written into a FileError that names it and what to do."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({error.strerror}); free disk space or name another folder with out=, then run the "
            "same command again: finished parts are kept"
        ) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two JSON values differ: the path of each below `key`, its old and its new value (None where it is
    absent)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new
