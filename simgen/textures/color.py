"""The sRGB curve: from displayed values to linear light and back (IEC 61966-2-1)."""

from typing import Any

import numpy as np

from simgen import exact


def decode(color: Any) -> Any:
    """Linear light of sRGB values in [0, 1]. Accepts and returns a NumPy array or a torch tensor."""
    return _where(color <= 0.04045, color / 12.92, _power((color + 0.055) / 1.055, 2.4))


def encode(light: Any) -> Any:
    """The sRGB values of linear light in [0, 1]: the inverse of `decode`."""
    return _where(light <= 0.0031308, light * 12.92, 1.055 * _power(light, 1 / 2.4) - 0.055)


def _power(base: Any, exponent: float) -> Any:
    return base**exponent if hasattr(base, "where") else exact.power(base, exponent)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    # A tensor has a method for this, so that torch is not imported here; a NumPy array has none.
    return yes.where(condition, no) if hasattr(yes, "where") else np.where(condition, yes, no)
