"""data=stream: the batch of a step is a function of (configuration, seed, step), whoever draws it and when."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
import trimesh
from builders import ROOT, sampler_of

from simgen.config import compose
from simgen.errors import ConfigError
from simgen.schema import Randomize, Render
from train.config import StreamConfig
from train.data.batch import Batch, Items, batches
from train.data.stream import Stream

CONFIG = StreamConfig(scenes=["tabletop", "kuka_table"], width=64, height=48, epoch=3, validation=4, workers=0)


def randomize() -> Randomize:
    return compose("render", Render).randomize


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and all(
        torch.equal(value.nan_to_num(-7), getattr(b.targets, name).nan_to_num(-7))
        for name, value in vars(a.targets).items()
    )


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream(CONFIG, randomize(), 5, 2)


@pytest.fixture(scope="module")
def forward(stream: Stream) -> list[Batch]:
    return [stream[k] for k in range(3)]


def test_an_item_is_the_same_alone_and_in_any_order(forward: list[Batch]) -> None:
    again = Stream(CONFIG, randomize(), 5, 2)
    for k in (2, 0, 1):
        assert same(again[k], forward[k])
    assert not torch.equal(forward[0].images, forward[1].images)
    assert not same(Stream(CONFIG, randomize(), 6, 2)[0], forward[0])


def test_worker_processes_draw_the_same(forward: list[Batch]) -> None:
    items = Items(2)
    drawn = list(batches(Stream(CONFIG, randomize(), 5, 2), items, workers=1))
    assert len(drawn) == 2
    assert all(same(*pair) for pair in zip(drawn, forward[:2], strict=True))


def test_no_two_pictures_are_alike(forward: list[Batch]) -> None:
    images = torch.cat([batch.images for batch in forward]).flatten(1)
    assert len(torch.unique(images, dim=0)) == len(images) == 6


def test_items_go_on_where_the_epoch_before_ended_and_are_shared_out() -> None:
    alone = Items(4)
    epochs = []
    for epoch in range(3):
        alone.set_epoch(epoch)
        epochs += list(alone)
    assert epochs == list(range(12))
    for world in (2, 3):
        parts = [Items(4, rank, world) for rank in range(world)]
        for part in parts:
            part.set_epoch(1)
        taken = [list(part) for part in parts]
        assert [len(one) for one in taken] == [4] * world
        assert sorted(chain(*taken)) == list(range(4 * world, 8 * world))
        assert sorted(one[0] for one in taken) == list(range(4 * world, 5 * world))  # a step's items are neighbours


def test_half_of_a_batch_is_of_each_scene(stream: Stream, forward: list[Batch]) -> None:
    batch = forward[0]
    kuka = stream.blocks.names.index("kuka_box")
    has_box = ((batch.targets.model == kuka) & batch.targets.present).any(1)
    assert has_box.tolist() == [False, True]
    _, world = sampler_of("scene=tabletop")
    assert set(stream.blocks.names) >= {solid.name for solid in world.solids}


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size: got 3; expected a multiple of 2"):
        Stream(CONFIG, randomize(), 0, 3)
    with pytest.raises(ConfigError, match="nowhere"):
        Stream(replace(CONFIG, scenes=["nowhere"]), randomize(), 0, 4)


def test_a_hollow_block_is_seen_as_it_is(tmp_path: Path) -> None:
    """From above, the pixels of a ring are those between its upper outer and its lower inner octagon: the hole shows the
    table. Its visible share is 1, so that the hole is not counted as hidden."""
    inner, outer, height, distance = 0.030, 0.040, 0.010, 0.3
    trimesh.creation.annulus(1000 * inner, 1000 * outer, 1000 * height, sections=8).export(tmp_path / "ring.stl")
    (tmp_path / "set.yaml").write_text("ring: {mesh: ring.stl, scale: 0.001}\n", encoding="utf-8")
    scene = (ROOT / "scenes" / "tabletop.yaml").read_text(encoding="utf-8")
    scene = scene.replace("blocks/tobin.yaml", "set.yaml").replace("model: cube", "model: ring")
    (tmp_path / "scene.yaml").write_text(scene, encoding="utf-8")
    above = ["randomize=none", "randomize.camera.elevation_deg=90", f"randomize.camera.distance={distance}"]
    config = replace(CONFIG, scenes=[str(tmp_path / "scene.yaml")], width=256, height=192)
    targets = Stream(config, compose("render", Render, above).randomize, 5, 1)[0].targets
    assert targets.present.sum() == 1 == targets.present[0, 0]
    focal = float(targets.intrinsics[0, 0, 0])
    octagons = [8**0.5 * (radius * focal / (distance - z)) ** 2 for radius, z in ((outer, height), (inner, 0))]
    assert float(targets.seen[0, 0]) == pytest.approx(octagons[0] - octagons[1], rel=0.01)
    assert targets.share[0, 0] == 1


@pytest.mark.parametrize("key", ["randomize=photographs", "randomize.table.texture=[choice,flat,photograph]"])
def test_photographs_on_surfaces_are_not_learnt_from(key: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^randomize: a texture may be 'photograph'.* only; expected .*randomize=full$"
    ):
        Stream(CONFIG, compose("render", Render, [key]).randomize, 5, 4)
