"""The sensor model, from linear light to 8-bit images: blur, vignette, exposure, noise, white balance, tone curve, JPEG.

The lens distortion is not part of it: renderers render with it, and labels account for it (Cameras.distortion).

One source serves NumPy arrays and torch tensors: `xp` is the module numpy or torch, which is imported for tensors only. All
arithmetic on pixels is + - * / sqrt, comparisons and tables, which IEEE 754 and integers define to the last bit. So an image
depends neither on its batch nor on the model of the CPU, and a GPU computes the same but for blur and JPEG (see `sense`).
"""

import math
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.draws import block_words, philox
from simgen.jpeg import compress_batch
from simgen.scene import Sensor, take

Image = NDArray[np.uint8]

HEIGHT = 480  # px: the image height that blurs in px refer to; they scale with the height
KNEE = 0.6  # where the shoulder of the tone curve begins
BRIGHTEST = 1e9  # times white: the shoulder of an infinite light would be undefined
TONES = 65535  # the largest index of the tone table
_SEED = 0xFFFFFFFF  # the bits of a seed that count
_PIXELS = 1 << 15  # values at a time on a CPU, so that the working set fits the cache
# Blur on the CPU counts light and weights in these units: sums of whole numbers below 2^53 are exact in float64 in any
# order. For large kernels OpenCV takes a Fourier transform, whose error (0.01 at a light of 3) is removed by rounding.
_LIGHT, _WEIGHT = 2.0**22, 2.0**18


def sense(light: Any, sensor: Sensor) -> Any:
    """(B, H, W, 3) uint8: the images that cameras with the settings `sensor` take of `light` (B, H, W, 3) float32, linear,
    1 is white. A NumPy array gives a NumPy array, a torch tensor gives a tensor on the same device.

    The steps, in this order: blur by defocus (a disk) and by motion (a line); vignette, which grows with the square of the
    distance from the center; exposure; shot noise, whose variance is proportional to the light, and read noise, both normal
    and a function of `noise_seed`; white balance; a shoulder for highlights; the sRGB curve and gamma; rounding; JPEG
    compression and decompression. With neutral settings, light of textures.decode(bytes / 255) gives those bytes.

    An array and a tensor give the same bytes, with two exceptions: blur of a tensor (a convolution in float32) differs by at
    most 1 of 255, at a few pixels; JPEG of a tensor (see jpeg.py) by a few levels where coefficients are rounded otherwise.
    """
    if isinstance(light, np.ndarray):
        images = np.empty(light.shape, dtype=np.uint8)
        for row in range(len(light)):
            images[row] = _sense_array(light[row], take(sensor, [row]))
        return images
    return _sense_tensor(light, sensor) if len(light) else light.byte()


