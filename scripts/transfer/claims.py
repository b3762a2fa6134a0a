"""The claims of Tobin et al. 2017 (arXiv 1703.06907), and whether they hold here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from simgen.geometry import Array
from transfer.statistics import Interval, difference_of, mean_of, ranks_of
from transfer.studies import FULL, ablations

# Table of the paper's ablations, cm: on photographs of the block alone, with distractors, and partly occluded.
PAPER = {
    "full": (1.3, 1.8, 2.4),
    "no_noise": (1.4, 1.9, 2.4),
    "no_camera": (2.0, 2.4, 2.9),
    "no_distractors": (1.5, 7.2, 7.4),
}
PAPER_COLUMNS = "alone", "distractors", "occluded"
DECISIVE = 0.5  # share of the error of `full` by which a decisive factor raises it at least; in the paper it is 3
HARDLY = 0.2  # share of the error of `full` within which a difference hardly matters
CONSTANT = "constant"  # the arm that always predicts the table's center
_REAL = "kuka_table"
_LEAST_ARMS = 6  # of a rank correlation; the order of fewer is too often one of chance

# The errors (S, P) of each arm and column, of the same seeds and pictures in a column.
Errors = Mapping[tuple[str, str], Array]


@dataclass(frozen=True)
class Verdict:
    """`holds` is None if the interval does not decide, or for the `reason`. `figure` says what was compared, with its
    interval."""

    claim: str
    figure: str
    interval: Interval | None
    holds: bool | None
    reason: str = ""

    @property
    def word(self) -> str:
        if self.interval is None:
            return "not measured"
        if self.reason:
            return f"undecided: {self.reason}"
        return {True: "holds", False: "does not hold", None: "undecided"}[self.holds]


def verdicts(errors: Errors) -> list[Verdict]:
    """One Verdict for each claim, and a further one on real photographs where they show what it is about."""
    real = (_REAL,)
    return [
        _distractors(errors),
        *(_camera(errors, columns) for columns in (PAPER_COLUMNS, real)),
        *(_noise(errors, columns) for columns in (PAPER_COLUMNS, real)),
        *(_textures(errors, columns) for columns in (("photographs",), real)),
        _ranking(errors),
    ]


def _distractors(errors: Errors) -> Verdict:
    """Decisive: they lower the error by DECISIVE at least, and by more than any other factor."""
    columns, arm = ("distractors",), "no_distractors"
    figure = f"no_distractors - full, on distractors, cm (decisive: over {DECISIVE:.0%} of full, and most of all)"
    found = _difference(errors, arm, FULL, columns)
    others = [_difference(errors, arm, name, columns) for name in ablations() if name != arm]
    holds = None
    if found is not None:
        more = [other for other in others if other is not None]
        limit = DECISIVE * _mean(errors, columns)
        if found.low > limit and len(more) == len(others) and all(other.low > 0 for other in more):
            holds = True
        elif found.high < limit or any(other.high < 0 for other in more):
            holds = False
    return _judged(errors, columns, Verdict("distractors in training are decisive", figure, found, holds))


def _camera(errors: Errors, columns: tuple[str, ...]) -> Verdict:
    found = _difference(errors, "no_camera", FULL, columns)
    figure = f"no_camera - full, on {', '.join(columns)}, cm"
    return _judged(
        errors, columns, Verdict("randomizing the camera helps", figure, found, _more(errors, columns, found))
    )


def _noise(errors: Errors, columns: tuple[str, ...]) -> Verdict:
    figure = f"no_noise - full, on {', '.join(columns)}, cm (hardly: under {HARDLY:.0%} of full)"
    found, holds = _difference(errors, "no_noise", FULL, columns), None
    if found is not None:
        limit = HARDLY * _mean(errors, columns)
        inside = -limit < found.low and found.high < limit
        outside = found.low > limit or found.high < -limit
        holds = True if inside else False if outside else None
    return _judged(errors, columns, Verdict("noise hardly matters", figure, found, holds))


def _textures(errors: Errors, columns: tuple[str, ...]) -> Verdict:
    """Over all limits that both have, but 1: where the block is always in one place, nothing but that place can be learned,
    which says nothing of textures."""
    claim = "textures matter more than positions"
    (column,) = columns
    both = {
        int(arm.removeprefix("materials_"))
        for arm, name in errors
        if arm.startswith("materials_") and name == column and (arm.replace("materials", "layouts"), column) in errors
    }
    limits = sorted(both - {1})
    if not limits:
        return Verdict(claim, f"materials_N - layouts_N, on {column}, cm", None, None)
    pairs = [errors[f"materials_{limit}", column] - errors[f"layouts_{limit}", column] for limit in limits]
    found = mean_of(np.mean(pairs, axis=0))
    figure = f"materials_N - layouts_N, mean of N={', '.join(map(str, limits))}, on {column}, cm"
    return _judged(errors, columns, Verdict(claim, figure, found, _more(errors, columns, found)))


def _ranking(errors: Errors) -> Verdict:
    claim = "simulated validation predicts the ranking on photographs"
    arms = sorted(
        {arm for arm, column in errors if column == _REAL and (arm, "photographs") in errors and arm != CONSTANT}
    )
    figure = f"Spearman's rank correlation of photographs and {_REAL} over {len(arms)} arms"
    if len(arms) < _LEAST_ARMS:
        return Verdict(claim, figure, None, None)
    means = [[float(errors[arm, column].mean()) for arm in arms] for column in ("photographs", _REAL)]
    found = ranks_of(*means)
    if not np.isfinite(found.value):
        return Verdict(claim, figure, None, None)
    holds = True if found.low > 0 else False if found.high <= 0 else None
    return _judged(errors, ("photographs", _REAL), Verdict(claim, figure, found, holds))


def _judged(errors: Errors, columns: tuple[str, ...], verdict: Verdict) -> Verdict:
    """`verdict`, but no word of it where there is one seed, of whose like nothing is known, or where `full` is not better
    than a constant prediction: arms that have learned nothing do not differ."""
    if verdict.interval is None:
        return verdict
    if any(len(values) < 2 for (_, column), values in errors.items() if column in columns):
        return replace(verdict, holds=None, reason="one seed")
    gains = [_difference(errors, CONSTANT, FULL, (column,)) for column in columns]
    if any(gain is not None and gain.low <= 0 for gain in gains):
        return replace(verdict, holds=None, reason="full is no better than a constant prediction")
    return verdict


def _mean(errors: Errors, columns: tuple[str, ...]) -> float:
    """The mean error of `full` over the pictures of `columns` together, cm."""
    return float(np.concatenate([errors[FULL, column] for column in columns], axis=1).mean())


def _difference(errors: Errors, one: str, other: str, columns: tuple[str, ...]) -> Interval | None:
    """The difference of two arms over the pictures of `columns` together, each of which has its own; None if one of them was
    not measured."""
    pairs = [(errors.get((one, column)), errors.get((other, column))) for column in columns]
    if any(a is None or b is None for a, b in pairs):
        return None
    first, second = (np.concatenate(list(part), axis=1) for part in zip(*pairs, strict=True))
    return difference_of(first, second)


def _more(errors: Errors, columns: tuple[str, ...], found: Interval | None) -> bool | None:
    """Whether an error is raised: not if by less than HARDLY at most."""
    if found is None:
        return None
    if found.low > 0:
        return True
    return False if found.high < HARDLY * _mean(errors, columns) else None
