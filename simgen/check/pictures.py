"""Whether pictures show something, and each something else."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import BlankPicture, DarkPicture, Report, SamePicture
from simgen.check.schema import CheckConfig
from simgen.check.tree import Shot

_FLAT = 1.0  # of 255: the deviation of brightness below which a picture shows nothing


def check_picture(
    shot: Shot, picture: NDArray[np.uint8], first: dict[str, str], limits: CheckConfig, report: Report
) -> None:
    """Reports a `picture` (H, W, 3) that is blank, dark or repeated: `first` holds the name of each content seen so far, in
    all splits."""
    mean, spread = float(picture.mean()), float(picture.std())
    if spread < _FLAT:
        report(BlankPicture(shot.name, f"all of it is about the same: brightness {mean:.0f} of 255"))
    elif mean < limits.dark:
        report(DarkPicture(shot.name, f"its mean brightness is {mean:.1f} of 255"))
    content = hashlib.sha256(picture.tobytes()).hexdigest()
    if content in first:
        report(SamePicture(shot.name, f"shows the same, pixel for pixel, as {first[content]}"))
    first.setdefault(content, shot.name)
