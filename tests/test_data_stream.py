"""data=stream: the batch of a step is a function of (configuration, seed, step), whoever draws it and when."""

import os
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from builders import ROOT, sampler_of
from torch.utils.data import Dataset

from simgen import engine
from simgen.config import compose
from simgen.errors import ConfigError, RenderError
from simgen.pipeline import make_pipeline
from simgen.scene import to_json
from simgen.schema import Randomize, Raycast, Render
from train.config import StreamConfig, TrainConfig
from train.data.batch import Batch, Items, batches
from train.data.mirror import mirrored
from train.data.sources import Mixed, sources_of
from train.data.stream import HELD_OUT, VERSION, Stream
from train.data.targets import Targets
from train.fit.training import train_keypoints

CONFIG = StreamConfig(scenes=["tabletop", "kuka_table"], width=64, height=48, epoch=3, validation=4, workers=0)


TARGETS = Targets(
    **{name: torch.zeros(2, 3, dtype=torch.bool) for name in ("present", "labelled")},
    model=torch.zeros(2, 3, dtype=torch.long),
    **{name: torch.zeros(2, 3) for name in ("scale", "seen", "share")},
    camera_from_block=torch.eye(4).expand(2, 3, 4, 4),
    intrinsics=torch.eye(3).expand(2, 3, 3),
    distortion=torch.zeros(2, 9),
    camera_from_world=torch.eye(4).expand(2, 4, 4),
    box=torch.zeros(2, 3, 4),
)


def randomize() -> Randomize:
    return compose("render", Render).randomize


def alike(a: Batch, b: Batch) -> bool:
    """The same pictures with the same targets."""
    return torch.equal(a.images, b.images) and all(
        torch.equal(value.nan_to_num(-7), getattr(b.targets, name).nan_to_num(-7))
        for name, value in vars(a.targets).items()
    )


def same(a: Batch, b: Batch) -> bool:
    """The same parts of the same pictures."""
    return alike(a, b) and torch.equal(a.cut, b.cut) and torch.equal(a.jitter, b.jitter)


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


class Niceness(Dataset[int]):
    def __getitem__(self, number: int) -> int:
        return os.nice(0)


@pytest.mark.skipif(not hasattr(os, "nice"), reason="this system has no priorities of this kind")
def test_worker_processes_wait_for_the_training() -> None:
    usual = os.nice(0)
    assert list(batches(Niceness(), Items(2), workers=1)) == [min(usual + 10, 19)] * 2
    assert list(batches(Niceness(), Items(2), workers=0)) == [usual] * 2


def test_scenes_are_those_that_render_makes_with_the_same_physics() -> None:
    """Dropped ones, too; without `physics=` as randomize.settle states for each."""
    for physics, share in (("randomize", 1 / 3), ("place", 0), ("settle", 1)):
        own = Stream(replace(CONFIG, physics=physics), randomize(), 5, 16).sampled(1)
        for k, (scene, scenes) in enumerate(zip(CONFIG.scenes, own, strict=True)):
            keys = [f"scene={scene}", f"seed={5 + (k << 48)}", f"physics={physics}", "width=64", "height=48"]
            rendered = make_pipeline(compose("render", Render, keys)).scenes(range(8, 16))
            assert to_json(scenes) == to_json(rendered)
        settled = np.concatenate([scenes.settled for scenes in own])
        assert settled.mean() == pytest.approx(share, abs=0.3) and (0 < share < 1) == (len(set(settled)) == 2)


