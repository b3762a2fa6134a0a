"""`python -m simgen explain`: pictures along a factor are equal in all but that factor, for every factor."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from builders import pipeline_of

import simgen.explain.along
import simgen.explain.command
from simgen.__main__ import COMMANDS
from simgen.catalogue import load_world
from simgen.command.effects import without_effect
from simgen.command.grammar import in_grammar
from simgen.command.keys import groups_of, keys_of
from simgen.config import compose, main
from simgen.errors import ConfigError
from simgen.explain.along import given_rows, rows_along
from simgen.explain.command import explain
from simgen.explain.presets import factor_keys, flat_values
from simgen.explain.schema import ExplainConfig
from simgen.explain.stage import staged, with_values
from simgen.explain.strip import changed, draw_strip
from simgen.factors import check_factors, leaf_of, leaves_of
from simgen.files import differences
from simgen.pipeline import make_pipeline
from simgen.render import make_renderer
from simgen.scene import to_json

SMALL = ("width=48", "height=36", "renderer=tiny")
IDLE = [f"background.{name}" for name in ("roughness", "metalness", "specular")]


def explain_config(*settings: str) -> ExplainConfig:
    return compose("explain", ExplainConfig, [*SMALL, *settings])


def call(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(simgen.explain.command, "preset_names", lambda: ["none", "camera", "full"])
    monkeypatch.setattr(sys, "argv", ["simgen", "explain", *arguments])
    return main("simgen", COMMANDS)


def recipe(config: ExplainConfig, factor: str, value: Any) -> Any:
    """The scene of sample 0 with `factor` at `value`, as JSON."""
    scenes = make_pipeline(replace(config, randomize=with_values(config.randomize, {factor: value}))).scenes([0])
    return json.loads(json.dumps(to_json(scenes)))


def test_every_factor_has_values_and_a_scene_in_which_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conditions in the schema are met, and each value is a constant of the factor, so that nothing else changes."""
    monkeypatch.setattr(simgen.explain.along, "preset_names", lambda: ["none", "tobin2017"])
    config = explain_config()
    tabletop, keys = load_world("tabletop"), keys_of(ExplainConfig, groups_of("explain"))
    values = flat_values(config.randomize)
    factors = [path.replace("/", ".") for path in leaves_of(config.randomize, tabletop)]
    assert len(factors) > 150
    for factor in factors:
        stage = staged(factor, "tabletop", config.randomize, tabletop)
        scene = replace(config, scene=stage.scene, randomize=stage.randomize)
        groups = {"randomize": "none"}
        why = keys[f"randomize.{factor}"].idle
        reported = [f"randomize.{factor} has no effect: {why}"] if factor in IDLE else []
        assert without_effect(scene, groups, keys, (f"randomize.{factor}",)) == reported, factor
        assert factor not in stage.changed
        if stage.scene != "tabletop":  # where blocks and the camera may be is known to that scene alone
            assert stage.scene == "kuka_table" and factor.startswith("fixture.")
            assert not [key for key in stage.changed if key.startswith("camera.") or key.endswith("place")]
        rows = rows_along(factor, values[factor], stage.world, config.randomize, 5)
        if factor.endswith(("count", "kind", "texture")):  # what depends on other factors
            settings = with_values(stage.randomize, {factor: rows[-1].values[-1]})
            check_factors(settings, leaves_of(settings, stage.world))
        for row in rows:
            assert len({json.dumps(value) for value in row.values}) == len(row.values) == len(row.captions) > 1, factor
            for value in row.values:
                low, high = leaf_of(value, f"randomize.{factor}", stage.world).support()
                assert np.array_equal(low, high), factor


def test_a_folder_of_ones_own_is_one_of_the_words(tmp_path: Path) -> None:
    """Which the other pictures of the strip do not use."""
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "red.png"), np.full((64, 64, 3), (20, 20, 220), np.uint8))
    (tmp_path / "meshes").mkdir()
    trimesh.creation.icosphere(subdivisions=2, radius=0.05).export(tmp_path / "meshes" / "ball.stl")
    for factor, word, key in (
        ("table.texture", "image", f"images={tmp_path / 'photos'}"),
        ("clutter.kind", "mesh", f"clutter.meshes={tmp_path / 'meshes'}"),
    ):
        config = explain_config("physics=place", f"randomize.{key}", "index=0")
        stage = staged(factor, "tabletop", config.randomize, load_world("tabletop"))
        rows = rows_along(factor, flat_values(config.randomize)[factor], stage.world, config.randomize, 5)
        values = [value for row in rows for value in row.values]
        assert word in values and len(values) > 3
        pictures = dict(
            zip(values, (one for row in draw_strip(config, factor, stage, rows).pictures for one in row), strict=True)
        )
        assert all(changed(pictures[word], other) > 0 for value, other in pictures.items() if value != word)


