"""Whether one number gives away what kind an object is: then a network may learn that number in place of the object."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import Report, Shortcut
from simgen.check.pictures import Seen
from simgen.check.table import Table

_FOLDS = 5
_BINS = 16
_LEAST = 20  # pictures with an object of a kind, for the kind to count

Ints = NDArray[np.int64]


def check_shortcuts(seen: Sequence[Seen], table: Table, limit: float, report: Report) -> None:
    """Reports brightness, area and each factor in `table` that predicts the kinds of objects better than `limit`: 0 is
    chance, 1 is always right. All objects of a picture are either learned from or tested."""
    picture = np.repeat(np.arange(len(seen)), [len(one.kinds) for one in seen])
    kind = np.array([k for one in seen for k in one.kinds], dtype=np.int64)
    if not len(kind):
        return
    names, kind = np.unique(kind, return_inverse=True)
    often = [k for k in range(len(names)) if len(np.unique(picture[kind == k])) >= _LEAST]
    if len(often) < 2:
        return
    keep = np.isin(kind, often)
    picture, kind = picture[keep], np.searchsorted(often, kind[keep])
    areas = np.array([area for one in seen for area in one.areas], dtype=np.float64)[keep]
    features: dict[str, NDArray[np.float64]] = {
        "the brightness of the picture": np.array([one.brightness for one in seen])[picture],
        "the visible area of the object": np.where(areas < 0, np.nan, areas),
    }
    for name, column in table.columns():
        words = sorted({value for value in column if isinstance(value, str)})
        number = {word: float(k) for k, word in enumerate(words)}
        features[name] = np.array(
            [np.nan if value is None else number[value] if isinstance(value, str) else value for value in column]
        )[picture]
    for name, feature in features.items():
        skill, deviation, accuracy = _skill(feature, kind, picture, len(often))
        if skill - 3 * deviation > limit:
            report(
                Shortcut(
                    name,
                    f"predicts which of {len(often)} kinds an object is in {accuracy:.0%} of the cases (chance: "
                    f"{1 / len(often):.0%})",
                )
            )


def _skill(feature: NDArray[np.float64], kind: Ints, picture: Ints, kinds: int) -> tuple[float, float, float]:
    """How well `feature` predicts `kind` (0 chance, 1 always), its standard deviation, and the balanced accuracy."""
    known = np.isfinite(feature)
    if np.count_nonzero(known) < kinds * _LEAST or np.ptp(feature[known]) == 0:
        return 0.0, 0.0, 0.0
    feature, kind, fold = feature[known], kind[known], picture[known] % _FOLDS
    levels = np.unique(feature)
    if len(levels) > _BINS:
        levels = np.unique(np.quantile(feature, np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.searchsorted(levels, feature)
    counts = np.zeros((_FOLDS, len(levels) + 1, kinds))
    np.add.at(counts, (fold, place, kind), 1)
    right = np.zeros(kinds)
    for k in range(_FOLDS):
        learned = counts.sum(axis=0) - counts[k]
        # Each kind counts the same, however often it occurs.
        guess = (learned / np.maximum(learned.sum(axis=0), 1)).argmax(axis=1)
        np.add.at(right, guess, counts[k][np.arange(len(guess)), guess])
    totals = counts.sum(axis=(0, 1))
    recall = right / np.maximum(totals, 1)
    accuracy, chance = float(recall.mean()), 1 / kinds
    variance = float(np.sum(recall * (1 - recall) / np.maximum(totals, 1))) / kinds**2
    return (accuracy - chance) / (1 - chance), variance**0.5 / (1 - chance), accuracy
