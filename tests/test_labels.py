"""Labels against pictures of single blocks, and against rays that know nothing of any renderer."""

from dataclasses import replace

import numpy as np
import pytest
from builders import sampler_of

from simgen.geometry import inverse, project, transform_points
from simgen.labels import OCCLUDED, OUTSIDE, VISIBLE, labels_of
from simgen.render import make_renderer
from simgen.scene import Scenes, take
from simgen.silhouette import around, silhouette


@pytest.fixture(scope="module")
def crowd() -> tuple[Scenes, object, object]:
    """Scenes with many blocks close together, so that they hide each other."""
    sampler, world = sampler_of(
        "randomize.blocks.count=6",
        "randomize.distractors.count=8",
        "randomize.distractors.scale=1",
        "randomize.clutter.count=0",
        "randomize.blocks.place=[uniform,[-0.25,-0.2],[0.25,0.2]]",
        "randomize.distractors.place=[uniform,[-0.3,-0.25],[0.3,0.25]]",
        "randomize.camera.elevation_deg=[uniform,15,35]",
        "width=320",
        "height=240",
    )
    scenes = sampler.sample(5, range(8))
    return scenes, make_renderer("raycast", world).render(scenes), world


def test_visible_fraction_is_the_mask_over_the_mask_alone(crowd) -> None:
    scenes, frames, world = crowd
    renderer = make_renderer("raycast", world)
    labels = labels_of(scenes, frames, world)
    occluded = 0
    for row in range(len(scenes)):
        for label in labels[row]:
            present = np.zeros_like(scenes.blocks.present[[row]])
            present[0, label.slot] = True
            scene = take(scenes, [row])
            lone = renderer.render(replace(scene, blocks=replace(scene.blocks, present=present)))
            alone = lone.slot[0] == label.slot
            assert np.count_nonzero(alone ^ label.amodal) <= max(2, 0.01 * alone.sum())
            u, v, width, height = label.box_amodal
            if u >= 0 and v >= 0 and u + width <= 320 and v + height <= 240:  # wholly within the picture
                fraction = np.count_nonzero(frames.slot[row] == label.slot) / np.count_nonzero(alone)
                assert label.visible_fraction == pytest.approx(fraction, abs=0.01)
                occluded += 0.05 < fraction < 0.95
    assert occluded >= 5


def test_masks_boxes_and_counts_agree(crowd) -> None:
    scenes, frames, world = crowd
    for row, labels in enumerate(labels_of(scenes, frames, world)):
        assert [label.slot for label in labels] == list(range(6))
        for label in labels:
            assert np.array_equal(label.visible, frames.slot[row] == label.slot)
            assert not np.any(label.visible & ~label.amodal)
            assert label.pixels >= np.count_nonzero(label.amodal)
            assert label.visible_fraction == pytest.approx(np.count_nonzero(label.visible) / label.pixels)
            if label.visible.any():
                rows, columns = np.nonzero(label.visible)
                u, v, width, height = label.box_visible
                assert (u, v, u + width - 1, v + height - 1) == (columns.min(), rows.min(), columns.max(), rows.max())


def test_boxes_hold_all_that_is_seen_of_round_blocks() -> None:
    """Outlines are polygons, which a cylinder that is drawn exactly exceeds by a part of a pixel."""
    sampler, world = sampler_of(
        "randomize=none", "randomize.blocks.count=1", "randomize.blocks.slots=1", "randomize.blocks.place=[0,0]",
        "randomize.blocks.model=[choice,cylinder,cone]", "randomize.blocks.yaw_deg=[uniform,0,360]",
        "randomize.blocks.face=[uniform,0,1]", "randomize.camera.distance=[uniform,0.12,0.2]",
        "randomize.camera.aim=[0,0,0.03]",
        "randomize.camera.elevation_deg=[uniform,20,90]", "width=640", "height=480",
    )  # fmt: skip
    scenes = sampler.sample(3, range(40))
    lens, exceeded = (scenes.cameras.intrinsics[0], scenes.cameras.distortion[0]), 0
    for labels in labels_of(scenes, make_renderer("raycast", world).render(scenes), world):
        (label,) = labels
        u, v, width, height = label.box_amodal
        left, top, across, down = label.box_visible
        assert u <= left and v <= top and left + across <= u + width and top + down <= v + height
        outline = silhouette(world.solids[label.model], 1.0, label.camera_from_block, *lens, 640, 480)
        exceeded += outline.box() != label.box_amodal
    assert exceeded > 0


def test_boxes_around_boxes() -> None:
    nothing = (-1, -1, -1, -1)
    assert around((1, 2, 3, 4), (0, 5, 2, 6)) == (0, 2, 4, 9)
    assert around((-9, -9, 3, 3), (2, 2, 1, 1)) == (-9, -9, 12, 12)
    assert around(nothing, (1, 2, 3, 4)) == around((1, 2, 3, 4), nothing) == (1, 2, 3, 4)
    assert around(nothing, nothing) == nothing


