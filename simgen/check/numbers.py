"""Numbers of JSON files that are not trusted."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_REAL = frozenset((int, float))  # not bool
_GREATEST = 1e300


def numbers(value: Any, *shape: int) -> Array:
    """`value`, a number or a flat list of numbers from JSON, as an array of `shape`.

    Raises ValueError that states what it is instead: another count, text, null, true, NaN or a number beyond 1e300.
    """
    items = value if isinstance(value, list) else [value]
    count = math.prod(shape)
    if len(items) != count:
        raise ValueError(f"{_what(value)}, not {count} number{'s' if count > 1 else ''}")
    if all(map(_REAL.__contains__, map(type, items))):
        try:
            found = np.array(items, dtype=np.float64)
        except OverflowError:
            found = np.full(count, np.inf)
        if np.all(np.abs(found) < _GREATEST):
            return found.reshape(shape)
    wrong = next(item for item in items if type(item) not in _REAL or not abs(item) < _GREATEST)
    raise ValueError(f"{_what(wrong)}, not a finite number")


def _what(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object with {len(value)} keys"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else _text(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _text(value: Any) -> str:
    return repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of over 40 digits"
