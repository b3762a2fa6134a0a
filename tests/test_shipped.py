"""The models that come with the package find what their cards say they find, in pictures that they have never seen."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import pipeline_of
from safetensors import safe_open

from simgen.render import make_renderer
from simgen.sensor import sense
from train.data.batch import Batch, views_of
from train.data.targets import targets_of
from train.detect.detector import Detector, load_detector
from train.evaluate.calibrate import judged
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
def test_they_are_small_and_say_where_they_are_from(name: str, seed: int, scenes: list[str]) -> None:
    assert set(SHIPPED) == {"shipped", "shipped-blocks"}
    path = place_of(name)
    assert path.stat().st_size < 12e6
    assert f"# {path.name}" in (path.parent / "README.md").read_text(encoding="utf-8")
    with safe_open(path, framework="pt") as file:
        origin = json.loads(file.metadata()["origin"])
    assert origin["seed"] == seed
    assert origin["data"]["scenes"] == scenes
    assert not origin["code"]["commit"].endswith("-dirty")


def test_it_finds_the_box_and_knows_when_it_does(shipped: Detector) -> None:
    """Of 10 new pictures at most two wrong: the card's 85% would have three or more wrong in one seed of six; this seed is
    fixed, so it is a change of the code that would show."""
    options = ["renderer=raycast", "scene=kuka_table", f"width={shipped.width}", f"height={shipped.height}"]
    pipeline = pipeline_of(*options)
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(20_261_121, range(NUMBER))
    frames = renderer.render(scenes)
    targets, images = targets_of(scenes, frames), sense(frames.rgb, scenes.sensor).numpy()
    right = 0
    for row, finds in enumerate(shipped.find(list(images), views_of(targets))):
        boxes = [found for found in finds if found.kind.name == "kuka_box"]
        (slot,) = torch.nonzero(targets.present[row] & targets.labelled[row])[:, 0].tolist()
        truth = targets.camera_from_block[row, slot].double().numpy()
        best = max(boxes, key=lambda found: found.confidence)
        error = adds(best.pose.camera_from_block, truth, best.kind.corners)
        right += error < 0.1 * best.kind.diameter
        assert all(found.confidence < 0.5 for found in finds if found.kind.name != "kuka_box")
    assert right >= NUMBER - 2


def test_blocks_are_found_on_any_side() -> None:
    """In 12 new pictures of the kind that it was calibrated on, four in five of the blocks that are seen by over half are
    right, and as many of the finds with a confidence over 0.6 as they state, to 2.5 deviations of such a count: the seed is
    fixed, so it is a change of the code that would show. No distractors: those that are a known kind in another size are
    taken for blocks."""
    detector = load_detector("shipped-blocks").zoomed(1.5)
    options = ["renderer=raycast", "scene=tabletop", "width=640", "height=480", "randomize.distractors.count=0"]
    pipeline = pipeline_of(*options)
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(20_261_122, range(12))
    frames = renderer.render(scenes)
    targets, images = targets_of(scenes, frames), sense(frames.rgb, scenes.sensor).permute(0, 3, 1, 2)
    classes = torch.tensor(detector.blocks.classes_of(pipeline.world.solids))
    targets = replace(targets, model=classes[targets.model])
    room = torch.full((12, 2, 2), torch.nan)
    batch = Batch(images, targets, torch.zeros(12, 1, 1, 2), room, torch.zeros(*targets.model.shape, 1, 4))
    finds = list(judged(detector, [batch]))
    seen = int((targets.present & targets.labelled & (targets.share > 0.5)).sum())
    sure = [one for one in finds if one.found.confidence > 0.6]
    stated = np.array([one.found.confidence for one in sure])
    assert seen > 25
    assert sum(one.right for one in finds) >= 0.8 * seen
    assert len(sure) > 0.5 * seen
    assert sum(one.right for one in sure) >= stated.sum() - 2.5 * np.sqrt((stated * (1 - stated)).sum())


def test_more_pixels_go_in_where_blocks_are_small(shipped: Detector) -> None:
    """Zoomed by 2 it takes a picture of twice its size as it is."""
    assert shipped.zoomed(2).zoomed(0.5) == shipped
    generator = np.random.default_rng(0)
    fine = generator.integers(0, 256, (2 * shipped.height, 2 * shipped.width, 3), dtype=np.uint8)
    given = []
    spy = replace(shipped.zoomed(2))
    object.__setattr__(spy, "_maps", lambda images: given.append(images) or shipped._maps(images))
    view = View(np.array([[500.0, 0, 255.5], [0, 500, 191.5], [0, 0, 1]]), np.zeros(5))
    spy.find([fine], [view])
    assert np.array_equal(given[0], fine[None])  # not resized at all


def test_an_empty_wall_shows_nothing(shipped: Detector) -> None:
    blank = np.full((shipped.height, shipped.width, 3), 128, np.uint8)
    view = View(np.array([[220.0, 0, 127.5], [0, 220, 95.5], [0, 0, 1]]), np.zeros(5))
    assert all(found.confidence < 0.5 for found in shipped.find([blank], [view])[0])