@pytest.mark.parametrize(
    ("factor", "fields"),
    [
        ("sensor.gamma", {"sensor.gamma"}),
        ("camera.distance", {"cameras.world_from_camera"}),
        ("blocks.material.color", {"blocks.material.color"}),
        ("light.kind", {"lights.kind"}),
        ("table.texture", {"surfaces.material.texture"}),
    ],
)
def test_only_the_factor_changes(factor: str, fields: set[str]) -> None:
    config = explain_config()
    stage = staged(factor, "tabletop", config.randomize, load_world("tabletop"))
    rows = rows_along(factor, flat_values(config.randomize)[factor], stage.world, config.randomize, 5)
    first, *_, last = rows[0].values
    scene = replace(config, randomize=stage.randomize)
    found = {key for key, _, _ in differences(recipe(scene, factor, first), recipe(scene, factor, last))}
    assert found == fields


@pytest.mark.parametrize("renderer", ["raycast", "tiny"])
def test_factors_that_are_said_to_be_without_effect_have_none(renderer: str) -> None:
    """Also in what metal mirrors of the background."""

    def drawn(*settings: str) -> bytes:
        setup = [
            "walls=0",
            "table.metalness=1",
            "table.roughness=0.1",
            "ambient.reflection=1",
            "background.texture=collage",
        ]
        keys = [f"randomize.{one}" for one in (*setup, "camera.elevation_deg=12", *settings)]
        pipeline = pipeline_of(*SMALL, "randomize=none", *keys, f"renderer={renderer}")
        return next(iter(pipeline.samples(make_renderer(renderer, pipeline.world), [0]))).rgb.tobytes()

    usual = drawn()
    assert [drawn(f"{factor}=0.9") == usual for factor in IDLE] == [True] * 3
    assert drawn("background.pattern=5") != usual


def test_the_pictures_are_those_of_render_with_the_factor_set() -> None:
    config = explain_config("physics=place", "seed=4", "values=[-1,0,1]", "index=3")
    stage = staged("sensor.exposure", "tabletop", config.randomize, load_world("tabletop"))
    rows = given_rows("sensor.exposure", config.values, load_world("tabletop"))
    strip = draw_strip(config, "sensor.exposure", stage, rows)
    set_by_stage = [f"randomize.{key}={in_grammar(value)}" for key, value in stage.changed.items()]
    pipeline = pipeline_of(*SMALL, "randomize=none", *set_by_stage, "seed=4", "randomize.sensor.exposure=1")
    (sample,) = pipeline.samples(make_renderer("tiny", pipeline.world), [3])
    assert np.array_equal(sample.rgb, strip.pictures[0][2])
    assert strip.index == 3 and strip.changed == changed(strip.pictures[0][0], strip.pictures[0][2]) > 0.5
    means = [picture.mean() for picture in strip.pictures[0]]
    assert means == sorted(means)


def test_the_text_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "strip.png"
    settings = [*SMALL, f"out={out}", "num=3"]
    assert call(["randomize.camera.distance", *settings], monkeypatch) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("camera.distance: distance of the camera from `aim` unit m allowed a number, at least 1e-06")
    assert "nominal = 0.9: none varied = [uniform,0.8,1.15]: camera, full drawn by raycast, tiny" in text
    assert f"{out}: 3 pictures of sample 0 of seed 0, equal in all but camera.distance" in text
    sheet = cv2.imread(str(out))
    assert sheet.shape == (28 + 36 + 23, 3 * (48 + 3), 3)
    captions = [sheet[-21:-3, 51 * k : 51 * k + 48] for k in range(3)]
    assert all(caption.min() < 60 and caption.max() == 255 for caption in captions)  # dark on white
    with pytest.raises(ConfigError, match=r"randomize\.sensor\.jpeg_quality: got 101"):
        given_rows("sensor.jpeg_quality", [10, 101], load_world("tabletop"))
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), sheet)
    before = photo.read_bytes()
    with pytest.raises(ConfigError, match=r"photo\.png exists, and explain did not draw it"):
        explain(explain_config("factor=camera.distance", f"out={photo}"))
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("factor", "values", "taken", "captions"),
    [
        ("camera.fov_deg", [30, ["uniform", 60, 60]], (30, 60), ("30", "60")),
        ("camera.distance", ["nominal", 1.25], (0.9, 1.25), ("0.9", "1.25")),
        ("table.color", [["hsv", 0, 1, 1], [0, 0.5, 1]], ([1, 0, 0], [0, 0.5, 1]), ("1 0 0", "0 0.5 1")),
        ("table.texture", [["choice", "wood"], "checker"], ("wood", "checker"), ("wood", "checker")),
        ("blocks.model", ["cube", ["choice", "cone", "cone"]], ("cube", "cone"), ("cube", "cone")),
    ],
)
def test_a_value_of_ones_own_is_any_that_has_one_value(
    factor: str, values: list[Any], taken: tuple[Any, ...], captions: tuple[str, ...]
) -> None:
    (row,) = given_rows(factor, values, load_world("tabletop"))
    assert (row.values, row.captions) == (taken, captions)
    config = explain_config("index=0")
    stage = staged(factor, "tabletop", config.randomize, load_world("tabletop"))
    assert len(draw_strip(config, factor, stage, [row]).pictures[0]) == len(values)


