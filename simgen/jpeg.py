"""What JPEG does to a batch of images, computed on the device that holds them, without a file.

It follows ITU-T T.81 with the choices of libjpeg's defaults: the tables of Annex K, chroma at half resolution (4:2:0), and
triangular interpolation of chroma on decoding. Arithmetic is in float32 where libjpeg's is in fixed point, so that results
differ from its own by a few levels where a coefficient is rounded otherwise.
"""

import math
from typing import Any

import numpy as np

_LUMA = """
    16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
    18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99"""
_CHROMA = """
    17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99"""
_TABLES = np.array([table.split() for table in (_LUMA, _CHROMA)], dtype=np.int64).reshape(2, 8, 8)
# Rows of the orthonormal discrete cosine transform of 8 values.
_DCT = np.array(
    [[math.cos((2 * x + 1) * k * math.pi / 16) * math.sqrt((1 + (k > 0)) / 8) for x in range(8)] for k in range(8)]
)


def compress_batch(images: Any, quality: Any, torch: Any) -> Any:
    """(B, H, W, 3) uint8: the RGB images `images` after compression with `quality` (B,), 1 to 100, and decompression.

    `torch` is that module, which only callers that have tensors import.
    """
    height, width = images.shape[1:3]
    device = images.device
    dct = torch.asarray(_DCT.astype(np.float32), device=device)
    rows, columns = (torch.arange(-(-n // 16) * 16, device=device).clip(0, n - 1) for n in (height, width))
    red, green, blue = (torch.asarray(images[..., k], dtype=torch.float32)[:, rows][:, :, columns] for k in range(3))
    luma = torch.round(0.299 * red + 0.587 * green + 0.114 * blue) - 128
    planes = [luma]
    for color, scale in ((blue, 0.5 / (1 - 0.114)), (red, 0.5 / (1 - 0.299))):
        chroma = torch.round((color - (0.299 * red + 0.587 * green + 0.114 * blue)) * scale)
        halved = chroma[:, ::2, ::2] + chroma[:, 1::2, ::2] + chroma[:, ::2, 1::2] + chroma[:, 1::2, 1::2]
        bias = 1 + torch.arange(halved.shape[2], device=device) % 2  # libjpeg rounds halves down and up in turn
        planes.append(torch.floor((halved + bias) * 0.25))
    luma, *chroma = (
        _quantized(plane, torch.asarray(quantization(quality, kind), device=device), dct, torch)
        for plane, kind in zip(planes, (0, 1, 1), strict=True)
    )
    blue_part, red_part = (
        _doubled(part[:, : -(-height // 2), : -(-width // 2)], torch)[:, :height, :width] for part in chroma
    )
    blue_part, red_part = (torch.floor(part + 0.5 - (columns[:width] % 2) / 16) for part in (blue_part, red_part))
    luma = luma[:, :height, :width] + 128
    decoded = [
        luma + 1.402 * red_part,
        luma - (1.772 * 0.114 / 0.587) * blue_part - (1.402 * 0.299 / 0.587) * red_part,
        luma + 1.772 * blue_part,
    ]
    return torch.asarray((torch.stack(decoded, -1) + 0.5).clip(0, 255), dtype=torch.uint8)


def quantization(quality: Any, kind: int) -> Any:
    """(B, 1, 1, 8, 8) float32: the quantization tables of libjpeg for `quality` (B,); `kind` is 0 for luma, 1 for chroma."""
    quality = np.asarray(quality, dtype=np.int64)[:, None, None, None, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((_TABLES[kind] * percent + 50) // 100).clip(1, 255).astype(np.float32)


def _quantized(plane: Any, table: Any, dct: Any, torch: Any) -> Any:
    """`plane` (B, h, w) after transform, division by `table`, rounding and back; in whole levels."""
    batch, height, width = plane.shape
    blocks = plane.reshape(batch, height // 8, 8, width // 8, 8).swapaxes(2, 3)
    shares = dct @ blocks @ dct.T / table
    # Halves, which are common, are rounded away from 0; 1e-4 is more than the error of float32.
    coefficients = torch.trunc(shares + torch.sign(shares) * 0.5001) * table
    back = (torch.round(dct.T @ coefficients @ dct)).clip(-128, 127)
    return back.swapaxes(2, 3).reshape(batch, height, width)


def _doubled(plane: Any, torch: Any) -> Any:
    """(B, 2 h, 2 w): `plane` (B, h, w) at twice its resolution: 3/4 and 1/4 of the two nearest rows, then columns."""
    for axis in (1, 2):
        n = plane.shape[axis]
        here = torch.arange(n, device=plane.device)
        before, after = (here - 1).clip(0, None), (here + 1).clip(None, n - 1)
        if axis == 1:
            parts = [0.75 * plane + 0.25 * plane[:, near] for near in (before, after)]
        else:
            parts = [0.75 * plane + 0.25 * plane[:, :, near] for near in (before, after)]
        shape = list(plane.shape)
        shape[axis] = 2 * n
        plane = torch.stack(parts, axis + 1).reshape(shape)
    return plane
