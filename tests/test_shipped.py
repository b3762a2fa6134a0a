"""The bundled models detect as many blocks in new pictures as their model cards state: in pictures like those of their
training, OLD_WORLD."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import OLD_TABLETOP, OLD_WORLD, pipeline_of
from safetensors import safe_open

from simgen.render import make_renderer
from simgen.sensor import sense
from train.data.batch import Batch, views_of
from train.data.targets import targets_of
from train.detect.detector import Detector, load_detector
from train.evaluate.calibrate import evaluate_batches
from train.metrics import adds
from train.pose.view import View
from train.runs.checkpoint import SHIPPED, place_of

NUMBER = 10


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return load_detector("shipped")


@pytest.mark.parametrize(
    ("name", "seed", "scenes"), [("shipped", 0, ["kuka_table"]), ("shipped-blocks", 9, ["cluster", "closeup"])]
)
def test_the_files_are_small_and_state_their_origin(name: str, seed: int, scenes: list[str]) -> None:
    assert set(SHIPPED) == {"shipped", "shipped-blocks"}
    path = place_of(name)
    assert path.stat().st_size < 12e6
    assert f"# {path.name}" in (path.parent / "README.md").read_text(encoding="utf-8")
    with safe_open(path, framework="pt") as file:
        origin = json.loads(file.metadata()["origin"])
    assert origin["seed"] == seed
    assert origin["data"]["scenes"] == scenes
    assert not origin["code"]["commit"].endswith("-dirty")


def test_the_box_is_detected_with_a_calibrated_confidence(shipped: Detector) -> None:
    """At most two of 10 new pictures are wrong. With the card's 85% three or more would be for one seed in six, but the
    seed is fixed, so a failure is due to a change of the code."""
    options = ["renderer=raycast", "scene=kuka_table", *OLD_WORLD, f"width={shipped.width}", f"height={shipped.height}"]
    pipeline = pipeline_of(*options)
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(20_261_121, range(NUMBER))
    frames = renderer.render(scenes)
    targets, images = targets_of(scenes, frames), sense(frames.rgb, scenes.sensor)
    right = 0
    for row, detections in enumerate(shipped.find(list(images), views_of(targets))):
        boxes = [one for one in detections if one.kind.name == "kuka_box"]
        (slot,) = torch.nonzero(targets.present[row] & targets.labelled[row])[:, 0].tolist()
        truth = targets.camera_from_block[row, slot].double().numpy()
        best = max(boxes, key=lambda one: one.confidence)
        error = adds(best.pose.camera_from_block, truth, best.kind.corners)
        right += error < 0.1 * best.kind.diameter
        assert all(one.confidence < 0.5 for one in detections if one.kind.name != "kuka_box")
    assert right >= NUMBER - 2


def test_blocks_are_detected_on_any_side() -> None:
    """In 12 new pictures like those of its calibration, at least four fifths of the blocks that are over half visible are
    right, and of the detections with a confidence over 0.6 as many as the confidence states, within 2.5 standard deviations
    of such a count. The seed is fixed, so a failure is due to a change of the code. No distractors: those of a known kind in
    another size are detected, too."""
    detector = load_detector("shipped-blocks").zoomed(1.5)
    pipeline = pipeline_of(
        *OLD_TABLETOP, "renderer=raycast", "width=640", "height=480", "randomize.distractors.count=0"
    )
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(20_261_122, range(12))
    frames = renderer.render(scenes)
    targets, images = targets_of(scenes, frames), torch.as_tensor(sense(frames.rgb, scenes.sensor)).permute(0, 3, 1, 2)
    classes = torch.tensor(detector.blocks.classes_of(pipeline.world.solids))
    targets = replace(targets, model=classes[targets.model])
    tables = torch.full((12, 2, 2), torch.nan)
    batch = Batch(images, targets, torch.zeros(12, 1, 1, 2), tables, torch.zeros(*targets.model.shape, 1, 4))
    evaluated = list(evaluate_batches(detector, [batch]))
    seen = int((targets.present & targets.labelled & (targets.share > 0.5)).sum())
    confident = [one for one in evaluated if one.detection.confidence > 0.6]
    stated = np.array([one.detection.confidence for one in confident])
    assert seen > 25
    assert sum(one.right for one in evaluated) >= 0.8 * seen
    assert len(confident) > 0.5 * seen
    assert sum(one.right for one in confident) >= stated.sum() - 2.5 * np.sqrt((stated * (1 - stated)).sum())


def test_a_zoom_enlarges_the_networks_input(shipped: Detector) -> None:
    """With a zoom of 2 a picture of twice the training's size is not resized."""
    assert shipped.zoomed(2).zoomed(0.5) == shipped
    generator = np.random.default_rng(0)
    fine = generator.integers(0, 256, (2 * shipped.height, 2 * shipped.width, 3), dtype=np.uint8)
    given = []
    spy = replace(shipped.zoomed(2))
    object.__setattr__(spy, "_maps", lambda images: given.append(images) or shipped._maps(images))
    view = View(np.array([[500.0, 0, 255.5], [0, 500, 191.5], [0, 0, 1]]), np.zeros(5))
    spy.find([fine], [view])
    assert np.array_equal(given[0], fine[None])  # not resized at all


def test_a_blank_picture_has_no_confident_detection(shipped: Detector) -> None:
    blank = np.full((shipped.height, shipped.width, 3), 128, np.uint8)
    view = View(np.array([[220.0, 0, 127.5], [0, 220, 95.5], [0, 0, 1]]), np.zeros(5))
    assert all(one.confidence < 0.5 for one in shipped.find([blank], [view])[0])