def _sense_array(light: NDArray[np.float32], sensor: Sensor) -> Image:
    light = np.asarray(light, dtype=np.float32)
    height, width, _ = light.shape
    kernel = blur_kernel(sensor, 0, height)
    x = _blurred(light, kernel) if kernel.max() < 1 else light
    development = _Development(sensor, height, width, np)
    image = np.empty((height, 3 * width), dtype=np.uint8)
    each = max(1, _PIXELS // (3 * width))
    for start in range(0, height, each):
        rows = slice(start, start + each)
        image[rows] = development.of_rows(x.reshape(1, height, 3 * width)[:, rows], rows)[0]
    image = image.reshape(height, width, 3)
    quality = int(sensor.jpeg_quality[0])
    return _compressed(image, quality) if quality else image


def _sense_tensor(light: Any, sensor: Sensor) -> Any:
    import torch

    batch, height, width, _ = light.shape
    x = _blurred_tensor(light, [blur_kernel(sensor, row, height) for row in range(batch)])
    development = _Development(sensor, height, width, torch, device=light.device)
    images = development.of_rows(x.reshape(batch, height, 3 * width), slice(0, height)).reshape(light.shape)
    rows = np.flatnonzero(sensor.jpeg_quality)
    if len(rows):
        images[rows] = compress_batch(images[rows], sensor.jpeg_quality[rows], torch)
    return images


class _Development:
    """All steps between blur and JPEG for rows of B images, as arrays of the module `xp` made with its arguments `on`."""

    def __init__(self, sensor: Sensor, height: int, width: int, xp: Any, **on: Any) -> None:
        batch = len(sensor.exposure)

        def setting(values: Any) -> Any:
            """(B, 1, 1) or (B, 1, 3 W) float32."""
            return xp.asarray(np.asarray(values).astype(np.float32).reshape(batch, 1, -1), **on)

        self.xp = xp
        self.gain = setting(exact.power(2.0, sensor.exposure))
        self.white = setting(np.tile(sensor.white_balance, (1, width)))
        self.shoulder = setting(sensor.shoulder * (1 - KNEE)) if np.any(sensor.shoulder) else None
        self.vignette = None
        if np.any(sensor.vignette):
            v, u = ((np.arange(n) - (n - 1) / 2) ** 2 / ((height**2 + width**2) / 4) for n in (height, width))
            u = np.repeat(u, 3)
            self.vignette = setting(sensor.vignette)
            self.square = [xp.asarray(part.astype(np.float32), **on) for part in (v[:, None], u)]
        self.grain = None
        if np.any(sensor.shot_noise) or np.any(sensor.read_noise):
            self.shot, self.read = (setting((s / 255) ** 2) for s in (sensor.shot_noise, sensor.read_noise))
            grain = normal_field(sensor.noise_seed, 3 * height * width, xp, **on)
            self.grain = grain.reshape(batch, height, 3 * width)
        self.tables = xp.asarray(np.concatenate([tone_table(float(gamma)) for gamma in sensor.gamma]), **on)
        self.first = xp.arange(batch, **on).reshape(batch, 1, 1) * (TONES + 1)

    def of_rows(self, x: Any, rows: slice) -> Any:
        """(B, h, 3 W) uint8: the `rows` of the images, of their light `x` (B, h, 3 W) float32."""
        gain = self.gain
        if self.vignette is not None:
            v, u = self.square
            gain = gain * (1 - self.vignette * (v[rows] + u))
        x = x * gain
        if self.grain is not None:
            variance = (x * self.shot + self.read).clip(0, None)
            x = x + self.grain[:, rows] * self.xp.sqrt(variance)
        x = (x * self.white).clip(0, BRIGHTEST)
        if self.shoulder is not None:
            over = ((x - KNEE) * (1 / (1 - KNEE))).clip(0, None)
            x = x - self.shoulder * (over - over / (1 + over))
        tone = self.xp.sqrt(x.clip(0, 1)) * TONES + 0.5
        return self.tables.take(self.xp.asarray(tone, dtype=self.xp.int64) + self.first)


def tone_table(gamma: float) -> Image:
    """(65536,) uint8: the level of the light (k / 65535)^2, for each k: the sRGB curve, then the power 1 / `gamma`.

    The square makes steps finer where the curves are steep, so that the levels are those of the light within 0.01 of 255.
    """
    # The light at which each level begins, by the inverse curves: half a level below it.
    shown = exact.power((np.arange(1, 256) - 0.5) / 255, gamma)
    begins = np.where(shown <= 0.04045, shown / 12.92, exact.power((shown + 0.055) / 1.055, 2.4))
    places = np.ceil(np.sqrt(begins) * TONES).astype(np.int64)
    return np.repeat(np.arange(256, dtype=np.uint8), np.diff(places, prepend=0, append=TONES + 1))


def _compressed(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def _blurred(light: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    weights = np.rint(kernel * _WEIGHT)
    whole = np.rint(light.astype(np.float64) * _LIGHT)
    total = cv2.filter2D(whole, cv2.CV_64F, weights, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.rint(total) / (weights.sum() * _LIGHT), dtype=np.float32)


def _blurred_tensor(light: Any, kernels: list[NDArray[np.float64]]) -> Any:
    reach = max(len(kernel) // 2 for kernel in kernels)
    if all(kernel.max() == 1 for kernel in kernels):
        return light
    import torch
    from torch.nn import functional

    padded = np.stack([np.pad(kernel, reach - len(kernel) // 2) for kernel in kernels]).astype(np.float32)
    weight = torch.from_numpy(padded).repeat_interleave(3, 0)[:, None].to(light.device)
    edges = functional.pad(light.permute(0, 3, 1, 2), [reach] * 4, mode="replicate")
    planes = functional.conv2d(edges.reshape(1, -1, *edges.shape[2:]), weight, groups=len(weight))
    return planes.reshape(len(light), 3, *light.shape[1:3]).permute(0, 2, 3, 1)


def blur_kernel(sensor: Sensor, row: int, height: int) -> NDArray[np.float64]:
    """(K, K), sum 1: the blur kernel of image `row`, whose height is `height` px."""
    scale = height / HEIGHT
    radius, length = float(sensor.defocus[row]) * scale, float(sensor.motion[row]) * scale
    return _blur_kernel(radius, length, float(sensor.motion_angle[row]))


def _blur_kernel(radius: float, length: float, angle: float) -> NDArray[np.float64]:
    """(K, K), sum 1: the blur kernel of a disk of `radius` px moved along a line of `length` px at `angle` from u toward v.
    Edges are antialiased over a pixel. A disk with a radius of less than half a pixel is a point."""
    disk_reach, line_reach = max(0, math.ceil(radius - 0.5)), math.ceil(length / 2 + 0.5) if length > 0 else 0
    v, u = np.mgrid[-disk_reach : disk_reach + 1.0, -disk_reach : disk_reach + 1.0]
    disk = (radius + 0.5 - np.sqrt(u**2 + v**2)).clip(0, 1)
    v, u = np.mgrid[-line_reach : line_reach + 1.0, -line_reach : line_reach + 1.0]
    along, across = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
    # A line shorter than a pixel has sharper ends, so that the kernel is continuous in `length` at 0.
    half = max(length / 2 + min(length, 1) / 2, 1e-6)
    line = (half - np.abs(along)).clip(0, 1) * (1 - np.abs(across)).clip(0, None)
    # Both are symmetric about their centers, so that correlation is convolution.
    kernel = cv2.filter2D(np.pad(disk, line_reach), cv2.CV_64F, line, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def normal_field(seeds: NDArray[np.int64], n: int, xp: Any = np, **on: Any) -> Any:
    """(B, n) float32 standard normal numbers, each from 16 random bits of Philox4x64-10 with the key (seed, 0) for each of
    `seeds` (B,) and the counters 1, 2, 3, ..., the lowest bits of a word first: an array of the module `xp`, numpy or torch;
    `on` is torch's argument `device`."""
    blocks = -(-n // 16)
    if xp is np:
        drawn = [block_words(int(seed) & _SEED, blocks) for seed in seeds]
        return np.stack([_quantiles().take(row.view("<u2")[:n]) for row in drawn])
    key = xp.asarray(np.asarray(seeds, dtype=np.int64)[:, None] & _SEED, **on)
    counter = xp.arange(1, blocks + 1, **on) + 0 * key
    words = philox((counter, *[0 * counter] * 3), (key, 0 * key))
    bits = xp.stack([word >> 16 * k & 0xFFFF for word in words for k in range(4)], -1)
    return xp.asarray(_quantiles(), **on).take(bits.reshape(len(seeds), -1)[:, :n])


@cache
def _quantiles() -> NDArray[np.float32]:
    """(65536,) normal quantiles at the centers of equal bins, a table for 16-bit random numbers. 8-bit pixels need no
    finer resolution."""
    return np.asarray(exact.normal_quantile((np.arange(65536) + 0.5) / 65536), dtype=np.float32)
