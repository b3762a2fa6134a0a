"""A mirrored training picture is the picture of the mirrored scene, with that scene's targets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from streams import batch_of

from simgen.distortion import distort, fisheye_lens
from simgen.geometry import Array
from simgen.shapes.reflections import reflections
from simgen.shapes.solids import Solid, hull_triangles, make_solid
from train.blocks.kinds import BlockSet, Kind
from train.data.batch import Batch
from train.data.mirror import all_mirror, mirrored, reflections_of
from train.data.targets import Targets, visible_boxes
from train.nets.crop_net import planes_of
from train.nets.detection_net import KeypointNet
from train.nets.truth import truth_of

BATCH, BLOCKS = batch_of("randomize.distractors.count=2", "randomize.distractors.scale=0.7", size=8)
SOLIDS = [make_solid(kind.name, kind.name, kind.size) for kind in BLOCKS.kinds]
WIDTH = BATCH.images.shape[3]
LENSES = {
    "as drawn": None,
    "strong": [-0.3, 0.1, 0.02, -0.03, 0.01],
    "rational": [0.3, 0.1, 0.01, 0.02, 0, 0.2, 0.05, 0],
    "fisheye": fisheye_lens([0.05, -0.01, 0.003, -0.002]),
}


def with_lens(lens: Array | list[float] | None) -> Batch:
    """BATCH as seen by `lens`, with a skew and an uncentered principal point; its pictures and boxes are not changed."""
    if lens is None:
        return BATCH
    intrinsics, distortion = BATCH.targets.intrinsics.clone(), torch.zeros_like(BATCH.targets.distortion)
    intrinsics[:, 0, 1], intrinsics[:, 0, 2] = 3.0, 71.0
    distortion[:, : len(lens)] = torch.tensor(np.array(lens)).float()
    return replace(BATCH, targets=replace(BATCH.targets, intrinsics=intrinsics, distortion=distortion))


def pixels(targets: Targets, picture: int, points: Array) -> Array:
    """(P, 2) px of `points` (P, 3) in the camera's frame, by the camera of a picture."""
    matrix = targets.intrinsics[picture].double().numpy()
    flat = distort(points[:, :2] / points[:, 2:], targets.distortion[picture].double().numpy())
    return flat @ matrix[:2, :2].T + matrix[:2, 2]


def placed(pose: torch.Tensor, points: Array) -> Array:
    matrix = pose.double().numpy()
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_the_outline_of_each_block_is_mirrored(lens: Array | list[float] | None) -> None:
    """The corners of a block in its mirrored pose are where the mirrored corners of the block were. The pose is rigid."""
    batch = with_lens(lens)
    changed = mirrored(batch, reflections_of(BLOCKS, SOLIDS))
    assert torch.equal(changed.images, batch.images.flip(3))
    before, after = batch.targets, changed.targets
    kinds = set()
    for picture, slot in before.present.nonzero().tolist():
        kind, scale = BLOCKS.kinds[int(before.model[picture, slot])], float(before.scale[picture, slot])
        kinds.add(kind.name)
        poses = [part.camera_from_block[picture, slot] for part in (before, after)]
        assert float(torch.linalg.det(poses[1][:3, :3])) == pytest.approx(1, abs=1e-5)
        corners = scale * kind.corners
        seen, then = (
            pixels(part, picture, placed(pose, corners)) for part, pose in zip((before, after), poses, strict=True)
        )
        expected = seen * [-1, 1] + [WIDTH - 1, 0]
        gaps = np.linalg.norm(expected[:, None] - then, axis=2)
        assert gaps.min(0).max() < 0.02 and gaps.min(1).max() < 0.02, kind.name
    assert kinds == set(BLOCKS.names)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_the_table_is_mirrored(lens: Array | list[float] | None) -> None:
    batch = with_lens(lens)
    changed = mirrored(batch, reflections_of(BLOCKS, SOLIDS))
    for picture in range(len(batch.images)):
        seen = []
        for one in (batch, changed):
            (left, low), (right, high) = one.tables[picture].tolist()
            assert left < right and low < high
            # A part of the table in front of the camera: beyond a lens's reach nothing is defined.
            corners = 0.1 * np.array([[left, low, 0], [right, low, 0], [right, high, 0], [left, high, 0]])
            seen.append(pixels(one.targets, picture, placed(one.targets.camera_from_world[picture], corners)))
        np.testing.assert_allclose(seen[1], (seen[0] * [-1, 1] + [WIDTH - 1, 0])[[1, 0, 3, 2]], atol=0.01)


