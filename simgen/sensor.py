"""What happens between light and file: lens blur, vignette, exposure, noise, white balance, tone curve, JPEG.

Works on the device that the light is on, on whole batches. The lens's distortion is not here: renderers draw through it,
and labels follow it (Cameras.distortion).
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

HEIGHT = 480  # px: blurs are given for a picture of this height
KNEE = 0.6  # where highlights begin to be rolled off
_M0, _M1, _W0, _W1, _MASK = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 0xFFFFFFFF
_CHUNK = 1 << 14  # counters at a time on a CPU: Philox's working set then stays in the cache


def sense(light: Tensor, sensor: Sensor) -> Tensor:
    """The pictures (B, H, W, 3) uint8 that a camera with the settings `sensor` would file of `light` (B, H, W, 3) float32,
    linear, 1 being white.

    In this order: blur by defocus (a disc) and by motion (a line); vignette, falling off with the square of the distance
    from the middle; exposure; shot noise, whose variance grows with the light, and read noise, both normal, the same for the
    same `noise_seed`; white balance; a shoulder for highlights; the sRGB curve and gamma; rounding; JPEG compression and
    decompression. Neutral settings and light of textures.decode(bytes / 255) give those bytes.
    """
    # A function's last bit may depend on where in an array a number stands: one by one, each picture is always the same.
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
    # Powers as exp2 of log2: several times faster than pow.
    curved = 1.055 * torch.exp2(torch.log2(x.clamp_min(1e-9)) * (1 / 2.4)) - 0.055
    x = torch.where(x <= 0.0031308, 12.92 * x, curved)
    if np.any(sensor.gamma != 1):
        x = torch.exp2(torch.log2(x.clamp_min(1e-9)) / setting(sensor.gamma))
    filed = (x * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    for row in np.flatnonzero(sensor.jpeg_quality):
        filed[row] = torch.from_numpy(_compressed(filed[row].cpu().numpy(), int(sensor.jpeg_quality[row])))
    return filed


def _compressed(image: Image, quality: int) -> Image:
    # OpenCV's codec: torchvision's, which gives the same bytes, is deprecated, and neither works on a batch.
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def _blurred(x: Tensor, sensor: Sensor) -> Tensor:
    scale = x.shape[2] / HEIGHT
    kernels = [
        _spread(float(sensor.defocus[row]) * scale, float(sensor.motion[row]) * scale, float(sensor.motion_angle[row]))
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


def _spread(radius: float, length: float, angle: float) -> Tensor:
    """The square kernel (K, K), its sum 1, of what becomes of a point: a disc of `radius` px moved along a line of `length`
    px at `angle` from u towards v. Edges are soft by a pixel; a disc of less than half a pixel is a point."""
    reach = max(0, math.ceil(radius - 0.5)), math.ceil(length / 2 + 0.5) if length > 0 else 0
    v, u = torch.meshgrid(*[torch.arange(-reach[0], reach[0] + 1.0)] * 2, indexing="ij")
    disc = (radius + 0.5 - torch.hypot(u, v)).clamp(0, 1)
    v, u = torch.meshgrid(*[torch.arange(-reach[1], reach[1] + 1.0)] * 2, indexing="ij")
    along, aside = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
    # A line of less than a pixel has ends that are sharper, so that it grows out of a point without a jump.
    half = max(length / 2 + min(length, 1) / 2, 1e-6)
    line = (half - along.abs()).clamp(0, 1) * (1 - aside.abs()).clamp_min(0)
    both = torch.nn.functional.conv2d(disc[None, None], line[None, None], padding=2 * reach[1])[0, 0]
    return both / both.sum()


def normal_field(seeds: np.ndarray, n: int, device: torch.device) -> Tensor:
    """(B, n) float32 normal numbers of mean 0 and deviation 1, of 16 random bits each: Philox4x32-10 with key (seed, 0) and
    counters 0, 1, 2, ... for each of `seeds` (B,)."""
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
    """Philox4x32-10 for counters (c, 0, 0, 0) and keys (k, 0): (R,) words each, as int64 tensors that hold 32 bits."""
    zero = torch.zeros_like(counter)
    a, b, c, d = counter, zero, zero, zero
    k0, k1 = key, torch.zeros_like(key)
    for _ in range(10):
        # The products wrap around beyond 63 bits, which leaves their bits as they should be.
        first, second = a * _M0, c * _M1
        a, b, c, d = (second >> 32 & _MASK) ^ b ^ k0, second & _MASK, (first >> 32 & _MASK) ^ d ^ k1, first & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return a, b, c, d


@cache
def _quantiles(device: torch.device) -> Tensor:
    """Normal quantiles of the middles of 65536 equal bins: a 16-bit random word is an index, and pixels need no better."""
    return torch.tensor(ndtri((np.arange(65536) + 0.5) / 65536), dtype=torch.float32, device=device)
