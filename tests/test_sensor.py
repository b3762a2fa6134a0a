"""The camera's electronics: known answers for each step, and that a neutral setting does nothing."""

import cv2
import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from simgen import sensor as module
from simgen.draws import philox
from simgen.scene import Sensor
from simgen.sensor import normal_field, sense


def settings(batch: int = 1, **changes: object) -> Sensor:
    neutral = {
        "exposure": 0.0,
        "white_balance": [1.0, 1.0, 1.0],
        "gamma": 1.0,
        "noise": 0.0,
        "noise_seed": 7,
        "blur": 0.0,
        "jpeg_quality": 0,
    }
    return Sensor(**{name: np.array([value] * batch) for name, value in {**neutral, **changes}.items()})


def photograph(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """A picture with edges, smooth parts and grain."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:height, :width]
    smooth = np.stack([u * 200 / width, v * 200 / height, 127 + 100 * np.sin(u / 9)], -1)
    return np.clip(smooth + rng.normal(0, 9, smooth.shape), 0, 255).astype(np.uint8)


RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)  # every level once


def test_neutral_settings_change_no_byte() -> None:
    pictures = np.stack([photograph(seed=k) for k in range(3)])
    before = pictures.copy()
    sensed = sense(pictures, settings(3))
    assert sensed.dtype == np.uint8
    assert np.array_equal(sensed, before)
    assert np.array_equal(sense(RAMP[None], settings())[0], RAMP)
    sense(pictures, settings(3, exposure=1.0, noise=5.0, blur=1.0, jpeg_quality=50))
    assert np.array_equal(pictures, before)  # the argument is left alone


@pytest.mark.parametrize("stops", [1, 2, -1, -3])
def test_a_stop_of_exposure_doubles(stops: int) -> None:
    levels = np.arange(256) * 2.0**stops
    expected = np.floor(np.minimum(levels, 255) + 0.5)
    assert np.array_equal(sense(RAMP[None], settings(exposure=stops))[0, 0, :, 1], expected)


def test_white_balance_scales_each_channel() -> None:
    levels = np.arange(256)
    sensed = sense(RAMP[None], settings(white_balance=[2.0, 1.0, 0.5]))[0, 0]
    assert np.array_equal(sensed[:, 0], np.minimum(2 * levels, 255))
    assert np.array_equal(sensed[:, 1], levels)
    assert np.array_equal(sensed[:, 2], np.floor(levels / 2 + 0.5))


@pytest.mark.parametrize("gamma", [0.5, 2.0, 1.35])
def test_gamma_is_a_power_that_keeps_black_and_white(gamma: float) -> None:
    sensed = sense(RAMP[None], settings(gamma=gamma))[0, 0, :, 0].astype(float)
    assert (sensed[0], sensed[255]) == (0, 255)
    assert np.abs(sensed - 255 * (np.arange(256) / 255) ** (1 / gamma)).max() <= 0.5 + 1e-9
    assert (sensed[128] > 128) == (gamma > 1)


# ---- noise


@pytest.mark.parametrize("deviation", [2.0, 8.0])
def test_noise_has_its_deviation_and_no_mean(deviation: float) -> None:
    gray = np.full((1, 200, 300, 3), 128, np.uint8)
    grain = sense(gray, settings(noise=deviation))[0].astype(float) - 128
    n = grain.size
    assert abs(grain.mean()) < 4 * deviation / np.sqrt(n)
    # Rounding to whole levels adds 1/12.
    assert grain.var() == pytest.approx(deviation**2 + 1 / 12, rel=4 * np.sqrt(2 / n))
    channels = grain.reshape(-1, 3)
    assert np.abs(np.corrcoef(channels.T)[np.triu_indices(3, 1)]).max() < 4 / np.sqrt(len(channels))
    for shift in (1, 2, 300):
        assert abs(np.corrcoef(channels[shift:, 0], channels[:-shift, 0])[0, 1]) < 4 / np.sqrt(len(channels))


def test_noise_is_the_field_of_its_seed_and_clips() -> None:
    picture = photograph()
    for seed in (0, 7, 2**32 - 1):
        field = normal_field(seed, picture.size).reshape(picture.shape)
        expected = np.clip(np.floor(picture + 30 * field.astype(np.float64) + 0.5), 0, 255)
        sensed = sense(picture[None], settings(noise=30.0, noise_seed=seed))[0]
        assert np.count_nonzero(sensed != expected) <= 2  # float32 against float64 at a tie
        assert np.abs(sensed - expected).max() <= 1
    assert sensed.min() == 0
    assert sensed.max() == 255
    other = sense(picture[None], settings(noise=30.0, noise_seed=8))[0]
    assert np.count_nonzero(other != sensed) > 0.9 * other.size


def test_the_field_equals_plain_philox_at_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    n, seed = 1003, 12345
    counter = np.zeros((4, 126), np.uint32)
    counter[0] = np.arange(126)
    words = philox(counter, (seed, 0)).T.reshape(-1)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=1).reshape(-1)[:n]
    expected = ndtri((halves + 0.5) / 65536).astype(np.float32)
    assert np.array_equal(normal_field(seed, n), expected)
    for chunk in (1, 7, 125, 126, 1000):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        assert np.array_equal(normal_field(seed, n), expected)
    for shorter in (0, 1, 8, 9, 1002):
        assert np.array_equal(normal_field(seed, shorter), expected[:shorter])


def test_the_field_is_normal() -> None:
    field = normal_field(3, 200000).astype(float)
    assert np.isfinite(field).all()
    assert abs(field.mean()) < 4 / np.sqrt(len(field))
    assert field.var() == pytest.approx(1, abs=4 * np.sqrt(2 / len(field)))
    for quantile in (0.001, 0.1, 0.5, 0.9, 0.999):
        share = (field < ndtri(quantile)).mean()
        assert share == pytest.approx(quantile, abs=4 * np.sqrt(quantile * (1 - quantile) / len(field)))


# ---- blur


@pytest.mark.parametrize("level", [0, 77, 255])
def test_blur_leaves_an_even_picture_alone(level: int) -> None:
    even = np.full((1, 40, 50, 3), level, np.uint8)
    assert np.array_equal(sense(even, settings(blur=20.0)), even)


@pytest.mark.parametrize("height", [240, 480])
def test_blur_is_gaussian_and_scales_with_the_height(height: int) -> None:
    """An edge becomes the normal distribution function; its deviation is that asked for, in px of 480 px height."""
    edges = np.zeros((height, 200, 3), np.uint8)
    edges[:, 100:, 0] = edges[height // 2 :, :, 1] = 255
    sensed = sense(edges[None], settings(blur=4.0))[0].astype(float)
    sigma = 4.0 * height / 480
    across = 255 * ndtr((np.arange(200) - 99.5) / sigma)
    down = 255 * ndtr((np.arange(height) - (height - 1) / 2) / sigma)
    assert np.abs(sensed[..., 0] - across).max() < 1.5
    assert np.abs(sensed[..., 1] - down[:, None]).max() < 1.5
    assert (sensed[..., 2] == 0).all()  # channels are blurred apart


def test_noise_comes_after_blur_and_is_not_blurred() -> None:
    gray = np.full((1, 60, 80, 3), 128, np.uint8)
    assert np.array_equal(sense(gray, settings(blur=5.0, noise=6.0)), sense(gray, settings(noise=6.0)))


# ---- JPEG


def test_jpeg_equals_writing_and_reading_a_file() -> None:
    picture = photograph()
    for quality in (1, 50, 95, 100):
        data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        expected = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.array_equal(sense(picture[None], settings(jpeg_quality=quality))[0], expected)


def test_jpeg_loses_more_at_less_quality_and_keeps_the_colours() -> None:
    picture = photograph()
    losses = []
    for quality in (95, 70, 30, 5):
        sensed = sense(picture[None], settings(jpeg_quality=quality))[0]
        losses.append(np.abs(sensed.astype(float) - picture).mean())
    assert 0 < losses[0] < losses[1] < losses[2] < losses[3]
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(sense(red, settings(jpeg_quality=90)).astype(int) - red).max() < 6


# ---- batches


def test_a_picture_alone_is_the_picture_in_a_batch() -> None:
    pictures = np.stack([photograph(seed=k) for k in range(4)])
    rng = np.random.default_rng(0)
    varied = Sensor(
        exposure=rng.uniform(-1, 1, 4),
        white_balance=rng.uniform(0.8, 1.2, (4, 3)),
        gamma=rng.uniform(0.7, 1.4, 4),
        noise=rng.uniform(0, 8, 4),
        noise_seed=rng.integers(0, 2**32, 4),
        blur=rng.uniform(0, 3, 4),
        jpeg_quality=rng.integers(50, 95, 4),
    )
    together = sense(pictures, varied)
    for k in range(4):
        own = Sensor(**{name: getattr(varied, name)[[k]] for name in Sensor.__dataclass_fields__})
        assert np.array_equal(sense(pictures[[k]], own)[0], together[k])
    assert len({image.tobytes() for image in together}) == 4
