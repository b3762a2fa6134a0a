"""Where the rays of a picture's pixels point, lens included."""

import numpy as np
import torch
from torch import Tensor

from simgen.scene import Cameras

# px: the lens is solved at every so many, and interpolated between: within 0.012 px at 640 x 480 for the presets' lenses.
STEP = 4


def plane_of(cameras: Cameras, shift: tuple[float, float], multiple: int, device: torch.device) -> Tensor:
    """(B, 2, H', W') float32: where the rays through the pixels' centres plus `shift` px meet the plane z = 1 of the camera.

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
        x, y = _straightened(x, y, torch.tensor(cameras.distortion, device=device))
    nodes = torch.stack([x, y], 1).float()
    size = ((rows - 1) * STEP + 1, (columns - 1) * STEP + 1)
    fine = torch.nn.functional.interpolate(nodes, size, mode="bilinear", align_corners=True)
    return fine[:, :, :height, :width]


def _straightened(x: Tensor, y: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of geometry.distort by Newton's method. Within a lens's reach, where the sampler keeps the picture, eight
    steps leave less than 1e-9."""
    k1, k2, p1, p2, k3 = (part[:, None, None] for part in distortion.unbind(1))
    wanted_x, wanted_y = x, y
    for _ in range(8):
        r2 = x * x + y * y
        radial, slope = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), k1 + r2 * (2 * k2 + r2 * 3 * k3)
        off_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) - wanted_x
        off_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y - wanted_y
        # The Jacobian, which is symmetric.
        xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        scale = 1 / (xx * yy - xy * xy)
        x, y = x - (yy * off_x - xy * off_y) * scale, y - (xx * off_y - xy * off_x) * scale
    return x, y
