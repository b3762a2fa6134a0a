"""The command line: text as it is typed, one line for each mistake, settings without effect, and exit statuses."""

import dataclasses
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from builders import pipeline_of, recipe_of
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from torch._utils import ExceptionWrapper

import simgen.command.progress
import simgen.dataset.recipe
from simgen.__main__ import COMMANDS as SIMGEN
from simgen.command.arguments import Place, jobs_of, take_apart
from simgen.command.effects import without_effect
from simgen.command.progress import Progress
from simgen.config import compose, compose_job, main, values_of
from simgen.errors import ConfigError, RenderError
from simgen.schema import Render
from train.__main__ import COMMANDS as TRAIN
from train.config import CompareConfig, PredictConfig
from train.runs.trainer import fit

NAMES = [
    "données",
    "Räder Café (2)",
    "日本/写真 1.jpg",
    "WhatsApp Image 2024-01-01 at 10.00.00 (1).jpg",
    "runs/lr=0.001/best.ckpt",
    "o'brien",
    'a "quoted" name.png',
    "a,b",
    "#1",
    "[1].jpg",
    "scan[1]",
    "{x}",
    "a~b",
    "wow!",
    "$HOME",
    "100%",
    r"C:\Users\Müller\neu",
    r"\\server\share\x",
    "1.10",
    "1e3",
    "007",
    "true",
    "null",
    "a:b",
    "a b\tc",
    "-x",
    "a${b",
    r"back\${slash",
    "@file",
    "x|y&z;*?",
]


def place(program: str, command: str) -> Place:
    table = SIMGEN if program == "simgen" else TRAIN
    others = {name: row.schema for name, row in table.items() if name != command}
    return Place(command, table[command].schema, program, table[command].words, others)


def settings(program: str, command: str, *arguments: str) -> list[dict[str, Any]]:
    """Key and value of the settings of each run."""
    where = place(program, command)
    jobs = jobs_of(take_apart(arguments, where), where, values_of)
    return [{setting.key.path: setting.value for setting in job} for job in jobs]


