"""Training on blocks that are not convex, or that have no side to lie on: a notice, or one line that says what to do."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

import train.blocks.stances
from simgen.config import compose
from simgen.errors import SceneError
from simgen.resources import resource_folder
from simgen.shapes.solids import make_solid
from train.blocks.kinds import BlockSet, Kind
from train.blocks.stances import MOST_SIDES, check_sides
from train.config import TrainConfig
from train.data.sources import Sources, sources_of


def sources(folder: Path, mesh: trimesh.Trimesh) -> Sources:
    """Those of a training on `mesh`, in mm, in a copy of the scene tabletop."""
    mesh.export(folder / "part.stl")
    (folder / "blocks.yaml").write_text("part: {mesh: part.stl, scale: 0.001}\n")
    scene = (resource_folder("scenes") / "tabletop.yaml").read_text()
    (folder / "mine.yaml").write_text(
        scene.replace("blocks/tobin.yaml", "blocks.yaml").replace("model: cube", "model: part")
    )
    overrides = [
        f"data.scenes=[{folder / 'mine.yaml'}]", "data.photographs=false", "data.width=64", "data.height=48",
        "randomize=tobin2017", f"out={folder / 'run'}",
    ]  # fmt: skip
    return sources_of(compose("train", TrainConfig, overrides))


def test_a_block_that_is_not_convex_is_learned_with_a_notice(tmp_path: Path) -> None:
    """An angle of two boxes. It rests on the sides of its hull, and has the symmetries of its surface."""
    boxes = [trimesh.creation.box((60, 30, 30)), trimesh.creation.box((30, 30, 60))]
    boxes[1].apply_translation((-15, 0, 45))
    made = sources(tmp_path, trimesh.util.concatenate(boxes))
    *notices, summary = made.summary.splitlines()
    assert summary.startswith("learns part from ")
    (notice,) = [line for line in notices if "is not convex" in line]
    assert notice.startswith("block 'part': is not convex: it is drawn as it is, but its keypoints")
    (kind,) = made.blocks.kinds
    assert len(kind.rests) == 6 and len(kind.symmetries) == 1


def test_a_block_that_is_curved_everywhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its triangles is a side of its own. Nothing is written."""
    brick = Kind.of(make_solid("brick", "rectangular_prism", np.array([0.04, 0.08, 0.03])))
    for count, refused in ((MOST_SIDES, False), (MOST_SIDES + 1, True)):
        pebble = replace(brick, rests=np.repeat(brick.rests[:1], count * len(brick.symmetries), axis=0))
        message = r"^block 'brick': lies on 101 or more different sides, .*; expected at most 100: "
        with pytest.raises(SceneError, match=message) if refused else nullcontext():
            check_sides(BlockSet([pebble]))
    monkeypatch.setattr(train.blocks.stances, "MOST_SIDES", 0)
    with pytest.raises(SceneError, match=r"^block 'part': lies on 1 or more different sides, .*; expected at most 0: "):
        sources(tmp_path, trimesh.creation.box((60, 40, 30)))
    assert not (tmp_path / "run").exists()


def test_a_block_without_a_resting_side_is_refused() -> None:
    """Its center of mass is beyond each of its sides."""
    solid = replace(make_solid("cube", "cube", np.full(3, 0.05)))
    solid.__dict__["center_of_mass"] = solid.size
    with pytest.raises(SceneError, match=r"^block 'cube': has no side on which it rests; expected a flat side below"):
        Kind.of(solid)
