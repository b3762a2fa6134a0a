"""The claims of Tobin et al. 2017 (arXiv 1703.06907), and whether they hold here."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simgen.geometry import Array
from transfer.statistics import Interval, difference_of, ranks_of

# Table of the paper's ablations, cm: on photographs of the block alone, with distractors, and partly occluded.
PAPER = {
    "full": (1.3, 1.8, 2.4),
    "no_noise": (1.4, 1.9, 2.4),
    "no_camera": (2.0, 2.4, 2.9),
    "no_distractors": (1.5, 7.2, 7.4),
}
PAPER_COLUMNS = "alone", "distractors", "occluded"
HARDLY = 0.2  # share of the error of `full` within which a difference hardly matters
_REAL = "kuka_table"

# The errors (S, P) of each arm and column, of the same seeds and pictures in a column.
Errors = Mapping[tuple[str, str], Array]


@dataclass(frozen=True)
class Verdict:
    """`holds` is None if the interval does not decide. `figure` says what was compared, with its interval."""

    claim: str
    figure: str
    interval: Interval | None
    holds: bool | None

    @property
    def word(self) -> str:
        if self.interval is None:
            return "not measured"
        return {True: "holds", False: "does not hold", None: "undecided"}[self.holds]


def verdicts(errors: Errors) -> list[Verdict]:
    """One Verdict for each claim."""
    return [claim(errors) for claim in (_distractors, _camera, _noise, _textures, _ranking)]


def _distractors(errors: Errors) -> Verdict:
    claim, figure = "distractors in training are decisive", "no_distractors - full, on distractors, cm"
    found = _difference(errors, "no_distractors", "full", ("distractors",))
    others = [_difference(errors, arm, "full", ("distractors",)) for arm in ("no_noise", "no_camera")]
    if found is None or None in others:
        return Verdict(claim, figure, None, None)
    most = all(found.value > other.value for other in others if other is not None)
    return Verdict(claim, figure, found, True if found.low > 0 and most else False if found.high < 0 else None)


def _camera(errors: Errors) -> Verdict:
    claim, figure = "randomizing the camera helps", "no_camera - full, on alone, distractors and occluded, cm"
    found = _difference(errors, "no_camera", "full", PAPER_COLUMNS)
    return Verdict(claim, figure, found, _sign(found))


def _noise(errors: Errors) -> Verdict:
    claim, figure = "noise hardly matters", f"no_noise - full, on all three, cm (hardly: under {HARDLY:.0%} of full)"
    found = _difference(errors, "no_noise", "full", PAPER_COLUMNS)
    if found is None:
        return Verdict(claim, figure, None, None)
    limit = HARDLY * float(np.mean([errors["full", column].mean() for column in PAPER_COLUMNS]))
    inside = -limit < found.low and found.high < limit
    outside = found.low > limit or found.high < -limit
    return Verdict(claim, figure, found, True if inside else False if outside else None)


def _textures(errors: Errors) -> Verdict:
    claim = "textures matter more than positions"
    limits = [
        int(arm.removeprefix("materials_"))
        for arm, column in errors
        if arm.startswith("materials_") and (arm.replace("materials", "layouts"), column) in errors
    ]
    if not limits:
        return Verdict(claim, "materials_N - layouts_N, on photographs, cm", None, None)
    fewest = min(limits)
    found = _difference(errors, f"materials_{fewest}", f"layouts_{fewest}", ("photographs",))
    return Verdict(claim, f"materials_{fewest} - layouts_{fewest}, on photographs, cm", found, _sign(found))


def _ranking(errors: Errors) -> Verdict:
    claim = "simulated validation predicts the ranking on photographs"
    figure = f"Spearman's rank correlation of photographs and {_REAL} over the arms"
    arms = sorted({arm for arm, column in errors if column == _REAL and (arm, "photographs") in errors})
    if len(arms) < 3:
        return Verdict(claim, figure, None, None)
    means = [[float(errors[arm, column].mean()) for arm in arms] for column in ("photographs", _REAL)]
    found = ranks_of(*means)
    if not np.isfinite(found.value):
        return Verdict(claim, figure, None, None)
    return Verdict(claim, figure, found, _sign(found))


def _difference(errors: Errors, one: str, other: str, columns: tuple[str, ...]) -> Interval | None:
    """The difference of two arms over the pictures of `columns` together; None if one of them was not measured."""
    pairs = [(errors.get((one, column)), errors.get((other, column))) for column in columns]
    if any(a is None or b is None for a, b in pairs):
        return None
    first, second = (np.concatenate(list(part), axis=1) for part in zip(*pairs, strict=True))
    return difference_of(first, second)


def _sign(found: Interval | None) -> bool | None:
    return None if found is None else True if found.low > 0 else False if found.high < 0 else None
