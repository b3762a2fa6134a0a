"""The sensor model, from linear light to 8-bit images: blur, vignette, exposure, noise, white balance, tone curve, JPEG.

It processes whole batches on the device of its input. The lens distortion is not part of it: renderers render with it, and
labels account for it (Cameras.distortion).
"""

import math
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from simgen.scene import Sensor, take

Image = NDArray[np.uint8]

HEIGHT = 480  # px: the image height that blurs in px refer to; they scale with the height
KNEE = 0.6  # where the shoulder of the tone curve begins
_M0, _M1, _W0, _W1, _MASK = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 0xFFFFFFFF
_CHUNK = 1 << 14  # counters at a time on a CPU, so that Philox's working set fits the cache


def sense(light: Tensor, sensor: Sensor) -> Tensor:
    """(B, H, W, 3) uint8: the images that cameras with the settings `sensor` take of `light` (B, H, W, 3) float32, linear,
    1 is white.

    The steps, in this order: blur by defocus (a disk) and by motion (a line); vignette, which grows with the square of the
    distance from the center; exposure; shot noise, whose variance is proportional to the light, and read noise, both normal
    and a function of `noise_seed`; white balance; a shoulder for highlights; the sRGB curve and gamma; rounding; JPEG
    compression and decompression. With neutral settings, light of textures.decode(bytes / 255) gives those bytes.
    """
    # The last bit of a result can depend on its index in an array. One image at a time always gives the same bytes.
    each = 1 if light.device.type == "cpu" else max(1, len(light))
    parts = [_sense(light[k : k + each], take(sensor, slice(k, k + each))) for k in range(0, len(light), each)]
    return torch.cat(parts) if parts else torch.zeros(light.shape, dtype=torch.uint8, device=light.device)


