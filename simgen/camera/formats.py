"""Converts the content of a camera file to a `Camera`, by the keys that common tools use."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simgen.camera.checks import check_rigid
from simgen.camera.files import FORMATS
from simgen.camera.lenses import lens_of_bop, make_lens
from simgen.camera.value import Camera
from simgen.distortion import Array
from simgen.errors import ConfigError
from simgen.geometry import inverse, matrix_from_quaternion, rigid

# Keys in lower case, without punctuation.
_MATRIX = (
    "intrinsics", "cameramatrix", "camk", "k", "mtx", "cammatrix", "intrinsicmatrix", "intrinsic", "cameraintrinsics",
    "cameraintrinsicmatrix", "cameramtx", "intrinsicparameters", "kmatrix", "matrixk",
)  # fmt: skip
_LENS = (
    "distortion", "distortioncoefficients", "distcoeffs", "distcoefs", "dist", "d", "distortioncoeffs", "distcoeff",
    "distcoef", "coeffs", "distortioncoefs", "distortionparameters", "distcoefficients", "distortioncoeff",
    "distortioncoef",
)  # fmt: skip
_MODEL = ("distortionmodel", "model", "distortiontype", "lensmodel")
_WIDTH, _HEIGHT = ("width", "imagewidth", "w", "resx"), ("height", "imageheight", "h", "resy")
_SIZE = ("resolution", "imagesize", "imgsize", "imsize", "size")
_NAMED = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # in OpenCV's order
# RealSense's distortion models, in the order of the enum rs2_distortion.
_REALSENSE = ("none", "modified_brown_conrady", "inverse_brown_conrady", "ftheta", "brown_conrady", "kannala_brandt4")
_POSES = ("camera_from_table", "table_from_camera", "table")
# What stands beside a mapping of a camera's numbers and is of that camera, group by group.
_SHARED = (
    tuple(name for name in (*_LENS, *_NAMED) if name != "coeffs"),
    ("distortionmodel", "distortiontype", "lensmodel"),
    ("width", "imagewidth", "height", "imageheight", "resolution", "imagesize", "imgsize", "imsize"),
)
_OWN = ("width", "height", "intrinsics", "distortion", "distortion_model", "model", *_POSES, "calibration")


def camera_of(data: Any, choice: str | None) -> Camera:
    """The camera in `data`, a file's content; `choice` is the name of one camera if the file holds several.

    Raises ConfigError that names the key at fault.
    """
    if not isinstance(data, Mapping | list):
        raise ConfigError(f"is not a camera file; expected one of {FORMATS}")
    cameras = dict(_cameras_in(data))
    if not cameras:
        raise ConfigError(_unknown(data))
    if choice is not None:
        if choice not in cameras:
            raise ConfigError(f"has no camera '{choice}'; it has {_listed(list(cameras))}")
        return _camera(cameras[choice])
    if len(cameras) > 1 and len({repr(camera) for camera in cameras.values()}) > 1:
        names = list(cameras)
        raise ConfigError(
            f"holds {len(cameras)} cameras: {_listed(names)}; choose one by its name behind a #, as in FILE#{names[0]}"
        )
    return _camera(next(iter(cameras.values())))


def _cameras_in(data: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in `data` that describes a camera, after the key that holds it. A lens, a size and a pose beside a
    mapping apply to the cameras in it."""
    inner: Sequence[tuple[str, Any]]
    if isinstance(data, Mapping):
        if _is_camera(data):
            yield name, data
            return
        inner = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list) and len(data) < 10_000:
        inner = [(str(number), value) for number, value in enumerate(data)]
    else:
        return
    if depth < 3:
        for key, value in inner:
            for deeper, camera in _cameras_in(value, key, depth + 1):
                found = (deeper if deeper == key else f"{key}.{deeper}") if name and depth else deeper
                yield found, _with_shared(camera, data) if isinstance(data, Mapping) else camera


