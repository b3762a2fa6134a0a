"""randomize=adr: what can grow, what a sample is at a bound, and the rule by which bounds move."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import arrays_of, events_of
from test_keypoint_run import _small as small  # noqa: F401
from test_keypoint_run import config_of
from test_tobin_run import assert_same

from simgen.catalogue import load_world
from simgen.config import compose
from simgen.distributions import Choice, Constant, Distribution, Integer, LogUniform, Uniform
from simgen.draws import Draws
from simgen.errors import CheckpointError, ConfigError
from simgen.factors import leaves_of
from simgen.pipeline import make_pipeline
from simgen.randomize import make_sampler
from simgen.schema import Randomize, Render
from train.adr import growth as growth_module
from train.adr.bounds import AtBounds, Bound, Mixed, bound_of, bounds_of, leaves_at
from train.adr.growth import QUEUE, Growth, States
from train.config import DoctorConfig, TrainConfig, check_doctor, check_train
from train.data.stream import Stream
from train.fit.training import KeypointTraining, _growth_of, train_keypoints

DRAWS = Draws(5, np.arange(6000))


def one(*values: float) -> Constant:
    return Constant(values)


def names_of(nominal: dict[str, Distribution], widest: dict[str, Distribution]) -> list[str]:
    return [bound.name for bound in bounds_of(nominal, widest)]


def test_what_can_grow() -> None:
    wide = Uniform((0.0, 1.0), (2.0, 3.0))
    widest: dict[str, Distribution] = {
        "a/pair": wide,
        "b/choice": Choice((one(0), one(1))),
        "c/fixed": one(4),
        "d/whole": Integer(1, 4),
        "blocks/place": wide,
        "blocks/count": Integer(1, 6),
        "settle": Choice((one(0), one(1))),
        "light/size": Uniform((0.0,), (1.0,)),
        "table/pattern": Integer(0, 99),
        "z/outside": Uniform((2.0,), (3.0,)),  # nominal is a value that the range lacks
    }
    nominal: dict[str, Distribution] = dict.fromkeys(widest, one(1)) | {"a/pair": one(0, 2), "blocks/place": one(0, 0)}
    assert bounds_of(nominal, widest) == [
        Bound("a/pair", 0, "high"),
        Bound("a/pair", 1, "low"),
        Bound("a/pair", 1, "high"),
        Bound("b/choice", -1, "share"),
        Bound("d/whole", 0, "high"),
        Bound("light/size", 0, "low"),
        Bound("z/outside", -1, "share"),
    ]
    with pytest.raises(ConfigError, match=r"^randomize\.b\.choice: has no single nominal value.*fix this factor"):
        bounds_of({**nominal, "b/choice": Choice((one(0), one(1)))}, widest)


def inside(distribution: Distribution) -> Distribution:
    assert isinstance(distribution, AtBounds)
    return distribution.inside


def test_ranges_between_nominal_and_widest() -> None:
    widest: dict[str, Distribution] = {
        "a": Uniform((0.0, -1.0), (2.0, 1.0)),
        "b": LogUniform((1.0,), (100.0,)),
        "c": Integer(1, 9),
        "d": Choice((one(3), Uniform((5.0,), (6.0,)))),
    }
    nominal: dict[str, Distribution] = {"a": one(1, 0), "b": one(10), "c": one(3), "d": one(3)}
    names = names_of(nominal, widest)

    def at(fraction: float, **others: float) -> dict[str, Distribution]:
        return leaves_at({name: others.get(name, fraction) for name in names}, names, nominal, widest)

    whole = at(1)
    assert [inside(whole[path]) for path in "abc"] == [widest[path] for path in "abc"]
    np.testing.assert_array_equal(inside(whole["d"]).sample(DRAWS / "d"), widest["d"].sample(DRAWS / "d"))
    point = at(0)
    assert inside(point["a"]) == Uniform((1, 0), (1, 0)) and inside(point["c"]) == Integer(3, 3)
    assert (inside(point["d"]).sample(DRAWS / "d") == 3).all()
    half = at(0.5)
    assert inside(half["a"]) == Uniform((0.5, -0.5), (1.5, 0.5)) and inside(half["c"]) == Integer(2, 6)
    low, high = inside(half["b"]).support()
    assert (low[0], high[0]) == pytest.approx((10**0.5, 10**1.5))  # half of the way in octaves
    mixed = inside(half["d"])
    assert isinstance(mixed, Mixed) and mixed.share == 0.5
    changed = mixed.sample(DRAWS / "d") != 3
    assert changed.mean() == pytest.approx(0.25, abs=0.02)  # in half of the samples it is 3 anyway
    np.testing.assert_array_equal(mixed.sample(DRAWS / "d")[changed], widest["d"].sample(DRAWS / "d")[changed])


def test_every_second_sample_is_at_one_bound_all_equally_often() -> None:
    """The factor has there the bound's value in all lanes and candidates, and else what it has without bounds."""
    nominal: dict[str, Distribution] = {"a": one(1, 0), "b": one(3)}
    widest: dict[str, Distribution] = {"a": Uniform((0.0, 0.0), (2.0, 1.0)), "b": Choice((one(3), one(4)))}
    names = names_of(nominal, widest)
    assert names == ["a/0/low", "a/0/high", "a/1/high", "b/-1/share"]
    at = bound_of(5, DRAWS.index, len(names))
    assert np.bincount(at + 1) / len(at) == pytest.approx([0.5, *[0.125] * 4], abs=0.015)
    leaves = leaves_at(dict.fromkeys(names, 0.5), names, nominal, widest)
    draws = DRAWS.lanes(range(2)).tries(range(3))
    given = {path: leaves[path].sample(draws / path).reshape(6, len(at), -1) for path in "ab"}
    usual = {path: inside(leaves[path]).sample(draws / path).reshape(6, len(at), -1) for path in "ab"}
    for number, (component, value) in enumerate([(0, 0.5), (0, 1.5), (1, 0.5)]):
        assert (given["a"][:, at == number, component] == value).all()
        np.testing.assert_array_equal(
            given["a"][:, at == number, 1 - component], usual["a"][:, at == number, 1 - component]
        )
    np.testing.assert_array_equal(given["a"][:, (at < 0) | (at == 3)], usual["a"][:, (at < 0) | (at == 3)])
    full = widest["b"].sample(draws / "b").reshape(6, len(at), -1)
    np.testing.assert_array_equal(given["b"][:, at == 3], full[:, at == 3])
    np.testing.assert_array_equal(given["b"][:, at != 3], usual["b"][:, at != 3])


