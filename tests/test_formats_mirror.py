"""flip_idx: in a mirrored picture each keypoint is where its partner is in another pose of the same object."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from simgen.dataset.models import models_of
from simgen.dataset.write import write_models
from simgen.formats.labels import Category
from simgen.formats.mirror import common_flip, flips_of
from simgen.geometry import rigid
from simgen.shapes.solids import SHAPES, Solid, load_solid, make_solid
from simgen.silhouette import silhouette

SIZE = {"cube": [0.05, 0.05, 0.05], "rectangular_prism": [0.04, 0.08, 0.03], "sphere": [0.04, 0.04, 0.04]}
SIZE["tetrahedron"] = [0.065, 0.065 * np.sqrt(3) / 2, 0.065 * np.sqrt(2 / 3)]
K = np.array([[100.0, 0, 39.5], [0, 100.0, 29.5], [0, 0, 1]])


def categories(folder: Path, solids: list[Solid]) -> list[Category]:
    """The kinds of objects in a dataset of `solids`, as they are read."""
    write_models(folder, solids)
    path = folder / "models_info.json"
    models = models_of(json.loads(path.read_text()), path)
    return [Category(obj_id, k, model.name, model) for k, (obj_id, model) in enumerate(models.items())]


def mesh(path: Path, vertices: np.ndarray) -> Solid:
    trimesh.convex.convex_hull(vertices).export(path)
    return load_solid(path.stem, path, 1.0)


def is_right(one: Category, flip: tuple[int, ...]) -> None:
    """Mirrors a picture: the partners are the keypoints of the object in another pose, which looks like the mirror image."""
    turn = cv2.Rodrigues(np.array([0.4, -0.9, 0.3]))[0]
    pose = rigid(turn, np.array([0.02, -0.01, 0.3]))
    mirrored = (one.keypoints @ turn.T + pose[:3, 3]) * [-1, 1, 1]
    partners = one.keypoints[list(flip)]
    # Kabsch: the rotation, without a reflection, that maps the partners onto the mirrored keypoints.
    u, _, vt = np.linalg.svd((mirrored - mirrored.mean(0)).T @ (partners - partners.mean(0)))
    other = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    shift = mirrored.mean(0) - other @ partners.mean(0)
    np.testing.assert_allclose(partners @ other.T + shift, mirrored, atol=1e-6)
    if np.linalg.matrix_rank(partners - partners.mean(0), tol=1e-4) == 3:  # else the motion is not unique
        masks = [
            silhouette(one.solid, 1.0, of, K, np.zeros(5), 80, 60).mask(80, 60) for of in (pose, rigid(other, shift))
        ]
        assert (masks[0][:, ::-1] != masks[1]).mean() < 2e-3  # K is symmetric


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[Category]:
    solids = [make_solid(name, name, np.array(SIZE.get(name, [0.05, 0.05, 0.06]))) for name in SHAPES]
    return categories(tmp_path_factory.mktemp("models"), solids)


def test_every_flip_of_a_symmetric_shape_is_a_mirror_image(shapes: list[Category]) -> None:
    for one in shapes:
        flips = flips_of(one)
        assert flips, one.name
        for flip in flips:
            assert [flip[k] for k in flip] == list(range(len(one.keypoints)))  # pairs: applied twice it is the identity
            is_right(one, flip)
    counts = {one.name: len(flips_of(one)) for one in shapes}
    assert counts["cube"] == 10  # nine mirror planes and the inversion
    assert counts["rectangular_prism"] == 4  # three and the inversion
    assert counts["pyramid"] == 4 and counts["tetrahedron"] == 6


def test_one_list_holds_for_all_classes_or_there_is_none(shapes: list[Category], tmp_path: Path) -> None:
    by_name = {one.name: one for one in shapes}
    pair = [by_name["cube"], by_name["rectangular_prism"]]
    flip, reason = common_flip(pair)
    assert flip is not None and reason == "" and all(tuple(flip) in flips_of(one) for one in pair)
    flip, reason = common_flip(shapes)
    assert flip is None and "in different ways" in reason
    # The same block with its keypoints in another order: no list swaps both.
    cube = by_name["cube"]
    turned = np.roll(np.arange(8), 1)
    write_models(tmp_path, [cube.solid, cube.solid])
    infos = json.loads((tmp_path / "models_info.json").read_text())
    infos["2"]["keypoints"] = [infos["2"]["keypoints"][k] for k in turned]
    models = models_of(infos, tmp_path / "models_info.json")
    both = [Category(k, k - 1, f"cube {k}", model) for k, model in models.items()]
    expected = set(flips_of(both[0])) & set(flips_of(both[1]))
    flip, _ = common_flip(both)
    assert (flip is None) == (not expected) and (flip is None or tuple(flip) in expected)


def test_a_chiral_object_has_no_flip(tmp_path: Path) -> None:
    chiral = mesh(tmp_path / "chiral.stl", np.array([[0, 0, 0], [0.05, 0, 0], [0.01, 0.07, 0], [0.02, 0.01, 0.04]]))
    # Symmetric about a point, and a mirror image of itself through its middle, but for one corner that is cut off.
    block = np.array([[x, y, z] for x in (0, 0.04) for y in (0, 0.05) for z in (0, 0.06)])
    cut = np.concatenate([block[:-1], block[-1] - np.array([[0.01, 0, 0], [0, 0.012, 0], [0, 0, 0.015]])])
    found = categories(tmp_path / "models", [chiral, mesh(tmp_path / "cut.stl", cut)])
    assert [flips_of(one) for one in found] == [[], []]
    flip, reason = common_flip(found)
    assert flip is None and "'chiral'" in reason


def test_without_a_mesh_there_is_no_flip(tmp_path: Path) -> None:
    (one,) = categories(tmp_path, [make_solid("cube", "cube", np.full(3, 0.05))])
    one.model.mesh.unlink()
    flip, reason = common_flip([one])
    assert flip is None and "mesh of 'cube' cannot be used" in reason
