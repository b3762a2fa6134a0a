"""Textures against counts and float64 arithmetic, and image folders against files of known colors."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from builders import pipeline_of

import simgen.textures.images
from simgen.dataset.recipe import describe
from simgen.draws import Draws
from simgen.errors import SceneError
from simgen.pictures import Image, read_picture
from simgen.pipeline import make_pipeline
from simgen.scene import TEXTURES, Materials
from simgen.textures.color import decode, encode
from simgen.textures.images import ImageFolder, open_image_folder
from simgen.textures.procedural import LATTICE, lattice, mix, paint

RED, BLUE = np.array([255, 0, 0]), np.array([0, 51, 204])
KEY = "randomize.images"
NOTHING = ImageFolder()
PROCEDURAL = TEXTURES[1:5]
PAINTED = ("flat", *PROCEDURAL, "faces")  # all but image


def material(texture: str, **changes: object) -> Materials:
    values = {
        "texture": TEXTURES.index(texture),
        "color": RED / 255,
        "color2": BLUE / 255,
        "cycles": 3.0,
        "angle": 0.0,
        "pattern": 0,
        "crop": 1.0,
        "sides": False,
        "edge": 0.0,
        "wear": 0.0,
        "grime": 0.0,
        "roughness": 0.5,
        "metalness": 0.0,
        "specular": 0.5,
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


def share(
    kind: str, u: object, v: object, cycles: object = 3.0, angle: object = 0.0, pattern: object = 0
) -> np.ndarray:
    """`mix` of numbers and arrays, the angle as one."""

    def number(value: object) -> np.ndarray:
        return np.asarray(value, np.float32)

    u, v = np.broadcast_arrays(u, v)
    turn = number(np.cos(angle)), number(np.sin(angle))
    mixed = mix(kind, number(u), number(v), number(cycles), turn, np.asarray(pattern), lattice())
    assert mixed.dtype == np.float32
    assert mixed.shape == u.shape
    return mixed


def centers(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where on the surface the centers of a picture's pixels are: u runs right, v up, the middle is (0, 0)."""
    u, v = (np.arange(width) - (width - 1) / 2) / width, ((height - 1) / 2 - np.arange(height)) / height
    return np.broadcast_arrays(u[None], v[:, None])


