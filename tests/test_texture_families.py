"""Generated pictures: pure functions of (family, k) with the same bytes everywhere, all different, and their statistics."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import ROOT

import simgen.textures.photographs as real
from simgen.errors import ConfigError
from simgen.textures.families import FAMILIES, picture_of
from simgen.textures.grime import UNCHANGED, grime_of
from simgen.textures.lettering import any_face, draw_text, length_of, word
from simgen.textures.numbers import Numbers

MAKERS: dict[str, Callable[..., np.ndarray]] = {
    **{family: lambda k, size=256, family=family: picture_of(family, k, size) for family in FAMILIES},
    "grime": grime_of,
}
HASHES = {  # of the pictures 2, 1 and 0
    "collage": "c4c30d48bf6d1aca",
    "print": "62b83c34855721d9",
    "wood": "432fbcad7a751722",
    "stone": "121249c7494c7aed",
    "fabric": "1973d08c417693b8",
    "fractal": "2f0fa1f7e9b2ff8f",
    "grime": "273767fcbd752d1a",
}
HASH = """
import hashlib
from simgen.textures.families import FAMILIES, picture_of
from simgen.textures.grime import grime_of
for family in reversed(FAMILIES):
    print(family, hashlib.sha256(b"".join(picture_of(family, k).tobytes() for k in (2, 1, 0))).hexdigest()[:16])
print("grime", hashlib.sha256(b"".join(grime_of(k).tobytes() for k in (2, 1, 0))).hexdigest()[:16])
"""


def digest(name: str, numbers: tuple[int, ...]) -> str:
    return hashlib.sha256(b"".join(MAKERS[name](k).tobytes() for k in numbers)).hexdigest()[:16]


@pytest.mark.parametrize("name", MAKERS)
def test_a_picture_has_the_bytes_that_it_always_had(name: str) -> None:
    """Another order than that of the test below. A change of these changes the data: DATA_VERSION must rise."""
    pictures = {k: MAKERS[name](k) for k in (7, 0, 2, 1)}
    shape = (256, 256) if name == "grime" else (256, 256, 3)
    assert all(picture.shape == shape and picture.dtype == np.uint8 for picture in pictures.values())
    assert hashlib.sha256(b"".join(pictures[k].tobytes() for k in (2, 1, 0))).hexdigest()[:16] == HASHES[name]


def test_another_process_without_vector_instructions_makes_the_same_bytes() -> None:
    """The libraries choose their code by the processor; what they choose must not show in 8 bits."""
    plain = {
        "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,AVX2,FMA3",
        "OPENCV_IPP": "disabled",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HASH],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert dict(line.split() for line in done.stdout.splitlines()) == HASHES


@pytest.mark.parametrize("name", MAKERS)
def test_pictures_are_different(name: str) -> None:
    """In small, which is another picture; large numbers are not taken modulo anything."""
    numbers = [*range(64), 2**16, 2**32, 2**43 - 1]
    assert len({MAKERS[name](k, 64).tobytes() for k in numbers}) == len(numbers)
    for k in (-1, 2**43):
        with pytest.raises(ValueError, match=r"expected a number from 0 to 2\^43 - 1"):
            MAKERS[name](k, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_colors_and_contrasts_of_a_family_spread_over_the_gamut(family: str) -> None:
    pictures = [picture_of(family, k).astype(float) / 255 for k in range(48)]
    means = np.array([picture.mean(axis=(0, 1)) for picture in pictures])
    light = means.mean(axis=1)
    assert light.min() < 0.25 and light.max() > 0.75 and light.std() > 0.12
    chroma = np.ptp(means, axis=1)
    assert chroma.min() < 0.06 and chroma.max() > 0.35
    contrast = np.array([picture.mean(axis=2).std() for picture in pictures])
    assert np.quantile(contrast, 0.9) > 2.5 * np.quantile(contrast, 0.1)


def radial_power(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The frequencies from 3 to 64 cycles a picture, and the mean over pictures of the share of the brightness's power at
    each."""
    window = np.hanning(256)[:, None] * np.hanning(256)
    frequency = np.rint(np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(256) * 256]))).astype(int).ravel()
    total = np.zeros((256, 256))
    for picture in pictures:
        gray = picture.mean(axis=2)
        power = np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
        total += power / power.sum()
    return np.arange(3, 65), (np.bincount(frequency, total.ravel()) / np.bincount(frequency))[3:65]