def randomize(preset: str) -> Randomize:
    return compose("render", Render, [f"randomize={preset}"]).randomize


def test_fully_grown_a_sample_is_that_of_full_but_for_its_bound() -> None:
    """In 300 scenes of tabletop: a sample at no bound is equal to the last bit, one at a bound in all other factors."""
    world = load_world("tabletop")
    sampler = make_sampler(randomize("full"), world, settle=False)
    nominal = leaves_of(randomize("none"), world)
    names = sorted(names_of(nominal, sampler.leaves))
    assert len(names) > 150
    grown = replace(sampler, leaves=leaves_at(dict.fromkeys(names, 1.0), names, nominal, sampler.leaves))
    index = np.arange(300)
    before, after = arrays_of(sampler.sample(3, index)), arrays_of(grown.sample(3, index))
    at = bound_of(3, index, len(names))
    for name, value in before.items():
        if value.ndim == 0:
            continue
        pairs = zip(value, after[name], strict=True)
        differs = np.array([not np.array_equal(a, b, equal_nan=value.dtype.kind == "f") for a, b in pairs])
        for row in np.flatnonzero(differs):
            assert at[row] >= 0, name
            group = names[at[row]].split("/")[0]
            depends = {"camera": ("cameras", "clutter"), "distractors": ("blocks", "clutter"), "clutter": ("clutter",)}
            surfaces = dict.fromkeys(("table", "floor", "wall", "background", "walls"), ("surfaces",))
            own = {**surfaces, "light": ("lights",), "fixture": ("fixtures", "surfaces", "clutter"), **depends}
            assert name.split(".")[0] in own.get(group, (group,)), (name, names[at[row]])
    point = leaves_at(dict.fromkeys(names, 0.0), names, nominal, sampler.leaves)
    again = arrays_of(replace(sampler, leaves=point).sample(3, index))
    rest = at < 0
    for name in ("sensor.gamma", "lights.intensity", "surfaces.material.texture", "cameras.intrinsics"):
        assert len(np.unique(again[name][rest], axis=0)) == 1, name  # nothing has grown