@pytest.mark.parametrize(
    ("factor", "values", "message"),
    [
        (
            "camera.fov_deg",
            [["uniform", 3, 60]],
            "got [uniform,3,60], which is no single value; expected a number, 1 to 1",
        ),
        ("clutter.kind", [["choice", "mug", "ball"]], "which is no single value; expected polytope, ball, "),
        ("blocks.model", ["any", "cube"], "got any, which is no single value; expected the block set's names for"),
        ("camera.distance", ["nominal", "varied"], "got varied, which is no single value; expected a number, at least"),
        (
            "light.direction",
            [["cap", [0, 0, 1], 20]],
            "got [cap,[0,0,1],20], which is no single value; expected 3 numbers",
        ),
    ],
)
def test_a_distribution_is_no_value_of_a_picture(factor: str, values: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given_rows(factor, values, load_world("tabletop"))
    assert str(caught.value).startswith("values: got ") and message in str(caught.value)


def test_a_setting_without_effect_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a table all but the factor; of pictures their number, where the values are given or are all that there are."""
    monkeypatch.chdir(tmp_path)
    table, none = "a table is printed, without pictures", "no pictures are drawn of what is no factor"
    every = "light.kind has these values and no others"
    for arguments, notes in (
        ("ambient out=nope.txt num=99 index=-4 seed=7", dict.fromkeys(("out", "num", "index", "seed"), table)),
        ("randomize=full renderer=tiny", dict.fromkeys(("randomize", "renderer"), table)),
        ("clutter.slots scene=tabletop num=3", {"num": none}),
        ("light.kind num=5 index=0", {"num": every}),
    ):
        assert call([*arguments.split(), *SMALL[:2]], monkeypatch) == 0
        size = dict.fromkeys(("width", "height"), notes.get("num", table))
        expected = notes if "light.kind" in arguments else {**notes, **size}
        lines = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
        assert lines == [f"simgen: note: {key} has no effect: {why}" for key, why in expected.items()]
    assert call(["light.kind", "values=[point,area]", "num=5", "index=0", *SMALL], monkeypatch) == 0
    line = "num has no effect with values=['point', 'area']; it needs values=null"
    assert f"simgen: note: {line}" in capsys.readouterr().err.splitlines()
    box = "randomize.fixture.roughness"
    assert call(["sensor.gamma", "num=3", "index=0", f"{box}=1", *SMALL], monkeypatch) == 0
    errors = capsys.readouterr().err
    assert "num has no effect" not in errors
    assert f"simgen: note: {box} has no effect: no fixtures in tabletop\n" in errors
    assert call(["fixture.color", "index=0", f"{box}=1", *SMALL], monkeypatch) == 0  # in another scene
    assert "note: randomize" not in capsys.readouterr().err


def test_an_unknown_factor() -> None:
    for factor, near in (
        ("camera.distnce", "did you mean camera.distance"),
        ("randomize.gamma", "did you mean sensor.gamma?"),
        ("xyz", "`python -m simgen explain` lists all"),
    ):
        with pytest.raises(ConfigError) as caught:
            explain(replace(explain_config(), factor=factor))
        name = factor.removeprefix("randomize.")
        assert str(caught.value).startswith(f"factor: no factor {name}; ") and near in str(caught.value)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a factor a line for each; a group lists its own; what is no factor has no pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(simgen.explain.command, "preset_names", lambda: ["none", "full"])

    def lines(factor: str | None) -> list[str]:
        explain(replace(explain_config(), factor=factor))
        return capsys.readouterr().out.splitlines()

    names = [path for path, key in factor_keys().items() if key.kind != "section"]
    assert [line.split()[0] for line in lines(None)[1:-2]] == names
    assert [line.split()[0] for line in lines("sensor")[1:-2]] == [name for name in names if name.startswith("sensor.")]
    assert "no pictures are drawn" in lines("clutter.slots")[-1] and not list(tmp_path.iterdir())