def test_errors_of_the_physics_name_the_key_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^data\.physics: unknown physics 'drop'; expected one of randomize, place"):
        Stream(replace(CONFIG, physics="drop"), randomize(), 5, 2)
    monkeypatch.setitem(sys.modules, "pybullet", None)
    engine._pybullet.cache_clear()
    with pytest.raises(
        RenderError, match=r"^data\.physics: pybullet cannot be imported .*, or use data\.physics=place$"
    ):
        Stream(CONFIG, randomize(), 5, 2)
    assert len(Stream(replace(CONFIG, physics="place"), randomize(), 5, 2)[0].images) == 2


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Streams draw black pictures, whose first pixel is their batch's number; it is noted which are drawn."""
    monkeypatch.setattr("train.data.stream._KEPT", 20)  # of batches of two: the uses of each are one round apart
    numbers: list[int] = []

    def draw(self: Stream, number: int) -> Batch:
        numbers.append(number)
        images = torch.zeros(2, 3, 48, 64, dtype=torch.uint8)
        images[:, 0, 0, 0] = number
        none = torch.zeros(0)
        return self._seen_again(Batch(images, TARGETS, torch.zeros(2, 2, 2), none, none), number, 0)

    monkeypatch.setattr(Stream, "_draw", draw)
    return numbers


