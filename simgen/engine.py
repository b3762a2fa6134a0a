"""PyBullet, the physics engine and rasterizer: the only module that imports it.

Two distributions on PyPI provide the same `import pybullet`: the original `pybullet`, whose newest wheel is for Python 3.11,
and the fork `pybullet-arm64`, built for Python 3.11 to 3.13 without numpy. pyproject.toml chooses between them; nothing else
in simgen depends on which one is installed.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from simgen.errors import RenderError

DISTRIBUTIONS = ("pybullet", "pybullet-arm64")


def load_pybullet(key: str, instead: str) -> Any:
    """The module `pybullet`. Raises RenderError that begins with `key`, the configuration key that needs it, and ends with
    `instead`, a setting that works without it."""
    try:
        return _pybullet()
    except ImportError as error:
        remedy = _remedy(sys.version_info[:2])
        raise RenderError(f"{key}: pybullet cannot be imported ({error}); {remedy}, or use {instead}") from error


@cache
def _pybullet() -> Any:
    with silence():  # pybullet prints its build time
        import pybullet
    return pybullet


def _remedy(version: tuple[int, int]) -> str:
    """How to install pybullet on this version of Python; the same choice as in pyproject.toml."""
    if version < (3, 12):
        return "install it with `pip install pybullet`"
    if version < (3, 14):
        return (
            "install it with `pip install pybullet-arm64` (a fork; the original has no wheel for Python 3.12 and later)"
        )
    return f"no build of it exists for Python {version[0]}.{version[1]}: use Python 3.11, 3.12 or 3.13"


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Discards output of C code to stdout and stderr inside this context."""
    sys.stdout.flush()
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            ctypes.CDLL(None).fflush(None)  # what C has buffered would come out later
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