def test_the_rule_by_which_bounds_move() -> None:
    growth = Growth(["b", "a"])
    assert growth.names == ["a", "b"] and growth.fractions == {"a": 0.1, "b": 0.1}

    def after(right: int, of: int = QUEUE) -> tuple[int, int]:
        for k in range(of):
            growth.note(0, k < right)
        return growth.advance()

    assert after(QUEUE) == (1, 0) and growth.fractions["a"] == 0.3 and growth.queues["a"] == []
    assert after(QUEUE - 1, QUEUE - 1) == (0, 0) and len(growth.queues["a"]) == QUEUE - 1  # one too few
    growth.note(0, True)
    assert growth.advance() == (1, 0) and growth.fractions["a"] == 0.5
    assert after(round(0.7 * QUEUE)) == (1, 0) and after(round(0.7 * QUEUE) - 1) == (0, 0)
    assert len(growth.queues["a"]) == QUEUE  # it did not move: what is known stays, the oldest is forgotten
    assert after(round(0.3 * QUEUE) + 1) == (0, 0)
    assert after(round(0.3 * QUEUE)) == (0, 1) and growth.fractions["a"] == 0.5
    for _ in range(5):
        after(0)
    assert growth.fractions == {"a": 0.0, "b": 0.1}
    for _ in range(12):
        after(QUEUE)
    assert growth.fractions["a"] == 1.0 and growth.advance() == (0, 0)
    assert len(growth.states) == 26 and growth.states[0] == {"a": 0.1, "b": 0.1}


def test_entropy_in_nats() -> None:
    """A range of which one half has grown has half of its width: it is one dimension and not two."""
    names = ["a/0/low", "a/0/high", "b/-1/share"]
    growth = Growth(names)
    growth.states[-1] = dict.fromkeys(names, 1.0)
    assert growth.entropy() == 0
    growth.states[-1] = {"a/0/low": 0.0, "a/0/high": 1.0, "b/-1/share": 0.0}
    assert growth.entropy() == pytest.approx((math.log(0.51 / 1.01) + math.log(0.01 / 1.01)) / 2)


def test_the_state_survives_json_and_files(tmp_path: Path) -> None:
    growth = Growth(["a", "b"])
    for k in range(30):
        growth.note(k % 2, k % 3 == 0)
    growth.advance()
    again = Growth.from_json(json.loads(json.dumps(growth.to_json())))
    assert again.to_json() == growth.to_json()
    states = States(tmp_path)
    growth.write_states(tmp_path)
    assert [states(0), states(1)] == growth.states
    growth.advance()
    growth.write_states(tmp_path)
    assert states(2) == growth.states[2]  # reads what was written since


