"""Rotational symmetries of a block: proposed from its corners and verified on its surface.

Every tolerance is relative to the block's diameter, so a part of 1 mm and one of 5 m behave alike. A spoke is the vector
from the center to a corner.
"""

from functools import cached_property

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simgen import exact
from simgen.geometry import Array, rigid

_TOLERANCE = 3e-4  # diameters: the greatest distance by which a symmetry may move the surface
_OF_WIDTH = 0.01  # share of the least width: an upper bound of that tolerance, for long and thin blocks
_CANDIDATE = 5e-4  # diameters: greatest difference between the lengths of spokes that may be equivalent
_NEAR = 4e-3  # diameters: greatest distance of a corner from a corner under a candidate, before it is refined
_SAME_TURN = 2e-3  # between rotation matrices: greatest difference of two candidates for one symmetry
_ROUND = 0.01  # share of the radius by which a rotation may move the surface of an approximately round block
_FLIP = 1e-3  # diameters: the same for the half turn that swaps the ends, if that is more
_ANGLES = (0.37, 1.13, 2.29)  # rad, at which roundness is tested; no simple fraction of a full turn
_CORNERS = 1500  # greatest number of hull corners that are compared
_PROBES = 400  # greatest number of points on a surface with hollows that are compared
_PATCH = 0.05  # diameters: the longest edge of the triangles that points are compared with


