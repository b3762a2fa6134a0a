"""The sRGB curve: from displayed values to linear light and back."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def decode(color: Any) -> Any:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1). Accepts and returns a NumPy array or a torch tensor."""
    where = torch.where if isinstance(color, Tensor) else np.where
    return where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def encode(light: Any) -> Any:
    """The sRGB values of linear light in [0, 1]: the inverse of `decode`."""
    where = torch.where if isinstance(light, Tensor) else np.where
    return where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
