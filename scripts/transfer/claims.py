"""The claims of Tobin et al. 2017 (arXiv 1703.06907), and whether they hold here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simgen.geometry import Array
from transfer.statistics import Interval, finished, mean_of, ranks_of
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

# The errors (S, P) of each arm and column, of the same seeds and pictures in a column; NaN for what was not measured.
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
        *(_ranking(errors, column) for column in ("simulated", "photographs")),
    ]


def _distractors(errors: Errors) -> Verdict:
    """Decisive: they lower the error by DECISIVE at least, and by more than any other factor."""
    columns, arm = ("distractors",), "no_distractors"
    figure = f"no_distractors - full, on distractors, cm (decisive: over {DECISIVE:.0%} of full, and most of all)"
    gap = _gap(errors, arm, FULL, columns)
    found = _mean_of(gap)
    others = [_mean_of(_gap(errors, arm, name, columns)) for name in ablations() if name != arm]
    holds = None
    if found is not None:
        more = [other for other in others if other is not None]
        limit = DECISIVE * _mean(errors, columns)
        if found.low > limit and len(more) == len(others) and all(other.low > 0 for other in more):
            holds = True
        elif found.high < limit or any(other.high < 0 for other in more):
            holds = False
    return _judged(errors, columns, gap, Verdict("distractors in training are decisive", figure, found, holds))


def _camera(errors: Errors, columns: tuple[str, ...]) -> Verdict:
    gap = _gap(errors, "no_camera", FULL, columns)
    found, figure = _mean_of(gap), f"no_camera - full, on {', '.join(columns)}, cm"
    verdict = Verdict("randomizing the camera helps", figure, found, _more(errors, columns, found))
    return _judged(errors, columns, gap, verdict)


def _noise(errors: Errors, columns: tuple[str, ...]) -> Verdict:
    figure = f"no_noise - full, on {', '.join(columns)}, cm (hardly: under {HARDLY:.0%} of full)"
    gap, holds = _gap(errors, "no_noise", FULL, columns), None
    found = _mean_of(gap)
    if found is not None:
        limit = HARDLY * _mean(errors, columns)
        inside = -limit < found.low and found.high < limit
        outside = found.low > limit or found.high < -limit
        holds = True if inside else False if outside else None
    return _judged(errors, columns, gap, Verdict("noise hardly matters", figure, found, holds))


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
    if not limits or (FULL, column) not in errors:
        return Verdict(claim, f"materials_N - layouts_N, on {column}, cm", None, None)
    pairs = [errors[f"materials_{limit}", column] - errors[f"layouts_{limit}", column] for limit in limits]
    gap = np.mean(pairs, axis=0)  # NaN for a seed or a picture that one of the limits lacks
    found = _mean_of(gap)
    figure = f"materials_N - layouts_N, mean of N={', '.join(map(str, limits))}, on {column}, cm"
    return _judged(errors, columns, gap, Verdict(claim, figure, found, _more(errors, columns, found)))


def _ranking(errors: Errors, column: str) -> Verdict:
    """By the seeds that all arms have: other seeds would be other orders."""
    claim, columns = "simulated validation predicts the ranking on photographs", (column, _REAL)
    arms = sorted({arm for arm, name in errors if name == _REAL and (arm, column) in errors and arm != CONSTANT})
    figure = f"Spearman's rank correlation of {column} and {_REAL} over {len(arms)} arms"
    if len(arms) < _LEAST_ARMS:
        return Verdict(claim, figure, None, None)
    each = [np.stack([errors[arm, name] for arm in arms]) for name in columns]
    shared = np.isfinite(each[0]).any(2).all(0) & np.isfinite(each[1]).any(2).all(0)
    if not shared.any():
        return Verdict(claim, figure, None, None)
    found = ranks_of(*(part[:, shared] for part in each))
    if not np.isfinite(found.value):
        return Verdict(claim, figure, None, None)
    holds = True if found.low > 0 else False if found.high <= 0 else None
    return _judged(errors, columns, each[1][0, shared], Verdict(claim, figure, found, holds))


def _judged(errors: Errors, columns: tuple[str, ...], gap: Array | None, verdict: Verdict) -> Verdict:
    """`verdict`, but no word of it where the differences `gap` (S, P) are of one seed, of whose like nothing is known, or
    where `full` is not better than a constant prediction: arms that have learned nothing do not differ."""
    if verdict.interval is None or gap is None:
        return verdict
    if len(finished(gap)) < 2:
        return replace(verdict, holds=None, reason="one seed")
    gains = [_mean_of(_gap(errors, CONSTANT, FULL, (column,))) for column in columns]
    if any(gain is not None and gain.low <= 0 for gain in gains):
        return replace(verdict, holds=None, reason="full is no better than a constant prediction")
    return verdict


def _mean(errors: Errors, columns: tuple[str, ...]) -> float:
    """The mean error of `full` over the pictures of `columns` together, cm."""
    return mean_of(_together([errors[FULL, column] for column in columns])).value


def _gap(errors: Errors, one: str, other: str, columns: tuple[str, ...]) -> Array | None:
    """The differences (S, P) of two arms in the pictures of `columns` together, each of which has its own; None if one of
    them was not measured."""
    if any((arm, column) not in errors for arm in (one, other) for column in columns):
        return None
    return _together([errors[one, column] - errors[other, column] for column in columns])


def _together(parts: Sequence[Array]) -> Array:
    """The pictures of all `parts`, each (S, P), by the seeds that have some of each."""
    there = np.all([np.isfinite(part).any(1) for part in parts], axis=0)
    return np.where(there[:, None], np.concatenate(parts, axis=1), np.nan)


def _mean_of(gap: Array | None) -> Interval | None:
    """None without a seed that both arms have."""
    return None if gap is None or not finished(gap).size else mean_of(gap)


def _more(errors: Errors, columns: tuple[str, ...], found: Interval | None) -> bool | None:
    """Whether an error is raised: not if by less than HARDLY at most."""
    if found is None:
        return None
    if found.low > 0:
        return True
    return False if found.high < HARDLY * _mean(errors, columns) else None
