"""`python -m simgen live`: its controls, what it copies and saves, and its page in a browser."""

import shlex
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import pipeline_of
from test_camera_file import SIZE, camera_file

from simgen.command.arguments import Place, jobs_of, take_apart
from simgen.config import Composed, compose, compose_job, values_of
from simgen.distributions import Constant
from simgen.errors import ConfigError
from simgen.factors import leaves_of
from simgen.live.controls import controls_of, leaf_text, read_leaf
from simgen.live.drawing import Drawer
from simgen.live.newest import Newest
from simgen.live.parts import parts_of
from simgen.live.schema import Live
from simgen.live.settings import Settings
from simgen.render import make_renderer
from simgen.yamlfile import read_yaml

SMALL = ["width=64", "height=48", "physics=place", "seed=5", "start=3"]
# One of everything, so that each factor has one value in a sample, without the generated pictures, which take long.
SINGLE = [
    *("randomize.blocks.slots=1", "randomize.blocks.count=1", "randomize.distractors.slots=0"),
    *("randomize.distractors.count=0", "randomize.light.slots=1", "randomize.light.count=1"),
    *("randomize.clutter.slots=1", "randomize.clutter.count=1"),
    *(
        f"randomize.{name}.{factor}"
        for name in ("table", "floor", "wall", "background", "fixture", "blocks.material", "clutter.material")
        for factor in ("texture=[choice,flat,checker,stripes,noise]", "grime=0")
    ),
]


def composed(*arguments: str) -> Composed[Live]:
    place = Place("live", Live, "simgen")
    (settings,) = jobs_of(take_apart(arguments, place), place, values_of)
    return compose_job(place, settings)


def rendered(command: str) -> np.ndarray:
    """The picture that a command line of `render` makes."""
    python, _, package, name, *arguments = shlex.split(command)
    assert (python, package, name) == ("python", "simgen", "render")
    pipeline = pipeline_of(*arguments)
    index = int(next(word for word in arguments if word.startswith("start=")).removeprefix("start="))
    (sample,) = pipeline.samples(make_renderer("raycast", pipeline.world, pipeline.images), [index])
    return sample.rgb


def test_all_factors_fixed_are_the_same_picture_and_so_are_command_and_presets(tmp_path: Path) -> None:
    """Every factor is fixed to its number in a sample of `full`: the picture keeps its bytes, and has them again from the
    copied command line, from the preset, and from a preset saved by a page that was opened with this preset."""
    of = composed(*SMALL, *SINGLE, f"presets={tmp_path}/own presets")
    settings, drawer = Settings.of(of), Drawer(of.value)
    before = drawer.draw(settings)
    controls = controls_of(of.value, drawer.world, of.keys)
    assert len(controls) > 150 and {control.path for control in controls} == set(before.values)
    for control in controls:
        settings = settings.with_factor(control.path, control.fixed(before.values[control.path]))
    after = drawer.draw(settings)
    assert np.array_equal(before.sample.rgb, after.sample.rgb)
    # Another index is then the same scene, but for its noise.
    poses = [drawer.draw(replace(settings, index=k)).sample.scene.blocks.world_from_block for k in (0, 1)]
    assert np.array_equal(*poses)

    changed = settings.with_factor("randomize.table.color", [0.9, 0.1, 0.1]).without_factor("randomize.camera.distance")
    wanted = drawer.draw(changed).sample.rgb
    assert not np.array_equal(wanted, after.sample.rgb)
    assert np.array_equal(rendered(changed.command()), wanted)

    first = changed.save("first")
    again = Settings.of(composed(*SMALL, f"randomize={first}", f"presets={tmp_path}/own presets"))
    assert f"'randomize={first}'" in again.command()  # it has a space
    assert np.array_equal(drawer.draw(again).sample.rgb, wanted)
    second = again.with_factor("randomize.walls", 1).with_factor("randomize.camera.distance", 0.9).save("second")
    content = read_yaml(second)
    assert content["defaults"] == ["full", "_self_"] and content["camera"]["distance"] == 0.9
    assert content["walls"] == 1 and content["table"]["color"] == [0.9, 0.1, 0.1]

    kept = first.read_bytes()
    with pytest.raises(ConfigError, match=r"first\.yaml exists; choose another name"):
        settings.save("first")
    assert first.read_bytes() == kept and {path.name for path in first.parent.iterdir()} == {
        "first.yaml",
        "second.yaml",
    }
    for name in ("../first", "", "a/b", "-x", "a.yaml", "a b"):
        with pytest.raises(ConfigError, match="preset: got"):
            settings.save(name)


