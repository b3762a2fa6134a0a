"""simgen.pictures: files are read as a viewer shows them, and folders are listed completely."""

import io
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from simgen.errors import PictureError
from simgen.pictures import is_picture, list_pictures, picture_size, read_picture

RNG = np.random.default_rng(0)
# Smooth, so that a lossy format keeps it nearly; nothing in it is symmetric.
PICTURE = cv2.resize(RNG.integers(0, 255, (4, 6, 3), dtype=np.uint8), (48, 32), interpolation=cv2.INTER_CUBIC)
GRAY = np.repeat(PICTURE[..., :1], 3, axis=2)
TURNED = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: np.rot90(PICTURE, -1),
    7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(PICTURE),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_exif_states(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {
        "a.jpg": {"quality": 95},
        "a.png": {},
        "a.webp": {"lossless": True},
        "a.tif": {},
        "a.avif": {"quality": 100},
    }
    for name, option in options.items():
        PIL.Image.fromarray(PICTURE).save(tmp_path / name, exif=exif, **option)
        picture = read_picture(tmp_path / name)
        assert picture.shape == TURNED[orientation].shape, name
        assert picture.dtype == np.uint8 and picture.flags.c_contiguous
        lossless = name.endswith(("png", "webp", "tif"))
        assert np.abs(picture.astype(int) - TURNED[orientation]).mean() <= (0 if lossless else 4), name
        assert picture_size(tmp_path / name) == (picture.shape[1], picture.shape[0])
    # A camera file of OpenCV is of pictures as OpenCV reads them.
    assert np.array_equal(read_picture(tmp_path / "a.jpg"), cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1])


def test_a_heic_photograph_is_read_upright_or_the_message_states_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(PictureError, match=r"a\.HEIC: .*pip install 'simgen\[heic\]'; or save it as JPEG"):
            read_picture(tmp_path / "a.HEIC")
    heif = pytest.importorskip("pillow_heif")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(PIL.Image.fromarray(PICTURE)).save(tmp_path / "a.HEIC", quality=100, exif=exif.tobytes())
    picture = read_picture(tmp_path / "a.HEIC")
    assert picture.shape == TURNED[6].shape
    assert np.abs(picture.astype(int) - TURNED[6]).mean() < 8


def saved(path: Path, image: PIL.Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def written(path: Path, values: np.ndarray) -> Path:
    """`values` as OpenCV writes them."""
    assert cv2.imwrite(str(path), values)
    return path


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    """v * 257 is v at 8 bits, in every container and with any number of channels; what lies between rounds down, as in
    OpenCV."""
    color, gray = PICTURE.astype(np.uint16) * 257, GRAY[..., 0].astype(np.uint16) * 257
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_picture(written(tmp_path / name, color[..., ::-1])), PICTURE)
        assert np.array_equal(read_picture(written(tmp_path / name, gray)), GRAY)
    assert np.array_equal(read_picture(written(tmp_path / "a.pgm", gray)), GRAY)
    between = RNG.integers(0, 65536, (32, 48), dtype=np.uint16)
    path = written(tmp_path / "b.png", between)
    assert np.array_equal(read_picture(path), cv2.imread(str(path), cv2.IMREAD_COLOR))
    big = between.astype(">u2")
    assert np.array_equal(read_picture(saved(tmp_path / "c.tif", PIL.Image.fromarray(big))), read_picture(path))


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floats_are_scaled_by_what_must_be_white(tmp_path: Path, white: int) -> None:
    values = PICTURE.astype(np.float32) * (white / 255)
    path = written(tmp_path / "a.tif", values[..., ::-1])
    assert np.abs(read_picture(path).astype(int) - PICTURE).max() <= (1 if white == 65535 else 0)
    path = written(tmp_path / "b.tif", values[..., 0])
    assert np.abs(read_picture(path).astype(int) - GRAY).max() <= (1 if white == 65535 else 0)


