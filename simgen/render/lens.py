"""Directions of the rays through a picture's pixels, with lens distortion."""

import numpy as np
import torch
from torch import Tensor

from simgen.distortion import padded, straighten
from simgen.scene import Cameras

# px: the lens is solved at every so many, and interpolated between: within 0.012 px at 640 x 480 for the presets' lenses.
STEP = 4


def plane_of(cameras: Cameras, shift: tuple[float, float], multiple: int, device: torch.device) -> Tensor:
    """(B, 2, H', W') float32: where the rays through the pixels' centers plus `shift` px meet the plane z = 1 of the camera.

    H' and W' are height and width, rounded up to a `multiple`, which is one of STEP.
    """
    height, width = (-(-size // multiple) * multiple for size in (cameras.height, cameras.width))
    rows, columns = height // STEP + 1, width // STEP + 1
    camera = torch.tensor(cameras.intrinsics, device=device)
    u = torch.arange(columns, dtype=torch.float64, device=device) * STEP + shift[0]
    v = torch.arange(rows, dtype=torch.float64, device=device) * STEP + shift[1]
    x = ((u - camera[:, 0, 2, None]) / camera[:, 0, 0, None])[:, None].expand(-1, rows, -1)
    y = ((v - camera[:, 1, 2, None]) / camera[:, 1, 1, None])[:, :, None].expand(-1, -1, columns)
    if np.any(cameras.distortion):
        lens = torch.tensor(padded(cameras.distortion), device=device)
        x, y = straighten(x, y, [part[:, None, None] for part in lens.unbind(1)], torch)
    nodes = torch.stack([x, y], 1).float()
    size = ((rows - 1) * STEP + 1, (columns - 1) * STEP + 1)
    fine = torch.nn.functional.interpolate(nodes, size, mode="bilinear", align_corners=True)
    return fine[:, :, :height, :width]