class Shape:
    """A shape whose symmetries are computed: the `corners` (C, 3) and `planes` (P, 4) of the hull in m and, for a block with
    hollows, its `surface`, vertices (V, 3) and triangles (T, 3)."""

    def __init__(
        self, corners: Array, planes: Array, diameter: float, surface: tuple[Array, NDArray[np.int64]] | None = None
    ) -> None:
        self.corners, self.planes, self.diameter, self._surface = corners, planes, diameter, surface
        self._some = corners[_spread(len(corners), _CORNERS)]
        width = float(np.ptp(self._some @ planes[_spread(len(planes), _CORNERS), :3].T, axis=0).min())
        self.tolerance = min(_TOLERANCE * diameter, _OF_WIDTH * width)

    def symmetries(self, axis: Array | None) -> Array:
        """(S, 4, 4) block_from_block: the discrete rotations that map the block onto itself, the identity first. With a
        continuous symmetry about `axis`: the identity and, if it is a symmetry, the half turn that swaps the ends."""
        if axis is None:
            return self.rotations()
        side = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
        side = side / exact.norm(side)
        flip = rigid(2 * np.outer(side, side) - np.eye(3), np.zeros(3))
        swaps = self.keeps(flip, max(_FLIP * self.diameter, self.round_tolerance(axis)))
        return np.stack([np.eye(4), flip] if swaps else [np.eye(4)])

    def rotations(self) -> Array:
        """(S, 4, 4) block_from_block: the rotations that map the block onto itself, the identity first."""
        found = [np.eye(4)]
        for candidate in self._candidates():
            if _gap(candidate, found) < _SAME_TURN:
                continue
            if self.keeps(candidate, self.tolerance):
                found.append(candidate)
                continue
            refined = self._made_exact(candidate)
            if _gap(refined, found) > _SAME_TURN and self.keeps(refined, self.tolerance):
                found.append(refined)
        # The last bits of products and singular vectors depend on the processor. Rounded, they decide no order and no file.
        rounded: list[Array] = [np.round(turn, 12) + 0.0 for turn in found]
        order = np.argsort([-np.trace(turn[:3, :3]) for turn in rounded], kind="stable")
        return np.stack(rounded)[order]

    def keeps(self, transform: Array, tolerance: float) -> bool:
        """Whether `transform` (4, 4) maps the block onto itself, to within `tolerance` m."""
        moved = self._some @ transform[:3, :3].T + transform[:3, 3]
        # Both hulls have the same volume: if the moved one lies inside the other, they are equal.
        for start in range(0, len(moved), 512):
            if np.max(moved[start : start + 512] @ self.planes[:, :3].T - self.planes[:, 3]) > tolerance:
                return False
        if self._surface is None:
            return True
        return self._on_surface(self._probes @ transform[:3, :3].T + transform[:3, 3], tolerance)

    def round_axis(self) -> Array | None:
        """(3,) the axis through the origin about which the block is approximately round, such as that of a prism with 24
        sides. None if there is none."""
        center = self.corners.mean(axis=0)
        _, principal = np.linalg.eigh(np.cov((self.corners - center).T))
        clean = np.where(np.abs(principal) < 1e-3, 0.0, principal)
        for axis in np.concatenate([clean.T, self._ends()]):
            unit = np.round(axis / exact.norm(axis), 12)
            if all(self.keeps(_turn(unit, angle), self.round_tolerance(unit)) for angle in _ANGLES):
                return np.asarray(unit if unit[np.argmax(np.abs(unit))] > 0 else -unit) + 0.0
        return None

    def round_tolerance(self, axis: Array) -> float:
        """The distance in m by which a rotation about `axis` may move the surface of an approximately round block."""
        return _ROUND * float(np.linalg.norm(np.cross(self.corners, axis), axis=1).max())

    def _ends(self) -> Array:
        """(E, 3) the normals of the two planes with the most corners: for a cylinder, its ends."""
        carried = np.zeros(len(self.planes), dtype=np.int64)
        for start in range(0, len(self._some), 512):
            heights = self.planes[:, 3] - self._some[start : start + 512] @ self.planes[:, :3].T
            carried += (heights < self.tolerance).sum(axis=0)
        return self.planes[np.argsort(-carried, kind="stable")[:2], :3]

    def _candidates(self) -> Array:
        """(N, 4, 4) transforms that might be symmetries. The images of two spokes determine a rotation; their lengths and
        the distance between them must stay the same."""
        center = self.corners.mean(axis=0)
        spokes = self.corners - center
        length = np.linalg.norm(spokes, axis=1)
        a = spokes[0]
        sines = np.linalg.norm(np.cross(a, spokes), axis=1) / np.maximum(length[0] * length, 1e-300)
        wide = np.flatnonzero(sines > 0.1)
        b = spokes[wide[0] if len(wide) else np.argmax(sines)]
        like_a = np.flatnonzero(np.abs(length - np.linalg.norm(a)) < _CANDIDATE * self.diameter)
        like_b = np.flatnonzero(np.abs(length - np.linalg.norm(b)) < _CANDIDATE * self.diameter)
        gap = np.linalg.norm(spokes[like_a][:, None] - spokes[like_b], axis=2) - np.linalg.norm(a - b)
        first, second = np.nonzero(np.abs(gap) < 2 * min(_CANDIDATE * self.diameter, 4 * self.tolerance))
        pairs = [(spokes[like_a[i]], spokes[like_b[j]]) for i, j in zip(first, second, strict=True)]
        least = 0.5 * np.linalg.norm(np.cross(a, b))
        pairs = [(one, two) for one, two in pairs if np.linalg.norm(np.cross(one, two)) > least]
        start = _frame(a, b).T
        turns = np.stack([_frame(one, two) @ start for one, two in pairs])
        # A few corners rule out most candidates.
        few = spokes[_spread(len(spokes), 12)]
        gaps = cKDTree(spokes).query((few @ np.swapaxes(turns, 1, 2)).reshape(-1, 3))[0].reshape(len(turns), len(few))
        turns = turns[gaps.max(axis=1) < min(_NEAR * self.diameter, 10 * self.tolerance)]
        return np.stack([rigid(turn, center - turn @ center) for turn in turns])

    def _made_exact(self, transform: Array) -> Array:
        """`transform` refined: the rigid motion that best maps the corners to their nearest corners under `transform`
        (Kabsch 1976)."""
        tree = cKDTree(self.corners)
        gap, other = tree.query(self.corners @ transform[:3, :3].T + transform[:3, 3])
        near = gap < _NEAR * self.diameter
        if near.sum() < 4:
            return transform
        start, end = self.corners[near], self.corners[other[near]]
        u, _, vt = np.linalg.svd((end - end.mean(0)).T @ (start - start.mean(0)))
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
        return rigid(turn, end.mean(0) - turn @ start.mean(0))

    @cached_property
    def _probes(self) -> Array:
        """(N, 3) points on the surface, inside its hollows if it has any: the hull's corners do not describe those."""
        assert self._surface is not None
        vertices, triangles = self._surface
        points = np.concatenate([vertices[triangles].mean(axis=1), vertices[np.unique(triangles)]])
        depth = np.concatenate(
            [
                (self.planes[:, 3] - points[k : k + 512] @ self.planes[:, :3].T).min(axis=1)
                for k in range(0, len(points), 512)
            ]
        )
        inner = points[depth > self.tolerance]
        chosen = inner if len(inner) else points
        return chosen[_spread(len(chosen), _PROBES)]

    @cached_property
    def _patches(self) -> tuple[cKDTree, Array, float]:
        """The surface, scaled to unit diameter, as small triangles (N, 3, 3), a k-d tree of their centers, and the greatest
        distance of a corner from its center. It is scaled because the tolerances of trimesh are absolute."""
        assert self._surface is not None
        vertices, triangles = self._surface
        small, faces = trimesh.remesh.subdivide_to_size(vertices / self.diameter, triangles, _PATCH, max_iter=30)
        corners = small[faces]
        middles = corners.mean(axis=1)
        reach = float(np.linalg.norm(corners - middles[:, None], axis=2).max())
        return cKDTree(middles), corners, reach

    def _on_surface(self, points: Array, tolerance: float) -> bool:
        """Whether all `points` (N, 3) m are within `tolerance` m of the surface."""
        tree, corners, reach = self._patches
        points, tolerance = points / self.diameter, tolerance / self.diameter
        count = min(8, len(corners))
        near = tree.query(points, count)[1].reshape(len(points), count)
        left = points[_distance(corners[near], points).min(axis=1) > tolerance]
        for point in left:  # a large triangle's middle may be farther away than those of eight small ones
            around = tree.query_ball_point(point, reach + tolerance)
            if not around or _distance(corners[around][None], point[None]).min() > tolerance:
                return False
        return True


def _distance(triangles: Array, points: Array) -> Array:
    """(N, K) from `points` (N, 3) to `triangles` (N, K, 3, 3), in diameters."""
    count = triangles.shape[1]
    scale = 1e6  # far above the absolute tolerances of trimesh
    flat, each = triangles.reshape(-1, 3, 3) * scale, np.repeat(points, count, axis=0) * scale
    nearest = trimesh.triangles.closest_point(flat, each)
    return np.asarray(np.linalg.norm(nearest - each, axis=1).reshape(-1, count) / scale)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` integers in [0, count), evenly spaced."""
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64))


def _gap(transform: Array, others: list[Array]) -> float:
    return float(np.abs(np.stack(others)[:, :3, :3] - transform[:3, :3]).max(axis=(1, 2)).min())


def _frame(a: Array, b: Array) -> Array:
    """(3, 3) the right-handed frame with x along `a` (3,) and y in the plane of `a` and `b` (3,)."""
    x = a / np.linalg.norm(a)
    z = np.cross(a, b)
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _turn(axis: Array, angle: float) -> Array:
    return np.asarray(trimesh.transformations.rotation_matrix(angle, axis))