def test_each_batch_is_used_in_as_many_steps_as_passes_states(numbered: list[int]) -> None:
    """Each time other parts are seen, the second time of the mirrored pictures. A round is 24 steps, of which 8 show a batch
    for the first time, 8 for the second and 8 for the third; those of the first two rounds lack earlier uses."""
    stream = Stream(CONFIG, randomize(), 5, 2, passes=3, epoch=24)
    assert stream.lag == 1
    items = []
    for k in range(120):
        items.append(stream[k])
        assert len(stream._drawn) <= 24  # of three rounds
    shown = [int(item.images[0, 0, 0].max()) for item in items]
    uses = [[k for k, one in enumerate(shown) if one == number] for number in range(56)]
    assert list(map(len, uses)) == 8 * [1] + 8 * [2] + 24 * [3] + 8 * [2] + 8 * [1]
    assert sorted(numbered) == [*range(56)]  # each is drawn once
    new = [uses[number][0] for number in range(16, 56)]
    assert all(sum(k // 24 == turn for k in new) == 8 for turn in range(5))
    assert {int(gap) for gap in np.diff(sorted(new))} == {1, 3, 4}  # they come evenly, not in a row
    for number in range(16, 40):
        first, second, third = uses[number]
        assert first // 24 + 2 == second // 24 + 1 == third // 24 and first % 8 == second % 8 == third % 8 == number % 8
        thrice = [items[k] for k in uses[number]]
        assert [bool(item.images[0, 0, 0, -1]) for item in thrice] == [False, True, False]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            mirror = b - a == 1
            assert alike(mirrored(thrice[a], stream.reflections) if mirror else thrice[a], thrice[b])
            assert not (thrice[a].cut == thrice[b].cut).any() and not (thrice[a].jitter == thrice[b].jitter).any()
    every = torch.cat([torch.cat([item.cut.flatten(), item.jitter.flatten()]) for item in items])
    assert len(every.unique()) > 0.99 * len(every) and float(every.min()) < -0.9 and float(every.max()) > 0.9
    assert stream.pictures(120) == 2 * 56
    # The first time it is what a stream without repetition shows.
    once = Stream(CONFIG, randomize(), 5, 2)
    assert all(same(once[number], items[uses[number][0]]) for number in range(16, 40))


def test_any_step_is_the_same_from_a_new_stream_and_in_any_number_of_processes(numbered: list[int]) -> None:
    """As after an interruption; and of four processes each draws a quarter of the batches, each of them once."""
    whole = Stream(CONFIG, randomize(), 5, 2, passes=3)
    items = [whole[k] for k in range(72)]
    once = sorted(numbered)
    for k in (71, 0, 20, 24, 7):
        assert same(Stream(CONFIG, randomize(), 5, 2, passes=3)[k], items[k])
    back = [whole[k] for k in (3, 30, 3)]
    assert same(back[0], back[2]) and same(back[0], items[3]) and same(back[1], items[30])
    numbered.clear()
    for rank in range(4):
        mine = Stream(CONFIG, randomize(), 5, 2, passes=3)
        assert all(same(mine[k], items[k]) for k in Items(18, rank, 4))
    assert sorted(numbered) == once == [*range(40)]


@pytest.mark.parametrize("length", [10, 15, 16])
def test_no_process_draws_what_another_has_drawn_in_an_epoch_before(numbered: list[int], length: int) -> None:
    """A loader deals out the steps of each epoch anew, beginning with its first process."""
    processes = [Stream(CONFIG, randomize(), 5, 2, passes=3, epoch=length) for _ in range(4)]
    items = Items(length)
    for epoch in range(9):
        items.set_epoch(epoch)
        for step, item in enumerate(items):
            processes[step % 4][item]
    assert len(numbered) == len(set(numbered)) == processes[0].pictures(9 * length) // 2


@pytest.mark.parametrize("length", [7, 10, 15, 24])
def test_a_batch_is_of_the_epoch_that_first_uses_it(numbered: list[int], length: int) -> None:
    stream = Stream(CONFIG, randomize(), 5, 2, passes=3, epoch=length)
    first = {number: item for item in range(40 * length) for number, again in [stream._place(item)] if again == 0}
    assert stream.lag == 1 and len(first) > 60
    for number, item in first.items():
        assert stream._epoch_of(number) == item // length
    assert not any(map(stream._epoch_of, range(16)))


def test_what_a_process_keeps_is_not_what_it_sends(numbered: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent tensors stay in shared memory with an open file each: of some hundred batches more than a process may have."""
    stream = Stream(CONFIG, randomize(), 5, 2, passes=3)
    monkeypatch.setattr("train.data.stream.get_worker_info", lambda: object())
    for item in (0, 32):  # where it is drawn, and where it is used again
        batch = stream[item]
        for value in (batch.images, batch.tables, *vars(batch.targets).values()):
            value.share_memory_()
    kept = stream._drawn[16]
    assert not any(value.is_shared() for value in (kept.images, kept.tables, *vars(kept.targets).values()))
    assert alike(kept, stream[64])


def test_passes_of_drawn_pictures(forward: list[Batch], monkeypatch: pytest.MonkeyPatch) -> None:
    """With two passes a round is 16 steps; the first batch that is new is number 8."""
    monkeypatch.setattr("train.data.stream._KEPT", 0)
    twice = Stream(CONFIG, randomize(), 5, 2, passes=2)
    assert alike(twice[1], mirrored(forward[1], twice.reflections))
    first = twice[0]
    assert same(first, Stream(CONFIG, randomize(), 5, 2)[8])
    assert alike(twice[24], mirrored(first, twice.reflections))


def train_config(*overrides: str) -> TrainConfig:
    small = ["data.scenes=[tabletop]", "data.width=64", "data.height=48", "trainer.batch_size=2", "out=x"]
    return compose("train", TrainConfig, [*small, *overrides])


def test_half_of_the_held_out_pictures_wear_photographs() -> None:
    """And are otherwise as those of the training: here one cube before a fixed camera. Model selection, calibration and its
    test have as many of both, none in common."""
    own = ["randomize.blocks.count=1", "randomize.blocks.model=cube", "randomize.camera.distance=0.5"]
    sources = sources_of(train_config("data.validation=5", "data.passes=3", *own))
    assert isinstance(sources.held_out, Mixed) and isinstance(sources.training, Stream) and sources.training.passes == 3
    assert [list(part) for part in (sources.choose, sources.learn, sources.check)] == [
        [*range(4)], [*range(4, 8)], [*range(8, 12)],
    ]  # fmt: skip
    plain, worn = sources.held_out.sources
    assert isinstance(plain, Stream) and isinstance(worn, Stream) and plain.passes == worn.passes == 1
    assert [one.pipelines[0].sampler.draws_photographs for one in (sources.training, plain, worn)] == [
        False,
        False,
        True,
    ]
    for part in (sources.training, plain, worn):
        leaves = part.pipelines[0].source.randomize
        assert (leaves.blocks.count, leaves.blocks.model, leaves.camera.distance) == (1, "cube", 0.5)
    preset = compose("train", TrainConfig, ["randomize=photographs"]).randomize
    assert worn.pipelines[0].source.randomize.table == preset.table
    assert worn.pipelines[0].source.seed == plain.pipelines[0].source.seed == HELD_OUT
    for k in (0, 1, 2):
        assert same(sources.held_out[k], (plain, worn)[k % 2][k // 2])
    alone = sources_of(train_config("data.validation=5", "data.photographs=false", *own))
    assert isinstance(alone.held_out, Stream) and alone.each == 3
    assert same(alone.held_out[1], plain[1])
    assert "each used up to 3 times" in sources.summary and sources.described["stream_version"] == VERSION
    several = sources_of(train_config("data.epoch=12", "trainer.devices=2", "trainer.nodes=3", *own)).training
    assert isinstance(several, Stream) and several.epoch == 72


def test_without_the_photographs_a_training_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfigError("photographs: skimage/data/x.png is missing; install the packages with pip install x")

    monkeypatch.setattr("simgen.pipeline.photographs", missing)
    with pytest.raises(ConfigError, match=r"^data\.photographs: .*pip install x, or use data\.photographs=false$"):
        sources_of(train_config())
    sources_of(train_config("data.photographs=false"))


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
    with pytest.raises(ConfigError, match=r"^data\.scenes: unknown scene 'nowhere'"):
        Stream(replace(CONFIG, scenes=["nowhere"]), randomize(), 0, 4)
    for settings, line in (
        (Raycast(light_samples=3), r"^data\.raycast\.light_samples: got 3; expected a square number"),
        (Raycast(supersample=0), r"^data\.raycast\.supersample: got 0; expected 1 to 64"),
        (Raycast(device="cuda:99"), r"^data\.raycast\.device: 'cuda:99' asked .* or use data\.raycast\.device=cpu$"),
    ):
        with pytest.raises((ConfigError, RenderError), match=line):
            Stream(replace(CONFIG, raycast=settings), randomize(), 0, 4)


def test_a_run_that_cannot_draw_claims_no_folder(tmp_path: Path) -> None:
    config = train_config("data.raycast.device=cuda:99", f"out={tmp_path / 'run'}")
    with pytest.raises(RenderError, match=r"^data\.raycast\.device: "):
        train_keypoints(config)
    assert not (tmp_path / "run").exists()


def test_numbers_of_processes_that_draw_pictures_again_are_told() -> None:
    for workers, passes, count in (
        (0, 3, 0),
        (1, 3, 0),
        (2, 3, 0),
        (3, 3, 1),
        (3, 1, 0),
        (6, 2, 1),
        (8, 2, 0),
        (16, 2, 1),
    ):
        summary = sources_of(train_config(f"data.workers={workers}", f"data.passes={passes}")).summary
        assert summary.count(f"data.workers={workers}: several processes draw the same pictures") == count


def test_sizes_that_a_detector_cannot_tell_are_reported() -> None:
    for scale, notices in (("1", 0), ("[uniform,0.95,1.05]", 0), ("[uniform,0.8,1.2]", 1), ("[uniform,1,1.2]", 1)):
        summary = sources_of(train_config(f"randomize.blocks.scale={scale}")).summary
        assert (
            summary.count("a block that is over 10% larger or smaller than in the block set is learned as one of")
            == notices
        )
        assert ("randomize.blocks.scale: from 0.8 to 1.2: " in summary) == ("0.8" in scale)


@pytest.mark.parametrize("devices", [1, 2, 3, 4, 8])
def test_no_process_chooses_a_model_by_pictures_of_its_calibration(devices: int) -> None:
    sources = sources_of(train_config("data.validation=5", f"trainer.devices={devices}"))
    chosen = [list(sources.chosen(rank, devices)) for rank in range(devices)]
    assert sorted(chain.from_iterable(chosen)) == list(sources.choose) and len({len(part) for part in chosen}) == 1
    assert len(sources.choose) % 2 == 0 and len(sources.choose) * 2 >= 5


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
