"""The location of scenes/ and conf/: inside the installed package, or next to it in a source checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_folder(name: str) -> Path:
    """The folder `scenes` or `conf` that belongs to this copy of simgen."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
