"""Whether pictures show something, and each something else."""

import hashlib
from collections.abc import Sequence

import cv2

from simgen.check.findings import BlankPicture, DarkPicture, Report, SamePicture
from simgen.check.schema import CheckConfig
from simgen.check.tree import Shot

_FLAT = 1.0  # of 255: the deviation of brightness below which a picture shows nothing


def check_pictures(shots: Sequence[Shot], limits: CheckConfig, report: Report) -> None:
    """Reports blank, dark and repeated pictures among `shots`, of all splits."""
    first: dict[str, str] = {}
    for shot in shots:
        picture = cv2.imread(str(shot.picture), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        mean, spread = float(picture.mean()), float(picture.std())
        if spread < _FLAT:
            report(BlankPicture(shot.name, f"all of it is about the same: brightness {mean:.0f} of 255"))
        elif mean < limits.dark:
            report(DarkPicture(shot.name, f"its mean brightness is {mean:.1f} of 255"))
        content = hashlib.sha256(picture.tobytes()).hexdigest()
        if content in first:
            report(SamePicture(shot.name, f"shows the same, pixel for pixel, as {first[content]}"))
        first.setdefault(content, shot.name)
