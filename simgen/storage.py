"""Where a dataset is written: a folder, or a URL of any file system that fsspec knows, such as s3://bucket/set.

Both store files under names relative to their root ("train/000000/rgb/000017.jpg"). A file is stored whole or not at all:
a folder and a file server get it under a temporary name, which is then replaced; an object store publishes no part of an
object.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from simgen.errors import ConfigError, FileError
from simgen.files import is_temporary, temporary_name, write_file, write_lines, writing

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "tos", "memory"}
_EXTRAS = {"s3": "s3", "s3a": "s3"}  # by protocol: the extra of simgen with the package for it
_AT_ONCE = 32  # requests to a remote file system


class Storage(Protocol):
    """A place for the files of a dataset. All methods raise FileError, which names the file, if they fail.

    `together` is the number of samples that are best stored in one call of `put`. `private` states whether other
    processes do not see the files, and `url` whether the place is a URL and not a folder.
    """

    @property
    def together(self) -> int: ...
    @property
    def private(self) -> bool: ...
    @property
    def url(self) -> bool: ...

    def put(self, files: Mapping[str, bytes]) -> None:
        """Stores `files`, each whole or not at all, in any order."""

    def put_lines(self, name: str, lines: Iterable[str]) -> None:
        """Stores a text file that is too large for memory, whole or not at all."""

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of `names`; None for one that is missing."""

    def top(self) -> set[str]:
        """The names of the files and folders in the root, without temporary files."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The size in bytes of each file below `folder`, by name, without temporary files."""

    def remove(self, names: Iterable[str]) -> None:
        """Removes `names`; those that are missing are skipped."""

    def clean(self) -> None:
        """Removes the temporary files that killed processes left."""


def open_storage(out: str, key: str = "out") -> Storage:
    """The place that `out`, the value of the configuration's `key`, names: a folder or a URL. Raises ConfigError for a URL
    of an unknown kind, or one that needs a package that is not installed."""
    if "://" not in out:
        return Folder(Path(out))
    protocol = out.partition("://")[0]
    if "::" in out or any(sign in out for sign in "*?["):
        raise ConfigError(f"{key}: got {out}; expected one URL without *, ?, [ and ::, e.g. s3://bucket/folder")
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(out)
    except ImportError as error:
        install = f"pip install 'simgen[{_EXTRAS[protocol]}]'" if protocol in _EXTRAS else str(error)
        raise ConfigError(f"{key}: {protocol}:// needs a package that is not installed: {install}") from error
    except ValueError as error:
        raise ConfigError(f"{key}: {out}: {error}; expected a folder, or a URL such as s3://bucket/folder") from error
    except Exception as error:  # each kind of file system has errors of its own
        raise FileError(f"{key}: {out}: cannot be reached ({_brief(error)}); check address and credentials") from error
    names = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if "file" in names:
        return Folder(Path(root))
    return Remote(out.rstrip("/"), fs, root.rstrip("/"), bool(names & _OBJECT_STORES), "memory" in names)


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, or of a network file system."""

    root: Path
    together: int = 1
    private: bool = False
    url: bool = False

    def __str__(self) -> str:
        return str(self.root)

    def put(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            write_file(self.root / name, data)

    def put_lines(self, name: str, lines: Iterable[str]) -> None:
        write_lines(self.root / name, lines)

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        return [_read(self.root / name) for name in names]

    def top(self) -> set[str]:
        with writing(self.root):
            if not self.root.exists():
                return set()
            return {path.name for path in self.root.iterdir() if not is_temporary(path.name)}

    def sizes(self, folder: str) -> dict[str, int]:
        found = {}
        for above, _, files in os.walk(self.root / folder):
            inside = Path(above).relative_to(self.root).as_posix()
            for name in files:
                if not is_temporary(name):
                    with contextlib.suppress(FileNotFoundError):
                        found[f"{inside}/{name}"] = (Path(above) / name).stat().st_size
        return found

    def remove(self, names: Iterable[str]) -> None:
        folders = set()
        for name in names:
            with writing(self.root / name):
                (self.root / name).unlink(missing_ok=True)
            folders.add((self.root / name).parent)
        for folder in folders - {self.root}:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()

    def clean(self) -> None:
        with writing(self.root):
            for path in self.root.rglob(".*"):
                if is_temporary(path.name):
                    path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Remote:
    """The folder `root` of the file system `fs` of fsspec. `objects` states whether it is an object store."""

    address: str
    fs: Any
    root: str
    objects: bool
    private: bool
    together: int = 16
    url: bool = True

    def __str__(self) -> str:
        return self.address

    def put(self, files: Mapping[str, bytes]) -> None:
        with self._writing(next(iter(files), "")):
            if self.objects:
                self.fs.pipe({self._path(name): data for name, data in files.items()})
                return
            for name, data in files.items():
                with self._replaced(name) as temporary:
                    self.fs.pipe_file(temporary, data)

    def put_lines(self, name: str, lines: Iterable[str]) -> None:
        with TemporaryDirectory(prefix="simgen-") as folder:
            local = Path(folder) / "file"
            write_lines(local, lines)
            with self._writing(name):
                if self.objects:
                    self.fs.put_file(str(local), self._path(name))
                    return
                with self._replaced(name) as temporary:
                    self.fs.put_file(str(local), temporary)

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._read, names))

    def top(self) -> set[str]:
        with self._reading(""):
            self.fs.invalidate_cache()  # others write, too
            try:
                paths = [path.rstrip("/") for path in self.fs.ls(self.root, detail=False)]
            except FileNotFoundError:
                return set()
            # An object of the folder's own name is how consoles of object stores make an empty folder.
            names = {path.rpartition("/")[2] for path in paths if path != self.root.rstrip("/")}
            return {name for name in names if not is_temporary(name)}

    def sizes(self, folder: str) -> dict[str, int]:
        found = self._find(folder)
        return {name: size for name, size in found.items() if not is_temporary(name.rpartition("/")[2])}

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with self._writing(name), contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._path(name))

    def clean(self) -> None:
        if not self.objects:
            self.remove(name for name in self._find("") if is_temporary(name.rpartition("/")[2]))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _read(self, name: str) -> bytes | None:
        with self._reading(name):
            try:
                return bytes(self.fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def _find(self, folder: str) -> dict[str, int]:
        with self._reading(folder):
            self.fs.invalidate_cache()
            found = self.fs.find(self._path(folder), detail=True)
        return {path[len(self.root) + 1 :]: int(info["size"]) for path, info in found.items() if not path.endswith("/")}

    @contextlib.contextmanager
    def _replaced(self, name: str) -> Iterator[str]:
        """A temporary path for the content of the file `name`, which it replaces at the end."""
        above, _, last = name.rpartition("/")
        temporary = self._path(f"{above}/{temporary_name(last)}" if above else temporary_name(last))
        self.fs.makedirs(self._path(above), exist_ok=True)
        try:
            yield temporary
            self.fs.mv(temporary, self._path(name))
        except BaseException:
            with contextlib.suppress(Exception):  # the first error counts
                self.fs.rm_file(temporary)
            raise

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        with self._errors(name, "written", "run the same command again: finished parts are kept"):
            yield

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        with self._errors(name, "read", "run the same command again"):
            yield

    @contextlib.contextmanager
    def _errors(self, name: str, what: str, then: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of file system has errors of its own
            place = f"{self.address}/{name}" if name else self.address
            raise FileError(
                f"{place}: cannot be {what} ({_brief(error)}); check address, credentials, connection and free space, then "
                f"{then}"
            ) from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}); restore it, or free the disk of the fault"
        ) from error


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
