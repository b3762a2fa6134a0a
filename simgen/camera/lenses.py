"""Converts distortion coefficients and the name of their model to a lens of distortion.py."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simgen.distortion import BROWN, Array, fisheye_lens, is_fisheye, padded
from simgen.errors import ConfigError

NO_LENS = np.zeros(BROWN)
# Names of the models in other tools, in lower case and without punctuation.
_NONE = ("none", "pinhole", "nodistortion", "perspective", "simplepinhole")
_BROWN = (
    "opencv", "plumbbob", "radtan", "radialtangential", "brownconrady", "brown", "rational", "rationalpolynomial",
    "fullopencv", "pinholeradtan", "simpleradial", "radial",
)  # fmt: skip
_FISHEYE = (
    "fisheye", "equidistant", "equi", "opencvfisheye", "kannalabrandt", "kannalabrandt4", "kb4", "pinholeequi",
    "radialfisheye", "simpleradialfisheye",
)  # fmt: skip
_KNOWN = (
    "opencv (also plumb_bob, radtan, brown_conrady, rational_polynomial), "
    "fisheye (also equidistant, kannala_brandt4), none"
)
# The keys of a lens in an entry of scene_camera.json, by the number of its coefficients. BOP defines none.
_BOP_KEYS = {"dist_opencv5": 5, "dist_opencv8": 8, "dist_fisheye4": 4}


def make_lens(coefficients: Any, model: str | None, key: str) -> Array:
    """The lens (5,) or (9,) with `coefficients`, in OpenCV's order and in any nesting, of the distortion model `model`.

    Raises ConfigError that begins with `key` for a wrong number of coefficients, for an unknown model, and for four
    coefficients without a model, which is ambiguous.
    """
    values = np.asarray(coefficients, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ConfigError(f"{key}: got {values.tolist()}; expected finite numbers")
    if np.abs(values).max(initial=0) > 1e6:
        raise ConfigError(
            f"{key}: got {values.tolist()}; expected OpenCV's coefficients, for coordinates of focal length 1"
        )
    word = None if model is None else _plain(model)
    if word in _NONE or not values.any():
        if values.any():
            raise ConfigError(
                f"{key}: got {values.tolist()}, but the model is '{model}'; expected zeros or another model"
            )
        if word in _FISHEYE:
            return fisheye_lens(np.zeros(4))
        if word is not None and word not in (*_NONE, *_BROWN) and len(values) == 0:
            raise ConfigError(f"{key}: unknown distortion model '{model}'; expected {_KNOWN}")
        return NO_LENS.copy()
    if word in _FISHEYE:
        if len(values) > 4 and values[4:].any():
            raise ConfigError(f"{key}: got {len(values)} coefficients; OpenCV's fisheye model has 4: k1, k2, k3, k4")
        return fisheye_lens(np.pad(values[:4], (0, max(0, 4 - len(values)))))
    if word is None and len(values) == 4:
        raise ConfigError(
            f"{key}: got 4 coefficients and no model: add distortion_model: fisheye if they are k1, k2, k3, k4 of OpenCV's "
            "fisheye model, or distortion_model: opencv if they are k1, k2, p1, p2"
        )
    if word is not None and word not in _BROWN:
        raise ConfigError(f"{key}: unknown distortion model '{model}'; expected {_KNOWN}")
    if len(values) > 14 or values[8:].any():
        raise ConfigError(
            f"{key}: got {len(values)} coefficients; expected up to 8 (k1 k2 p1 p2 k3 k4 k5 k6): the thin prism (s1 to "
            "s4) and tilt (tx, ty) that follow are not modeled; calibrate without CALIB_THIN_PRISM_MODEL and "
            "CALIB_TILTED_MODEL"
        )
    lens = padded(values[:8])
    return lens if lens[BROWN:].any() else lens[:BROWN]


def describe_lens(lens: Array) -> dict[str, Any]:
    """`lens` in simgen's camera file format: its coefficients and the name of their model."""
    full = padded(lens)
    if is_fisheye(full):
        return {"distortion": full[:4].tolist(), "distortion_model": "fisheye"}
    return {"distortion": full[: 8 if full[BROWN:].any() else BROWN].tolist(), "distortion_model": "opencv"}


def bop_lens(lens: Array) -> dict[str, list[float]]:
    """`lens` as one key of an entry of scene_camera.json: dist_opencv5, dist_opencv8 or dist_fisheye4."""
    described = describe_lens(lens)
    numbers = described["distortion"]
    return {f"dist_{described['distortion_model']}{len(numbers)}": numbers}


def lens_of_bop(entry: Mapping[str, Any]) -> Array:
    """The lens (5,) or (9,) of an entry of scene_camera.json; no distortion where it states none. Raises ValueError."""
    keys = [key for key in entry if str(key).startswith("dist_")]
    if not keys:
        return NO_LENS.copy()
    if len(keys) > 1 or keys[0] not in _BOP_KEYS:
        raise ValueError(f"got {', '.join(keys)}; expected one of {', '.join(_BOP_KEYS)}")
    try:
        values = np.array(entry[keys[0]], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.zeros(0)
    if values.shape != (_BOP_KEYS[keys[0]],) or not np.isfinite(values).all():
        raise ValueError(f"{keys[0]}: got {str(entry[keys[0]])[:60]}; expected {_BOP_KEYS[keys[0]]} numbers")
    if keys[0] == "dist_opencv5":
        return values
    return fisheye_lens(values) if keys[0] == "dist_fisheye4" else padded(values)


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower().removeprefix("distortion.") if letter.isalnum())