def _with_shared(camera: Mapping[str, Any], beside: Mapping[str, Any]) -> Mapping[str, Any]:
    """`camera` with what it lacks of the lens, size and pose in `beside`, the mapping that it stands in."""
    keys = _plains(camera).union(*(_plains(value) for value in camera.values() if isinstance(value, Mapping)))
    shared = {
        key: value
        for group in _SHARED
        if not keys & set(group)
        for key, value in beside.items()
        if _plain(key) in group and value is not None
    }
    poses = [key for key in beside if key in _POSES]
    if poses and len({repr(one) for _, one in _cameras_in(list(beside.values()))}) > 1:
        raise ConfigError(f"{poses[0]}: stands beside several cameras; expected inside of the one that it belongs to")
    return {**shared, **{key: beside[key] for key in poses}, **camera}


def _is_camera(data: Mapping[str, Any]) -> bool:
    keys = {_plain(key) for key in data}
    if keys & {"fx", "fy", "ppx", "ppy"}:
        return True
    for name in _MATRIX:
        _, value = _lookup(data, (name,))
        # A mapping under `intrinsics` may itself be a camera, which is then read from there.
        if value is not None and not (isinstance(value, Mapping) and not _plains(value) & {"fx", "data"}):
            return True
    return bool(keys & {"distortionmodel", *_LENS[1:3]}) and bool(keys & {*_WIDTH, *_HEIGHT})


def _camera(data: Mapping[str, Any]) -> Camera:
    keys = {_plain(key) for key in data}
    if keys & {"radialdistortion", "tangentialdistortion"}:
        raise ConfigError(
            "looks like MATLAB's cameraParameters; convert them by cameraIntrinsicsToOpenCV, and save its matrix and "
            "coefficients as {width, height, intrinsics, distortion}"
        )
    notices: list[str] = []
    _refuse_other_pictures(data)
    _refuse_misspelled(data)
    key, matrix = _matrix(data)
    camera_model = _lookup(data, ("cameramodel",))[1]
    if isinstance(camera_model, str) and _plain(camera_model) in ("omni", "ds", "eucm", "doublesphere", "fov"):
        raise ConfigError(
            f"camera_model: '{camera_model}' is not modeled; expected pinhole (Kalibr: pinhole-radtan, pinhole-equi)"
        )
    size = _size(data, matrix, "camk" in keys)
    lens = _lens(data, "ppx" in keys)
    pose, table = _pose(data)
    if "intrinsics" in data and {"width", "height"} <= set(data) and not keys & {"cameramodel", "camk"}:
        notices += _unused(data)
    try:
        camera = Camera(matrix, *size, lens, pose, table, tuple(notices))
    except ConfigError as error:
        raise ConfigError(str(error).replace("intrinsics:", f"{key}:", 1) if key else str(error)) from error
    doubts = camera.doubts()
    return Camera(matrix, *size, lens, pose, table, (*notices, *doubts)) if doubts else camera