def test_boxes_windows_and_planes_are_those_of_the_mirrored_picture() -> None:
    changed = mirrored(BATCH, reflections_of(BLOCKS, SOLIDS))
    masks = torch.full((1, 120, WIDTH), -1)
    masks[0, 30:50, 20:61] = 0
    box, _ = visible_boxes(masks, 1)
    own = replace(BATCH.targets, box=box.expand(8, BATCH.targets.box.shape[1], 4))
    flipped = mirrored(replace(BATCH, targets=own), reflections_of(BLOCKS, SOLIDS))
    assert torch.equal(flipped.targets.box[0, 0], visible_boxes(masks.flip(2), 1)[0][0, 0])
    stances = KeypointNet(BLOCKS, sides=True, pretrained=False).stances
    first, second = truth_of(BATCH.targets, BLOCKS, stances), truth_of(changed.targets, BLOCKS, stances)
    assert torch.equal(first.kind, second.kind) and torch.equal(first.slot, second.slot) and len(first) > 8
    # Round blocks have keypoints on their rims, which mirror to others: the box around them is the same to a few pixels.
    straight = torch.tensor([kind.axis is None for kind in BLOCKS.kinds])[first.kind]
    expected = first.windows * torch.tensor([-1.0, 1, 1]) + torch.tensor([WIDTH - 1.0, 0, 0])
    torch.testing.assert_close(second.windows[straight], expected[straight], rtol=0, atol=0.02)
    cameras = [
        [part[first.picture] for part in (targets.intrinsics, targets.camera_from_world, targets.distortion)]
        for targets in (BATCH.targets, changed.targets)
    ]
    planes = [planes_of(windows, *own) for windows, own in zip((first.windows, expected), cameras, strict=True)]
    torch.testing.assert_close(planes[1], planes[0] * torch.tensor([-1.0, 1, 1, 1, 1]), rtol=0, atol=1e-4)


def test_twice_mirrored_is_the_picture_itself() -> None:
    reflection = reflections_of(BLOCKS, SOLIDS)
    again = mirrored(mirrored(BATCH, reflection), reflection)
    assert torch.equal(again.images, BATCH.images)
    torch.testing.assert_close(again.tables, BATCH.tables)
    for name, value in vars(BATCH.targets).items():
        torch.testing.assert_close(getattr(again.targets, name), value, rtol=1e-5, atol=1e-4, equal_nan=True)


def chiral() -> Solid:
    """A tetrahedron with six different edges, which no reflection maps onto itself."""
    corners = np.array([[0.0, 0, 0], [0.05, 0, 0], [0.01, 0.04, 0], [0.012, 0.011, 0.03]])
    corners -= (corners.min(0) + corners.max(0)) / 2
    return Solid("chiral", "mesh", corners, hull_triangles(corners), None, convex=True)


def test_a_picture_of_a_block_unlike_its_mirror_image_is_left_as_it_is() -> None:
    solid, cube = chiral(), make_solid("cube", "cube", np.full(3, 0.05))
    assert not list(reflections(solid, solid.keypoints, axis=None, sphere=False))
    blocks = BlockSet([Kind.of(solid), Kind.of(cube)])
    own = reflections_of(blocks, [cube, solid])
    assert torch.isfinite(own).flatten(1).all(1).tolist() == [False, True]
    assert not all_mirror(own) and all_mirror(own[1:])
    model = torch.ones_like(BATCH.targets.model)
    model[2, 0] = 0
    present = torch.zeros_like(BATCH.targets.present)
    present[:, 0] = True
    batch = replace(BATCH, targets=replace(BATCH.targets, model=model, present=present))
    changed = mirrored(batch, own)
    stays = [torch.equal(*pair) for pair in zip(changed.images, batch.images, strict=True)]
    assert stays == [k == 2 for k in range(8)]
    assert torch.equal(changed.targets.intrinsics[2], batch.targets.intrinsics[2])
    # An object of no known kind, or none at all, is no reason.
    for targets in (replace(batch.targets, model=model - 1), replace(batch.targets, present=present & (model > 0))):
        foreign = replace(targets, model=torch.where(model == 0, -1, model))
        assert torch.equal(mirrored(replace(batch, targets=foreign), own).images, batch.images.flip(3))


def test_a_block_with_fewer_symmetries_than_its_shape_has_no_mirror_image() -> None:
    """As a cube with a print on one side, of which a dataset states that it has no symmetry."""
    cube = make_solid("cube", "cube", np.full(3, 0.05))
    printed = replace(Kind.of(cube), symmetries=np.eye(4)[None])
    assert torch.isnan(reflections_of(BlockSet([printed]), [cube])).all()
