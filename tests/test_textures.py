"""Textures against what one can count and compute, and image folders against files of known colours."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from simgen.errors import SceneError
from simgen.scene import TEXTURES, Materials
from simgen.textures import ImageFolder, open_image_folder, paint

RED, BLUE = np.array([255, 0, 0]), np.array([0, 51, 204])
KEY = "randomize.images"
NOTHING = ImageFolder()


def material(texture: str, **changes: object) -> Materials:
    values = {
        "texture": TEXTURES.index(texture),
        "color": RED / 255,
        "color2": BLUE / 255,
        "cycles": 3.0,
        "angle": 0.0,
        "pattern": 0,
        **changes,
    }
    return Materials(**{name: np.asarray(value)[None] for name, value in values.items()})


def picture(
    texture: str, size: tuple[int, int] = (96, 96), images: ImageFolder = NOTHING, **changes: object
) -> np.ndarray:
    image = paint(material(texture, **changes), 0, size, images)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    return image


def areas(image: np.ndarray, color: np.ndarray) -> int:
    """The number of connected areas of exactly this colour."""
    return cv2.connectedComponents((image == color).all(axis=2).astype(np.uint8), connectivity=4)[0] - 1


def save(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    PIL.Image.new("RGB", size, color).save(path)


# ---- procedural


@pytest.mark.parametrize("level", [0, 1, 77, 128, 254, 255])
def test_flat_is_exactly_its_colour(level: int) -> None:
    image = picture("flat", (5, 7), color=np.array([level, 255 - level, 3]) / 255)
    assert (image == [level, 255 - level, 3]).all()


def test_flat_rounds_to_the_nearest_level() -> None:
    assert (picture("flat", (1, 1), color=[0.5, 0.001, 0.999]) == [128, 0, 255]).all()
    assert picture("flat", (2, 2), color=[0, 0, 0]).flags.writeable


@pytest.mark.parametrize("cycles", [1, 2, 3, 4, 8])
def test_a_checker_has_so_many_fields(cycles: int) -> None:
    """A cycle is one field of either colour, in both directions."""
    image = picture("checker", cycles=float(cycles))
    fields = (2 * cycles) ** 2
    assert areas(image, RED) == areas(image, BLUE) == fields // 2
    assert (image == RED).all(axis=2).sum() == (image == BLUE).all(axis=2).sum() == 96 * 96 // 2
    step = 96 // (2 * cycles)
    for row in range(2 * cycles):
        for column in range(2 * cycles):
            field = image[row * step : (row + 1) * step, column * step : (column + 1) * step]
            assert (field == field[0, 0]).all()
            assert (field[0, 0] == image[0, 0]).all() == ((row + column) % 2 == 0)


@pytest.mark.parametrize("cycles", [1, 3, 6])
def test_stripes_are_so_many_and_run_across_their_angle(cycles: int) -> None:
    upright = picture("stripes", cycles=float(cycles))
    assert areas(upright, RED) == areas(upright, BLUE) == cycles
    assert (upright == upright[:1]).all()
    lying = picture("stripes", cycles=float(cycles), angle=np.pi / 2)
    assert (lying == lying[:, :1]).all()
    assert np.array_equal(lying[::-1, 0], upright[0])  # v runs up


def test_turned_patterns_keep_their_colours_and_shares() -> None:
    for texture in ("checker", "stripes"):
        image = picture(texture, (200, 200), angle=0.4, cycles=7.0)
        red, blue = ((image == color).all(axis=2) for color in (RED, BLUE))
        assert (red | blue).all()
        assert red.mean() == pytest.approx(0.5, abs=0.05)
    # Half a turn of an even pattern exchanges the colours' places about the middle.
    assert np.array_equal(picture("stripes", angle=np.pi)[:, ::-1], picture("stripes"))


@pytest.mark.parametrize(
    ("angle", "first", "second"),
    [
        (0, (slice(None), 0), (slice(None), -1)),
        (90, (-1, slice(None)), (0, slice(None))),
        (180, (slice(None), -1), (slice(None), 0)),
        (45, (-1, 0), (0, -1)),
        (135, (-1, -1), (0, 0)),
        (225, (0, -1), (-1, 0)),
    ],
)
def test_a_gradient_runs_from_one_colour_to_the_other(angle: float, first: tuple, second: tuple) -> None:
    """At the ends the colours are pure, but for the half pixel by which a pixel's centre lies within."""
    image = picture("gradient", (256, 256), angle=np.radians(angle)).astype(int)
    assert np.abs(image[first] - RED).max() <= 1
    assert np.abs(image[second] - BLUE).max() <= 1
    if angle % 90 == 0:
        line = image[0] if angle in (0, 180) else image[:, 0]
        assert (image == (line[None] if angle in (0, 180) else line[:, None])).all()
    if angle == 0:
        share = (np.arange(256) + 0.5) / 256
        assert np.abs(image[0] - (RED + (BLUE - RED) * share[:, None])).max() <= 1


