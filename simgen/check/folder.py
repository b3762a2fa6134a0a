"""Reads the files of a dataset, each once: what cannot be read, or differs from the manifest, becomes a finding."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from simgen.check.findings import (
    BadValue,
    ChangedFile,
    LinkOutside,
    MissingFile,
    NewerVersion,
    Report,
    Unfinished,
    UnreadableFile,
)
from simgen.dataset.layout import MANIFEST
from simgen.dataset.write import DATA_VERSION

_LARGEST_JSON = 1 << 30  # bytes


class Folder:
    """The files in `root`, by their names relative to it, with slashes. `manifest` is manifest.json if simgen wrote one of a
    version that is known, else empty; `listed` are the SHA-256 of the files by name, empty without `hashes`; `links` are the
    names of links out of the dataset, which are not followed."""

    def __init__(self, root: Path, report: Report, *, hashes: bool) -> None:
        self.root, self.report, self.unfinished = root, report, False
        self.links = set(_links_outside(root))
        for link in sorted(self.links):
            report(LinkOutside(link, f"is a link to {os.path.realpath(root / link)}, outside of the dataset"))
        self.listed: dict[str, str] = {}
        self._read = {MANIFEST}
        manifest = self.json(MANIFEST) if (root / MANIFEST).exists() else None
        self.manifest: Mapping[str, Any] = self._known(manifest)
        if hashes and isinstance(manifest, dict):
            self.listed = self._hashes(manifest)

    def read(self, name: str) -> bytes | None:
        """The bytes of the file `name`; None, and a finding, if they cannot be read."""
        if self.is_outside(name):
            return None  # the link is reported
        try:
            if not stat.S_ISREG((self.root / name).stat().st_mode):
                self.report(UnreadableFile(name, "is no regular file"))
                return None
            data = (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self.report(MissingFile(name, "is missing"))
            return None
        except (OSError, ValueError) as error:
            self.report(UnreadableFile(name, f"cannot be read: {error}"))
            return None
        if name in self.listed and name not in self._read and hashlib.sha256(data).hexdigest() != self.listed[name]:
            self.report(ChangedFile(name, "has other bytes than manifest.json states"))
        self._read.add(name)
        return data

    def json(self, name: str) -> Any:
        """The content of the JSON file `name`; None, and a finding, if there is none."""
        path = self.root / name
        if path.is_file() and path.stat().st_size > _LARGEST_JSON:
            self.report(UnreadableFile(name, f"has {path.stat().st_size} bytes; expected at most {_LARGEST_JSON}"))
            return None
        data = self.read(name)
        return None if data is None else parse(data, name, self.report)

    def is_outside(self, name: str) -> bool:
        """Whether the file or folder `name` is, or is below, a link out of the dataset."""
        return bool(self.links) and (
            name in self.links or any(str(above) in self.links for above in PurePosixPath(name).parents)
        )

    def rest(self) -> Iterator[str]:
        """Reads, and so checks, the listed files that were not read yet; yields the name of each."""
        for name in self.listed:
            if name not in self._read:
                self.read(name)
            yield name

    def _known(self, manifest: Any) -> Mapping[str, Any]:
        """`manifest` if it is one of this version of simgen or an older one."""
        if not isinstance(manifest, dict) or "status" not in manifest:
            return {}  # another tool's, or none
        recipe = manifest.get("recipe")
        version = recipe.get("data_version") if isinstance(recipe, dict) else None
        if type(version) is not int:
            self.report(BadValue(MANIFEST, "recipe.data_version is no whole number, as simgen writes it"))
            return {}
        if version > DATA_VERSION:
            self.report(
                NewerVersion(
                    MANIFEST,
                    f"is of data version {version}, and this simgen knows versions up to {DATA_VERSION}: recipes and "
                    "factors were not checked",
                )
            )
            return {}
        if manifest["status"] != "complete":
            self.unfinished = True
            self.report(Unfinished(MANIFEST, f"has the status {manifest['status']!r}, not complete"))
            return {}
        return manifest

    def _hashes(self, manifest: Mapping[str, Any]) -> dict[str, str]:
        files = manifest.get("files", {})
        if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
            self.report(BadValue(MANIFEST, "files is no object of names and SHA-256"))
            return {}
        found = {}
        for name, digest in files.items():
            name = name.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0] or "\0" in name:
                self.report(BadValue(MANIFEST, f"lists {name!r}, which is outside of the dataset; it was not read"))
            else:
                found[name] = digest
        return found


def parse(data: bytes, name: str, report: Report) -> Any:
    """The JSON value in `data` of the file `name`; None, and a finding, if it is none. NaN and Infinity, which are no JSON,
    are read, so that what has them can be named."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        report(UnreadableFile(name, f"is no JSON: {error}"))
        return None


def _links_outside(root: Path) -> Iterator[str]:
    """The names of all symbolic links below `root` to something outside of it."""
    top = os.path.realpath(root)
    folders = [""]
    while folders:
        above = folders.pop()
        try:
            with os.scandir(root / above) as entries:
                for entry in entries:
                    name = f"{above}/{entry.name}" if above else entry.name
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if target != top and not target.startswith(top + os.sep):
                            yield name
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(name)
        except OSError:
            continue  # what is in it will be missing
