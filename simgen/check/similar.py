"""Pictures that are the same, or nearly the same, as another one, in all splits.

A copy that was compressed again, scaled or lit differently differs little once both pictures are reduced to 32 x 24 pixels
of the same mean and contrast. So do two pictures of a scene in which little moves; what tells them apart is that their
labels differ. Two pictures are nearly the same if

- they differ little in every pixel as they are, whatever their labels: a copy under another picture's labels; or
- they differ little in the mean, after normalization, and their objects have the same poses.

Where pictures are alike by design, as frames of a video are, more than a part `_COMMON` of them has a near neighbor in its
own split: these are one finding.
"""

import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.check.findings import NearPicture, NearPictureInOtherSplit, Report, SamePicture
from simgen.check.pictures import Seen

_CONTRAST = 40.0  # of 255: the deviation that pictures are scaled to before they are compared
_LEAST = 4.0  # of 255: a picture with less contrast is compared as it is
_PLACE, _TURN = 0.01, 0.05  # of its distance, and rad: up to which an object has the same pose
_COMMON = 0.2
_FEW = 10  # pictures of which nothing is common
_BLOCK = 2048  # pictures that are compared at once


def check_repeated(seen: Sequence[Seen], read: Callable[[str], bytes | None], near: float, report: Report) -> None:
    """Reports pictures that repeat an earlier one, or differ from it by at most `near` of 255; with 0 the same ones only."""
    first: dict[bytes, Seen] = {}
    rest = []
    for one in seen:
        twin = first.setdefault(one.digest, one)
        if twin is one:
            rest.append(one)
        elif _same_colors(one, twin, read):
            report(SamePicture(one.name, f"shows the same, pixel for pixel, as {twin.name}"))
    if near > 0 and len(rest) > 1:
        _check_near(rest, near, report)


def _same_colors(one: Seen, two: Seen, read: Callable[[str], bytes | None]) -> bool:
    """Whether two pictures with the same gray values have the same colors."""
    files = read(one.picture), read(two.picture)
    if None in files:
        return False
    a, b = (cv2.imdecode(np.frombuffer(file or b"", np.uint8), cv2.IMREAD_COLOR) for file in files)
    return files[0] == files[1] or (a is not None and b is not None and np.array_equal(a, b))


def _check_near(seen: Sequence[Seen], near: float, report: Report) -> None:
    pairs = [(k, other) for k, other in enumerate(_neighbors(seen)) if other >= 0]
    labeled = _labels_tell(seen)
    found = [(seen[k], seen[other]) for k, other in pairs if _alike(seen[k], seen[other], near, labeled)]
    within = [(one, other) for one, other in found if one.split == other.split]
    for one, other in found:
        if one.split != other.split:
            report(NearPictureInOtherSplit(one.name, f"shows nearly the same as {other.name}"))
    if len(seen) >= _FEW and len(within) > _COMMON * len(seen):
        one, other = within[0]
        report(
            NearPicture(
                f"{one.name} and others",
                f"{len(within)} of {len(seen)} pictures show nearly the same as an earlier one, this one as {other.name}",
            )
        )
    else:
        for one, other in within:
            report(NearPicture(one.name, f"shows nearly the same as {other.name}"))


def _normalized(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 768) of the pictures `small` (N, 24, 32): mean 0, and the same contrast."""
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    deviation = flat.std(axis=1, keepdims=True)
    return np.where(deviation > _LEAST, flat * (_CONTRAST / np.maximum(deviation, _LEAST)), flat)


def _neighbors(seen: Sequence[Seen]) -> NDArray[np.int64]:
    """(N,) the number of the earlier picture that is most like each one, by their 16 x 12 reduced and normalized forms; -1
    for the first."""
    coarse = np.stack([one.small for one in seen]).reshape(-1, 12, 2, 16, 2).mean(axis=(2, 4))
    points = _normalized(coarse)
    squares = (points**2).sum(axis=1)
    nearest = np.full(len(seen), -1)
    for begin in range(0, len(seen), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        count = min(begin + _BLOCK, len(seen))
        best = np.full(count - begin, np.inf, np.float32)
        for start in range(0, count, _BLOCK):
            columns = slice(start, min(start + _BLOCK, count))
            away = squares[rows, None] + squares[None, columns] - 2 * points[rows] @ points[columns].T
            index = np.arange(begin, count)[:, None] <= np.arange(columns.start, columns.stop)[None]
            away[index] = np.inf
            which = away.argmin(axis=1)
            value = away[np.arange(len(which)), which]
            closer = value < best
            best[closer] = value[closer]
            nearest[begin:count][closer] = which[closer] + start
    return nearest


def _labels_tell(seen: Sequence[Seen]) -> bool:
    """Whether poses differ between pictures that are neighbors in order, so that the same poses mean something."""
    same = sum(_same_poses(one, two) for one, two in itertools.pairwise(seen))
    return same <= _COMMON * (len(seen) - 1) or len(seen) < _FEW


def _alike(one: Seen, two: Seen, near: float, labeled: bool) -> bool:
    off = np.abs(one.small.astype(np.float32) - two.small)
    if off.max() <= near:
        return True
    if not (labeled and _same_poses(one, two)):
        return False
    a, b = _normalized(np.stack([one.small, two.small]))
    return float(np.abs(a - b).mean()) <= near


def _same_poses(one: Seen, two: Seen) -> bool:
    """Whether the labeled objects of two pictures are the same at the same poses; False without objects."""
    if not one.kinds or one.kinds != two.kinds:
        return False
    away = np.linalg.norm(one.places - two.places, axis=1)
    if np.any(away > _PLACE * np.linalg.norm(one.places, axis=1)):
        return False
    cosine = (np.einsum("nij,nij->n", one.turns, two.turns) - 1) / 2
    return bool(np.all(cosine >= np.cos(_TURN)))