def test_a_run_that_was_killed_grows_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bounds move after a single result, outward where the model succeeds; it is killed within the second epoch."""
    monkeypatch.setattr(growth_module, "QUEUE", 1)
    monkeypatch.setattr("train.nets.losses.SOLVED", 0.3)  # of networks that have learned nothing
    keys = ["randomize=adr", "trainer.save_steps=1", "data.epoch=3", "trainer.epochs=2", "trainer.batch_size=4"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train_keypoints(config_of(straight, *keys))
    assert "nats a dimension" in capsys.readouterr().out
    original = KeypointTraining.on_train_batch_end

    def dies(self: KeypointTraining, *arguments: Any) -> None:
        original(self, *arguments)
        if self.global_step == 5:
            raise MemoryError("killed")

    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", dies)
    with pytest.raises(MemoryError):
        train_keypoints(config_of(killed, *keys))
    monkeypatch.setattr(KeypointTraining, "on_train_batch_end", original)
    (killed / "adr.json").unlink()  # it is made again from the checkpoint
    train_keypoints(config_of(killed, *keys))
    assert_same(*(torch.load(out / "last.ckpt", weights_only=True)["state_dict"] for out in (killed, straight)))
    assert (killed / "adr.json").read_bytes() == (straight / "adr.json").read_bytes()
    states = json.loads((straight / "adr.json").read_text())
    assert len(states) == 3 and states[0] != states[2]
    moved = {name for name in states[0] if states[2][name] != states[0][name]}
    assert 0 < len(moved) < len(states[0])
    content = torch.load(straight / "last.ckpt", weights_only=True)
    assert content["adr"]["states"] == states == json.loads((straight / "metrics.json").read_text())["adr"]["states"]
    assert (straight / "adr.png").stat().st_size > 10_000
    assert {"adr/entropy", "adr/mean"} <= {name for name, _, _ in events_of(straight / "tensorboard")}


def test_ranges_grow_only_where_one_model_learns() -> None:
    with pytest.raises(
        ConfigError, match=r"^randomize\.automatic: ranges grow while a model learns, and here none does"
    ):
        make_pipeline(compose("render", Render, ["randomize=adr"]))
    with pytest.raises(ConfigError, match=r"^randomize\.automatic: one process counts the results"):
        check_train(compose("train", TrainConfig, ["randomize=adr", "trainer.devices=2"]))
    with pytest.raises(ConfigError, match=r"^randomize\.automatic: nothing grows in so short runs"):
        check_doctor(compose("doctor", DoctorConfig, ["randomize=adr"]))


def test_a_bound_counts_where_a_picture_is_new_and_its_scene_has_it(tmp_path: Path) -> None:
    """Not when a picture is seen again, and not in a scene whose factor is fixed; kuka_table has fixtures, tabletop none."""
    config = compose("train", TrainConfig, ["data.width=64", "data.height=48", "data.passes=2"])
    assert config.data.scenes == ["tabletop", "kuka_table"]
    growth: Growth | None = None

    def states(epoch: int) -> Mapping[str, float]:
        assert growth is not None
        return growth.states[epoch]

    stream = Stream(config.data, randomize("adr"), 0, 32, passes=2, states=states, epoch=1000)
    growth = Growth(stream.bounds)
    assert any(name.startswith("fixture/") for name in stream._own[1] - stream._own[0])
    names = [*stream.bounds, None]
    number, _ = stream._place(0)
    later = next(item for item in range(100) if stream._place(item) == (number, 1))
    first, again = stream[0].bound, stream[later].bound
    assert first is not None and again is not None and (again == -1).all()
    for k, half in enumerate(first.split(16)):
        wanted = bound_of(stream.pipelines[k].source.seed, 16 * number + np.arange(16), len(stream.bounds))
        assert half.tolist() == [n if names[n] in stream._own[k] else -1 for n in wanted]
    assert 4 < int((first >= 0).sum()) < 28
    with pytest.raises(ConfigError, match=r"^randomize\.distinct_materials, distinct_layouts: cannot be limited with"):
        Stream(config.data, replace(randomize("adr"), distinct_materials=3), 0, 32, states=states, epoch=1000)


def test_a_run_whose_factors_have_changed_is_not_continued(tmp_path: Path) -> None:
    torch.save({"simgen_train": 3, "adr": Growth(["a"]).to_json()}, tmp_path / "last.ckpt")
    assert _growth_of((), None) is None
    grown = _growth_of(("a",), tmp_path / "last.ckpt")
    assert grown is not None and grown.names == ["a"]
    with pytest.raises(CheckpointError, match=r"last\.ckpt: the ranges of other factors grew in it"):
        _growth_of(("a", "b"), tmp_path / "last.ckpt")
