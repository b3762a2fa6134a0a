"""Reads and checks values in the JSON files of a BOP dataset. Each error names the file, the entry and the key."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simgen.errors import DatasetError
from simgen.geometry import Array, rigid

ROTATION = 0.01  # how far R R^T may be from the identity: rounding to three digits stays below


def entries(content: Any, path: Path, of: str) -> dict[int, Any]:
    """The entries of a JSON object whose keys are numbers, in ascending order. Keys may have leading zeros.

    `of` is the kind of entry for messages, e.g. "image". Raises DatasetError.
    """
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: got a {_kind(content)}; expected an object with a key for each {of} number")
    found: dict[int, Any] = {}
    for key, value in content.items():
        if not key.strip().isdecimal():
            raise DatasetError(f"{path}: key {key!r} is no {of} number; expected e.g. {{'0': ...}}")
        if int(key) in found:
            raise DatasetError(f"{path}: {of} {int(key)} is there twice; remove one")
        found[int(key)] = value
    return dict(sorted(found.items()))


def record(value: Any, where: str) -> Mapping[str, Any]:
    """`value` if it is a JSON object. Raises DatasetError."""
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: got {_shown(value)}; expected an object")
    return value


def records(value: Any, where: str) -> list[Mapping[str, Any]]:
    """`value` if it is a list of JSON objects. Raises DatasetError."""
    if not isinstance(value, list):
        raise DatasetError(f"{where}: got {_shown(value)}; expected a list of objects")
    return [record(one, f"{where}, block {k}") for k, one in enumerate(value)]


def numbers(entry: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> Array:
    """The finite numbers `entry[key]` as an array of `shape`, given flat or nested. Raises DatasetError."""
    value, count = require(entry, key, where), math.prod(shape)
    try:
        array = np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):  # of a whole number of hundreds of digits
        array = np.zeros(0)
    if len(array) != count or not np.isfinite(array).all():
        raise DatasetError(f"{where}: {key}: got {_shown(value)}; expected {count} finite numbers")
    return array.reshape(shape)


def number(entry: Mapping[str, Any], key: str, where: str) -> float:
    """The finite number `entry[key]`. Raises DatasetError."""
    value = require(entry, key, where)
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):  # of a whole number of hundreds of digits
        result = np.nan
    if not np.isfinite(result):
        raise DatasetError(f"{where}: {key}: got {_shown(value)}; expected a finite number")
    return result


def pose(entry: Mapping[str, Any], rotation: str, translation: str, where: str) -> Array:
    """(4, 4) m: the transform that BOP writes as nine numbers by rows and three in millimeters. Raises DatasetError."""
    turn = numbers(entry, rotation, (3, 3), where)
    if np.abs(turn @ turn.T - np.eye(3)).max() > ROTATION or np.linalg.det(turn) < 0:
        raise DatasetError(
            f"{where}: {rotation}: got {turn.ravel().round(4).tolist()}; expected a rotation matrix by rows"
        )
    return rigid(turn, numbers(entry, translation, (3,), where) / 1000)


def require(entry: Mapping[str, Any], key: str, where: str) -> Any:
    """`entry[key]`. Raises DatasetError."""
    if key not in entry:
        raise DatasetError(f"{where}: no {key}; BOP's format requires it")
    return entry[key]


def _kind(value: Any) -> str:
    return {list: "list", str: "text", type(None): "null"}.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
