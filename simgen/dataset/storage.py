"""Files below one folder or fsspec URL (local, s3://, memory://, ...): reads whole files and ranges, and writes files whole.

Only this module talks to fsspec. Whatever a file system raises becomes a DatasetError that names the file.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from simgen.errors import DatasetError
from simgen.files import temporary_name, writing

_PIECE = 1 << 20  # bytes
_EXTRAS = {"s3": "simgen[s3]"}  # what to install for a protocol


@dataclass(frozen=True)
class Storage:
    """The files below `url`: `system` is its fsspec file system, `root` its path there."""

    url: str
    system: Any
    root: str

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None if it is elsewhere."""
        protocols = self.system.protocol
        return Path(self.root) if "file" in ([protocols] if isinstance(protocols, str) else protocols) else None

    def name_of(self, name: str) -> str:
        """The file `name` as messages name it."""
        return f"{self.url.rstrip('/')}/{name}" if name else self.url

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`. Raises DatasetError if that cannot be known."""
        with self._reading(name):
            return bool(self.system.isfile(self._path(name)))

    def names(self) -> list[str]:
        """The names of the files and folders directly below, sorted; empty if there is no such folder."""
        with self._reading(""):
            self.system.invalidate_cache()
            if not self.system.isdir(self.root):
                return []
            paths = [path.rstrip("/") for path in self.system.ls(self.root, detail=False)]
            # An object of the folder's own name is how consoles of object stores make an empty folder.
            return sorted(path.rpartition("/")[2] for path in paths if path != self.root.rstrip("/"))

    def size(self, name: str) -> int:
        """The number of bytes of the file `name`. Raises DatasetError."""
        with self._reading(name):
            return int(self.system.size(self._path(name)))

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of the file `name`. Raises DatasetError if there are more than `limit`."""
        with self._reading(name), self.system.open(self._path(name), "rb") as file:
            data = bytes(file.read(limit + 1))
        if len(data) > limit:
            raise DatasetError(f"{self.name_of(name)}: has more than {limit} bytes, which no such file has; restore it")
        return data

    def ranges(self, parts: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """The bytes of each of `parts`: a file's name, an offset and a number of bytes. A remote file system fetches them
        all at once. Raises DatasetError where there are fewer."""
        paths, starts = [self._path(name) for name, _, _ in parts], [start for _, start, _ in parts]
        ends = [start + count for _, start, count in parts]
        with self._reading(parts[0][0] if parts else ""):
            found = self.system.cat_ranges(paths, starts, ends, on_error="return")
        for (name, _, count), data in zip(parts, found, strict=True):
            if isinstance(data, Exception):
                with self._reading(name):
                    raise data
            self._check_length(name, len(data), count)
        return [bytes(data) for data in found]

    def stream(self, name: str, counts: Sequence[int]) -> Iterator[bytes]:
        """The bytes of the file `name`, in pieces of `counts` bytes one after the other. Raises DatasetError where it ends
        early."""
        with self._reading(name):
            file = self.system.open(self._path(name), "rb")
        with file:
            for count in counts:
                with self._reading(name):
                    data = bytes(file.read(count))
                self._check_length(name, len(data), count)
                yield data

    def sha256(self, name: str) -> str:
        """The SHA-256 of the file `name`, in hex, read in small pieces. Raises DatasetError."""
        digest, size = hashlib.sha256(), self.size(name)
        for piece in self.stream(name, [min(_PIECE, size - start) for start in range(0, size, _PIECE)]):
            digest.update(piece)
        return digest.hexdigest()

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write, which appears as `name` at the end of the context, and not at all after an error. Raises
        DatasetError."""
        if self.folder is not None:
            path = self.folder / name
            temporary = path.with_name(temporary_name(path.name))
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with temporary.open("wb") as file:
                        yield file
                    temporary.replace(path)
                finally:
                    temporary.unlink(missing_ok=True)
            return
        with self._writing(name):
            target = self.system.open(self._path(name), "wb")
            try:
                yield target
                target.close()
            except BaseException:
                with suppress(Exception):  # the first error is the one to report
                    target.discard()
                with suppress(Exception):  # else its destructor would publish the part that was written
                    target.closed = True
                with suppress(Exception):
                    self.system.rm_file(self._path(name))
                raise

    def write(self, name: str, data: bytes) -> None:
        """Writes the file `name`: all of it or nothing. Raises DatasetError."""
        with self.writer(name) as file:
            file.write(data)

    def remove(self, name: str) -> None:
        """Removes the file `name`. Raises DatasetError."""
        with self._writing(name):
            self.system.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _check_length(self, name: str, found: int, count: int) -> None:
        if found != count:
            raise DatasetError(f"{self.name_of(name)}: truncated: {found} bytes where {count} are expected; restore it")

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except DatasetError:
            raise
        except FileNotFoundError as error:
            raise DatasetError(f"{self.name_of(name)}: missing; restore it, or check the path") from error
        except Exception as error:  # each file system has its own
            raise DatasetError(
                f"{self.name_of(name)}: cannot be read ({_cause(error)}); check the connection and the permissions, then "
                "run the same command again"
            ) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(
                f"{self.name_of(name)}: cannot be written ({_cause(error)}); check the connection, the permissions and the "
                "free space, then run the same command again"
            ) from error


def is_url(root: str) -> bool:
    """Whether `root` is a URL for fsspec, such as s3://bucket/folder, and not a path."""
    return "://" in root or "::" in root


def open_storage(root: str) -> Storage:
    """The files below the folder or URL `root`, which need not exist. Raises DatasetError if it cannot be opened."""
    import fsspec.core  # not at the top: it takes 0.1 s, and most commands need only local files

    try:
        system, path = fsspec.core.url_to_fs(root)
    except (ImportError, ValueError) as error:
        protocol = root.partition(":")[0]
        package = _EXTRAS.get(protocol)
        remedy = f"pip install '{package}'" if package else "check the URL, or install the package that it needs"
        raise DatasetError(f"{root}: cannot be opened ({_cause(error)}); {remedy}") from error
    except Exception as error:
        raise DatasetError(f"{root}: cannot be opened ({_cause(error)}); check the URL and the connection") from error
    return Storage(root, system, str(path))


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
