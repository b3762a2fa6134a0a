"""What happens between light and file: exposure, white balance, gamma, blur, noise, JPEG. (rgb, Sensor) -> rgb."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simgen.draws import philox
from simgen.geometry import Array
from simgen.scene import Sensor

Image = NDArray[np.uint8]

# Normal quantiles of the middles of 65536 equal bins: a 16-bit random word is an index, and pixels need no better.
_QUANTILES = ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)
_CHUNK = 1 << 14  # counters at a time: Philox's working set then stays in the cache


def sense(rgb: Image, sensor: Sensor) -> Image:
    """The pictures (B, H, W, 3) uint8 as a camera with the settings `sensor` would file them.

    In this order: gain (2^exposure and white balance) and gamma on values in [0, 1]; Gaussian blur; additive normal noise,
    the same for the same `noise_seed`; JPEG compression and decompression. Neutral settings change no byte.
    """
    return np.stack([_sense_one(image, sensor, row) for row, image in enumerate(rgb)])


def _sense_one(image: Image, sensor: Sensor, row: int) -> Image:
    height = image.shape[0]
    gain = 2.0 ** float(sensor.exposure[row]) * sensor.white_balance[row]
    image = np.asarray(cv2.LUT(image, _curve(gain, float(sensor.gamma[row]))), dtype=np.uint8)
    blur = float(sensor.blur[row]) * height / 480
    if blur > 0:
        blurred = cv2.GaussianBlur(image, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
        image = np.asarray(blurred, dtype=np.uint8)
    if sensor.noise[row] > 0:
        grain = normal_field(int(sensor.noise_seed[row]), image.size, float(sensor.noise[row]))
        image = np.asarray(cv2.add(image, grain.reshape(image.shape), dtype=cv2.CV_8U), dtype=np.uint8)
    quality = int(sensor.jpeg_quality[row])
    if quality:
        blue_first = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
    return image


def _curve(gain: Array, gamma: float) -> Image:
    """The look-up table (256, 1, 3) of gain and gamma."""
    levels = np.arange(256)[:, None] / 255
    values = np.clip(levels * gain, 0, 1) ** (1 / gamma) * 255
    return (values + 0.5).astype(np.uint8).reshape(256, 1, 3)


def normal_field(seed: int, n: int, deviation: float = 1.0) -> NDArray[np.float32]:
    """`n` normal numbers of mean 0, of 16 random bits each: Philox4x32-10 with key (seed, 0), counters 0, 1, 2, ..."""
    words = np.empty((-(-n // 8), 4), np.uint32)
    for start in range(0, len(words), _CHUNK):
        counter = np.zeros((4, min(_CHUNK, len(words) - start)), np.uint32)
        counter[0] = np.arange(start, start + counter.shape[1])
        words[start : start + counter.shape[1]] = philox(counter, (seed & 0xFFFFFFFF, 0)).T
    return np.asarray((_QUANTILES * np.float32(deviation))[words.view("<u2")].reshape(-1)[:n])
