"""Targets against labels.py, which comes to the same numbers by another way."""

import numpy as np
import torch
from builders import pipeline_of

from simgen.labels import labels_of
from simgen.render import make_renderer
from simgen.sensor import sense
from train.data.targets import joined, targets_of, visible_boxes


def test_targets_are_the_labels() -> None:
    pipeline = pipeline_of("renderer=raycast", "width=160", "height=120")
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(3, range(6))
    frames = renderer.render(scenes)
    targets = targets_of(scenes, frames)
    assert np.array_equal(targets.present.numpy(), scenes.blocks.present)
    compared = 0
    for row, labels in enumerate(labels_of(scenes, frames, pipeline.world)):
        for label in labels:
            slot = label.slot
            assert targets.model[row, slot] == label.model
            assert torch.allclose(
                targets.camera_from_block[row, slot].double(), torch.tensor(label.camera_from_block), atol=1e-6
            )
            assert targets.seen[row, slot] == np.count_nonzero(label.visible)
            left, top, right, bottom = targets.box[row, slot].tolist()
            if label.box_visible[2] > 0:
                assert [left + 0.5, top + 0.5, right - left, bottom - top] == list(label.box_visible)
                inside = np.count_nonzero(frames.amodal[row, slot])
                assert targets.share[row, slot] == np.float32(np.count_nonzero(label.visible)) / np.float32(inside)
                compared += 1
            else:
                assert np.isnan([left, top, right, bottom]).all()
                assert targets.share[row, slot] == 0
    assert compared > 10
    assert sense(frames.rgb, scenes.sensor).shape == (6, 120, 160, 3)


def test_boxes_of_known_pixels() -> None:
    slot = torch.full((2, 5, 7), -1, dtype=torch.int16)
    slot[0, 1:3, 2:6] = 1
    slot[0, 4, 6] = 0
    slot[1, 0, 0] = 2
    box, seen = visible_boxes(slot, 3)
    assert seen.tolist() == [[1, 8, 0], [0, 0, 1]]
    assert box[0, 0].tolist() == [5.5, 3.5, 6.5, 4.5]
    assert box[0, 1].tolist() == [1.5, 0.5, 5.5, 2.5]
    assert box[1, 2].tolist() == [-0.5, -0.5, 0.5, 0.5]
    assert box[0, 2].isnan().all() and box[1, :2].isnan().all()


def test_joined_targets_are_those_of_each() -> None:
    pipeline = pipeline_of("renderer=raycast", "width=64", "height=48")
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)

    def of(index: range) -> object:
        scenes = pipeline.sampler.sample(0, index)
        return targets_of(scenes, renderer.render(scenes))

    whole, parts = of(range(4)), joined([of(range(2)), of(range(2, 4))])  # type: ignore[list-item]
    for name, value in vars(whole).items():
        assert torch.equal(value.nan_to_num(-1), getattr(parts, name).nan_to_num(-1)), name
