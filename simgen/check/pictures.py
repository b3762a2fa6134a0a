"""Whether a picture shows something, and what of it is kept to compare it with all others."""

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import BlankPicture, DarkPicture, Report
from simgen.check.numbers import Array, numbers
from simgen.check.schema import CheckConfig
from simgen.check.tree import Shot

SMALL = 32, 24  # width and height, px, of the picture that is kept
_FLAT = 0.5  # of 255: the deviation of brightness below which a picture shows nothing


@dataclass(frozen=True)
class Seen:
    """What is kept of a picture: its `brightness` of 255, `small` (24, 32) gray, the `digest` of its pixels, and of each
    object the `kinds` (its obj_id), `places` (N, 3) mm, `turns` (N, 3, 3) and visible pixels `areas`, -1 if unknown."""

    name: str
    split: str
    picture: str
    brightness: float
    small: NDArray[np.uint8]
    digest: bytes
    kinds: tuple[int, ...]
    places: Array
    turns: Array
    areas: tuple[int, ...]


def check_picture(shot: Shot, gray: NDArray[np.uint8], limits: CheckConfig, report: Report) -> None:
    """Reports a picture `gray` (H, W) that is blank or dark."""
    mean, spread = (float(one[0, 0]) for one in cv2.meanStdDev(gray))
    if spread < _FLAT:
        report(BlankPicture(shot.name, f"all of it is about the same: brightness {mean:.0f} of 255"))
    elif mean < limits.dark:
        report(DarkPicture(shot.name, f"its mean brightness is {mean:.1f} of 255"))


def seen_of(shot: Shot, gray: NDArray[np.uint8], areas: list[int]) -> Seen:
    """What is kept of `shot`, whose picture is `gray` (H, W)."""
    small = cv2.resize(gray, SMALL, interpolation=cv2.INTER_AREA)
    poses = [_pose(truth) for truth in shot.truths]
    kept = [(areas[k], *pose) for k, pose in enumerate(poses) if pose is not None]
    return Seen(
        shot.name,
        shot.split,
        shot.picture,
        float(small.mean()),
        np.asarray(small, dtype=np.uint8),
        hashlib.sha256(gray.data if gray.flags.c_contiguous else gray.tobytes()).digest(),
        tuple(one[1] for one in kept),
        np.array([one[2] for one in kept]).reshape(-1, 3),
        np.array([one[3] for one in kept]).reshape(-1, 3, 3),
        tuple(one[0] for one in kept),
    )


def _pose(truth: Any) -> tuple[int, Array, Array] | None:
    """obj_id, place and turn of an object; None where they are malformed, which is reported elsewhere."""
    try:
        kind = truth["obj_id"]
        if type(kind) is not int or not 0 <= kind < 2**31:
            return None
        return kind, numbers(truth["cam_t_m2c"], 3), numbers(truth["cam_R_m2c"], 3, 3)
    except (KeyError, ValueError):
        return None
