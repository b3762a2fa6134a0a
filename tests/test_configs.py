"""Every YAML file composes, and every preset renders in every scene."""

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from builders import ROOT, sampler_of

from simgen.catalogue import load_block_set, load_world, scene_names
from simgen.config import compose
from simgen.errors import ConfigError
from simgen.randomize import make_sampler
from simgen.render import make_renderer
from simgen.schema import Preview, Randomize, Render
from train.config import CompareConfig, DoctorConfig, EvaluateConfig, TrainConfig, check_train

PRESETS = sorted(path.stem for path in (ROOT / "conf" / "randomize").glob("*.yaml"))


@cache
def randomize_of(preset: str) -> Randomize:
    return compose("render", Render, [f"randomize={preset}"]).randomize


@pytest.mark.parametrize("scene", scene_names())
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_every_scene_draws(scene: str, preset: str) -> None:
    world = load_world(scene)
    sampler = make_sampler(randomize_of(preset), world, width=160, height=120)
    scenes = sampler.sample(0, range(4))
    renderer = make_renderer("tiny", world)
    frames = renderer.render(scenes)
    renderer.close()
    assert frames.rgb.std() > 0.02  # not blank
    changes = any(not np.array_equal(frame, frames.rgb[0]) for frame in frames.rgb)
    # Of the sensor's group only the lens is in the picture that the renderer draws.
    assert changes == (preset != "none")


def test_every_command_has_its_configuration() -> None:
    assert compose("render", Render).num == 1000
    assert compose("preview", Preview).num == 36
    for name, schema in (("train", TrainConfig), ("doctor", DoctorConfig)):
        for model in ("tobin_small", "tobin_vgg"):
            assert compose(name, schema, [f"model={model}", "data=bop", "data.root=x"]).model.name == model
    keypoints = compose("train", TrainConfig)
    assert keypoints == compose("train", TrainConfig, ["model=keypoints", "data=stream"])
    check_train(keypoints)
    assert keypoints.data.scenes == ["tabletop", "kuka_table"]
    check_train(compose("train", TrainConfig, ["model=keypoints", "data.root=x"]))
    with pytest.raises(ConfigError, match=r"model=tobin_small trains on datasets only; add data=bop data.root=FOLDER"):
        check_train(compose("train", TrainConfig, ["model=tobin_small", "data=stream"]))
    with pytest.raises(ConfigError, match=r"^data\.validation: got 1\.5"):
        check_train(compose("train", TrainConfig, ["model=keypoints", "data.root=x", "data.validation=1.5"]))
    assert compose("doctor", DoctorConfig).data.scenes == keypoints.data.scenes  # the data of the run that follows
    assert compose("compare", CompareConfig, ["first=a", "second=b"]) == CompareConfig("a", "b")
    assert compose("evaluate", EvaluateConfig, ["data.root=x", "checkpoint=y"]).checkpoint == "y"
    with pytest.raises(ConfigError, match=r"^data\.root: missing"):
        compose("train", TrainConfig, ["data=bop"])
    assert compose("train", TrainConfig, ["data.root=x"]) == compose("train", TrainConfig, ["data=bop", "data.root=x"])


def test_recipes_set_scenes_and_folders_and_the_command_line_wins() -> None:
    """All other values are those without a recipe."""
    plain = compose("train", TrainConfig)
    both = ["tabletop", "kuka_table"]
    assert (plain.experiment, plain.scene, plain.data.scenes, plain.out) == ("none", None, both, "runs/keypoints")
    for name, given, scenes, drawn in (
        ("none", [], both, {}),
        ("blocks", [], ["tabletop", "tabletop", "tabletop", "closeup"], {"passes": 4}),
        ("kuka", [], ["kuka_table"], {"physics": "place"}),
        ("own", ["scene=mine/desk.yaml"], ["mine/desk.yaml"], {}),
    ):
        recipe = compose("train", TrainConfig, [f"experiment={name}", *given])
        check_train(recipe)
        assert recipe.data.scenes == scenes
        out = "runs/keypoints" if name == "none" else f"runs/{name}"
        trainer = replace(plain.trainer, epochs=40) if name == "blocks" else plain.trainer
        scene, data = scenes[0] if given else None, replace(plain.data, scenes=scenes, **drawn)
        assert recipe == replace(plain, experiment=name, scene=scene, data=data, trainer=trainer, out=out)
        own = compose(
            "train",
            TrainConfig,
            ["data.scenes=[closeup]", "data.epoch=3", "out=there", f"experiment={name}", *given, "trainer.epochs=7"],
        )
        assert (own.data.scenes, own.data.epoch, own.out, own.trainer.epochs) == (["closeup"], 3, "there", 7)


def test_the_recipe_of_a_gpu_is_the_other_drawn_and_learned_there() -> None:
    small, large = (compose("train", TrainConfig, [f"experiment={name}"]) for name in ("blocks", "blocks_gpu"))
    check_train(large)
    data = replace(small.data, workers=8, raycast=replace(small.data.raycast, device="cuda"), epoch=400, passes=6)
    trainer = replace(small.trainer, epochs=11, batch_size=128)
    own = {"out": "runs/blocks_gpu", "data": data, "trainer": trainer, "model": replace(small.model, lr=1.5e-3)}
    assert large == replace(small, experiment="blocks_gpu", **own)


def test_recipes_are_refused_where_they_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match=r"^scene: missing \(your scene file.*; write scene=\.\.\.;"):
        compose("train", TrainConfig, ["experiment=own"])
    for name, data in product(("blocks", "blocks_gpu", "kuka", "own"), (["data.root=x"], ["data=bop", "data.root=x"])):
        first = "raycast" if name == "blocks_gpu" else "scenes"
        line = rf"^experiment={name}: is for data=stream, because it sets data\.{first}, not for data=bop: leave out one of"
        with pytest.raises(ConfigError, match=line):
            compose("train", TrainConfig, [f"experiment={name}", "scene=x", *data])
    assert compose("train", TrainConfig, ["experiment=none", "data.root=x"]).data.root == "x"


def test_every_block_set_loads() -> None:
    for path in sorted((ROOT / "scenes" / "blocks").glob("*.yaml")):
        assert all(solid.hull.volume > 1e-6 for solid in load_block_set(path))


def test_seed_zero_is_a_seed() -> None:
    config = compose("render", Render, ["seed=0"])
    sampler, world = sampler_of()
    again = make_sampler(config.randomize, world, settle=False)
    first = sampler.sample(0, [3]).blocks.world_from_block
    assert np.array_equal(first, again.sample(0, [3]).blocks.world_from_block)
    assert not np.array_equal(first, again.sample(1, [3]).blocks.world_from_block)
