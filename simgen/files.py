"""Atomic file writing, JSON reading and writing, hashes, and the differences between two JSON values."""

import fcntl
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simgen.errors import FileError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f.]+\.tmp")


def read_json(path: Path) -> Any:
    """The content of the JSON file `path`. Raises FileError that names the file where it is missing or malformed."""
    try:
        return json.loads(path.read_bytes())  # of bytes json detects UTF-8, UTF-16 and a BOM
    except FileNotFoundError as error:
        raise FileError(f"{path}: missing; expected a JSON file") from error
    except (OSError, ValueError, RecursionError) as error:  # also a number of thousands of digits, or too deep
        raise FileError(f"{path}: cannot be read as JSON ({error}); restore or correct it") from error


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Writes `value`, which must hold finite numbers, as the JSON file `path`: all of it or nothing. Raises FileError."""
    write_file(path, json_bytes(value, indent=indent))


def json_bytes(value: Any, *, indent: int | None = None) -> bytes:
    """`value`, which must hold finite numbers, as the content of a JSON file."""
    return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()


def write_file(path: Path, data: bytes) -> None:
    """Writes `data` as the file `path`: all of it or nothing, so that a crash leaves the old file or the new one.

    Makes the folder where it is missing. Raises FileError where writing fails.
    """
    with _replacing(path) as temporary:
        temporary.write_bytes(data)
        temporary.replace(path)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """As `write_file`, for a text that is too large for memory: `lines` without their ends."""
    with _replacing(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line + "\n")
        temporary.replace(path)


def write_new_file(path: Path, data: bytes) -> bool:
    """Writes `data` as the file `path`, all of it or nothing, and returns whether it did: an existing file is kept.

    Makes the folder where it is missing. Raises FileError where writing fails.
    """
    with _replacing(path) as temporary:
        temporary.write_bytes(data)
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
def _replacing(path: Path) -> Iterator[Path]:
    """The path of a temporary file beside `path`, which is removed at the end unless it was renamed."""
    temporary = path.with_name(temporary_name(path.name))
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def temporary_name(name: str) -> str:
    """A name for the file `name` while it is being written, unlike those of all other processes and machines."""
    return f".{name}.{secrets.token_hex(8)}.tmp"


def is_temporary(name: str) -> bool:
    """Whether `name` is that of a file that was being written when its process was killed."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError while `path` is written into a FileError that names it and what to do."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({error.strerror or error}); free disk space or name another output folder, "
            "then run the same command again"
        ) from error


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[int]:
    """Holds the lock of the file `path`, which is made if it is missing, and yields its descriptor: the lock lasts until all
    processes have ended, or are killed, that inherited it.

    With `wait` it waits for another process; without, it raises BlockingIOError. Where files have no locks it prints a line.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            print(f"{path}: cannot be locked ({error.strerror}): another process there is not noticed", file=sys.stderr)
        yield file.fileno()


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
