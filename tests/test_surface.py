"""Points spread over surfaces, and ADD-S measured on them."""

import numpy as np
import pytest

from simgen.catalogue import load_world
from simgen.geometry import Array, rigid, rotation_about
from simgen.shapes.meshfile import read_mesh
from simgen.shapes.solids import Solid
from simgen.shapes.surface import POINTS, surface_points
from train.blocks.kinds import Kind, turns_about
from train.metrics import adds

SOLIDS = load_world("tabletop").solids
KINDS = [Kind.of(solid) for solid in SOLIDS]
AHEAD = rigid(rotation_about(0, 0.4) @ rotation_about(2, 0.3), np.array([0.1, -0.05, 0.8]))


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: solid.name)
def test_points_lie_on_the_surface_evenly(solid: Solid) -> None:
    triangles = solid.mesh.corners
    points = surface_points(triangles)
    assert points.shape == (POINTS, 3)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(normals, axis=1)
    normals = normals / area[:, None]
    off = np.abs(np.einsum("ptk,tk->pt", points[:, None] - triangles[:, 0], normals))
    nearest = off + 1e3 * ~inside(points, triangles, normals)
    assert nearest.min(1).max() < 1e-9 * 1e3
    # Counted along the triangles, each has as many points as its area is worth, but for the two at its ends.
    counts = np.bincount(nearest.argmin(1), minlength=len(triangles))
    assert np.abs(counts - POINTS * area / area.sum()).max() <= 2
    assert np.array_equal(points, surface_points(triangles.copy()))


def inside(points: Array, triangles: Array, normals: Array) -> Array:
    """(P, T) whether points, seen along the normals, lie in triangles."""
    within = np.ones((len(points), len(triangles)), dtype=bool)
    for k in range(3):
        side = np.cross(normals, triangles[:, (k + 1) % 3] - triangles[:, k])
        within &= np.einsum("ptk,tk->pt", points[:, None] - triangles[:, k], side) > -1e-12
    return within


def test_a_triangle_is_covered_uniformly() -> None:
    points = surface_points(np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]]), 4000)
    assert points[:, :2].mean(0) == pytest.approx([1 / 3, 1 / 3], abs=4 * np.sqrt(1 / 18 / 4000))
    half = (points[:, :2].sum(1) < np.sqrt(0.5)).mean()  # the part nearest to the right angle has half of the area
    assert half == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4000))


def test_a_shift_of_a_centimeter_is_judged_as_by_everyone() -> None:
    """1 cm along a side of a 5 cm cube: the corners are all 1 cm off, but most of the surface slides along itself."""
    cube = next(kind for kind in KINDS if kind.name == "cube")
    side = cube.size[0]
    pose = AHEAD @ rigid(np.eye(3), np.array([0.2 * side, 0, 0]))
    assert adds(pose, AHEAD, cube.corners) == pytest.approx(0.2 * side)
    assert 0.03 < adds(pose, AHEAD, cube.surface) / cube.diameter < 0.06


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_poses_that_look_the_same_have_no_error(kind: Kind) -> None:
    turns = [np.eye(4)] if kind.axis is None else turns_about(kind.axis, np.array([0.0, 0.3, 2.0, -1.1]))
    for turn in turns:
        for symmetry in kind.symmetries:
            pose = AHEAD @ turn @ symmetry
            assert adds(pose, kind.facing(AHEAD, pose), kind.surface) < 1e-9


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_pose_that_faces_another_is_the_nearest_of_all(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pose = AHEAD @ rigid(rotation_about(0, rng.uniform(0, 6)) @ rotation_about(1, rng.uniform(0, 6)), np.zeros(3))
        facing = kind.facing(AHEAD, pose)
        traces = np.einsum("sij,ij->s", (AHEAD @ kind.group_of(720))[:, :3, :3], pose[:3, :3])
        assert np.trace(facing[:3, :3].T @ pose[:3, :3]) >= traces.max() - 1e-9
        assert np.trace(facing[:3, :3].T @ pose[:3, :3]) <= traces.max() + 1e-3


def test_models_on_disk_have_the_points(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from simgen.dataset.write import write_models

    write_models(tmp_path, SOLIDS)
    for number, solid in enumerate(SOLIDS, start=1):
        surface = read_mesh(tmp_path / f"obj_{number:06d}.ply")
        assert len(surface.vertices) == 3 * len(solid.mesh.normals) + POINTS
        assert np.abs(surface.vertices[-POINTS:] - 1000 * surface_points(solid.mesh.corners)).max() < 1e-3