@pytest.mark.parametrize("scale", [0.5, 0.2, 0.1])
def test_keypoints_of_small_blocks_are_visible_as_those_of_large_ones(scale: float) -> None:
    """Seen from as much nearer, down to 5 mm."""

    def seen(scale: float) -> list[list[int]]:
        sampler, world = sampler_of(
            "randomize=none", "randomize.blocks.count=1", "randomize.blocks.slots=1", "randomize.blocks.place=[0,0]",
            f"randomize.blocks.scale={scale}", "randomize.blocks.yaw_deg=[uniform,0,360]", "randomize.blocks.model=any",
            f"randomize.camera.distance={0.6 * scale}", f"randomize.camera.aim=[0,0,{0.02 * scale}]",
            "randomize.camera.elevation_deg=[uniform,20,60]", "width=320", "height=240",
        )  # fmt: skip
        scenes = sampler.sample(3, range(12))
        labels = labels_of(scenes, make_renderer("raycast", world).render(scenes), world)
        return [one.visibility.tolist() for (one,) in labels]

    whole = seen(1.0)
    assert {value for row in whole for value in row} == {OCCLUDED, VISIBLE}
    pairs = [(a, b) for one, two in zip(whole, seen(scale), strict=True) for a, b in zip(one, two, strict=True)]
    # A block of 6 cm has a tolerance of 3 mm, 5% of its diameter or less, smaller ones of 6%.
    assert sum(a != b for a, b in pairs) <= 0.03 * len(pairs)


def test_a_cut_block_counts_what_lies_beyond_the_border() -> None:
    """Half of a block over the border: half visible, though nothing hides it; its amodal box leaves the picture."""
    sampler, world = sampler_of("randomize=none", "randomize.camera.elevation_deg=89.9", "width=320", "height=240")
    scenes = sampler.sample(0, [0])
    camera = scenes.cameras.world_from_camera[0]
    edge = camera[:3, :3] @ (np.linalg.inv(scenes.cameras.intrinsics[0]) @ [-0.5, 120, 1])
    # Where the picture's left border meets the plane through the middle of the cube's top, which is what is seen.
    place = camera[:3, 3] + edge * ((0.05 - camera[2, 3]) / edge[2])
    pose = scenes.blocks.world_from_block.copy()
    pose[0, 0, :2, 3] = place[:2]
    scenes = replace(scenes, blocks=replace(scenes.blocks, world_from_block=pose))
    label = labels_of(scenes, make_renderer("raycast", world).render(scenes), world)[0][0]
    assert label.box_amodal[0] < 0 < label.box_amodal[0] + label.box_amodal[2]
    # Seen from above the cube's image is a rectangle: the visible fraction is the part of its width beyond -0.5.
    corners = label.keypoints[:, 0]
    expected = (corners.max() + 0.5) / np.ptp(corners)
    assert label.visible_fraction == pytest.approx(expected, abs=0.03)
    assert 0.4 < expected < 0.8


def test_poses_reproject_what_was_placed(crowd) -> None:
    """camera_from_block takes a block's keypoints where projecting the world's points takes them."""
    scenes, frames, world = crowd
    for row, labels in enumerate(labels_of(scenes, frames, world)):
        for label in labels:
            local = world.solids[label.model].keypoints * scenes.blocks.scale[row, label.slot]
            in_world = transform_points(scenes.blocks.world_from_block[row, label.slot], local)
            in_camera = transform_points(inverse(scenes.cameras.world_from_camera[row]), in_world)
            lens = scenes.cameras.intrinsics[row], scenes.cameras.distortion[row]
            assert np.allclose(label.keypoints, project(in_camera, *lens), atol=1e-9)
            assert np.allclose(label.size, np.ptp(local, axis=0), atol=0.02)


def test_keypoint_visibility_against_rays(crowd) -> None:
    """A ray from the camera to each keypoint, tested against the half-spaces of every block: is the way clear?"""
    scenes, frames, world = crowd
    agree = total = 0
    seen = set()
    for row, labels in enumerate(labels_of(scenes, frames, world)):
        center = scenes.cameras.world_from_camera[row, :3, 3]
        for label in labels:
            local = world.solids[label.model].keypoints * scenes.blocks.scale[row, label.slot]
            points = transform_points(scenes.blocks.world_from_block[row, label.slot], local)
            for point, pixel, visibility in zip(points, label.keypoints, label.visibility, strict=True):
                inside = -0.5 <= pixel[0] < 319.5 and -0.5 <= pixel[1] < 239.5
                assert inside == (visibility != OUTSIDE)
                if not inside:
                    continue
                clear = not any(
                    blocked(center, point, world.solids[scenes.blocks.model[row, k]], scenes, row, k)
                    for k in np.flatnonzero(scenes.blocks.present[row])
                )
                agree += clear == (visibility == VISIBLE)
                total += 1
                seen.add(int(visibility))
    assert seen == {OCCLUDED, VISIBLE}
    # Corners lie on outlines, where a pixel decides; the rest must agree.
    assert total > 150
    assert agree / total > 0.96


def blocked(start, end, solid, scenes, row, slot) -> bool:
    """Whether the segment passes through a block by more than a few millimetres, before its end."""
    block_from_world = inverse(scenes.blocks.world_from_block[row, slot])
    a, b = transform_points(block_from_world, np.stack([start, end])) / scenes.blocks.scale[row, slot]
    direction = b - a
    enter, leave = 0.0, 1.0 - 1e-6
    for *normal, offset in solid.planes:
        speed, gap = float(np.dot(normal, direction)), offset - float(np.dot(normal, a))
        if abs(speed) < 1e-12:
            if gap < 0:
                return False
        elif speed > 0:
            leave = min(leave, gap / speed)
        else:
            enter = max(enter, gap / speed)
    return (leave - enter) * float(np.linalg.norm(direction)) > 0.002
