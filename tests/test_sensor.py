"""The sensor model: each step against known answers and against separate float64 arithmetic."""

import hashlib
import inspect
import itertools
import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d
from scipy.special import ndtr, ndtri

from simgen import sensor as module
from simgen.scene import Sensor, take
from simgen.sensor import KNEE, normal_field, sense
from simgen.textures.color import decode
from tests.test_draws import plain_philox

NEUTRAL = {
    "defocus": 0.0,
    "motion": 0.0,
    "motion_angle": 0.0,
    "vignette": 0.0,
    "exposure": 0.0,
    "shot_noise": 0.0,
    "read_noise": 0.0,
    "noise_seed": 7,
    "white_balance": [1.0, 1.0, 1.0],
    "shoulder": 0.0,
    "gamma": 1.0,
    "jpeg_quality": 0,
}
VARIED = {
    "defocus": 9.0,
    "motion": 30.0,
    "motion_angle": 0.7,
    "vignette": 0.4,
    "exposure": 0.5,
    "shot_noise": 5.0,
    "read_noise": 3.0,
    "white_balance": [1.2, 1.0, 0.8],
    "shoulder": 0.7,
    "gamma": 1.2,
    "jpeg_quality": 80,
}


def settings(batch: int = 1, **changes: object) -> Sensor:
    return Sensor(**{name: np.array([value] * batch) for name, value in {**NEUTRAL, **changes}.items()})


def sensed(light: np.ndarray, **changes: object) -> np.ndarray:
    """`sense` of one picture (H, W, 3)."""
    return np.asarray(sense(light[None].astype(np.float32), settings(**changes))[0])


