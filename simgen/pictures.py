"""Reads picture files as an image viewer shows them, and lists the pictures in a folder.

The only module that decodes a user's picture file. `read_picture` applies the EXIF rotation, scales 16 bits to 8, puts
transparent parts over white, and converts CMYK and palettes. Color profiles are not applied; OpenCV does not apply them
either.
"""

import io
import math
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from simgen.errors import PictureError

Image = NDArray[np.uint8]

# fmt: off
VIDEOS = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".3gp", ".3g2",
    ".flv", ".ogv", ".vob", ".asf", ".divx", ".mxf",
})
_RAW = frozenset({
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr", ".iiq",
    ".rwl",
})
# fmt: on
OVERLAY = ".overlay"  # overlays that predict writes are named NAME.overlay.png and so on

_HEIF = frozenset((".heic", ".heif", ".hif"))
# Formats that Pillow identifies but does not decode by itself.
_NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"))
# Files and folders of operating systems and archive programs, beside those whose names begin with a dot.
_LEFTOVERS = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "lost+found",
        "system volume information",
    }
)
_STRIP = 16  # rows of a reduced picture that are converted at once
_LARGE = 64_000_000  # pixels
_ORIENTATION = 0x0112  # EXIF and TIFF
_Transpose = PIL.Image.Transpose
_TURNS = {
    2: _Transpose.FLIP_LEFT_RIGHT,
    3: _Transpose.ROTATE_180,
    4: _Transpose.FLIP_TOP_BOTTOM,
    5: _Transpose.TRANSPOSE,
    6: _Transpose.ROTATE_270,
    7: _Transpose.TRANSVERSE,
    8: _Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Listing:
    """The files in `folder` and below it, in the order of their names, folder by folder: `pictures` and `videos` by their
    suffixes, `others` that are neither, `overlays` that predict wrote, and how many were `hidden` (a folder counts once)."""

    folder: Path
    pictures: tuple[Path, ...]
    videos: tuple[Path, ...]
    others: tuple[Path, ...]
    overlays: tuple[Path, ...]
    hidden: int

    @property
    def skipped(self) -> str:
        """The number of files that are not pictures, by kind, as a text for messages; "" if there are none."""
        suffixes = Counter(path.suffix.lower() or "no suffix" for path in self.others)
        kinds = f" ({', '.join(sorted(suffixes))})" if suffixes else ""
        counts = (
            (len(self.videos), "video", ""),
            (len(self.overlays), "overlay", " of predict"),
            (self.hidden, "hidden file", ""),
            (len(self.others), "other file", kinds),
        )
        return ", ".join(f"{count} {what}{'s' if count > 1 else ''}{more}" for count, what, more in counts if count)


@cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of all files that count as pictures: those that Pillow reads, and HEIC."""
    read = {suffix for suffix, name in PIL.Image.registered_extensions().items() if name in PIL.Image.OPEN}
    undecoded = {suffix for suffix, name in PIL.Image.registered_extensions().items() if name in _NOT_DECODED}
    return frozenset(read - undecoded - VIDEOS | _HEIF | {".mpo"})


def is_overlay(path: Path) -> bool:
    """Whether `path` has the name of an overlay that predict writes."""
    return path.name.lower().endswith((f"{OVERLAY}.png", f"{OVERLAY}.avi"))


def is_hidden(name: str) -> bool:
    """Whether a file or folder called `name` is hidden, or one of an operating system or archive program."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def list_pictures(folder: Path) -> Listing:
    """All files in `folder` and its sub-folders; each folder is listed once, so cyclic links end.

    Skips names that begin with a dot and the system files of macOS, Windows and NAS devices. Raises PictureError if a folder
    cannot be listed.
    """
    found: dict[str, list[Path]] = {"pictures": [], "videos": [], "others": [], "overlays": []}
    hidden = 0
    for path in _walk(folder, set()):
        suffix = path.suffix.lower()
        if is_hidden(path.name):
            hidden += 1
        elif is_overlay(path):
            found["overlays"].append(path)
        elif suffix in picture_suffixes():
            found["pictures"].append(path)
        else:
            found["videos" if suffix in VIDEOS else "others"].append(path)
    return Listing(folder, **{kind: tuple(paths) for kind, paths in found.items()}, hidden=hidden)


def read_picture(path: Path, enough: int | None = None) -> Image:
    """The picture in `path` as a viewer shows it, (H, W, 3) uint8 RGB, C-contiguous.

    Of an animation the first frame; transparent parts over white; 16 bits scaled to 8 by their high byte, as OpenCV does.
    If `enough` pixels suffice, a picture that is at least twice as wide and high is reduced by a whole factor to no fewer,
    before it is converted; a JPEG file is then not even decoded in full. So a very large picture needs little memory.
    Raises PictureError, one line that begins with the path and ends with what to do, where it cannot be decoded whole.
    """
    if path.suffix.lower() in _RAW:  # many begin like a TIFF, with a small preview
        raise PictureError(f"{path}: holds raw sensor data; save it as JPEG or PNG with the camera's program")
    try:
        try:
            with opened(path) as image:
                if enough is not None:
                    factor = _factor(image, enough)
                    image.draft(None, (image.width // factor, image.height // factor))  # JPEG alone can
                return _as_seen(image, path, enough)
        except PIL.UnidentifiedImageError:
            return _read_otherwise(path)
    except PictureError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise PictureError(f"{path}: {_cause(path, error)}") from error


def decode_picture(data: bytes, path: Path) -> Image:
    """The picture in the bytes `data` of the file `path`, as `read_picture` gives it; of the formats that Pillow decodes.
    Raises PictureError."""
    if _is_plain_jpeg(data):
        # Both decode with libjpeg-turbo and the same settings, to the same pixels; OpenCV takes a third of the time.
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if decoded is not None:
            return np.asarray(decoded, dtype=np.uint8)
    try:
        with opened(io.BytesIO(data)) as image:
            return _as_seen(image, path)
    except PIL.UnidentifiedImageError as error:
        raise PictureError(f"{path}: is not a picture that simgen can read; expected JPEG or PNG") from error
    except PictureError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise PictureError(f"{path}: {_cause(path, error)}") from error


@dataclass(frozen=True)
class Header:
    """`width` and `height` in px of a picture as `read_picture` gives it, its `format` as Pillow names it ("" if Pillow does
    not read it), and whether it is `plain`: 8 bits, gray or RGB, one frame, not turned by EXIF, so that other programs show
    it alike."""

    width: int
    height: int
    format: str
    plain: bool


def picture_header(path: Path) -> Header:
    """The header of the picture in `path`, which is decoded only if Pillow does not read it. Raises PictureError."""
    try:
        with opened(path) as image:
            width, height = image.size
            orientation, format = _orientation(image), image.format or ""
            # Pillow gives TIFF rotated.
            width, height = (height, width) if orientation in (5, 6, 7, 8) and format != "TIFF" else (width, height)
            return Header(width, height, format, orientation == 1 and _is_plain(image))
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        height, width = read_picture(path).shape[:2]
        return Header(width, height, "", False)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in px of the picture in `path` as `read_picture` gives it; read from the header if Pillow can. Raises
    PictureError."""
    header = picture_header(path)
    return header.width, header.height


def is_picture(path: Path) -> bool:
    """Whether the file `path` begins like a picture; its name does not matter."""
    try:
        with opened(path):
            return True
    except PIL.Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):
        return False


@contextmanager
def opened(path: Path | io.BytesIO) -> Iterator[PIL.Image.Image]:
    """The file `path` as Pillow opens it, without a warning on stderr that a picture is large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(path) as image:
            yield image


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether `data` is a whole JPEG file in three colors that no metadata can turn or recolor, and of no unusual size."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return False
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):  # the frame: baseline, extended or progressive
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return data[position + 4] == 8 and data[position + 9] == 3 and 0 < height * width < _LARGE
        if marker not in (0xDB, 0xC4, 0xDD, 0xE0, 0xFE):  # EXIF (E1) may turn it, Adobe's (EE) may state other colors
            return False
        position += 2 + length
    return False


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """The files below `folder`; a hidden folder counts as one file."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise PictureError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for path in entries:
        if path.is_dir() and not is_hidden(path.name):
            yield from _walk(path, seen)
        else:
            yield path


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture with corrupt EXIF data is still readable
        return 1


def _is_plain(image: PIL.Image.Image) -> bool:
    try:
        one = getattr(image, "n_frames", 1) == 1
    except Exception:  # as of a truncated TIFF
        return False
    return one and image.mode in ("L", "RGB") and not image.has_transparency_data and not _deep(image)


def _deep(image: PIL.Image.Image) -> bool:
    """Whether the file of `image`, in color and not yet loaded, has 16 bits a channel; Pillow keeps the high bytes."""
    return image.mode in ("RGB", "RGBA") and any("16" in str(part[3]) for part in getattr(image, "tile", ()))


def _factor(image: PIL.Image.Image, enough: int | None) -> int:
    """By which whole number `image` can be divided in width and height, so that `enough` pixels remain."""
    return max(1, math.isqrt(image.width * image.height // enough)) if enough else 1


def _converted(image: PIL.Image.Image, mode: str, enough: int | None) -> PIL.Image.Image:
    """`image` in `mode`, reduced as `_factor` states. In strips, because a conversion of the whole would need as much memory
    again as the picture itself."""
    factor = _factor(image, enough)
    if factor == 1:
        return image if image.mode == mode else image.convert(mode)
    across, down = min(factor, image.width), min(factor, image.height)
    reduced = PIL.Image.new(mode, (-(-image.width // across), -(-image.height // down)))
    for row in range(0, reduced.height, _STRIP):
        strip = image.crop((0, row * down, image.width, min((row + _STRIP) * down, image.height)))
        reduced.paste(strip.convert(mode).reduce((across, down)), (0, row))
    return reduced


def _as_seen(image: PIL.Image.Image, path: Path, enough: int | None = None) -> Image:
    wide = _deep(image)
    image.load()
    turn = _TURNS.get(_orientation(image))  # after load: Pillow turns TIFF there by itself
    if turn is not None:
        image = image.transpose(turn)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        gray = _to_8_bits(values.astype(values.dtype.newbyteorder("="), copy=False), path)
        gray = np.asarray(_converted(PIL.Image.fromarray(gray), "L", enough))
        return np.repeat(gray[:, :, None], 3, axis=2)
    if wide:  # of which Pillow keeps the high bytes
        top = int(np.ravel(image.getextrema())[1:6:2].max())  # of three pairs (least, greatest)
        if 0 < top < 16:
            raise PictureError(_too_dark(path, "16-bit", f"below {256 * (top + 1)}", "65535"))
    if image.has_transparency_data:
        image = _converted(image, "RGBA", enough)
        least, most = image.getchannel("A").getextrema()
        if most == 0:
            raise PictureError(f"{path}: is transparent everywhere; save it without its alpha channel")
        if least != 255:
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return np.asarray(_converted(image, "RGB", enough))


def _to_8_bits(values: NDArray[Any], path: Path) -> Image:
    """`values` of any number type, scaled to 0 to 255. White is 65535 for integers of 16 and 32 bits; for floats it is the
    least of 1, 255 and 65535 that no value exceeds. Raises PictureError if the result would be black, or a value exceeds
    white."""
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    if not np.isfinite(values).all():
        raise PictureError(f"{path}: holds values that are not finite; save it as an 8-bit PNG")
    top = float(values.max(initial=0))
    whites = (65535.0,) if np.issubdtype(values.dtype, np.integer) else (1.0, 255.0, 65535.0)
    white = next((white for white in whites if top <= white), None)
    # Cameras with 10 or 12 bits use the low bits of 16. Such a picture would be nearly black, so it is refused.
    if white is None or 0 < top < white / 16:
        raise PictureError(_too_dark(path, str(values.dtype), f"{top:g}", f"{white or whites[-1]:g}"))
    if values.dtype == np.uint16:
        return np.asarray(values >> 8, dtype=np.uint8)
    if white == 65535:
        return np.asarray(np.clip(values, 0, white).astype(np.uint16) >> 8, dtype=np.uint8)
    return np.asarray(np.rint(np.clip(values, 0, white) * (255 / white)), dtype=np.uint8)


def _too_dark(path: Path, kind: str, top: str, white: str) -> str:
    return (
        f"{path}: the greatest of its {kind} values is {top}, where white is {white}; scale them, and save it as an 8-bit "
        "PNG"
    )


def _read_otherwise(path: Path) -> Image:
    """The picture in a file that Pillow does not identify. Raises PictureError if HEIF and OpenCV do not read it either."""
    data = path.read_bytes()
    if not data:
        raise PictureError(f"{path}: is empty (0 bytes); copy it again from its source")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"):
        return _read_heif(path)
    if data.startswith(b"version https://git-lfs"):
        raise PictureError(f"{path}: is a Git LFS pointer, not the picture; run git lfs pull")
    values = None
    with suppress(cv2.error):  # color floats, and 16 bits with separate planes
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        heic = "; a HEIC photograph needs pip install 'simgen[heic]'" if path.suffix.lower() in _HEIF else ""
        raise PictureError(f"{path}: is not a picture that simgen can read; save it as JPEG or PNG{heic}")
    values = np.asarray(values)
    if values.ndim == 3 and values.shape[2] == 4:
        alpha = _to_8_bits(values[..., 3], path)
        return _as_seen(PIL.Image.fromarray(np.dstack([_to_8_bits(values[..., 2::-1], path), alpha]), "RGBA"), path)
    if values.ndim == 3:
        return np.ascontiguousarray(_to_8_bits(values[..., ::-1], path))
    return np.repeat(_to_8_bits(values, path)[:, :, None], 3, axis=2)


def _read_heif(path: Path) -> Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError(
            f"{path}: is a HEIC photograph, which needs an optional package: pip install 'simgen[heic]'; or save it as JPEG"
        ) from error
    return _as_seen(pillow_heif.read_heif(path).to_pillow(), path)  # already turned, its orientation set to 1


def _cause(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; check the path"
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions"
    if path.is_dir():
        return "is a folder; expected a picture file"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read ({error.strerror}); check the path"
    if isinstance(error, PIL.Image.DecompressionBombError):
        return f"is larger than {2 * (PIL.Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels; make it smaller"
    return f"cannot be decoded whole ({error}); copy it again from its source, or convert it to PNG"