def test_a_picture_of_which_a_viewer_shows_nothing_is_refused(tmp_path: Path) -> None:
    """Twelve bits in sixteen, and an alpha channel of zeros: a detector would silently detect nothing in them."""
    dark = written(tmp_path / "mono12.png", GRAY[..., 0].astype(np.uint16) * 16)
    with pytest.raises(PictureError, match=r"mono12\.png: .*white is 65535; scale them"):
        read_picture(dark)
    for name in ("color12.png", "color12.tif"):
        dark = written(tmp_path / name, PICTURE[..., ::-1].astype(np.uint16) * 16)
        with pytest.raises(PictureError, match=rf"{name}: .*16-bit values is below 4096, where white is 65535; scale"):
            read_picture(dark)
    assert read_picture(saved(tmp_path / "night.png", PIL.Image.fromarray(PICTURE // 20))).max() == 255 // 20
    broken = written(tmp_path / "nan.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(PictureError, match="not finite"):
        read_picture(broken)
    clear = saved(tmp_path / "clear.png", PIL.Image.fromarray(np.dstack([PICTURE, np.zeros((32, 48), np.uint8)])))
    with pytest.raises(PictureError, match="transparent everywhere"):
        read_picture(clear)
    black = written(tmp_path / "black.png", np.zeros((4, 4), np.uint16))
    assert not read_picture(black).any()


def test_a_large_picture_is_read_without_a_warning_and_one_that_is_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Phones have 108 and 200 megapixels; Pillow warns of the first, and raises its own error at the second."""
    path = saved(tmp_path / "large.png", PIL.Image.fromarray(PICTURE))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", PICTURE.shape[0] * PICTURE.shape[1] * 2 // 3)
    assert np.array_equal(read_picture(path), PICTURE) and picture_size(path) == (48, 32)
    assert not recwarn.list
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    assert is_picture(path)
    for read in (read_picture, picture_size):
        with pytest.raises(PictureError, match=r"large\.png: is larger than 0 megapixels; make it smaller"):
            read(path)


def test_transparent_parts_are_seen_over_white(tmp_path: Path) -> None:
    alpha = np.full((32, 48), 255, np.uint8)
    alpha[:, 10:20], alpha[:, 20:30] = 0, 51
    seen = PICTURE.copy()
    seen[:, 10:20] = 255
    seen[:, 20:30] = np.rint(0.2 * seen[:, 20:30] + 0.8 * 255)
    path = saved(tmp_path / "rgba.png", PIL.Image.fromarray(np.dstack([PICTURE, alpha])))
    assert np.abs(read_picture(path).astype(int) - seen).max() <= 1
    assert np.array_equal(read_picture(path)[:, 30:], PICTURE[:, 30:])
    path = saved(tmp_path / "la.png", PIL.Image.fromarray(np.dstack([PICTURE[..., 0], alpha])))
    assert np.array_equal(read_picture(path)[:, :10], GRAY[:, :10]) and (read_picture(path)[:, 10:20] == 255).all()
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    path = saved(tmp_path / "p.png", palette, transparency=1)
    assert read_picture(path).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    opaque = saved(tmp_path / "opaque.png", PIL.Image.fromarray(PICTURE).convert("RGBA"))
    assert np.array_equal(read_picture(opaque), PICTURE)


def test_every_other_mode_becomes_rgb(tmp_path: Path) -> None:
    gray = saved(tmp_path / "gray.png", PIL.Image.fromarray(GRAY[..., 0]))
    assert np.array_equal(read_picture(gray), GRAY)
    bits = PICTURE[..., 0] > 120
    path = saved(tmp_path / "bits.png", PIL.Image.fromarray(bits))
    assert np.array_equal(read_picture(path), np.repeat(bits[..., None], 3, axis=2) * 255)
    path = saved(
        tmp_path / "cmyk.jpg", PIL.Image.fromarray(PICTURE).convert("CMYK"), quality=100
    )  # inverted, as Adobe does
    assert np.abs(read_picture(path).astype(int) - PICTURE).mean() < 4
    assert np.abs(read_picture(path).astype(int) - cv2.imread(str(path))[..., ::-1]).max() <= 1
    frames = [PIL.Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert (read_picture(tmp_path / "film.gif") == (255, 0, 0)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_data_does_not_make_a_picture_unreadable(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", PIL.Image.fromarray(PICTURE), exif=b"Exif\0\0II*\0\xff\xff\xff\x7fjunk")
    assert np.array_equal(read_picture(path), PICTURE)
    exif = PIL.Image.Exif()
    exif[0x0112] = 9
    assert np.array_equal(read_picture(saved(path, PIL.Image.fromarray(PICTURE), exif=exif)), PICTURE)


def test_what_cannot_be_read_is_named_with_advice_for_a_photograph(tmp_path: Path) -> None:
    data = io.BytesIO()
    PIL.Image.fromarray(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(data, "JPEG")
    whole = data.getvalue()
    for name, content, message in (
        ("cut.jpg", whole[: len(whole) // 2], "cannot be decoded whole .* copy it again from its source"),
        ("empty.jpg", b"", r"is empty \(0 bytes\)"),
        ("page.jpg", b"<html>404</html>", "is not a picture that simgen can read; save it as JPEG or PNG"),
        ("lfs.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run git lfs pull"),
        ("shot.DNG", whole, "raw sensor data"),
        ("gone.png", None, "no such file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(PictureError, match=message) as caught:
            read_picture(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "render" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(PictureError, match="is a folder"):
        read_picture(tmp_path)


def test_a_folder_is_walked_in_order_and_what_is_no_picture_is_counted(tmp_path: Path) -> None:
    """With what macOS, Windows and a NAS leave behind, and links that lead in circles."""
    pictures = ["B.JPG", "a.tiff", "b/1.png", "b/c/2.HEIC", "b-1.webp", "z.jp2", "z2.gif"]
    videos = ["b/film.mp4", "FILM.MOV"]
    others = ["README", "b/camera.json", "notes.txt"]
    hidden = [
        ".DS_Store",
        "._B.JPG",
        "b/._1.png",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/B.JPG",
        "@eaDir/B.JPG",
        ".git/x.png",
    ]
    overlays = ["B.JPG.overlay.png", "b/film.mp4.overlay.avi"]
    for name in pictures + videos + others + hidden + overlays:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "c" / "self").symlink_to(tmp_path / "b" / "c", target_is_directory=True)
    listing = list_pictures(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in listing.pictures]
    assert names == ["B.JPG", "a.tiff", "b/1.png", "b/c/2.HEIC", "b-1.webp", "z.jp2", "z2.gif"]
    assert listing.skipped == (
        "2 videos, 2 overlays of predict, 8 hidden files, 3 other files (.json, .txt, no suffix)"
    )
    (tmp_path / "empty").mkdir()
    assert list_pictures(tmp_path / "empty").skipped == ""
    with pytest.raises(PictureError, match="cannot be listed"):
        list_pictures(tmp_path / "gone")


def test_a_link_to_a_picture_is_a_picture_and_a_broken_one_is_not_passed_over(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", PIL.Image.fromarray(PICTURE))
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.pictures] == ["a.png", "b.png", "c.png"]
    assert np.array_equal(read_picture(listing.pictures[1]), PICTURE)
    with pytest.raises(PictureError, match="no such file"):
        read_picture(listing.pictures[2])