def test_the_values_are_those_of_the_picture_with_few_materials_and_layouts() -> None:
    """Which samples share: fixed to what is shown, each factor leaves the picture as it is."""
    of = composed(*SMALL, *SINGLE, "randomize.distinct_materials=4", "randomize.distinct_layouts=3")
    settings, drawer = Settings.of(of), Drawer(of.value)
    before = drawer.draw(settings)
    scene, values = before.sample.scene, before.values
    assert np.array_equal(values["randomize.table.color"], scene.surfaces.material.color[0, 0])
    assert np.array_equal(values["randomize.clutter.material.color"], scene.clutter.material.color[0, 0])
    assert np.array_equal(values["randomize.blocks.material.color"], scene.blocks.material.color[0, 0])
    assert values["randomize.blocks.model"][0] == scene.blocks.model[0, 0]
    for control in controls_of(of.value, drawer.world, of.keys):
        settings = settings.with_factor(control.path, control.fixed(values[control.path]))
    assert np.array_equal(drawer.draw(settings).sample.rgb, before.sample.rgb)


def test_the_values_are_those_of_the_drop_that_came_to_rest() -> None:
    """Of a sample that was dropped anew, the angles and places are those of the last drop."""
    sampler = pipeline_of("randomize=full", *SMALL, *SINGLE, "randomize.distinct_layouts=3").sampler
    for attempt in (0, 2):
        blocks = sampler.sample(5, [3], attempt=attempt).blocks
        drawn = sampler.drawn(5, [3], attempt=attempt)
        fixed = {path: Constant(tuple(drawn[path][0])) for path in ("blocks/place", "blocks/yaw_deg", "blocks/face")}
        again = replace(sampler, leaves={**sampler.leaves, **fixed}).sample(5, [3]).blocks
        assert np.array_equal(again.world_from_block[:, 0], blocks.world_from_block[:, 0])


def test_the_hint_says_whose_value_is_shown() -> None:
    of = composed(*SMALL, "randomize=none")
    hints = {control.path: control.hint for control in controls_of(of.value, Drawer(of.value).world, of.keys)}
    for section, one in {"blocks": "block", "light": "light", "clutter": "object", "fixture": "box"}.items():
        mine = {path for path in hints if path.startswith(f"randomize.{section}.")}
        words = f"Shown: that of the first {one}; set or fixed, it is that of all"
        shown = {path for path in mine if words in hints[path]}
        assert mine - shown == mine & {f"randomize.{section}.count", f"randomize.{section}.slots"}
    assert "Shown" not in hints["randomize.table.color"]


@pytest.mark.parametrize("preset", ["none", "tobin2017"])
def test_every_control_sets_its_factor_to_what_it_shows(preset: str) -> None:
    of = composed(*SMALL, f"randomize={preset}", "scene=tabletop")
    drawer, settings = Drawer(of.value), Settings.of(of)
    values = drawer.draw(settings).values
    kinds = set()
    for control in controls_of(of.value, drawer.world, of.keys):
        shown = control.shown(values[control.path])
        kinds.add(control.kind)
        if control.kind in ("slider", "number"):
            assert control.low < control.high and control.step > 0
            assert control.low <= values[control.path][0] <= control.high
            assert shown == pytest.approx(values[control.path][0])
        if control.kind == "words":
            assert shown in control.words
        settings = settings.with_factor(control.path, control.read(shown))
        leaf = settings.leaf(control.path)
        assert read_leaf("", leaf_text(leaf)) == leaf
    assert kinds == {"slider", "number", "switch", "words", "color", "vector", "text"}
    for path, leaf in leaves_of(settings.config().randomize, drawer.world).items():
        full = f"randomize.{path.replace('/', '.')}"
        low, high = leaf.support()
        assert np.array_equal(low, high)
        assert low == pytest.approx(values[full], abs=0.0021, rel=1e-5), full  # colors are of 255 steps


def test_what_contradicts_itself_is_refused_with_its_key() -> None:
    of = composed(*SMALL, "randomize=none")
    settings, drawer = Settings.of(of), Drawer(of.value)
    drawer.draw(settings)
    for path, leaf, words in (
        ("randomize.blocks.count", 9, "up to 9, but randomize.blocks.slots=6"),
        ("randomize.table.texture", "image", "needs a folder of pictures; set randomize.images"),
        ("randomize.camera.distance", [1, 2], "expected 1 numbers, got 2"),
        ("randomize.camera.distance", ["uniform", 1], "expected .uniform, low, high."),
    ):
        with pytest.raises(ConfigError, match=f"{path}: .*{words}"):
            drawer.draw(settings.with_factor(path, leaf))
    with pytest.raises(ConfigError, match="start: got -1"):
        drawer.draw(replace(settings, index=-1))
    assert settings.with_factor("randomize.light.size", 0.2).notes() == [
        "randomize.light.size has no effect with randomize.light.kind=directional; "
        "it needs randomize.light.kind=area or window"
    ]
    assert settings.with_factor("randomize.fixture.wear", 0.2).notes() == [
        "randomize.fixture.wear has no effect: no fixtures in tabletop"
    ]


def test_a_preset_that_no_command_takes_is_not_saved(tmp_path: Path) -> None:
    settings = Settings.of(composed(*SMALL, "randomize=none", f"presets={tmp_path}"))
    for path, leaf, words in (
        ("randomize.camera.distance", ["uniform", 1], "expected .uniform, low, high."),
        ("randomize.blocks.count", 9, "up to 9, but randomize.blocks.slots=6"),
    ):
        with pytest.raises(ConfigError, match=f"^{path}: .*{words}"):
            settings.with_factor(path, leaf).save("bad")
    assert not list(tmp_path.iterdir())


