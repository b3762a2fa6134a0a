"""Points spread evenly over a surface, on which pose errors such as ADD-S are measured."""

import numpy as np

from simgen.draws import Draws
from simgen.geometry import Array

POINTS = 1000  # of a surface


def surface_points(triangles: Array, count: int = POINTS) -> Array:
    """(count, 3) points on a surface of `triangles` (T, 3, 3), in its unit: one in each of `count` parts of equal area,
    counted along the triangles. They are a function of the triangles alone."""
    a, b, c = (triangles[:, k] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    draws = Draws(0, np.arange(count)) / "surface"
    along, across, down = draws.uniform(3).T
    place = (np.arange(count) + along) / count * area.sum()
    k = np.minimum(np.searchsorted(np.cumsum(area), place, side="right"), len(triangles) - 1)
    # Uniform in a triangle: Turk 1990, "Generating random points in triangles", Graphics Gems.
    root = np.sqrt(across)[:, None]
    down = down[:, None]
    return np.asarray((1 - root) * a[k] + root * (1 - down) * b[k] + root * down * c[k])