def displayed(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 in float64, of 255."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-3) ** (1 / 2.4) - 0.055)


def linear(levels: np.ndarray) -> np.ndarray:
    x = np.asarray(levels, np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def assert_mixed(image: np.ndarray, mixed: np.ndarray, first: np.ndarray = RED, second: np.ndarray = BLUE) -> None:
    """`image` shows the shares `mixed` (height, width) of the second color's light, at least to the nearest of 256 shares
    and then to the nearest byte."""
    start, way = linear(first), linear(second) - linear(first)
    step = 0.5 / 255 + 1e-5
    ends = [displayed(start + np.clip(mixed + sign * step, 0, 1)[..., None] * way) for sign in (-1, 1)]
    assert (image >= np.minimum(*ends) - 0.501).all()
    assert (image <= np.maximum(*ends) + 0.501).all()


def areas(image: np.ndarray, color: np.ndarray) -> int:
    """The number of connected areas of exactly this color."""
    return cv2.connectedComponents((image == color).all(axis=2).astype(np.uint8), connectivity=4)[0] - 1


def save(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    PIL.Image.new("RGB", size, color).save(path)


# ---- sRGB

KNOWN = [
    # displayed, linear
    (0.0, 0.0),
    (0.04, 0.04 / 12.92),
    (0.5, 0.21404114048223255),
    (0.7353569830524495, 0.5),
    (0.46135612950044164, 0.18),  # middle gray
    (1.0, 1.0),
]


@pytest.mark.parametrize(("shown", "light"), KNOWN)
def test_decode_and_encode_know_the_values_of_srgb(shown: float, light: float) -> None:
    assert float(decode(np.array(shown))) == pytest.approx(light, abs=1e-14)
    assert float(encode(np.array(light))) == pytest.approx(shown, abs=1e-14)
    assert float(decode(torch.tensor(shown))) == pytest.approx(light, abs=2e-7)
    assert float(encode(torch.tensor(light))) == pytest.approx(shown, abs=2e-7)


def test_decode_and_encode_are_inverse_and_rise() -> None:
    levels = np.arange(256) / 255
    assert np.abs(encode(decode(levels)) - levels).max() < 1e-14
    assert np.abs(decode(levels) - linear(np.arange(256))).max() < 1e-14
    # The standard's constants leave a gap of 1e-8 between the two branches.
    fine = np.linspace(0, 1, 100001)
    for there, back in ((decode, encode), (encode, decode)):
        assert np.abs(back(there(fine)) - fine).max() < 3e-8
        assert (np.diff(there(fine)) > 0).all()
    single = torch.tensor(levels).float()
    for there, exact in ((decode, decode(levels)), (encode, encode(levels))):
        values = there(single)
        assert values.dtype == torch.float32
        assert values.numpy() == pytest.approx(exact, abs=3e-7)
    assert ((encode(decode(single)) * 255 + 0.5).to(torch.uint8).numpy() == np.arange(256)).all()


# ---- procedural


@pytest.mark.parametrize("level", [0, 1, 77, 128, 254, 255])
def test_flat_is_exactly_its_color(level: int) -> None:
    image = picture("flat", (5, 7), color=np.array([level, 255 - level, 3]) / 255)
    assert (image == [level, 255 - level, 3]).all()


def test_flat_rounds_to_the_nearest_level() -> None:
    assert (picture("flat", (1, 1), color=[0.5, 0.001, 0.999]) == [128, 0, 255]).all()
    assert picture("flat", (2, 2), color=[0, 0, 0]).flags.writeable


@pytest.mark.parametrize("cycles", [1, 2, 3, 4, 8])
def test_a_checker_has_so_many_fields(cycles: int) -> None:
    """A cycle is one field of either color, in both directions."""
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


def test_rotated_patterns_keep_their_colors_and_shares() -> None:
    for texture in ("checker", "stripes"):
        image = picture(texture, (200, 200), angle=0.4, cycles=7.0)
        red, blue = ((image == color).all(axis=2) for color in (RED, BLUE))
        assert (red | blue).all()
        assert red.mean() == pytest.approx(0.5, abs=0.05)
    # Half a turn of an even pattern exchanges the colors' places about the middle.
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
def test_a_gradient_runs_from_one_color_to_the_other(angle: float, first: tuple, second: tuple) -> None:
    """The corners have the pure colors exactly; a pixel's center lies half a pixel within."""
    image = picture("gradient", (256, 256), angle=np.radians(angle))
    u, v = centers(256, 256)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    expected = 0.5 + (u * cosine + v * sine) / (abs(cosine) + abs(sine))
    assert np.abs(share("gradient", u, v, angle=np.radians(angle)) - expected).max() < 1e-6
    assert_mixed(image, expected)
    low = np.where(np.abs([cosine, sine]) < 1e-9, 0.3, -0.5 * np.sign([cosine, sine]))
    ends = share("gradient", [low[0], -low[0]], [low[1], -low[1]], angle=np.radians(angle))
    assert ends == pytest.approx([0, 1], abs=1e-7)
    edge = 1 / 512 + 1e-6  # of the way, at the outermost centers
    for place, mixed in ((first, edge), (second, 1 - edge)):
        assert_mixed(image[place].reshape(1, -1, 3), np.full((1, image[place].size // 3), mixed))
    if angle % 90 == 0:
        line = image[0] if angle in (0, 180) else image[:, 0]
        assert (image == (line[None] if angle in (0, 180) else line[:, None])).all()


def test_a_gradient_mixes_light() -> None:
    """Halfway between black and white is half the light, displayed as 188, not the byte 128."""
    image = picture("gradient", (8, 101), color=[0, 0, 0], color2=[1, 1, 1])
    assert np.abs(image[:, 50].astype(int) - 188).max() <= 1
    assert_mixed(image, centers(8, 101)[0] + 0.5, np.zeros(3), np.full(3, 255))
    assert share("gradient", 0.0, 0.0, angle=0.7) == pytest.approx(0.5, abs=1e-7)


def test_a_gradient_stays_between_its_colors() -> None:
    """Points beyond the surface, as rounding gives them, mix no more than all of a color."""
    assert (share("gradient", [-0.51, 0.51, -9.0, 9.0], 0.0) == [0, 1, 0, 1]).all()


def test_noise_lies_between_its_colors_and_reaches_both() -> None:
    image = picture("noise", color=[0, 0, 0], color2=[1, 0.5, 0])
    assert (image.reshape(-1, 3) == [0, 0, 0]).all(axis=1).any()
    assert (image.reshape(-1, 3) == [255, 128, 0]).all(axis=1).any()
    assert (image[..., 2] == 0).all()
    # On the line between the two in linear light: the one byte follows from the other, but for rounding.
    half = decode(np.array(0.5))
    below, above = (displayed(half * linear(np.clip(image[..., 0] + side, 0, 255))) for side in (-0.5, 0.5))
    assert (image[..., 1] >= below - 0.501).all()
    assert (image[..., 1] <= above + 0.501).all()


def noise_at(u: float, v: float, cycles: float, pattern: int) -> float:
    """Value noise by its definition, one point at a time, in float64 and whole numbers of any size."""
    numbers = (Draws(0, np.array([0])) / "noise").uniform(LATTICE**2)[0].reshape(LATTICE, LATTICE)
    hashed, total = pattern * 2654435761 + 12345, 0.0
    for octave in range(3):
        column, row = (hashed >> 8 * octave) % 256, (hashed >> 8 * octave + 24) % 256
        x, y = u * cycles * 2**octave, v * cycles * 2**octave
        for right in (0, 1):
            for up in (0, 1):
                s, t = (1 - abs(place - np.floor(place) - end) for place, end in ((x, right), (y, up)))
                weight = (3 * s**2 - 2 * s**3) * (3 * t**2 - 2 * t**3)
                number = numbers[int(row + np.floor(y) + up) % LATTICE, int(column + np.floor(x) + right) % LATTICE]
                total += weight * number / 2**octave
    return float(np.clip((total / 1.75 - 0.5) * 1.8 + 0.5, 0, 1))


def test_noise_is_value_noise_of_the_lattice() -> None:
    rng = np.random.default_rng(0)
    n = 60
    u, v, cycles = rng.uniform(-0.5, 0.5, n), rng.uniform(-0.5, 0.5, n), rng.uniform(1, 10, n)
    pattern = rng.integers(0, 2**31, n)
    pattern[:3] = 0, 1, 2**31 - 1
    u, v, cycles = (np.asarray(values, np.float32).astype(np.float64) for values in (u, v, cycles))
    expected = [noise_at(*point) for point in zip(u, v, cycles, map(int, pattern), strict=True)]
    assert share("noise", u, v, cycles, pattern=pattern) == pytest.approx(np.array(expected), abs=2e-5)


def test_noise_lies_in_its_range_and_is_spread_like_its_sum() -> None:
    """At the middle every octave is at a number of the lattice: the sum of three uniform numbers, spread and cut, each
    pattern another. So mean, deviation and distribution are known."""
    n = 20000
    values = share("noise", np.zeros(n), 0.0, pattern=np.arange(n))
    assert values.min() == 0
    assert values.max() == 1
    a, b, c = (grid.ravel() for grid in np.meshgrid(*[(np.arange(60) + 0.5) / 60] * 3))
    exact = np.clip(((a + b / 2 + c / 4) / 1.75 - 0.5) * 1.8 + 0.5, 0, 1)
    # The 65536 numbers that the patterns look at are a sample, too: its error is on top.
    error = 4 * np.sqrt(1 / n + 1 / LATTICE**2)
    assert values.mean() == pytest.approx(0.5, abs=error * exact.std())
    assert values.std() == pytest.approx(exact.std(), rel=error)
    for place in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert np.mean(values < place) == pytest.approx(np.mean(exact < place), abs=error * 0.5 + 0.003)


def test_noise_over_whole_surfaces_has_middle_mean_and_wide_spread() -> None:
    u, v = centers(16, 16)
    surfaces = share("noise", np.tile(u, (400, 1, 1)), v, 3.0, pattern=np.arange(400)[:, None, None])
    assert surfaces.min() == 0
    assert surfaces.max() == 1
    means = surfaces.mean(axis=(1, 2))
    assert means.mean() == pytest.approx(0.5, abs=4 * means.std() / np.sqrt(400))
    # A surface has both dark and bright places: most of them span more than half of the range.
    spans = np.ptp(surfaces.reshape(400, -1), axis=1)
    assert np.mean(spans > 0.5) > 0.95
    assert surfaces.std() > 0.2


@pytest.mark.parametrize("cycles", [1.0, 3.0, 7.3])
def test_noise_is_continuous(cycles: float) -> None:
    """An octave's slope is at most 1.5 per cell: 1.5 cycles for each of the three, over 1.75, times 1.8."""
    n = 700
    u, v = centers(n, n)
    steepest = 3 * 1.5 * cycles * 1.8 / 1.75 / n
    for pattern in (0, 5, 123456789):
        noise = share("noise", u, v, cycles, pattern=pattern)
        for axis in (0, 1):
            step = np.abs(np.diff(noise, axis=axis)).max()
            assert 0.2 * steepest < step <= steepest + 1e-5


def test_noise_scales_with_its_cycles_and_repeats_after_the_lattice() -> None:
    u, v = centers(64, 64)
    noise = share("noise", u, v, 3.0, pattern=11)
    assert np.array_equal(share("noise", 2 * u, 2 * v, 1.5, pattern=11), noise)
    assert np.array_equal(share("noise", u / 4, v / 4, 12.0, pattern=11), noise)
    assert not np.array_equal(share("noise", u, v, 6.0, pattern=11), noise)
    # Places and cycles that float32 holds exactly; the octave of the largest cells repeats last.
    once = share("noise", u, v, 8.0, pattern=11)
    for right, up in ((32, 0), (0, -32)):
        assert np.array_equal(share("noise", u + right, v + up, 8.0, pattern=11), once)
        half = share("noise", u + right / 2, v + up / 2, 8.0, pattern=11)
        assert abs(np.corrcoef(half.ravel(), once.ravel())[0, 1]) < 0.9


def test_noise_depends_on_its_pattern_alone() -> None:
    images = [picture("noise", (64, 64), pattern=pattern) for pattern in (0, 1, 2, 999999)]
    for k, image in enumerate(images):
        for other in images[:k]:
            first, second = (linear(im[..., 0]).ravel() for im in (image, other))
            assert abs(np.corrcoef(first, second)[0, 1]) < 0.5
    assert np.array_equal(picture("noise", (64, 64), angle=1.0), images[0])
    assert np.array_equal(picture("noise", (64, 64), pattern=1), images[1])
    green = picture("noise", (64, 64), color2=[0, 1, 0])
    assert np.array_equal(green[..., 0], images[0][..., 0])  # the same field under another color


def test_patterns_are_uncorrelated_on_average() -> None:
    u, v = centers(16, 16)
    surfaces = share("noise", np.tile(u, (300, 1, 1)), v, 4.0, pattern=np.arange(300)[:, None, None]).reshape(300, -1)
    for apart in (1, 2, 5, 256):
        pairs = [np.corrcoef(surfaces[k], surfaces[k + apart])[0, 1] for k in range(300 - apart)]
        assert abs(np.mean(pairs)) < 4 * np.std(pairs) / np.sqrt(len(pairs))
        assert np.max(pairs) < 0.9


def test_more_cycles_make_finer_noise() -> None:
    def roughness(cycles: float) -> float:
        images = [linear(picture("noise", (64, 64), cycles=cycles, pattern=k)[..., 0]) for k in range(10)]
        return float(np.mean([np.abs(np.diff(image, axis=1)).mean() for image in images]))

    coarse, middle, fine = (roughness(cycles) for cycles in (1.0, 3.0, 8.0))
    assert coarse * 1.3 < middle < fine / 1.3


# ---- mix and paint


@pytest.mark.parametrize("kind", ["checker", "stripes"])
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0, -1.1])
def test_fields_are_where_float64_puts_them(kind: str, angle: float) -> None:
    rng = np.random.default_rng(3)
    u, v = rng.uniform(-0.5, 0.5, (2, 5000))
    along, across = (u * np.cos(angle) + v * np.sin(angle)) * 7, (v * np.cos(angle) - u * np.sin(angle)) * 7
    odd = np.floor(along) % 2 if kind == "stripes" else (np.floor(along) + np.floor(across)) % 2
    edge = np.abs(along - np.round(along))
    if kind == "checker":
        edge = np.minimum(edge, np.abs(across - np.round(across)))
    sure = edge > 1e-5  # float32 may see a point so near to an edge on its other side
    assert sure.mean() > 0.99
    assert np.array_equal(share(kind, u, v, 3.5, angle)[sure], odd[sure])


@pytest.mark.parametrize("kind", PROCEDURAL)
def test_a_point_is_mixed_alone_as_among_others(kind: str) -> None:
    """Each with cycles, angle and pattern of its own, as the ray caster asks."""
    rng = np.random.default_rng(4)
    n = 67
    u, v = rng.uniform(-0.5, 0.5, (2, n))
    cycles, angle, pattern = rng.uniform(1, 8, n), rng.uniform(-3, 3, n), rng.integers(0, 2**31, n)
    together = share(kind, u, v, cycles, angle, pattern)
    alone = [share(kind, *(values[k] for values in (u, v, cycles, angle, pattern))) for k in range(n)]
    assert np.array_equal(together, alone)
    assert 0 <= together.min() < together.max() <= 1
    assert together.std() > 0.15


@pytest.mark.parametrize("kind", PROCEDURAL)
@pytest.mark.parametrize("size", [(40, 50), (33, 64)])
def test_paint_is_mix_at_the_centers_of_pixels(kind: str, size: tuple[int, int]) -> None:
    u, v = centers(*size)
    first, second = np.array([10, 200, 90]), np.array([240, 30, 91])
    changes = {"color": first / 255, "color2": second / 255, "cycles": 2.7, "angle": 0.83, "pattern": 4321}
    mixed = share(kind, u, v, 2.7, 0.83, 4321)
    image = picture(kind, size, **changes)
    assert_mixed(image, mixed, first, second)
    if kind in ("checker", "stripes"):
        assert np.array_equal(image, np.where(mixed[..., None] == 1, second, first))
    # Only there: mirrored, exchanged or shifted by a pixel it is another picture.
    for other in (mixed[::-1], mixed[:, ::-1], 1 - mixed, np.roll(mixed, 1, axis=0), np.roll(mixed, 1, axis=1)):
        with pytest.raises(AssertionError):
            assert_mixed(image, other, first, second)


@pytest.mark.parametrize("texture", PAINTED)
def test_a_texture_is_a_pure_function(texture: str) -> None:
    """The same bytes whenever it is painted, whichever row it is in."""
    kinds = [TEXTURES.index(PAINTED[k % len(PAINTED)]) for k in range(12)]
    rng = np.random.default_rng(0)
    batch = Materials(
        texture=np.array(kinds).reshape(2, 6),
        color=rng.random((2, 6, 3)),
        color2=rng.random((2, 6, 3)),
        cycles=rng.uniform(1, 5, (2, 6)),
        angle=rng.uniform(0, 6, (2, 6)),
        pattern=rng.integers(0, 100, (2, 6)),
        crop=rng.random((2, 6)),
        sides=rng.random((2, 6)) < 0.5,
        edge=rng.random((2, 6)),
        wear=rng.random((2, 6)),
        grime=rng.random((2, 6)),
        roughness=rng.random((2, 6)),
        metalness=rng.random((2, 6)),
        specular=rng.random((2, 6)),
    )
    row = (1, kinds[6:].index(TEXTURES.index(texture)))
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
    PIL.Image.new(mode, (9, 9), (0, 0, 0, 255) if mode == "RGBA" else 0).save(tmp_path / name)
    assert open_image_folder(tmp_path, KEY).image(0, (4, 4)).shape == (4, 4, 3)


def test_a_folder_is_read_with_its_sub_folders_as_a_viewer_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pictures of one name are two in the recipe; leftovers of macOS are counted and no picture."""
    for folder, color in (("wood", (200, 100, 0)), ("metal", (90, 90, 90))):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "a.png", color)
    upright = np.zeros((30, 10, 3), np.uint8)
    upright[:10] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "photo.tif", exif=exif)
    for name in ("._photo.tif", ".DS_Store", "licence.txt"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    pipeline = pipeline_of(f"randomize.images={tmp_path}", "randomize.table.texture=image")
    assert capsys.readouterr().err == (
        f"randomize.images: 3 pictures in {tmp_path}; skipped 2 hidden files, 1 other file (.txt)\n"
    )
    assert pipeline.images.names == ["metal/a.png", "photo.tif", "wood/a.png"]
    recipe = describe(pipeline.source, pipeline.world, pipeline.sampler, pipeline.images)
    assert list(recipe["images"]) == pipeline.images.names
    assert (pipeline.images.image(0, (2, 2)) == 90).all() and (pipeline.images.image(2, (2, 2)) == (200, 100, 0)).all()
    assert np.array_equal(pipeline.images.image(1, (30, 10)), upright)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, in their order."""
    names: list[str] = []
    read = simgen.textures.images.read_picture

    def counted(path: Path, enough: int) -> Image:
        names.append(path.name)
        return read(path, enough)

    monkeypatch.setattr(simgen.textures.images, "read_picture", counted)
    return names


def test_a_picture_is_decoded_once_and_memory_is_bounded(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the folder is checked; also if there are 500. If more pictures are there than fit, all are still right."""
    assert ImageFolder(paths=(Path("a"),) * 500).pixels > 400**2
    assert [ImageFolder(paths=(Path("a"),) * n).pixels for n in (0, 85, 10**6)] == [1024**2, 1024**2, 256**2]
    for k in range(70):
        save(tmp_path / f"{k:03d}.png", (k, 255 - k, 7), (40, 20))
    images = open_image_folder(tmp_path, KEY)
    assert len(decoded) == 70
    for _ in range(2):
        for k in range(70):
            assert (images.image(k, (2, 2)) == [k, 255 - k, 7]).all() and images.square(k, 3).shape == (3, 3, 3)
    assert len(decoded) == 70
    monkeypatch.setattr(simgen.textures.images, "MEMORY", 3 * 70 * 200)
    monkeypatch.setattr(simgen.textures.images, "_LEAST", 400)
    images = open_image_folder(tmp_path, KEY)
    for _ in range(2):
        for k in range(70):
            assert (images.image(k, (2, 2)) == [k, 255 - k, 7]).all()
    assert len(images._kept) == 35 and sum(kept.nbytes for kept in images._kept.values()) <= 3 * 70 * 200


def test_a_worker_decodes_only_what_it_shows(
    tmp_path: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(5):
        save(tmp_path / f"{k}.png", (k, k, k))
    (tmp_path / "notes.txt").touch()
    source = pipeline_of(f"randomize.images={tmp_path}", "randomize.table.texture=image").source
    assert sorted(decoded) == [f"{k}.png" for k in range(5)] and "skipped 1 other file" in capsys.readouterr().err
    images = make_pipeline(source, checked=True).images
    assert len(decoded) == 5 and not capsys.readouterr().err
    assert (images.square(13, 4) == 3).all() and (images.square(3, 8) == 3).all()
    assert decoded[5:] == ["3.png"]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_a_large_picture_is_reduced_before_it_is_converted(tmp_path: Path, mode: str) -> None:
    """To the average of the pixels that become one; what is kept shows the same as a picture of the kept size."""
    upper, lower = {"1": (1, 0), "I;16": (51400, 12850)}.get(mode, (200, 50))
    image = PIL.Image.new(mode.removesuffix("A") if mode == "RGBA" else mode, (1500, 900), _level(mode, lower))
    image.paste(_level(mode, upper), (0, 0, 1500, 450))
    if mode == "RGBA":
        image.putalpha(255)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path)
    picture = read_picture(path, 10_000)
    assert picture.shape[1] / picture.shape[0] == pytest.approx(5 / 3, rel=0.03)
    assert 10_000 <= picture.shape[0] * picture.shape[1] < 4 * 10_000
    half = picture.shape[0] // 2
    whole = read_picture(path)
    assert np.abs(picture[: half - 1].astype(int) - whole[0, 0]).max() <= 1
    assert np.abs(picture[half + 1 :].astype(int) - whole[-1, 0]).max() <= 1
    assert np.array_equal(read_picture(path, 1500 * 900), whole)


def _level(mode: str, level: int) -> object:
    return {"RGB": (level, 9, 9), "RGBA": (level, 9, 9), "CMYK": (level, 9, 9, 9)}.get(mode, level)


def test_a_picture_of_100_megapixels_is_read_and_a_larger_one_is_refused_in_one_line(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Pillow's warning of a decompression bomb begins at 89 megapixels, its refusal at 179."""
    PIL.Image.new("L", (10_000, 10_000), 90).save(tmp_path / "a.png", compress_level=1)
    kept = open_image_folder(tmp_path, KEY)._kept[tmp_path / "a.png"]
    assert kept.shape == (1024, 1024, 3) and (kept == 90).all() and not recwarn.list
    PIL.Image.new("1", (20_000, 10_000)).save(tmp_path / "b.png")
    with pytest.raises(
        SceneError, match=r"b\.png: is larger than 179 megapixels; make it smaller, or remove it$"
    ) as caught:
        open_image_folder(tmp_path, KEY)
    assert str(caught.value).startswith(f"{KEY}: {tmp_path}") and "\n" not in str(caught.value)
    assert not recwarn.list


def test_a_large_jpeg_is_not_decoded_in_full(tmp_path: Path) -> None:
    """Its decoder gives an eighth of the size directly, from the means of its blocks of 8 pixels."""
    noise = np.random.default_rng(3).integers(0, 255, (64, 96), dtype=np.uint8)
    PIL.Image.fromarray(np.kron(noise, np.ones((8, 8), np.uint8))).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    picture = read_picture(tmp_path / "a.jpg", 64 * 96)
    assert picture.shape == (64, 96, 3)
    assert np.abs(picture[..., 0].astype(int) - noise).max() <= 3


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "gone", "no such folder"), (tmp_path, "holds no picture")):
        (tmp_path / "notes.txt").write_text("x", encoding="ascii")
        with pytest.raises(SceneError, match=message) as caught:
            open_image_folder(folder, KEY)
        assert str(caught.value).startswith(f"{KEY}: {folder}: ")
        assert ".png" in str(caught.value)
    with pytest.raises(SceneError, match="is a file; expected a folder"):
        open_image_folder(tmp_path / "notes.txt", KEY)


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated.png", "truncated.jpg"])
def test_a_picture_that_cannot_be_decoded_is_named_before_anything_is_rendered(tmp_path: Path, damage: str) -> None:
    save(tmp_path / "a.png", (1, 2, 3))
    bad = tmp_path / f"bad{Path(damage).suffix or '.png'}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(bad)
    whole = bad.read_bytes()
    bad.write_bytes({"garbage": b"GIF99z not a picture", "empty": b""}.get(damage, whole[: len(whole) // 2]))
    with pytest.raises(SceneError) as caught:
        open_image_folder(tmp_path, KEY)
    assert str(caught.value).startswith(f"{KEY}: {bad}: ")
