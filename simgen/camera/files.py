"""Parses camera files of any supported syntax into plain mappings, lists, numbers and arrays."""

import codecs
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from simgen.errors import ConfigError

FORMATS = (
    "simgen's JSON, BOP's camera.json and scene_camera.json, ROS camera_info (YAML), OpenCV FileStorage (YAML, XML), "
    "Kalibr's camchain, COLMAP's cameras.txt, JSON of RealSense, Open3D, MegaPose and NDDS, cam_K.txt, .npz and .npy"
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The parameters of COLMAP's camera models, in their order in cameras.txt.
_COLMAP = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4",
    "SIMPLE_RADIAL_FISHEYE": "f cx cy k1",
    "RADIAL_FISHEYE": "f cx cy k1 k2",
}
_COLMAP_LINE = re.compile(r"\s*\d+\s+[A-Z][A-Z0-9_]+\s+\d+\s+\d+(\s+\S+)+\s*")


def load(path: Path) -> Any:
    """The content of the camera file `path`. Raises ConfigError that states what the file is and which formats are read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError("no such file") from error
    except IsADirectoryError as error:
        raise ConfigError("is a folder; expected a camera file") from error
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})") from error
    if zipfile.is_zipfile(io.BytesIO(data)) or data.startswith(b"\x93NUMPY"):
        return _numpy(data)
    text = _decoded(data)
    start = text.lstrip()
    if not start:
        raise ConfigError("is empty")
    if start[0] == "<":
        return _xml(text)
    lines = [line for line in (line.split("#")[0].strip() for line in text.splitlines()) if line]
    if start[0] in "{[" or start.startswith(("//", "/*")):
        if re.match(r"\[[A-Za-z_][^],]*\]\s*$", lines[0]):
            raise ConfigError(f"is an INI file, with the section {lines[0]}; expected one of {FORMATS}")
        if start[0] == "[" and re.fullmatch(r"[-+.,;\d\seE\[\]]*\d[-+.,;\d\seE\[\]]*", "\n".join(lines)):
            return _numbers(lines)  # also as numpy prints it
        return _json(text)
    if lines and all(_COLMAP_LINE.fullmatch(line) for line in lines):
        return {f"{line.split()[0]}": _colmap(line.split()) for line in lines}
    numbers = _numbers(lines)
    return numbers if numbers is not None else _yaml(text)


def _numpy(data: bytes) -> Any:
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"K": loaded}
        return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"cannot be read as an array file of numpy ({error}); expected numbers only: np.savez(FILE, K=..., dist=...)"
        ) from error


def _decoded(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(encoding).lstrip("\ufeff")
            except UnicodeDecodeError as error:
                raise ConfigError(f"begins as {encoding} text and is not ({error}); save it as UTF-8") from error
    if b"\0" in data:
        for encoding, half in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):  # without a byte order mark
            if not any(half):
                return data.decode(encoding, "replace")
        raise ConfigError(f"is a binary file; expected one of {FORMATS} (COLMAP: model_converter --output_type TXT)")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # only comments can be in another encoding: keys and numbers are ASCII


def _json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{name}: the key is there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        place, hint = f"line {error.lineno}, column {error.colno}", ""
        before = text[: error.pos].rstrip()
        after = text[error.pos :].lstrip()
        if after.startswith(("//", "#", "/*")):
            hint = ": JSON has no comments"
        elif before.endswith(",") or after.startswith(","):
            hint = ": JSON has no comma after the last item"
        elif "'" in text[error.pos : error.pos + 2]:
            hint = ": JSON has double quotes"
        raise ConfigError(f"is not JSON at {place} ({error.msg}){hint}") from error


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that reads tagged values (OpenCV's !!opencv-matrix) as if they had no tag."""


def _untagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("", _untagged)


def _yaml(text: str) -> Any:
    # OpenCV's first line, %YAML:1.0, is not a valid YAML directive.
    text = re.sub(r"\A\s*%YAML[: ][^\n]*\n", "", text).expandtabs(4)
    try:
        # `ros2 topic echo` writes one document for each message; all are of the same camera.
        return next(iter(yaml.load_all(text, Loader=_Loader)), None)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"is not YAML{place} ({' '.join(str(getattr(error, 'problem', error)).split())}); expected one of {FORMATS}"
        ) from error


def _xml(text: str) -> Any:
    try:
        root = ElementTree.fromstring(re.sub(r"\A\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise ConfigError(f"is not XML ({error})") from error
    if root.tag != "opencv_storage":
        raise ConfigError(f"is XML with the root <{root.tag}>, which is not read; expected one of {FORMATS}")
    return {child.tag: _element(child) for child in root}


def _element(element: ElementTree.Element) -> Any:
    children = {child.tag: _element(child) for child in element}
    if children:
        return children
    text = (element.text or "").strip()
    words = text.split()
    return words if len(words) > 1 else text.strip('"')


def _numbers(lines: list[str]) -> Any:
    """The rows of numbers of a file that holds numbers only, as {K: rows}; None for any other file."""
    try:
        rows = [[float(word) for word in re.split(r"[\s,;\[\]()]+", line) if word] for line in lines]
    except ValueError:
        return None
    rows = [row for row in rows if row]
    values = [value for row in rows for value in row]
    if rows and len({len(row) for row in rows}) == 1 and (len(rows), len(rows[0])) in ((3, 3), (3, 4), (4, 4)):
        return {"K": rows}
    if len(values) == 9:
        return {"K": np.reshape(values, (3, 3)).tolist()}
    raise ConfigError(
        f"holds {len(values)} numbers and no names; expected the 3 x 3 of cam_K.txt: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
    )


def _colmap(words: list[str]) -> Mapping[str, Any]:
    """A line of cameras.txt as a mapping."""
    model, names = words[1], _COLMAP.get(words[1], "").split()
    if not names:
        raise ConfigError(f"camera {words[0]} has COLMAP's model {model}; expected one of {', '.join(_COLMAP)}")
    if len(words) - 4 != len(names):
        raise ConfigError(
            f"camera {words[0]}: COLMAP's {model} has {len(names)} parameters ({' '.join(names)}), not {len(words) - 4}"
        )
    try:
        values = dict(zip(names, map(float, words[4:]), strict=True))
    except ValueError as error:
        raise ConfigError(f"camera {words[0]}: got {' '.join(words[4:])}; expected {' '.join(names)}") from error
    focal = values.pop("f", None)
    fx, fy = values.pop("fx", focal), values.pop("fy", focal)
    # COLMAP's origin is the corner of the first pixel, OpenCV's is its center.
    center = {"cx": values.pop("cx") - 0.5, "cy": values.pop("cy") - 0.5}
    return {
        "width": int(words[2]), "height": int(words[3]), "fx": fx, "fy": fy, **center,
        "coeffs": list(values.values()), "distortion_model": model,
    }  # fmt: skip