def test_noise_lies_between_its_colours_and_reaches_both() -> None:
    image = picture("noise", color=[0, 0, 0], color2=[1, 0.5, 0])
    assert (image.reshape(-1, 3) == [0, 0, 0]).all(axis=1).any()
    assert (image.reshape(-1, 3) == [255, 128, 0]).all(axis=1).any()
    assert (image[..., 2] == 0).all()
    assert (np.abs(image[..., 1] - image[..., 0] / 2) <= 1).all()  # on the line between the two


def test_noise_depends_on_its_pattern_alone() -> None:
    images = [picture("noise", (64, 64), pattern=pattern) for pattern in (0, 1, 2, 999999)]
    for k, image in enumerate(images):
        for other in images[:k]:
            gray, grey = (im[..., 0].astype(float).ravel() for im in (image, other))
            assert abs(np.corrcoef(gray, grey)[0, 1]) < 0.5
    assert np.array_equal(picture("noise", (64, 64), angle=1.0), images[0])
    shares = [(im[..., 0] - 255.0) / -255.0 for im in (images[0], picture("noise", (64, 64), color2=[0, 1, 0]))]
    assert np.array_equal(*shares)  # the same field under another colour


def test_more_cycles_make_finer_noise() -> None:
    def roughness(cycles: float) -> float:
        images = [picture("noise", (64, 64), cycles=cycles, pattern=k)[..., 0].astype(float) for k in range(10)]
        return float(np.mean([np.abs(np.diff(image, axis=1)).mean() for image in images]))

    coarse, middle, fine = (roughness(cycles) for cycles in (1.0, 3.0, 8.0))
    assert coarse * 1.3 < middle < fine / 1.3


@pytest.mark.parametrize("texture", TEXTURES[:-1])
def test_a_texture_is_a_pure_function(texture: str) -> None:
    """The same bytes whenever it is painted, whichever row it is in."""
    kinds = [k % (len(TEXTURES) - 1) for k in range(10)]
    rng = np.random.default_rng(0)
    batch = Materials(
        texture=np.array(kinds).reshape(2, 5),
        color=rng.random((2, 5, 3)),
        color2=rng.random((2, 5, 3)),
        cycles=rng.uniform(1, 5, (2, 5)),
        angle=rng.uniform(0, 6, (2, 5)),
        pattern=rng.integers(0, 100, (2, 5)),
    )
    row = (1, kinds[5:].index(TEXTURES.index(texture)))
    alone = Materials(**{name: getattr(batch, name)[row][None] for name in Materials.__dataclass_fields__})
    first = paint(batch, row, (40, 50), NOTHING)
    assert np.array_equal(paint(alone, 0, (40, 50), NOTHING), first)
    assert np.array_equal(paint(batch, row, (40, 50), NOTHING), first)


