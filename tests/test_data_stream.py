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
    return Stream(CONFIG, randomize(), 5, 4)


@pytest.fixture(scope="module")
def forward(stream: Stream) -> list[Batch]:
    return [stream[k] for k in range(3)]


def test_an_item_is_the_same_alone_and_in_any_order(forward: list[Batch]) -> None:
    again = Stream(CONFIG, randomize(), 5, 4)
    for k in (2, 0, 1):
        assert same(again[k], forward[k])
    assert not torch.equal(forward[0].images, forward[1].images)
    assert not same(Stream(CONFIG, randomize(), 6, 4)[0], forward[0])


def test_worker_processes_draw_the_same(forward: list[Batch]) -> None:
    items = Items(2)
    drawn = list(batches(Stream(CONFIG, randomize(), 5, 4), items, workers=1))
    assert len(drawn) == 2
    assert all(same(*pair) for pair in zip(drawn, forward[:2], strict=True))


def test_no_two_pictures_are_alike(forward: list[Batch]) -> None:
    images = torch.cat([batch.images for batch in forward]).flatten(1)
    assert len(torch.unique(images, dim=0)) == len(images) == 12


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
    assert has_box.tolist() == [False, False, True, True]
    _, world = sampler_of("scene=tabletop")
    assert set(stream.blocks.names) >= {solid.name for solid in world.solids}


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size: got 3; expected a multiple of 2"):
        Stream(CONFIG, randomize(), 0, 3)
    with pytest.raises(ConfigError, match="nowhere"):
        Stream(replace(CONFIG, scenes=["nowhere"]), randomize(), 0, 4)


def test_hollow_blocks_are_drawn(tmp_path: Path) -> None:
    """Their hollow is no part of them: fewer pixels than the silhouette of the hull."""
    trimesh.creation.annulus(15, 20, 8).export(tmp_path / "ring.stl")
    (tmp_path / "set.yaml").write_text("ring: {mesh: ring.stl, scale: 0.001}\n", encoding="utf-8")
    scene = (ROOT / "scenes" / "tabletop.yaml").read_text(encoding="utf-8")
    scene = scene.replace("blocks/tobin.yaml", "set.yaml").replace("model: cube", "model: ring")
    (tmp_path / "scene.yaml").write_text(scene, encoding="utf-8")
    near = ["randomize=none", "randomize.camera.distance=0.2", "randomize.camera.elevation_deg=85"]
    batch = Stream(
        replace(CONFIG, scenes=[str(tmp_path / "scene.yaml")]), compose("render", Render, near).randomize, 5, 1
    )[0]
    left, top, right, bottom = batch.targets.box[0, 0].tolist()
    assert 0 < batch.targets.seen[0, 0] < 0.6 * (right - left) * (bottom - top)


@pytest.mark.parametrize("key", ["randomize=photographs", "randomize.table.texture=[choice,flat,photograph]"])
def test_photographs_on_surfaces_are_not_learnt_from(key: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^randomize: a texture may be 'photograph'.* only; expected .*randomize=full$"
    ):
        Stream(CONFIG, compose("render", Render, [key]).randomize, 5, 4)