def curve(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 in float64, 255 being white; what is outside [0, 1] is cut."""
    x = np.clip(np.asarray(light, np.float64), 0, 1)
    return 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-3) ** (1 / 2.4) - 0.055)


def linear(levels: np.ndarray) -> np.ndarray:
    """The inverse of `curve`."""
    x = np.asarray(levels, np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def assert_rounded(image: np.ndarray, levels: np.ndarray, slack: float = 6e-3) -> None:
    """Every byte of `image` is the nearest to the unrounded `levels`; `slack` is that of the tone table near a tie."""
    assert image.dtype == np.uint8
    assert np.abs(image - levels).max() <= 0.5 + slack


def photograph(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """Linear light with edges, smooth parts, grain and highlights above white."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:height, :width]
    smooth = np.stack([u / width, v / height, 0.6 + 0.6 * np.sin(u / 9)], -1)
    smooth[height // 3 : height // 2, width // 4 : width // 2] += 0.5
    return np.clip(smooth + rng.normal(0, 0.05, smooth.shape), 0, None).astype(np.float32)


# Light from black to beyond white, another in each channel.
RAMP = np.linspace(0, 1.5, 3 * 2000, dtype=np.float32).reshape(1, 2000, 3)


# ---- neutral settings


def test_neutral_settings_give_back_every_byte() -> None:
    levels = np.stack([np.arange(256), np.arange(255, -1, -1), np.roll(np.arange(256), 77)], -1).astype(np.uint8)[None]
    for light in (decode(levels / np.float32(255)), linear(levels)):
        image = sense(light[None].astype(np.float32), settings())
        assert image.dtype == np.uint8
        assert image.shape == (1, 1, 256, 3)
        assert np.array_equal(image[0], levels)


def test_neutral_settings_round_the_srgb_curve_and_cut_at_white() -> None:
    assert_rounded(sensed(RAMP), curve(RAMP))
    assert (sensed(np.array([[[0.0, 1.0, 1e6]]]))[0, 0] == [0, 255, 255]).all()


def test_no_picture_gives_no_picture() -> None:
    for light, dtype in ((np.zeros((0, 6, 8, 3), np.float32), np.uint8), (torch.zeros(0, 6, 8, 3), torch.uint8)):
        images = sense(light, take(settings(), slice(0, 0)))
        assert images.shape == (0, 6, 8, 3)
        assert images.dtype == dtype


# ---- exposure, white balance, gamma


@pytest.mark.parametrize("stops", [1.0, 2.0, -1.0, -3.0, 0.37])
def test_a_stop_of_exposure_doubles_the_linear_light(stops: float) -> None:
    assert_rounded(sensed(RAMP, exposure=stops), curve(RAMP.astype(np.float64) * 2**stops))


@pytest.mark.parametrize("stops", [1, -1, 3])
def test_exposure_is_the_same_as_so_much_more_light(stops: int) -> None:
    """To the last byte: a power of two changes no bit of a number but its exponent."""
    assert np.array_equal(sensed(RAMP, exposure=stops), sensed(RAMP * 2.0**stops))


def test_white_balance_scales_the_linear_light_of_each_channel() -> None:
    gains = [2.0, 1.0, 0.3]
    assert_rounded(sensed(RAMP, white_balance=gains), curve(RAMP.astype(np.float64) * gains))
    gray = np.repeat(RAMP[..., :1], 3, axis=2)
    balanced, plain = sensed(gray, white_balance=[1.0, 0.5, 1.0]), sensed(gray)
    assert np.array_equal(balanced[..., ::2], plain[..., ::2])
    assert np.array_equal(balanced[..., 1], sensed(gray / 2)[..., 1])


@pytest.mark.parametrize("gamma", [0.5, 2.0, 1.35])
def test_gamma_is_a_power_of_what_is_displayed(gamma: float) -> None:
    image = sensed(RAMP, gamma=gamma)
    assert_rounded(image, 255 * (curve(RAMP) / 255) ** (1 / gamma), slack=0.01)
    assert image[RAMP == 0].max() == 0
    assert image[RAMP >= 1].min() == 255
    middle = sensed(np.full((1, 1, 3), linear(128)), gamma=gamma)
    assert (middle > 128).all() == (gamma > 1)
    assert (middle != 128).all()


# ---- vignette


@pytest.mark.parametrize("share", [0.25, 0.6, 1.0])
def test_vignette_takes_its_share_at_the_corners_a_quarter_of_it_halfway_and_nothing_in_the_middle(
    share: float,
) -> None:
    height, width = 61, 101
    light = np.full((height, width, 3), 0.9)
    image = sensed(light, vignette=share)
    assert np.array_equal(image[30, 50], sensed(light)[30, 50])
    # A pixel's center is half a pixel inside the picture's corner, which is what loses all of `share`.
    inside = ((height - 1) ** 2 + (width - 1) ** 2) / (height**2 + width**2)
    for row, column, part in ((0, 0, 1), (0, -1, 1), (-1, 0, 1), (-1, -1, 1), (15, 25, 0.25), (45, 75, 0.25)):
        assert_rounded(image[row, column], curve(np.full(3, 0.9 * (1 - share * part * inside))))
    v, u = (np.arange(n) + 0.5 - n / 2 for n in (height, width))
    radius = np.hypot(u[None], v[:, None]) / np.hypot(width / 2, height / 2)
    assert_rounded(image, curve(0.9 * (1 - share * radius[..., None] ** 2)))
    assert np.array_equal(image, image[::-1, ::-1])
    assert np.array_equal(image, image[:, ::-1])


def test_the_corners_of_a_large_picture_lose_the_share_to_the_nearest_level() -> None:
    """The half pixel between a pixel's center and the corner changes less than one level of 8 bits."""
    image = sensed(np.ones((400, 600, 3)), vignette=0.5)
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == round(float(curve(0.5)))).all()
    assert (image[199:201, 299:301] == 255).all()


# ---- noise


def grain_of(light: float, shape: tuple[int, int] = (200, 300), **changes: object) -> np.ndarray:
    """What noise adds to an even picture, in linear light. A balance of a half, which comes after the noise, keeps white
    from being cut."""
    image = sensed(np.full((*shape, 3), light), white_balance=[0.5] * 3, **changes)
    assert 0 < image.min() <= image.max() < 255  # nothing is cut: statistics hold
    return linear(image) / 0.5 - light


def rounding(light: float) -> float:
    """The variance (linear) that rounding to bytes adds to grain_of(light): 1/12 of a level times the slope."""
    level = curve(light / 2)
    return float((linear(level + 0.5) - linear(level - 0.5)) / 0.5) ** 2 / 12


@pytest.mark.parametrize("light", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(("batch", "read"), [(10.0, 0.0), (0.0, 9.0), (10.0, 9.0)])
def test_shot_noise_grows_with_the_light_read_noise_does_not_and_both_add(
    light: float, batch: float, read: float
) -> None:
    grain = grain_of(light, shot_noise=batch, read_noise=read, noise_seed=int(100 * light))
    variance = (batch / 255) ** 2 * light + (read / 255) ** 2
    assert grain.var() == pytest.approx(variance + rounding(light), rel=4 * np.sqrt(2 / grain.size))
    assert abs(grain.mean()) < 4 * np.sqrt(variance / grain.size)


@pytest.mark.parametrize("stops", [-1.0, 1.0])
def test_shot_noise_follows_the_exposed_light(stops: float) -> None:
    """A stop more of exposure is a stop more light on the sensor, not a gain on the noise."""
    for light in (0.2, 0.4):
        exposed = sensed(np.full((50, 60, 3), light), exposure=stops, shot_noise=10.0, read_noise=5.0)
        brighter = sensed(np.full((50, 60, 3), light * 2**stops), shot_noise=10.0, read_noise=5.0)
        assert np.array_equal(exposed, brighter)


@pytest.mark.parametrize("kind", ["shot_noise", "read_noise"])
def test_noise_of_channels_and_of_neighbors_is_uncorrelated(kind: str) -> None:
    grain = grain_of(0.5, **{kind: 10.0})
    pairs = [(grain[..., a], grain[..., b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    pairs += [(grain[:, k:], grain[:, :-k]) for k in (1, 2, 8)]
    pairs += [(grain[k:], grain[:-k]) for k in (1, 2, 8)]
    pairs += [(grain[1:, 1:], grain[:-1, :-1]), (grain[1:, 1:, 0], grain[:-1, :-1, 1])]
    for one, other in pairs:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


def test_shot_noise_leaves_black_alone_and_read_noise_is_cut_there() -> None:
    black = np.zeros((40, 50, 3))
    assert not sensed(black, shot_noise=50.0).any()
    image = sensed(black, read_noise=20.0)
    # Half of a normal distribution is below black, and a little more of it below half a level.
    share = ndtr(linear(0.5) / (20 / 255))
    assert np.mean(image == 0) == pytest.approx(share, abs=4 * 0.5 / np.sqrt(image.size))


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_noise_is_the_field_of_its_seed(seed: int) -> None:
    light = photograph()
    image = sensed(light, shot_noise=20.0, read_noise=10.0, noise_seed=seed)
    field = plain_field(seed, light.size).astype(np.float64)
    grain = field.reshape(light.shape)
    assert_rounded(image, curve(light + grain * np.sqrt((20 / 255) ** 2 * light + (10 / 255) ** 2)))
    assert image.min() == 0
    assert image.max() == 255


def test_another_seed_is_other_noise() -> None:
    images = [sensed(np.full((50, 60, 3), 0.5), shot_noise=20.0, noise_seed=seed) for seed in (8, 9, 2**31)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        flat = [linear(images[k]).ravel() for k in (one, other)]
        assert abs(np.corrcoef(*flat)[0, 1]) < 4 / np.sqrt(flat[0].size)


# ---- the field


def plain_field(seed: int, n: int) -> np.ndarray:
    """(n,): what `normal_field` should be, of Philox in Python's integers."""
    words = [word for block in range(n // 16 + 1) for word in plain_philox([1 + block, 0, 0, 0], [seed, 0])]
    bits = np.array([word >> 16 * k & 0xFFFF for word in words for k in range(4)])[:n]
    return ndtri((bits + 0.5) / 65536).astype(np.float32)


@pytest.mark.parametrize("n", [1, 3, 4, 15, 16, 17, 1002, 8003])
def test_the_field_equals_plain_philox_at_every_length(n: int) -> None:
    seeds = np.array([0, 1, 12345, 2**31, 2**32 - 1])
    field = normal_field(seeds, n)
    assert field.dtype == np.float32
    assert np.array_equal(field, np.stack([plain_field(int(seed), n) for seed in seeds]))
    assert np.array_equal(normal_field(seeds, n, torch).numpy(), field)


def test_the_field_is_independent_of_the_batch() -> None:
    seeds = np.array([3, 2**32 - 1, 3])
    whole = normal_field(seeds, 1003)
    assert np.array_equal(whole[0], whole[2])
    for row in range(3):
        assert np.array_equal(normal_field(seeds[[row]], 1003)[0], whole[row])


def test_the_field_is_normal() -> None:
    field = normal_field(np.array([3]), 200000)[0].astype(float)
    assert np.isfinite(field).all()
    assert abs(field.mean()) < 4 / np.sqrt(len(field))
    assert field.var() == pytest.approx(1, abs=4 * np.sqrt(2 / len(field)))
    for quantile in (0.001, 0.1, 0.5, 0.9, 0.999):
        share = (field < ndtri(quantile)).mean()
        assert share == pytest.approx(quantile, abs=4 * np.sqrt(quantile * (1 - quantile) / len(field)))


# ---- blur


def point_spread(height: int, peak: float, **changes: object) -> np.ndarray:
    """(height, height) shares of the light of a point in the middle, green, that reach each pixel: measured with light of
    which at most `peak` (a share) reaches one pixel, and averaged over several strengths, so that rounding averages out."""
    strengths = np.linspace(0.5, 0.9, 16) / peak
    light = np.zeros((len(strengths), height, height, 3), np.float32)
    light[:, height // 2, height // 2, 1] = strengths
    images = sense(light, settings(len(strengths), **changes))
    assert not images[..., ::2].any()  # channels are blurred apart
    assert images.max() < 255
    return np.mean(linear(images[..., 1]) / strengths[:, None, None], axis=0)


def moments(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean place (u, v) of light, from the middle pixel, and its covariance."""
    n = len(share)
    v, u = np.mgrid[:n, :n] - n // 2
    places = np.stack([u, v], -1).reshape(-1, 2)
    return np.average(places, axis=0, weights=share.ravel()), np.cov(places.T, aweights=share.ravel(), ddof=0)


@pytest.mark.parametrize("level", [0, 77, 255])
@pytest.mark.parametrize(
    "blur", [{"defocus": 100.0}, {"motion": 300.0, "motion_angle": 0.4}, {"defocus": 30.0, "motion": 50.0}]
)
def test_blur_leaves_an_even_picture_alone(level: int, blur: dict[str, float]) -> None:
    """At its edges too, also where the blur reaches further than the picture."""
    assert (sensed(np.full((40, 50, 3), linear(level)), **blur) == level).all()


@pytest.mark.parametrize("height", [48, 97])
@pytest.mark.parametrize("radius", [3.0, 7.3])
def test_a_point_out_of_focus_becomes_a_disc_that_scales_with_the_height(height: int, radius: float) -> None:
    """`radius` is in px of this picture; the setting's are those of a picture 480 px high."""
    share = point_spread(height, 1 / (np.pi * radius**2), defocus=radius * 480 / height)
    assert share.sum() == pytest.approx(1, abs=0.003)
    # A disc's coverage of every pixel, by 15 x 15 places in each. Its soft edge is only like coverage, within a fifth.
    places = (np.arange(15 * height) + 0.5) / 15 - 0.5 - height // 2
    covered = np.hypot(places[None], places[:, None]) <= radius
    coverage = covered.reshape(height, 15, height, 15).mean(axis=(1, 3))
    expected = coverage / (np.pi * radius**2)
    assert np.abs(share - expected).max() < 0.2 / (np.pi * radius**2)
    v, u = np.mgrid[:height, :height] - height // 2
    distance = np.hypot(u, v)
    assert not share[distance > radius + 0.5].any()
    inside = share[distance < radius - 0.5]
    assert np.ptp(inside) == 0
    assert inside[0] * np.pi * (radius**2 + 1 / 12) == pytest.approx(1, abs=0.01)
    # Turned by quarters it is the same (but for an even height, about the middle pixel).
    square = share[height // 2 - 10 : height // 2 + 11, height // 2 - 10 : height // 2 + 11]
    assert np.array_equal(square, np.rot90(square))
    middle, covariance = moments(share)
    assert np.abs(middle).max() < 1e-9
    # A sharp disc's variance is radius^2 / 4; this is the integral for one whose edge falls off over a pixel.
    variance = (radius**4 + radius**2 / 2 + 1 / 80) / (radius**2 + 1 / 12) / 4
    assert covariance == pytest.approx(np.eye(2) * variance, rel=0.01, abs=1e-9)


@pytest.mark.parametrize("height", [48, 97])
@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 120, 200, -20])
def test_a_moving_point_becomes_a_line_from_u_towards_v_that_scales_with_the_height(
    height: int, degrees: float
) -> None:
    length, angle = 15.0, np.radians(degrees)
    share = point_spread(height, 1.2 / length, motion=length * 480 / height, motion_angle=angle)
    assert share.sum() == pytest.approx(1, abs=0.003)
    middle, covariance = moments(share)
    assert np.abs(middle).max() < 1e-9
    direction = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-direction[1], direction[0]])
    # A line's variance is its length squared / 12; the rest is a pixel's width.
    assert np.sqrt(12 * direction @ covariance @ direction) == pytest.approx(length, rel=0.03)
    assert across @ covariance @ across < 0.25
    assert abs(direction @ covariance @ across) < 0.15  # turned by less than half a degree
    v, u = np.mgrid[:height, :height] - height // 2
    along, aside = u * direction[0] + v * direction[1], u * across[0] + v * across[1]
    assert not share[(np.abs(along) > length / 2 + 0.5) | (np.abs(aside) > 1)].any()


@pytest.mark.parametrize("length", [3, 5, 9])
def test_motion_along_an_axis_is_the_mean_of_so_many_pixels(length: int) -> None:
    light = photograph(240, 30)
    for angle, axis in ((0.0, 1), (np.pi, 1), (np.pi / 2, 0)):
        mean = uniform_filter1d(light.astype(np.float64), length, axis=axis, mode="nearest")
        assert_rounded(sensed(light, motion=2.0 * length, motion_angle=angle), curve(mean))


def test_motion_leaves_edges_along_it_alone() -> None:
    rows = np.random.default_rng(0).random((50, 1, 3)) * np.ones((1, 50, 1))
    columns = rows.transpose(1, 0, 2)
    plain = sensed(rows)
    assert np.array_equal(sensed(rows, motion=90.0), plain)
    assert np.array_equal(sensed(columns, motion=90.0, motion_angle=np.pi / 2), plain.transpose(1, 0, 2))
    crossed = sensed(columns, motion=90.0)
    assert np.std(linear(crossed)) < 0.5 * np.std(columns)


def test_defocus_and_motion_together_spread_light_by_the_one_and_then_by_the_other() -> None:
    """The covariance of a convolution is the sum of the two."""
    motion = {"motion": 120.0, "motion_angle": 0.6}
    disc = moments(point_spread(61, 1 / 30, defocus=30.0))[1]
    line = moments(point_spread(61, 1 / 10, **motion))[1]
    both = point_spread(61, 1 / 80, defocus=30.0, **motion)
    assert both.sum() == pytest.approx(1, abs=0.01)
    assert moments(both)[1] == pytest.approx(disc + line, rel=0.03)


def test_blur_of_less_than_half_a_pixel_is_none() -> None:
    light = photograph(240, 50)
    plain = sensed(light)
    assert np.array_equal(sensed(light, defocus=0.99), plain)
    assert np.array_equal(sensed(light, motion=1.99), plain)
    assert not np.array_equal(sensed(light, defocus=1.5), plain)
    assert not np.array_equal(sensed(light, motion=2.5, motion_angle=0.8), plain)


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4])
def test_blur_grows_without_a_jump(angle: float) -> None:
    spreads = [module._blur_kernel(0.0, length, angle) for length in np.arange(0, 6, 0.01)]
    wide = [np.pad(kernel, 4 - len(kernel) // 2) for kernel in spreads]
    assert max(float(np.abs(a - b).max()) for a, b in itertools.pairwise(wide)) < 0.03


def test_blur_mixes_linear_light() -> None:
    """Half black and half white is half the light, which is displayed as 188; bytes would mix to 128."""
    v, u = np.mgrid[:60, :60]
    checkers = np.repeat(((u + v) % 2)[..., None], 3, axis=2).astype(float)
    # A line of 2 px: half of its light in one pixel, a quarter each in both neighbors.
    assert (sensed(checkers, motion=2.0 * 480 / 60)[:, 1:-1] == 188).all()
    assert np.abs(sensed(checkers, defocus=10.0 * 480 / 60)[12:-12, 12:-12] - 187.5).max() <= 1.5


# ---- order


def test_noise_is_not_blurred() -> None:
    even = np.full((60, 80, 3), 0.5)
    noisy = {"shot_noise": 9.0, "read_noise": 6.0}
    assert np.array_equal(sensed(even, defocus=50.0, motion=70.0, **noisy), sensed(even, **noisy))


@pytest.mark.parametrize("shoulder", [0.0, 0.6])
def test_the_steps_come_in_their_order(shoulder: float) -> None:
    """Blur, vignette, exposure, noise, white balance, shoulder, sRGB, gamma: recomputed in float64. Any two of them
    exchanged would show, but for vignette and exposure, which both only scale."""
    light = photograph(96, 70)
    height, width = light.shape[:2]
    x = uniform_filter1d(light.astype(np.float64), 5, axis=1, mode="nearest")
    v, u = (np.arange(n) + 0.5 - n / 2 for n in (height, width))
    x *= 1 - 0.5 * ((u[None] ** 2 + v[:, None] ** 2) / np.hypot(width / 2, height / 2) ** 2)[..., None]
    x *= 2**0.7
    grain = plain_field(11, light.size).astype(np.float64).reshape(light.shape)
    x += grain * np.sqrt((12 / 255) ** 2 * x + (5 / 255) ** 2)
    x = np.maximum(x * [1.3, 1.0, 0.7], 0)
    rolled = KNEE + (1 - KNEE) * (1 - (1 - KNEE) / (x - KNEE + 1 - KNEE).clip(1e-9))
    x = np.where(x > KNEE, (1 - shoulder) * x + shoulder * rolled, x)
    image = sensed(
        light,
        motion=5.0 * 480 / height,
        vignette=0.5,
        exposure=0.7,
        shot_noise=12.0,
        read_noise=5.0,
        noise_seed=11,
        white_balance=[1.3, 1.0, 0.7],
        shoulder=shoulder,
        gamma=1.2,
    )
    assert_rounded(image, 255 * (curve(x) / 255) ** (1 / 1.2), slack=0.01)


# ---- shoulder


def test_a_shoulder_leaves_what_is_below_the_knee_and_rolls_off_above() -> None:
    light = np.linspace(0, 4, 3 * 4000, dtype=np.float32).reshape(1, 4000, 3)
    below = light <= KNEE
    plain = sensed(light)
    last = plain
    for shoulder in (0.25, 0.5, 1.0):
        image = sensed(light, shoulder=shoulder)
        assert np.array_equal(image[below], plain[below])
        # More of a shoulder is darker highlights, and more light is never darker.
        assert (image <= last).all()
        assert (image < last).any()
        assert (np.diff(image.reshape(-1).astype(int)) >= 0).all()
        over = np.maximum(light.astype(np.float64) - KNEE, 0) / (1 - KNEE)
        expected = (1 - shoulder) * light + shoulder * np.where(below, light, KNEE + (1 - KNEE) * over / (1 + over))
        assert_rounded(image, curve(expected))
        last = image


def test_a_whole_shoulder_never_reaches_white_and_is_smooth() -> None:
    """It starts with the slope of 1 that is below it: continuous, without an edge."""
    white = sensed(np.array([[[1.0, 10.0, 1e4]]]), shoulder=1.0)[0, 0]
    # One knee's breadth above the knee half of the rest to white is left: 0.6 + 0.4 / 2.
    assert white[0] == round(float(curve(0.8)))
    assert white[0] < white[1] < 255
    assert sensed(np.array([[[1e4, 1e30, np.inf]]]), shoulder=0.999).max() == 255
    fine = np.linspace(KNEE - 0.02, KNEE + 0.02, 300).reshape(1, 100, 3)
    assert np.abs(sensed(fine, shoulder=1.0).astype(int) - sensed(fine)).max() <= 1
    steps = np.diff(sensed(np.linspace(0.3, 2, 30000).reshape(1, 10000, 3), shoulder=1.0).reshape(-1).astype(int))
    assert set(np.unique(steps)) == {0, 1}


# ---- JPEG


@pytest.mark.parametrize("size", [(60, 80), (37, 53), (1, 1)])
def test_jpeg_equals_writing_and_reading_a_file(size: tuple[int, int]) -> None:
    light = photograph(*size)
    plain = sensed(light)
    for quality in (1, 50, 75, 95, 100):
        data = cv2.imencode(".jpg", cv2.cvtColor(plain, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        expected = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.array_equal(sensed(light, jpeg_quality=quality), expected)


def test_jpeg_loses_more_at_less_quality_and_keeps_the_colors() -> None:
    light = photograph()
    plain = sensed(light).astype(float)
    losses = [np.abs(sensed(light, jpeg_quality=quality) - plain).mean() for quality in (95, 70, 30, 5)]
    assert 0 < losses[0] < losses[1] < losses[2] < losses[3]
    red = np.zeros((32, 32, 3))
    red[..., 0] = linear(200)
    assert np.abs(sensed(red, jpeg_quality=90).astype(int) - [200, 0, 0]).max() < 6


def test_jpeg_is_each_pictures_own() -> None:
    """In a batch those of quality 0 are not compressed."""
    light = np.repeat(photograph()[None], 3, axis=0)
    sensor = Sensor(**{**vars(settings(3)), "jpeg_quality": np.array([0, 60, 0])})
    images = sense(light, sensor)
    assert np.array_equal(images[0], sensed(photograph()))
    assert np.array_equal(images[1], sensed(photograph(), jpeg_quality=60))
    assert np.array_equal(images[2], images[0])
    assert not np.array_equal(images[1], images[0])


# ---- batches


def varied(batch: int) -> Sensor:
    rng = np.random.default_rng(0)
    return Sensor(
        defocus=rng.uniform(0, 15, batch),
        motion=rng.uniform(0, 40, batch),
        motion_angle=rng.uniform(0, 3, batch),
        vignette=rng.uniform(0, 0.5, batch),
        exposure=rng.uniform(-1, 1, batch),
        shot_noise=rng.uniform(0, 8, batch),
        read_noise=rng.uniform(0, 4, batch),
        noise_seed=rng.integers(0, 2**32, batch),
        white_balance=rng.uniform(0.8, 1.2, (batch, 3)),
        shoulder=rng.uniform(0, 1, batch),
        gamma=rng.uniform(0.7, 1.4, batch),
        jpeg_quality=rng.integers(50, 95, batch),
    )


@pytest.mark.parametrize("jpeg", [True, False])
def test_a_picture_alone_is_the_picture_in_a_batch(jpeg: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last byte, with every setting varied; without JPEG too, which could hide a difference or make one large."""
    light = np.stack([photograph(59, 83, seed=k) for k in range(5)])
    sensor = varied(5)
    if not jpeg:
        sensor = Sensor(**{**vars(sensor), "jpeg_quality": np.zeros(5)})
    together = sense(light, sensor)
    for k in range(5):
        assert np.array_equal(sense(light[[k]], take(sensor, [k]))[0], together[k])
    order = [3, 0, 4, 1, 2]
    assert np.array_equal(sense(light[order], take(sensor, order)), together[order])
    assert len({image.tobytes() for image in together}) == 5
    for rows in (1, 1000, 83 * 3 * 59):  # nor does it depend on how many rows are processed at a time
        monkeypatch.setattr(module, "_PIXELS", rows)
        assert np.array_equal(sense(light, sensor), together)


@pytest.mark.parametrize("name", sorted(VARIED))
def test_each_setting_is_its_own_pictures_alone(name: str) -> None:
    """A setting changes the picture that it is given for, and no other of the batch."""
    light = np.repeat(photograph()[None], 3, axis=0)
    # A neutral angle or seed needs something to turn or to scatter.
    base = {"motion": 30.0} if name == "motion_angle" else {}
    plain = settings(3, **base)
    values = getattr(plain, name).copy()
    values[1] = VARIED[name]
    changed = Sensor(**{**vars(plain), name: values})
    for kind in (np.asarray, torch.from_numpy):
        before, after = np.asarray(sense(kind(light), plain)), np.asarray(sense(kind(light), changed))
        assert np.array_equal(after[[0, 2]], before[[0, 2]])
        assert np.mean(after[1] != before[1]) > 0.1


# Without blur as well, which makes a copy before anything else could write.
@pytest.mark.parametrize("changes", [{}, VARIED, {**VARIED, "defocus": 0.0, "motion": 0.0}, {"exposure": 1.0}])
def test_the_light_is_left_alone_however_it_lies_in_memory(changes: dict[str, object]) -> None:
    light = photograph()[None]
    before = light.copy()
    planes = np.ascontiguousarray(light.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for kind in (np.asarray, torch.from_numpy):
        images = [np.asarray(sense(kind(x), settings(**changes))) for x in (light, planes)]
        assert np.array_equal(light, before)
        assert np.array_equal(planes, before)
        assert np.array_equal(*images)


def digest(light: np.ndarray, sensor: Sensor) -> str:
    """The hash of the images and of the blurred light, whose last bits seldom reach a byte."""
    blurred = [
        module._blurred(light[row], module.blur_kernel(sensor, row, light.shape[1])) for row in range(len(light))
    ]
    return hashlib.sha256(np.stack(blurred).tobytes() + sense(light, sensor).tobytes()).hexdigest()


CHILD = f"""
import cv2, hashlib, pickle, sys
import numpy as np
from simgen import sensor as module
from simgen.sensor import Sensor, sense
cv2.setNumThreads(1)  # as in workers.py
{inspect.getsource(digest)}
print(digest(*pickle.load(sys.stdin.buffer)))
"""


def test_a_picture_does_not_depend_on_the_model_of_the_cpu() -> None:
    """The same bytes with one thread and no instruction newer than SSE: wider ones fuse or reorder sums."""
    light, sensor = np.stack([photograph(97, 131, seed=k) for k in range(5)]), varied(5)
    old = {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1",
        "OPENCV_IPP": "disabled",
    }
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD],
        input=pickle.dumps((light, sensor)),
        capture_output=True,
        check=True,
        env={**os.environ, **old},
    )
    assert child.stdout.decode().split() == [digest(light, sensor)]


# ---- tensors, as a GPU has them; here on the CPU


def test_a_tensor_gives_the_same_bytes_as_an_array_but_for_blur_and_jpeg() -> None:
    light = np.stack([photograph(59, 83, seed=k) for k in range(5)])
    sharp = Sensor(**{**vars(varied(5)), **dict.fromkeys(("defocus", "motion", "jpeg_quality"), np.zeros(5))})
    image = sense(torch.from_numpy(light), sharp)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), sense(light, sharp))
    blurred = Sensor(**{**vars(varied(5)), "jpeg_quality": np.zeros(5)})
    one, other = sense(torch.from_numpy(light), blurred).numpy().astype(int), sense(light, blurred)
    assert np.abs(one - other).max() <= 1
    assert np.mean(one != other) < 1e-3


@pytest.mark.parametrize("size", [(64, 80), (37, 53), (1, 1)])
def test_jpeg_of_tensors_is_libjpegs(size: tuple[int, int]) -> None:
    """A batch, each image with its own quality: a mean difference of at most a sixth of the loss, and few levels."""
    light, qualities = np.stack([photograph(*size, seed=k) for k in range(6)]), np.array([1, 20, 50, 75, 0, 95])
    sensor = Sensor(**{**vars(settings(6)), "jpeg_quality": qualities})
    plain, image = sense(light, settings(6)).astype(int), sense(torch.from_numpy(light), sensor).numpy().astype(int)
    exact = sense(light, sensor)
    assert np.array_equal(image[4], plain[4])
    for k in range(6):
        loss, apart = np.abs(exact[k] - plain[k]).mean(), np.abs(image[k] - exact[k])
        assert apart.max() <= (2 if size == (1, 1) else 16)
        if size != (1, 1):
            assert apart.mean() <= loss / 6
            assert np.mean(apart == 0) > 0.5