def _matrix(data: Mapping[str, Any]) -> tuple[str, Array]:
    """The intrinsic matrix (3, 3) and the key that holds it."""
    source: Mapping[str, Any] = data
    key, value = _lookup(data, _MATRIX)
    if isinstance(value, Mapping) and "data" not in value:
        source, value = value, None
    if value is None:
        if not _plains(source) & {"fx", "fy", "cx", "cy", "ppx", "ppy"}:
            raise ConfigError(
                f"the intrinsic matrix is missing beside {', '.join(map(str, list(data)[:12]))}; expected "
                "camera_matrix, K or intrinsics: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in px"
            )
        names = ("ppx", "ppy") if "ppx" in _plains(source) else ("cx", "cy")
        numbers = [_number(source, name) for name in ("fx", "fy", *names)]
        skew = _lookup(source, ("skew", "s"))[1]
        fx, fy, cx, cy = numbers
        return f"{key}.fx, fy, cx, cy" if key else f"fx, fy, {', '.join(names)}", np.array(
            [[fx, 0.0 if skew is None else _float(skew, "skew"), cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
        )
    array = _array(value, key)
    array = array.squeeze() if array.ndim > 2 or array.shape[:1] == (1,) else array
    if array.shape == (4,) and not isinstance(value, Mapping):  # Kalibr
        fx, fy, cx, cy = array
        return key, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if array.shape == (9,):
        array = array.reshape(3, 3)
        if _plain(key) == "intrinsicmatrix":  # Open3D stores it in column-major order
            array = array.T
    elif array.shape == (16,):
        array = array.reshape(4, 4)
    if array.shape in ((3, 4), (4, 4)) and not array[:3, 3].any():
        array = array[:3, :3]
    if array.shape != (3, 3):
        raise ConfigError(
            f"{key}: got {' x '.join(map(str, array.shape))} numbers; expected the 3 x 3 intrinsic matrix in px"
        )
    return key, array


def _size(data: Mapping[str, Any], matrix: Array, bop: bool) -> tuple[int | None, int | None]:
    sources = [data, *(value for value in data.values() if isinstance(value, Mapping))]
    for source in sources:
        (wide, width), (high, height) = _lookup(source, _WIDTH), _lookup(source, _HEIGHT)
        if width is not None and height is not None:
            return _pixels(width, wide), _pixels(height, high)
        if (width is None) != (height is None):
            raise ConfigError(
                f"{wide or high}: there is no {'height' if height is None else 'width'} beside it; expected both"
            )
    key, pair = _lookup(data, _SIZE)
    if pair is None:
        return None, None
    values = _array(pair, key).ravel()
    if len(values) not in (2, 3):
        raise ConfigError(f"{key}: got {values.tolist()}; expected the picture's width and height in px")
    first, second = (_pixels(value, key) for value in values[:2])
    plain = {_plain(name) for name in data}
    if _plain(key) == "resolution" and "cameramodel" not in plain and "distortioncoeffs" not in plain:
        return second, first  # MegaPose: height, width
    if _plain(key) == "resolution" or first == second:
        return first, second  # Kalibr: width, height
    # Other tools use either order: the right one has the principal point near the middle.
    off = [abs(matrix[0, 2] / w - 0.5) + abs(matrix[1, 2] / h - 0.5) for w, h in ((first, second), (second, first))]
    if min(off) > 0.25 or abs(off[0] - off[1]) < 0.1:
        raise ConfigError(
            f"{key}: got {[first, second]}, in an order that is not clear; expected width and height as two keys"
        )
    return (first, second) if off[0] < off[1] else (second, first)


def _lens(data: Mapping[str, Any], realsense: bool) -> Array:
    try:
        if any(str(name).startswith(("dist_opencv", "dist_fisheye")) for name in data):
            return lens_of_bop(data)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    key, value = _lookup(data, _LENS)
    word, model = _lookup(data, _MODEL)
    if realsense and isinstance(model, int) and 0 <= model < len(_REALSENSE):
        model = _REALSENSE[model]
    model = model or None  # ROS writes '' before a calibration
    if model is not None and not isinstance(model, str):
        raise ConfigError(f"{word}: got {model!r}; expected the distortion model's name")
    source = value if isinstance(value, Mapping) and _plains(value) & set(_NAMED) else data
    if value is None or source is value:
        named = {name: _lookup(source, (name,))[1] for name in _NAMED}
        if any(number is not None for number in named.values()):
            numbers = [0.0 if number is None else _float(number, name) for name, number in named.items()]
            if named["p1"] is None and named["k3"] is not None and named["k4"] is not None and model is None:
                raise ConfigError(
                    "k1, k2, k3, k4: without p1 and p2 these may be of a fisheye lens; expected distortion_model"
                )
            if named["p1"] is None and model is not None and "fisheye" in model.lower():
                numbers = [numbers[number] for number in (0, 1, 4, 5)]
            return make_lens(numbers, model or "opencv", "k1 to k6")
        return make_lens([], model, word)
    return make_lens(_array(value, key), model, key)


def _pose(data: Mapping[str, Any]) -> tuple[Array | None, Array | None]:
    pose = None
    if "cam_R_w2c" in data or "cam_t_w2c" in data:
        for name, count in (("cam_R_w2c", 9), ("cam_t_w2c", 3)):
            if name not in data or _array(data[name], name).size != count:
                raise ConfigError(f"{name}: expected {count} numbers")
        pose = rigid(_array(data["cam_R_w2c"], "").reshape(3, 3), _array(data["cam_t_w2c"], "").ravel() / 1000)
    for name in ("camera_from_table", "table_from_camera"):
        if data.get(name) is None:
            continue
        if pose is not None:
            raise ConfigError(f"{name}: the file states the camera's pose twice; expected one of the two")
        array = _pose_array(data[name], name)
        if array.shape == (3, 4):
            array = np.concatenate([array, [[0, 0, 0, 1]]])
        if array.shape != (4, 4):
            raise ConfigError(f"{name}: got {' x '.join(map(str, array.shape))} numbers; expected 4 x 4, in m")
        if name == "table_from_camera":
            check_rigid(array, name)
            array = inverse(array)
        pose = array
    if data.get("table") is None:
        return pose, None
    table = _array(data["table"], "table")
    if table.shape != (2, 2):
        raise ConfigError(
            f"table: got {table.tolist()}; expected [[least X, least Y], [greatest X, greatest Y]] of its top in m"
        )
    return pose, table


def _pose_array(value: Any, name: str) -> Array:
    """The numbers of a pose, which may be written as predict writes those of blocks."""
    if isinstance(value, Mapping) and set(value) == {"rotation_wxyz", "translation_m"}:
        rotation, translation = (_array(value[key], f"{name}.{key}") for key in ("rotation_wxyz", "translation_m"))
        if rotation.shape != (4,) or translation.shape != (3,) or abs(np.linalg.norm(rotation) - 1) > 1e-3:
            raise ConfigError(f"{name}: expected rotation_wxyz, a unit quaternion, and translation_m, 3 numbers")
        return rigid(matrix_from_quaternion(rotation / np.linalg.norm(rotation)), translation)
    if isinstance(value, Mapping) and "data" not in value:
        raise ConfigError(
            f"{name}: got the keys {', '.join(map(str, value))}; expected 4 x 4 numbers, in m (of OpenCV's rvec and tvec: "
            "cv2.Rodrigues(rvec)[0] with tvec as fourth column, and 0 0 0 1)"
        )
    array = _array(value, name)
    shapes = {12: (3, 4), 16: (4, 4)}
    return array.reshape(shapes[array.size]) if array.ndim == 1 and array.size in shapes else array


def _refuse_other_pictures(data: Mapping[str, Any]) -> None:
    """Raises ConfigError for binning or a region of interest in ROS's camera_info, with which the matrix does not apply to
    the pictures."""
    for name in ("binning_x", "binning_y"):
        if name in data and _float(data[name], name) not in (0, 1):
            raise ConfigError(f"{name}: got {data[name]}; expected 0 or 1: calibrate the binned pictures")
    roi = data.get("roi")
    if isinstance(roi, Mapping) and (roi.get("x_offset") or roi.get("y_offset")):
        raise ConfigError(
            "roi: the pictures are cropped; expected x_offset and y_offset 0: calibrate the pictures as they are"
        )


def _refuse_misspelled(data: Mapping[str, Any]) -> None:
    """Refuses a pose and a lens under names that are not read: without them all poses would be wrong, in silence."""
    for key, value in data.items():
        plain = _plain(key)
        poses = ("camerafromtable", "tablefromcamera")
        if key not in _POSES and difflib.get_close_matches(plain, poses, 1, 0.8):
            raise ConfigError(
                f"{key}: unknown key; expected camera_from_table, which maps coordinates of the table to those of the "
                "camera, or table_from_camera, its inverse"
            )
        lens = any(word in plain for word in ("distor", "distco")) or plain in ("radial", "tangential")
        if lens and plain not in (*_LENS, *_MODEL) and not isinstance(value, str) and _any_number(value):
            raise ConfigError(f"{key}: a lens under a name that is not read; expected distortion: [k1, k2, p1, p2, k3]")


def _any_number(value: Any) -> bool:
    """Whether `value` holds a number other than 0, at any depth."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | np.ndarray):
        return any(map(_any_number, value))
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and value != 0


def _unused(data: Mapping[str, Any]) -> list[str]:
    """A notice that lists the unknown keys of a camera file in simgen's format. Raises ConfigError for a misspelled key."""
    used = (*_LENS, *_MODEL, "k", "camk", *(() if _lookup(data, _LENS)[0] else _NAMED))
    unknown = [str(key) for key in data if key not in _OWN and _plain(key) not in used]
    for key in unknown:
        near = difflib.get_close_matches(key, [own for own in _OWN if own not in data], 1, 0.75)
        if near:
            raise ConfigError(f"{key}: unknown key; did you mean {near[0]}?")
    return [f"{', '.join(unknown)}: not used; known keys are {', '.join(_OWN)}"] if unknown else []


def _lookup(data: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """The first key of `data` that is one of `names` (case and punctuation are ignored), and its value; "" and None if
    there is none."""
    for name in names:
        for key, value in data.items():
            if _plain(key) == name and value is not None:
                return str(key), value
    return "", None


def _array(value: Any, key: str) -> Array:
    """`value` as numbers: lists of them in any nesting, or {rows, cols, data} as OpenCV and ROS write a matrix."""
    shape = None
    if isinstance(value, Mapping):
        if "data" not in value:
            raise ConfigError(f"{key}: got the keys {', '.join(map(str, value))}; expected rows, cols and data")
        if "rows" in value and "cols" in value:
            shape = (_pixels(value["rows"], f"{key}.rows"), _pixels(value["cols"], f"{key}.cols"))
        value = value["data"]
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    try:
        array = np.array([] if value is None else value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: got {str(value)[:80]}; expected numbers") from error
    if shape is not None:
        if array.size != shape[0] * shape[1]:
            raise ConfigError(
                f"{key}: got {array.size} numbers in data; expected rows x cols = {shape[0]} x {shape[1]}"
            )
        array = array.reshape(shape)
    return array


def _number(data: Mapping[str, Any], name: str) -> float:
    key, value = _lookup(data, (name,))
    if value is None:
        raise ConfigError(
            f"{name}: missing beside {', '.join(map(str, list(data)[:12]))}; expected fx, fy, cx, cy in px"
        )
    return _float(value, key)


def _float(value: Any, key: str) -> float:
    try:
        return float(np.asarray(value, dtype=np.float64).item())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: got {str(value)[:80]}; expected a number") from error


def _pixels(value: Any, key: str) -> int:
    number = _float(value, key)
    if not np.isfinite(number) or number != int(number):
        raise ConfigError(f"{key}: got {value}; expected a whole number")
    return int(number)


def _plain(key: Any) -> str:
    return "".join(letter for letter in str(key).lower() if letter.isalnum())


def _plains(data: Mapping[str, Any]) -> set[str]:
    return {_plain(key) for key in data}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "")


def _unknown(data: Any) -> str:
    keys = list(map(str, data))[:12] if isinstance(data, Mapping) else []
    named = f"the keys {', '.join(keys)} are those of no known camera file" if keys else "holds no camera"
    return (
        f"{named}: no intrinsic matrix (intrinsics, camera_matrix, K, cam_K) and no "
        f"fx, fy, cx, cy; expected one of {FORMATS}"
    )