def refusal(program: str, command: str, *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        where = place(program, command)
        for job in jobs_of(take_apart(arguments, where), where, values_of):
            compose_job(where, job)
    assert "\n" not in str(caught.value) and "hydra" not in str(caught.value).lower()
    return str(caught.value)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls a program with commands that only return what they would run with."""

    def call(*arguments: str, run: Any = None) -> tuple[int, list[Any], str]:
        ran: list[Any] = []
        program, *rest = arguments
        table = SIMGEN if program == "simgen" else TRAIN
        stubs = {name: dataclasses.replace(row, run=run or ran.append) for name, row in table.items()}
        monkeypatch.setattr(sys, "argv", [program, *rest])
        status = main(program, stubs, default="train" if program == "train" else None)
        return status, ran, capsys.readouterr().err

    return call


def test_a_setting_may_be_longer_than_a_file_name() -> None:
    """Of a command that takes files as bare words."""
    parts = [f"/shared/machine-{k:03d}/part" for k in range(200)]
    assert settings("simgen", "merge", "out=set", f"parts=[{','.join(parts)}]") == [{"out": "set", "parts": parts}]


def test_text_is_taken_as_it_is_typed() -> None:
    for name in NAMES:
        assert settings("train", "predict", f"out={name}", f"image={name}") == [{"out": name, "image": name}]
        assert settings("simgen", "render", f"out={name}", f"randomize.images={name}")[0]["randomize.images"] == name
        if not set(name) & set("$\\{#'~:") and name not in ("null", "true", "1.10", "1e3", "007"):
            continue  # nothing that YAML or OmegaConf would take for more than text
        config = compose("predict", PredictConfig, [f"out={name}", f"image={name}", "camera=c"])
        assert (config.out, config.image) == (name, name)
    assert compose("evaluate", TRAIN["evaluate"].schema, ["checkpoint=a", "data.root=b", "out=null"]).out is None
    assert settings("train", "predict", 'out="a b"', "image='it is'") == [{"out": "a b", "image": "it is"}]
    home = str(Path.home())
    assert settings("train", "predict", "out=~/x", "image=[~/a,b]") == [
        {"out": f"{home}/x", "image": [f"{home}/a", "b"]}
    ]
    assert compose("compare", CompareConfig, ["first=a", "second=${first}/b"]).second == "a/b"
    assert refusal("simgen", "render", "out=").startswith("out: got nothing; expected a text")


def test_several_pictures() -> None:
    for arguments in (
        ["a.jpg", "b, c.jpg", "runs/d=1/e.jpg"],
        ["image=a.jpg", "b, c.jpg", "runs/d=1/e.jpg"],
        ["image=[a.jpg,'b, c.jpg']", "runs/d=1/e.jpg"],
    ):
        assert settings("train", "predict", *arguments, "zoom=2") == [
            {"image": ["a.jpg", "b, c.jpg", "runs/d=1/e.jpg"], "zoom": "2"}
        ]
    assert settings("train", "predict", "camera=c", "a.jpg") == [{"image": "a.jpg", "camera": "c"}]
    assert settings("train", "train", "data=stream", "data.scenes=[a b.yaml,c.yaml]")[0]["data.scenes"] == [
        "a b.yaml",
        "c.yaml",
    ]
    assert settings("train", "train", "data=stream", "data.scenes=a b.yaml")[0]["data.scenes"] == ["a b.yaml"]
    assert settings("train", "compare", "runs/a=1", "b") == [{"first": "runs/a=1", "second": "b"}]
    assert refusal("train", "compare", "a", "b", "c").startswith("c: unexpected word")


def test_a_sweep_runs_each_combination(call: Any) -> None:
    status, ran, _ = call(
        "simgen",
        "render",
        "-m",
        "randomize=none,color",
        "seed=range(1,3)",
        "out=d ${hydra:runtime.choices.randomize}/${seed}",
    )
    assert status == 0
    assert [config.out for config in ran] == ["d none/1", "d none/2", "d color/1", "d color/2"]
    assert ran[0].randomize != ran[2].randomize
    assert [job["out"] for job in settings("simgen", "render", "-m", "out='a,b',c [1],${x,y}")] == [
        "a,b",
        "c [1]",
        "${x,y}",
    ]
    assert "write -m before it" in refusal("simgen", "render", "seed=1,2")
    assert "write -m before it" in refusal("simgen", "render", "randomize=none,color")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simgen render --num 10", "--num: write num=10"),
        ("simgen render --num=10", "--num: write num=10"),
        ("simgen render -n 10", "-n: write num=10"),
        ("simgen render num 10", "num: write num=10"),
        ("simgen render num = 10", "num: write num=10"),
        ("simgen render num=", "num: got nothing; expected a whole number"),
        ("simgen render --image-format png", "--image-format: write image_format=png"),
        ("train train --data-root x", "--data-root: write data.root=x"),
        ("simgen render --frobnicate", "--frobnicate: no such option; settings are key=value; `python -m simgen "),
        ("simgen render +num=3", "+num=3: leave out the +: write num=3"),
        ("simgen render out=my folder", "a value with spaces in quotes: 'out=my folder'"),
        ("simgen render colour=1", "colour: no such key of `render`; did you mean randomize=color, "),
        ("simgen render randomize.colour=1", "did you mean randomize=color, "),
        ("simgen render randomize.blocks.colour=1", "randomize.blocks.material.color"),
        ("simgen render randomize=colour", "randomize: got colour; did you mean color? expected one of adr, background, "),
        ("simgen render randomize=fog", "randomize: got fog; expected one of adr, background, blocks, camera, clutter, "),
        ("train train model=tobin", "model: got tobin; "),
        ("train train epochs=3", "epochs: no such key of `train`; did you mean trainer.epochs"),
        ("train train accelerator=cpu", "did you mean trainer.accelerator?"),
        ("train train zoom=2", "zoom: no key of `train`, but of evaluate and calibrate and predict"),
        ("train train data=stream data.root=x", "data.root: no such key with data=stream; it is a key of data=bop: add"),
        ("train evaluate root=x checkpoint=c", "did you mean data.root?"),
        ("train evaluate data=bop", "data: got bop; that is a section: set the keys data.*"),
        ("train train data.root=x data.epoch=3", "data.epoch: no such key with data=bop; it is a key of data=stream"),
        ("train train experiment=kuka data.root=x", "experiment=kuka: is for data=stream, because it sets data.scenes, not"),
        ("train train experiment=own", "scene: missing (your scene file, a name of scenes/*.yaml or a path); write scene="),
        ("train train experiment=cuca", "experiment: got cuca; expected one of blocks, blocks_gpu, kuka, none, own"),
        ("train train data=bop", "data.root: missing (folder of the BOP dataset); write data.root=...;"),
        ("simgen render num=many", "num: got many; expected a whole number"),
        ("simgen render num=1.5", "num: got 1.5; expected a whole number"),
        ("simgen render width=wide", "width: got wide; expected a whole number, or null"),
        ("train train data.photographs=perhaps", "data.photographs: got perhaps; expected true or false"),
        ("simgen render seed=2=3", "seed: cannot read '2=3'; expected a number"),
        ("simgen render randomize.blocks.scale=[uniform,0,1", "randomize.blocks.scale: cannot read '[uniform,0,1'"),
        ("train predict image=a camera=c out=${nowhere}", "Interpolation key 'nowhere' not found"),
    ],
)  # fmt: skip
def test_a_mistake_shows_what_was_meant(arguments: str, message: str) -> None:
    program, command, *rest = arguments.split(" ")
    line = refusal(program, command, *rest)
    assert message in line, line


def test_a_dataset_is_chosen_by_its_folder() -> None:
    (job,) = settings("train", "train", "data.root=x")
    assert job == {"data": "bop", "data.root": "x"}


def notes(program: str, command: str, *arguments: str) -> list[str]:
    where = place(program, command)
    (job,) = jobs_of(take_apart(arguments, where), where, values_of)
    composed = compose_job(where, job)
    return without_effect(composed.value, composed.groups, composed.keys, composed.given)


def test_a_setting_without_effect_is_reported(call: Any) -> None:
    status, _, errors = call("simgen", "render", "renderer=tiny", "raycast.supersample=3")
    assert status == 0
    assert errors == "simgen: note: raycast.supersample has no effect with renderer=tiny; it needs renderer=raycast\n"
    assert notes("simgen", "render", "renderer=raycast", "raycast.supersample=3") == []
    still = [
        "randomize.table.color2=[0,0,0]", "randomize.wall.color=[0,0,0]", "randomize.background.color=[0,0,0]",
        "randomize.light.size=1", "randomize.sensor.motion_deg=3", "randomize.distractors.yaw_deg=3",
    ]  # fmt: skip
    asleep = notes("simgen", "render", "randomize=none", "randomize.distractors.count=0", *still)
    assert [line.split(" has no effect with ")[0] for line in asleep] == [
        "randomize.table.color2", "randomize.background.color", "randomize.light.size", "randomize.sensor.motion_deg",
        "randomize.distractors.yaw_deg",
    ]  # fmt: skip
    assert notes("simgen", "render", "randomize=full", *still) == []
    assert notes("simgen", "preview", "vary=camera", "randomize=none")[0].startswith(
        "randomize has no effect with vary"
    )
    assert notes("simgen", "preview", "vary=light", "randomize.camera.file=c.json") == []
    (line,) = notes("train", "train", "data.root=d", "randomize.camera.file=c.json")
    assert line == "randomize.camera.file has no effect with data=bop; it needs data=stream"
    assert notes("train", "train", "scene=x") == ["scene has no effect with experiment=none; it needs experiment=own"]
    assert notes("train", "train", "experiment=own", "scene=x") == []
    assert notes("train", "train", "data.root=d", "randomize.walls=0", "trainer.jitter=0") == [
        "randomize.walls has no effect with data=bop; it needs data=stream"
    ]
    assert notes("train", "train", "trainer.jitter=0")[0].endswith("it needs data=bop")
    assert notes("train", "export", "out=a.safetensors", "width=32") == [
        "width has no effect with out=a.safetensors; it needs out other than *.safetensors"
    ]
    assert notes("train", "export", "out=a.onnx", "width=32") == []
    assert notes("simgen", "render", "randomize.background.roughness=0.5") == [
        "randomize.background.roughness has no effect: the background is drawn as bright as its texture, without lights"
    ]
    assert notes("train", "doctor", "model.average=0", "data.workers=3", "model.lr=1") == [
        "model.average has no effect: doctor tests the last weights",
        "data.workers has no effect: doctor makes its few batches itself",
    ]
    assert notes("train", "train", "model.average=0", "data.workers=3") == []
    assert notes("train", "doctor", "model=tobin_small", "data.root=d", "batch_size=3", "short=2") == [
        "batch_size has no effect with model=tobin_small; it needs model=keypoints",
        "short has no effect with model=tobin_small; it needs model=keypoints",
    ]
    line = "randomize.images: .* has no effect: no texture is image; set one, for example randomize.table.texture=image"
    folder = Path(__file__).parent / "golden"
    with pytest.raises(ConfigError, match=line):
        pipeline_of(f"randomize.images={folder}")
    pipeline_of(f"randomize.images={folder}", "randomize.background.texture=[choice,flat,image]")


def test_a_fixture_that_the_scene_lacks_is_reported(call: Any) -> None:
    """By every command that has the key, from what the scene files state."""
    given = "randomize.fixture.roughness=0.5"
    none = "has no effect: no fixtures in"
    for arguments, where in (
        (("simgen", "render"), "tabletop"),
        (("simgen", "preview", "scene=closeup"), "closeup"),
        (("simgen", "live"), "tabletop"),
        (("train", "train", "data.scenes=[tabletop,closeup]"), "tabletop, closeup"),
        (("train", "doctor", "data.scenes=[closeup]"), "closeup"),
    ):
        status, _, errors = call(*arguments, given)
        assert status == 0
        assert errors == f"{arguments[0]}: note: randomize.fixture.roughness {none} {where}\n"
    for arguments in (
        ("simgen", "render", "scene=kuka_table"),
        ("train", "train", "experiment=kuka"),
        ("train", "train", "data.scenes=[tabletop,kuka_table]"),
    ):
        assert call(*arguments, given)[2] == ""
    assert "it needs data=stream" in call("train", "train", "data.root=d", given)[2]
    assert call("simgen", "render", "scene=nothing", given)[0] == 2


def test_a_key_that_is_given_twice_is_reported(call: Any) -> None:
    status, (config,), errors = call("simgen", "render", "num=2", "seed=1", "num=3", "seed=1")
    assert (status, config.num) == (0, 3)
    assert errors == "simgen: note: num is given 2 times: num=3 counts\n"
    errors = call("train", "predict", "image=a", "image=b", "camera=c", "checkpoint=d")[2]
    assert errors == "train: note: image is given 2 times: image=b counts; several are image=[a,b]\n"


def test_a_file_with_a_leading_dash(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-a.png").touch()
    status, _, errors = call("train", "predict", "-a.png", "camera=c", "checkpoint=d")
    assert (status, errors) == (2, "train: error: -a.png: begins with a dash: write image=-a.png or ./-a.png\n")
    assert call("train", "predict", "image=-a.png", "camera=c", "checkpoint=d")[1][0].image == "-a.png"


def test_help_before_the_command_is_that_of_the_command(
    call: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["simgen", "-h", "render"])
    assert main("simgen", SIMGEN) == 0
    assert capsys.readouterr().out.startswith("usage: python -m simgen render ")


def test_a_kept_configuration_is_that_of_hydra_itself() -> None:
    """What the choices of groups give is composed once and kept; with ${hydra:...} Hydra itself composes it all. No setting
    and no caller changes a later configuration."""
    overrides = [
        "randomize=color",
        "num=7",
        "randomize.blocks.scale=[uniform,0.8,1.2]",
        "randomize.table={texture: wood, color: [1, 0, 0.2]}",
        "randomize.blocks.model=[choice,'a b',true,1e-3]",
    ]
    itself = compose("render", Render, [*overrides, "out=${hydra:runtime.choices.randomize}"])
    assert itself.out == "color" and itself.num == 7 and itself.randomize.table.texture == "wood"
    where = place("simgen", "render")
    (job,) = jobs_of(take_apart([*overrides, "out=color"], where), where, values_of)
    for _ in range(2):
        kept = compose_job(where, job).value
        assert kept == itself
        kept.randomize.blocks.scale.append("mine")
        kept.randomize.light.color.append("mine")
    (job,) = jobs_of(take_apart(["randomize=color"], where), where, values_of)
    plain = compose_job(where, job).value
    assert plain.num != 7 and plain.randomize.table.texture != "wood"


def test_composing_leaves_the_callers_hydra_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("a: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
        assert compose("compare", CompareConfig, ["first=x", "second=y"]).first == "x"
        with pytest.raises(ConfigError):
            compose("compare", CompareConfig)
        assert (GlobalHydra.instance().hydra, HydraConfig.instance().cfg) == before
        assert hydra.compose("theirs").a == 1


def test_exit_statuses(call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(error: BaseException) -> Any:
        def run(config: Any) -> None:
            raise error

        return call("train", "compare", "a", "b", run=run)[::2]

    folder = tmp_path / "o'brien"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    assert call("train", "compare", "a", "b")[:2] == (0, [CompareConfig("a", "b")])
    assert call("train", "compare", "a", "b", run=lambda config: 1)[0] == 1
    assert fails(RenderError("no\n  light")) == (2, "train: error: no light\n")
    assert fails(KeyboardInterrupt()) == (130, "\ntrain: interrupted\n")
    assert fails(PermissionError(13, "Permission denied", "/out/x")) == (2, "train: error: /out/x: Permission denied\n")
    assert fails(OSError(28, "No space left on device")) == (2, "train: error: No space left on device\n")
    with pytest.raises(OSError, match="odd"):
        fails(OSError("odd"))
    with pytest.raises(ZeroDivisionError):
        fails(ZeroDivisionError())
    for arguments in (["simgen"], ["simgen", "rendr"], ["simgen", "--num", "3"], ["train", "overfit"]):
        assert call(*arguments)[0] == 2
    assert "did you mean render?" in call("simgen", "rendr")[2]
    assert call("simgen", "--help")[0] == call("train", "predict", "-h")[0] == 0
    # `| head`: the pipe is closed, and nothing is written about it.
    read, write = os.pipe()
    os.close(read)
    with io.TextIOWrapper(io.FileIO(write, "w")) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        status, _, errors = call("simgen", "render", "--help")
        assert (status, errors) == (1, "")


def test_help_has_a_line_for_each_key(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call_help = place("train", "train")
    main_line = "  trainer.epochs=12 "
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", "model=tobin_small", "--help"])
        assert main("train", TRAIN, default="train") == 0
    text = capsys.readouterr().out
    assert main_line in text and "  model.height=168 " in text and "model.backbone" not in text
    assert "  out=runs/${model.name} " in text and call_help.command in text
    assert "  randomize.light.count " in text


def test_progress_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress("rendered", 100, "images", done=10) as progress:
        for second in range(1, 91):  # one image a second: a tenth of the work every 10 s
            now = float(second)
            progress.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "rendered 20 of 100 images in 10 s, 1 min 20 s left"
    assert len(lines) == 9 and lines[-1] == "rendered 100 of 100 images in 1 min 30 s"
    with Progress("trained", 1000, "steps", ending=False) as progress:
        for _ in range(40):
            now += 1.0
            progress.update()
    assert capsys.readouterr().err.splitlines() == ["trained 30 of 1000 steps in 30 s, 16 min 10 s left"]


def test_a_recipe_needs_no_package_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata as metadata

    there = metadata.version
    missing = {"pybullet", "simgen", "opencv-python-headless"}

    def version(name: str) -> str:
        if name in missing:
            raise metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(simgen.dataset.recipe.importlib.metadata, "version", version)
    versions = recipe_of(pipeline_of("renderer=raycast"))["versions"]
    assert not missing & set(versions) and None not in versions.values()
    assert versions["numpy"] == np.__version__ and "warp-lang" in versions and "torch" not in versions


def test_an_error_in_a_loader_process_is_one_line() -> None:
    class Trainer:
        interrupted = False

        def fit(self, *_: Any, **__: Any) -> None:
            try:
                raise RenderError("raycast draws convex blocks only, and block 'a: b' has hollows")
            except RenderError:
                wrapper = ExceptionWrapper(sys.exc_info(), "in DataLoader worker process 0")
            wrapper.reraise()

    with pytest.raises(RenderError, match=r"^raycast draws convex blocks only, and block 'a: b' has hollows$"):
        fit(Trainer(), None, (None, None), None)  # type: ignore[arg-type]


def test_a_missing_package_is_one_line_but_a_fault_of_ours_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for who forgot to activate the environment."""

    def lacking(name: str) -> Any:
        def run(_: Any) -> None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        return {"render": dataclasses.replace(SIMGEN["render"], run=run)}

    monkeypatch.setattr(sys, "argv", ["simgen", "render"])
    assert main("simgen", lacking("trimesh")) == 2
    message = capsys.readouterr().err
    assert message.startswith("simgen: error: trimesh is not installed for ") and message.count("\n") == 1
    assert "source .venv/bin/activate" in message
    with pytest.raises(ModuleNotFoundError):
        main("simgen", lacking("simgen.gone"))