def test_collages_have_the_spectrum_of_photographs() -> None:
    """Power falls about as 1/f^2 (Field 1987), from each octave to the next; in the photographs below as 1/f^2.3."""
    frequency, power = radial_power([picture_of("collage", k) for k in range(64)])
    slope, _ = np.polyfit(np.log(frequency), np.log(power), 1)
    assert -2.6 < slope < -1.5
    octaves = [power[(frequency >= low) & (frequency < 2 * low)].mean() for low in (4, 8, 16, 32)]
    steps = np.diff(np.log2(octaves))
    assert (steps > -3.2).all() and (steps < -1.2).all()


def test_grime_is_mostly_next_to_unchanged() -> None:
    grime = np.stack([grime_of(k) for k in range(48)]).astype(int)
    away = np.abs(grime - UNCHANGED)
    assert (np.abs(np.median(grime, axis=(1, 2)) - UNCHANGED) <= 14).all()
    assert abs(grime.mean() - UNCHANGED) < 6 and (away <= 12).mean() > 0.75
    assert (away > 25).any(axis=(1, 2)).mean() > 0.5  # but most have something to see
    assert grime.min() < 64 and grime.max() > 160


def test_a_generator_does_not_repeat_its_numbers() -> None:
    numbers = Numbers("test", 3)
    drawn = np.concatenate(
        [numbers.array(1), numbers.array(5000), numbers.array(20), [numbers.uniform() for _ in range(3000)]]
    )
    assert len(set(drawn.tolist())) == len(drawn) and abs(drawn.mean() - 0.5) < 0.02
    assert np.array_equal(Numbers("test", 3).array(1), drawn[:1])
    assert not set(Numbers("test", 4).array(5000).tolist()) & set(drawn.tolist())
    whole = [numbers.integer(-1, 2) for _ in range(200)]
    assert set(whole) == {-1, 0, 1, 2} and {numbers.choice("ab") for _ in range(50)} == {"a", "b"}


def test_lettering_fills_the_length_that_it_states() -> None:
    for k in range(20):
        numbers = Numbers("lettering", k)
        face, text = any_face(numbers), "H" + word(numbers).replace("-", "o").replace(".", "o") + "H"
        image = np.zeros((80, 1200), np.uint8)
        draw_text(image, text, (20, 20), 30, face, 255)
        ink = np.flatnonzero(image.any(axis=0))
        reach = 30 * (face.weight + 0.11 * face.serifs + face.slant) + 2
        assert abs(ink[0] - 20) < reach and abs(ink[-1] - (20 + 30 * length_of(text, face))) < reach


# ---- photographs

INSTALLED = all(importlib.util.find_spec(name) for name in {photograph.package for photograph in real.PHOTOGRAPHS})


@pytest.mark.skipif(not INSTALLED, reason="PyBullet, which contains some of them, is not installed")
def test_photographs_are_the_listed_files_and_their_crops_differ() -> None:
    files = real.photographs()
    assert len(files) == len(real.PHOTOGRAPHS) >= 20
    assert all(photograph.license for photograph in real.PHOTOGRAPHS)
    pictures = [real.photograph_of(k, 64) for k in range(256)]
    assert all(picture.shape == (64, 64, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 256
    assert np.array_equal(real.photograph_of(17, 64), pictures[17])
    flower = [photograph.path for photograph in real.PHOTOGRAPHS].index("datasets/images/flower.jpg")
    assert (pictures[flower].mean(axis=(0, 1)).argmax(), pictures[flower][..., 2].min() < 60) == (0, True)


@pytest.mark.parametrize("fault", ["package", "file", "bytes"])
def test_a_missing_photograph_is_named_with_the_remedy(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    if fault != "package":
        (tmp_path / "album").mkdir()
        (tmp_path / "album" / "__init__.py").write_text("raise RuntimeError('imported')", encoding="ascii")
    if fault == "bytes":
        (tmp_path / "album" / "cat.png").write_bytes(b"another cat")
    monkeypatch.setitem(real._DISTRIBUTIONS, "album", "photo-album")
    monkeypatch.setattr(real, "PHOTOGRAPHS", (real.Photograph("album", "cat.png", 64 * "0", "CC0"),))
    real.photographs.cache_clear()
    line = r"^photographs: album/cat.png (is missing|has other bytes).*; pip install --force-reinstall photo-album$"
    with pytest.raises(ConfigError, match=line):
        real.photograph_of(0)
    real.photographs.cache_clear()
