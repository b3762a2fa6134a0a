"""Which keypoints change places in a mirrored picture.

A mirrored picture of an object shows its mirror image. That is the object itself, in another pose, only if a reflection (or
the inversion through a point) maps the object onto itself; keypoint i is then seen where keypoint flip[i] of that pose is.
"""

from collections.abc import Sequence

import numpy as np

from simgen.errors import SimgenError
from simgen.formats.labels import Category
from simgen.geometry import Array
from simgen.shapes.reflections import reflections

_SAME = 2e-3  # diameters: how near a reflected keypoint must be to another


def common_flip(categories: Sequence[Category]) -> tuple[list[int] | None, str]:
    """For each keypoint of the category with the most, the number of the one that takes its place in a mirrored picture, and
    ""; or None and the reason why there is no such list.

    One list must hold for all `categories`, as in YOLO: of a category with fewer keypoints, its first numbers.
    """
    found: dict[str, list[tuple[int, ...]]] = {}
    for one in categories:
        try:
            found[one.name] = flips_of(one)
        except SimgenError as error:
            return None, f"the mesh of '{one.name}' cannot be used ({error})"
        if not found[one.name]:
            return None, f"no reflection maps '{one.name}' and its keypoints onto themselves"
    most = max(categories, key=lambda one: len(one.keypoints))
    for flip in found[most.name]:
        if all(flip[: len(one.keypoints)] in found[one.name] for one in categories):
            return list(flip), ""
    other = next(
        (
            one.name
            for one in categories
            if not any(flip[: len(one.keypoints)] in found[one.name] for flip in found[most.name])
        ),
        "a third class",
    )
    return (
        None,
        f"'{most.name}' and '{other}' swap keypoints of the same numbers in different ways, and YOLO has one list",
    )


def flips_of(category: Category) -> list[tuple[int, ...]]:
    """Each way (K,) in which a reflection or an inversion that maps the object onto itself swaps its keypoints. Raises
    SceneError and DatasetError for a mesh that cannot be used."""
    keypoints, solid, model = category.keypoints, category.solid, category.model
    found = set()
    for transform in reflections(solid, keypoints, axis=model.axis, sphere=model.sphere):
        flip = _permutation(keypoints, transform, _SAME * model.diameter)
        if flip is not None:
            found.add(flip)
    return sorted(found)


def _permutation(keypoints: Array, transform: Array, tolerance: float) -> tuple[int, ...] | None:
    """The numbers (K,) of the keypoints onto which `transform` maps `keypoints`; None if one is mapped elsewhere."""
    moved = keypoints @ transform[:3, :3].T + transform[:3, 3]
    gaps = np.linalg.norm(moved[:, None] - keypoints, axis=2)
    nearest = gaps.argmin(axis=1)
    fits = gaps.min(axis=1).max() < tolerance and len(set(nearest.tolist())) == len(keypoints)
    return tuple(int(k) for k in nearest) if fits else None