def _sense(light: Tensor, sensor: Sensor) -> Tensor:
    batch, height, width, _ = light.shape
    device = light.device

    def setting(values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=device).float().reshape(batch, -1, 1, 1)

    x = _blurred(light.permute(0, 3, 1, 2).contiguous(), sensor)
    gain = setting(2.0**sensor.exposure)
    if sensor.vignette.any():
        v, u = (torch.arange(n, device=device) - (n - 1) / 2 for n in (height, width))
        square = (u[None] ** 2 + v[:, None] ** 2) / ((height**2 + width**2) / 4)
        gain = gain * (1 - setting(sensor.vignette) * square)
    x = x * gain
    if sensor.shot_noise.any() or sensor.read_noise.any():
        shot, read = setting(sensor.shot_noise / 255), setting(sensor.read_noise / 255)
        variance = (shot * shot * x + read * read).clamp_min(1e-12)
        x = x + normal_field(sensor.noise_seed, x[0].numel(), device).reshape(x.shape) * (variance * variance.rsqrt())
    x = (x * setting(sensor.white_balance)).clamp_min(0)
    if sensor.shoulder.any():
        over = ((x - KNEE) / (1 - KNEE)).clamp_min(0)
        x = x - setting(sensor.shoulder) * (1 - KNEE) * (over - over / (1 + over))
    x = x.clamp(0, 1)
    # Powers are computed as exp2 of log2, which is several times faster than pow.
    curved = 1.055 * torch.exp2(torch.log2(x.clamp_min(1e-9)) * (1 / 2.4)) - 0.055
    x = torch.where(x <= 0.0031308, 12.92 * x, curved)
    if np.any(sensor.gamma != 1):
        x = torch.exp2(torch.log2(x.clamp_min(1e-9)) / setting(sensor.gamma))
    images = (x * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    for row in np.flatnonzero(sensor.jpeg_quality):
        images[row] = torch.from_numpy(_compressed(images[row].cpu().numpy(), int(sensor.jpeg_quality[row])))
    return images


def _compressed(image: Image, quality: int) -> Image:
    # OpenCV's codec: torchvision's gives the same bytes but is deprecated. Neither supports batches.
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def _blurred(x: Tensor, sensor: Sensor) -> Tensor:
    scale = x.shape[2] / HEIGHT
    kernels = [
        _blur_kernel(
            float(sensor.defocus[row]) * scale, float(sensor.motion[row]) * scale, float(sensor.motion_angle[row])
        )
        for row in range(len(x))
    ]
    reach = max(kernel.shape[0] // 2 for kernel in kernels)
    if reach == 0:
        return x
    padded = [torch.nn.functional.pad(kernel, [reach - kernel.shape[0] // 2] * 4) for kernel in kernels]
    weight = torch.stack(padded).repeat_interleave(3, 0)[:, None].to(x.device)
    edges = torch.nn.functional.pad(x, [reach] * 4, mode="replicate")
    flat = edges.reshape(1, -1, *edges.shape[2:])
    return torch.nn.functional.conv2d(flat, weight, groups=weight.shape[0]).reshape(x.shape)


def _blur_kernel(radius: float, length: float, angle: float) -> Tensor:
    """(K, K), sum 1: the blur kernel of a disk of `radius` px moved along a line of `length` px at `angle` from u toward v.
    Edges are antialiased over a pixel. A disk with a radius of less than half a pixel is a point."""
    reach = max(0, math.ceil(radius - 0.5)), math.ceil(length / 2 + 0.5) if length > 0 else 0
    v, u = torch.meshgrid(*[torch.arange(-reach[0], reach[0] + 1.0)] * 2, indexing="ij")
    disk = (radius + 0.5 - torch.hypot(u, v)).clamp(0, 1)
    v, u = torch.meshgrid(*[torch.arange(-reach[1], reach[1] + 1.0)] * 2, indexing="ij")
    along, across = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
    # A line shorter than a pixel has sharper ends, so that the kernel is continuous in `length` at 0.
    half = max(length / 2 + min(length, 1) / 2, 1e-6)
    line = (half - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp_min(0)
    kernel = torch.nn.functional.conv2d(disk[None, None], line[None, None], padding=2 * reach[1])[0, 0]
    return kernel / kernel.sum()


def normal_field(seeds: np.ndarray, n: int, device: torch.device) -> Tensor:
    """(B, n) float32 standard normal numbers, each from 16 random bits of Philox4x32-10 with the key (seed, 0) for each of
    `seeds` (B,) and the counters 0, 1, 2, ..."""
    key = torch.tensor(seeds, device=device)[:, None] & _MASK
    blocks = -(-n // 8)
    each = _CHUNK if device.type == "cpu" else blocks
    parts = []
    for start in range(0, blocks, each):
        counter = torch.arange(start, min(start + each, blocks), device=device).expand(len(key), -1)
        words = torch.stack(_philox(counter, key), -1)  # (B, counters, 4)
        halves = torch.stack([words & 0xFFFF, words >> 16], -1)
        parts.append(_quantiles(device)[halves.reshape(len(key), -1)])
    return torch.cat(parts, 1)[:, :n]


def _philox(counter: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al. 2011) of the counters (c, 0, 0, 0) and keys (k, 0): four words, each an int64 tensor of
    32-bit values with the shape of `counter` and `key`, broadcast."""
    zero = torch.zeros_like(counter)
    a, b, c, d = counter, zero, zero, zero
    k0, k1 = key, torch.zeros_like(key)
    for _ in range(10):
        # Products of more than 63 bits wrap around, which keeps the bits that are used.
        first, second = a * _M0, c * _M1
        a, b, c, d = (second >> 32 & _MASK) ^ b ^ k0, second & _MASK, (first >> 32 & _MASK) ^ d ^ k1, first & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return a, b, c, d


@cache
def _quantiles(device: torch.device) -> Tensor:
    """(65536,) normal quantiles at the centers of equal bins, a table for 16-bit random numbers. 8-bit pixels need no
    finer resolution."""
    return torch.tensor(ndtri((np.arange(65536) + 0.5) / 65536), dtype=torch.float32, device=device)