def test_textures_are_distinct() -> None:
    rng = np.random.default_rng(1)
    images = {
        picture(
            TEXTURES[k % 5], (32, 32), color=rng.random(3), color2=rng.random(3), pattern=k, angle=k * 0.1
        ).tobytes()
        for k in range(40)
    }
    assert len(images) == 40


# ---- image folders


def test_pictures_come_in_the_order_of_their_names_and_go_round(tmp_path: Path) -> None:
    for name, color in (("b.png", (0, 255, 0)), ("a.bmp", (255, 0, 0)), ("C.PNG", (0, 0, 255))):
        save(tmp_path / name, color)
    (tmp_path / "notes.txt").write_text("not a picture", encoding="ascii")
    images = open_image_folder(tmp_path, KEY)
    assert [path.name for path in images.paths] == ["C.PNG", "a.bmp", "b.png"]
    for pattern, color in (
        (0, [0, 0, 255]),
        (1, [255, 0, 0]),
        (2, [0, 255, 0]),
        (3, [0, 0, 255]),
        (10**9 + 1, [0, 255, 0]),
    ):
        assert (picture("image", (12, 10), images, pattern=pattern) == color).all()


def test_a_picture_is_cropped_about_its_middle_and_keeps_its_proportions(tmp_path: Path) -> None:
    """Three upright bands of 100 px: a square shows the middle one; a wide picture as high as it is shows all."""
    whole = np.zeros((100, 300, 3), np.uint8)
    whole[:, :100, 0] = whole[:, 100:200, 1] = whole[:, 200:, 2] = 200
    whole[40:60] = 255
    PIL.Image.fromarray(whole).save(tmp_path / "bands.png")
    images = open_image_folder(tmp_path, KEY)
    assert np.array_equal(images.image(0, (100, 300)), whole)
    assert np.array_equal(images.image(0, (100, 100)), whole[:, 100:200])
    assert np.array_equal(images.image(0, (50, 50)), whole[::2, 100:200:2])
    assert np.array_equal(images.image(0, (20, 300)), whole[40:60])
    assert images.image(0, (400, 30)).shape == (400, 30, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    name = "x.jpg" if mode == "CMYK" else "x.png"
    PIL.Image.new(mode, (9, 9)).save(tmp_path / name)
    assert open_image_folder(tmp_path, KEY).image(0, (4, 4)).shape == (4, 4, 3)


def test_many_pictures_are_served_right_though_few_are_kept(tmp_path: Path) -> None:
    for k in range(70):
        save(tmp_path / f"{k:03d}.png", (k, 255 - k, 7))
    images = open_image_folder(tmp_path, KEY)
    for _ in range(2):
        for k in range(70):
            assert (images.image(k, (2, 2)) == [k, 255 - k, 7]).all()
    assert len(images._cache) <= 64


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    for folder, says in ((tmp_path / "gone", "no such folder"), (tmp_path, "holds no image")):
        (tmp_path / "notes.txt").write_text("x", encoding="ascii")
        with pytest.raises(SceneError, match=says) as caught:
            open_image_folder(folder, KEY)
        assert str(caught.value).startswith(f"{KEY}: {folder}: ")
        assert ".png" in str(caught.value)
    with pytest.raises(SceneError, match="no such folder"):
        open_image_folder(tmp_path / "notes.txt", KEY)


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated.png", "truncated.jpg", "folder"])
def test_a_picture_that_cannot_be_decoded_is_named_before_anything_is_rendered(tmp_path: Path, damage: str) -> None:
    save(tmp_path / "a.png", (1, 2, 3))
    bad = tmp_path / f"bad{Path(damage).suffix or '.png'}"
    if damage == "folder":
        bad.mkdir()
    else:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        PIL.Image.fromarray(noise).save(bad)
        whole = bad.read_bytes()
        bad.write_bytes({"garbage": b"GIF99z not a picture", "empty": b""}.get(damage, whole[: len(whole) // 2]))
    with pytest.raises(SceneError) as caught:
        open_image_folder(tmp_path, KEY)
    assert str(caught.value).startswith(f"{KEY}: {bad}: ")