def test_the_command_line_with_a_camera_file_draws_its_pictures(tmp_path: Path) -> None:
    """In the camera's size, which the page scales down."""
    file = camera_file(tmp_path / "camera.json")
    of = composed("width=64", "height=48", "physics=place", "randomize=none", f"randomize.camera.file={file}")
    settings = Settings.of(of)
    wanted = Drawer(of.value).draw(settings).sample.rgb
    (note,) = settings.with_factor("randomize.camera.distance", 0.3).notes()
    assert note.startswith(f"randomize.camera.distance has no effect with randomize.camera.file={file}; it needs no ")
    drawn = rendered(settings.command())
    assert drawn.shape == (*SIZE[::-1], 3) != wanted.shape
    small = cv2.resize(drawn, wanted.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - wanted).mean() < 6


def test_a_command_line_keeps_what_was_given() -> None:
    given = [
        "randomize=color",
        "scene=tabletop",
        "raycast.supersample=2",
        "randomize.walls=0",
        "randomize.camera.file=",
    ]
    given += ["randomize.camera={distance:0.7}", "randomize.blocks.model=[choice,cube,cone]", "physics=place"]
    settings = Settings.of(composed(*given, "port=9000", "start=4", "seed=9"))
    settings = settings.with_factor("randomize.camera.elevation_deg", ["normal", 40, 1e-05])
    arguments = shlex.split(settings.command())[4:]
    again = composed(*[one for one in arguments if not one.startswith("num=")])
    assert again.value == replace(settings.config(), port=8080)
    assert settings.preset() == {
        "defaults": ["color", "_self_"],
        "walls": 0,
        "camera": {**vars(again.value.randomize.camera), "elevation_deg": ["normal", 40, 1e-05]},
        "blocks": {"model": ["choice", "cube", "cone"]},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "defaults: [none]\ncamera: {distanse: 1}",
            "randomize.camera.distanse: no such key .* did you mean randomize.cam",
        ),
        ("defaults: [nine]", "defaults: got nine; expected a list of adr, background, "),
        ("defaults: [none]\ncamera: 3", "randomize.camera: expected the keys randomize.camera.*"),
        ("- none", "expected a mapping with keys as in conf/randomize/"),
        ("walls: 1\nwalls: 0", "line 2: 'walls' stands here and in line 1"),
    ],
)
def test_a_wrong_file_of_factors_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "full.yaml"  # also the name of one in conf/randomize
    path.write_text(text)
    with pytest.raises(Exception, match=f"{path}: {words}"):
        composed(f"randomize={path}")
    path.write_text("defaults: [none, vary/light]\nwalls: 0\n")
    own = composed(f"randomize={path}", "randomize.settle=1").value.randomize
    light = compose("live", Live, ["randomize=light", "randomize.walls=0", "randomize.settle=1"]).randomize
    assert own == light
    path.unlink()
    with pytest.raises(ConfigError, match=f"randomize: {path}: no such file"):
        composed(f"randomize={path}")


def test_only_the_newest_change_is_drawn() -> None:
    go, done = threading.Event(), []

    def work(job: int) -> None:
        go.wait(10)
        done.append(job)

    newest = Newest(work)
    for job in range(100):
        newest.submit(job)
    assert not newest.wait(0.01)
    go.set()
    assert newest.wait(10)
    assert done[-1] == 99 and len(done) <= 2
    newest.submit(100)
    assert newest.wait(10) and done[-1] == 100
    newest.close()


def test_the_scene_in_3d_is_that_of_the_picture() -> None:
    """The parts of blocks, seen by the sample's camera, cover their amodal masks."""
    of = composed(
        *SMALL,
        "randomize=none",
        "randomize.blocks.count=2",
        "randomize.blocks.place=[uniform,[-0.3,-0.3],[0.3,0.3]]",
        "randomize.blocks.yaw_deg=[uniform,0,360]",
        "randomize.clutter.slots=2",
        "randomize.clutter.count=2",
        "randomize.light.kind=area",
    )
    drawer = Drawer(of.value)
    sample = drawer.draw(Settings.of(of)).sample
    parts = {part.name: part for part in parts_of(sample, drawer.world)}
    assert {"table", "floor"} < set(parts)
    assert sum(name.startswith("clutter/") for name in parts) == int(sample.scene.clutter.present.sum())
    assert sum(name.startswith("lights/") for name in parts) == int(sample.scene.lights.present.sum())
    assert sample.labels
    for label in sample.labels:
        part = parts[f"blocks/{label.slot}"]
        low, high = part.vertices.min(axis=0), part.vertices.max(axis=0)
        assert high - low == pytest.approx(label.size)
        camera_from_part = np.linalg.inv(sample.scene.cameras.world_from_camera[0]) @ part.world_from_part
        assert camera_from_part == pytest.approx(label.camera_from_block)
