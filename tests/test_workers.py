"""`python -m simgen render`: the number of workers and kills do not change the bytes; bad input gives a one-line error."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trimesh
from builders import ROOT, Done, run_command, tree

from simgen.__main__ import COMMANDS
from simgen.config import main
from simgen.dataset.read import open_dataset
from simgen.files import sha256_of
from simgen.pipeline import CHUNK

SIZE = ["width=96", "height=72"]
LIGHT = ["randomize=light", *SIZE]  # for what holds whatever is drawn: its samples take a tenth of the time

# Every worker takes a tenth of a second longer for a sample, so that a run has not ended before it is killed.
SLOWLY = """
import sys, time
if "resource_tracker" not in str(sys.orig_argv):
    import simgen.dataset.write
    encode = simgen.dataset.write.encode
    simgen.dataset.write.encode = lambda *arguments: (time.sleep(0.1), encode(*arguments))[1]
"""


def simgen(*arguments: str) -> Done:
    """The command in this process, which renders what its workers would (conftest.py)."""
    return run_command(lambda: main("simgen", COMMANDS), "simgen", *arguments)


def processes(*arguments: str) -> subprocess.CompletedProcess:
    """The command as a user calls it, in processes of its own."""
    command = [sys.executable, "-m", "simgen", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 20 samples, one after the other."""
    out = tmp_path_factory.mktemp("reference") / "set"
    done = simgen("render", "num=20", "workers=1", "seed=0", f"out={out}", *SIZE)
    assert done.returncode == 0, done.stderr
    assert "image/s" in done.stderr or "image" in done.stderr
    return out


def test_workers_do_not_matter(reference: Path, tmp_path: Path) -> None:
    done = processes("render", "num=20", "workers=2", "seed=0", f"out={tmp_path / 'set'}", *SIZE)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "set") == tree(reference)
    recipe = open_dataset(tmp_path / "set").manifest["recipe"]
    assert recipe["raycast"] == {"device": "cpu", "supersample": 1, "light_samples": 4}
    assert recipe["ignored"] == []


def test_the_renderer_changes_no_factor_and_no_pose(reference: Path, tmp_path: Path) -> None:
    """A sample's recipe, poses and keypoints are the same to the bit whoever draws it."""
    done = simgen("render", "renderer=tiny", "num=5", "seed=0", f"out={tmp_path / 'set'}", "workers=1", *SIZE)
    assert done.returncode == 0, done.stderr
    records = sorted((tmp_path / "set").glob("train/*/sample/*.json"))
    assert len(records) == 5
    for path in records:
        tiny = json.loads(path.read_text())
        cast = json.loads((reference / path.relative_to(tmp_path / "set")).read_text())
        assert cast["recipe"] == tiny["recipe"]
        assert cast["gt"] == tiny["gt"]
        assert [k["keypoints_px"] for k in cast["keypoints"]] == [k["keypoints_px"] for k in tiny["keypoints"]]
        assert [k["bbox_obj"] for k in cast["gt_info"]] == [k["bbox_obj"] for k in tiny["gt_info"]]


def test_a_black_sample_stops_the_run_and_leaves_the_others(tmp_path: Path) -> None:
    """Where now and then there is no light at all: such a sample is named and not written, those before it in its chunk are
    kept."""
    dark = ["randomize.light.count=[integer,0,4]", "randomize.ambient.intensity=0"]
    done = simgen("render", f"num={CHUNK}", "workers=1", f"out={tmp_path / 'set'}", *LIGHT, *dark)
    assert done.returncode == 2
    number = int(done.stderr.split("sample ")[1].split()[0])
    assert 0 < number < CHUNK
    written = {int(path.stem) for path in (tmp_path / "set").glob("train/*/sample/*.json")}
    assert set(range(number)) <= written
    assert number not in written


def test_an_index_range_gives_the_same_samples(reference: Path, tmp_path: Path) -> None:
    done = simgen("render", "num=3", "start=14", "workers=1", "seed=0", f"out={tmp_path / 'set'}", *SIZE)
    assert done.returncode == 0, done.stderr
    part, whole = tree(tmp_path / "set"), tree(reference)
    names = [name for name in part if "/000000/" in name and not name.rsplit("/", 1)[1].startswith("scene_")]
    assert len(names) > 15
    assert all(part[name] == whole[name] for name in names)


@pytest.fixture(scope="module", params=["tiny", "raycast"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A renderer, and its uninterrupted run of 40 samples in which only the light varies."""
    out = tmp_path_factory.mktemp("whole") / "set"
    assert simgen("render", "num=40", f"renderer={request.param}", f"out={out}", *LIGHT).returncode == 0
    return request.param, out


def test_killed_anywhere_and_started_again(whole: tuple[str, Path], tmp_path: Path) -> None:
    """SIGKILL to the parent once some samples are there: the workers end too, and leave no temporary files, and the same
    command completes the dataset, to the same bytes as `whole`."""
    renderer, expected = whole
    out = tmp_path / "set"
    enough = 1 if renderer == "tiny" else 17
    arguments = ["render", "num=40", "workers=2", f"renderer={renderer}", f"out={out}", *LIGHT]
    command = [sys.executable, "-m", "simgen", *arguments]
    (tmp_path / "sitecustomize.py").write_text(SLOWLY)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    until(lambda: len(list(out.glob("train/*/sample/*.json"))) >= enough)
    workers = running(run.pid)
    assert any(temporary_folders(pid) for pid in workers) == (renderer == "tiny")
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: not running(run.pid))
    assert not any(temporary_folders(pid) for pid in workers)
    records = len(list(out.glob("train/*/sample/*.json")))
    assert enough <= records < 40
    done = simgen(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"rendering {40 - records} of 40" in done.stdout
    assert tree(out) == tree(expected)


def temporary_folders(pid: int) -> list[Path]:
    """Where the renderers of a process keep their meshes and textures while they work."""
    return [path for place in ("/dev/shm", tempfile.gettempdir()) for path in Path(place).glob(f"simgen-{pid}-*")]


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def running(session: int) -> list[int]:
    """The processes of the session that still run (zombies do not)."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            pids.append(int(stat.parent.name))
    return pids


def test_interrupted_by_hand(tmp_path: Path) -> None:
    """Ctrl-C, which reaches the whole process group: status 130, no traceback, and what is there can be finished."""
    out = tmp_path / "set"
    command = [sys.executable, "-m", "simgen", "render", "num=400", "workers=2", f"out={out}", *LIGHT]
    run = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, a shell has them ignore Ctrl-C, and what they start with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: len(list(out.glob("train/*/sample/*.json"))) >= 1)
    os.killpg(run.pid, signal.SIGINT)
    _, stderr = run.communicate(timeout=600)
    assert run.returncode == 130
    assert "Traceback" not in stderr
    assert "the same command resumes it" in stderr
    assert not list(out.rglob("*.tmp"))


def test_more_samples_can_be_added(reference: Path, tmp_path: Path) -> None:
    """A longer run over a finished dataset renders what is new, and ends in the bytes of a run of that length."""
    out = tmp_path / "set"
    assert simgen("render", "num=17", "workers=1", "seed=0", f"out={out}", *SIZE).returncode == 0
    done = simgen("render", "num=20", "workers=1", "seed=0", f"out={out}", *SIZE)
    assert "rendering 3 of 20" in done.stdout
    assert tree(out) == tree(reference)
    again = simgen("render", "num=20", "workers=1", "seed=0", f"out={out}", *SIZE)
    assert "rendering 0 of 20" in again.stdout
    assert tree(out) == tree(reference)


def test_settled_scenes_do_not_depend_on_workers(tmp_path: Path) -> None:
    place = "randomize.blocks.place=[normal,[0,0],[0.04,0.04]]"
    arguments = ["num=18", "physics=settle", "randomize=blocks", place, *SIZE]
    for workers, command in ((1, simgen), (2, processes)):
        assert command("render", *arguments, f"workers={workers}", f"out={tmp_path / str(workers)}").returncode == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert len(open_dataset(tmp_path / "1")) == 18


BAD = {
    "scene=moon": ["scene", "moon", "tabletop"],
    "scene=/nowhere/x.yaml": ["scene", "/nowhere/x.yaml", "no such file"],
    "randomize=everything": ["randomize", "everything", "full"],
    "renderer=blender": ["renderer", "blender", "raycast, tiny"],
    "physics=magic": ["physics", "magic", "settle"],
    "writer=coco": ["writer", "coco", "bop"],
    "image_format=gif": ["image_format", "gif", "jpg, png"],
    "randomize.blocks.model=teapot": ["randomize.blocks.model", "teapot", "cube"],
    "randomize.blocks.colour=1": ["colour", "randomize.blocks"],
    "colour=1": ["colour"],
    "randomize.blocks.scale=[uniform,2,1]": ["randomize.blocks.scale", "[uniform, low, high]", "swap"],
    "randomize.blocks.scale=nan": ["randomize.blocks.scale", "nan", "finite"],
    "randomize.blocks.scale=-1": ["randomize.blocks.scale", "-1"],
    "randomize.blocks.scale=[uniform,.nan,1]": ["randomize.blocks.scale", "nan"],
    "randomize.ambient.intensity=[unifrom,0,1]": ["randomize.ambient.intensity", "unifrom", "uniform"],
    "randomize.light.slots=9": ["randomize.light.slots", "9", "0 to 8"],
    "randomize.light.count=5": ["randomize.light.count", "slots=4", "raise the slots"],
    "randomize.light.kind=laser": ["randomize.light.kind", "laser", "directional, point, area"],
    "randomize.light.count=0 randomize.ambient.intensity=0": [
        "sample 0 of seed 0 is black",
        "randomize.light.count",
        "randomize.ambient.intensity",
    ],
    "renderer=raycast randomize.light.count=0 randomize.ambient.intensity=0 randomize.walls=0": [
        "sample 0 of seed 0 is black",
        "randomize.light.count",
    ],
    "renderer=raycast raycast.device=cuda:99": ["raycast.device", "cuda:99", "raycast.device=cpu"],
    "renderer=raycast raycast.device=gpu": ["raycast.device", "gpu", "cpu, cuda or cuda:K"],
    "renderer=raycast raycast.light_samples=5": ["raycast.light_samples", "square"],
    "raycast.colour=1": ["raycast", "colour"],
    "randomize.blocks.count=1.5": ["randomize.blocks.count", "whole"],
    "randomize.blocks.count=9": ["randomize.blocks.count", "slots"],
    "num=-1": ["num", "-1", "at least 1"],
    "start=-1": ["start", "-1", "at least 0"],
    f"start={10**19}": ["start", str(10**19), "at most 2^63"],
    f"randomize.sensor.gamma={10**309}": ["randomize.sensor.gamma", "more than 308 digits"],
    "num=many": ["num", "many"],
    "seed=-1": ["seed", "-1"],
    "workers=0": ["workers", "0"],
    "width=-5": ["width", "-5"],
    "randomize.blocks.place=[uniform,[0,0],[0.01,0.01]]": [
        "randomize.blocks.place",
        "sample",
        "blocks[1]",
        "no free place",
    ],
    "randomize.camera.elevation_deg=-2": ["randomize.camera", "inside", "table"],
    "randomize.camera.distance=40": ["randomize.camera", "wall"],
    "randomize.images=/nowhere": ["randomize.images", "/nowhere", "no such folder"],
    "randomize.table.texture=image": ["randomize.table.texture", "randomize.images"],
}


@pytest.mark.parametrize("override", BAD)
def test_bad_input_ends_in_one_line(override: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extra = ["randomize.camera.distance=0.5", "randomize.camera.aim=[0,0,-0.02]"] if "elevation" in override else []
    number = [] if override.startswith("num=") else ["num=20"]
    done = simgen("render", *number, f"out={out}", *extra, *override.split())
    assert done.returncode == 2
    stderr = done.stderr
    assert stderr.startswith("simgen: error: ") and stderr.count("\n") == 1, stderr
    for word in BAD[override]:
        assert word in stderr, f"{word!r} not in {stderr!r}"
    assert not out.exists()


def test_bad_image_folders(tmp_path: Path) -> None:
    for name, content in (("empty", None), ("corrupt", b"\xff\xd8 this is no picture")):
        folder = tmp_path / name
        folder.mkdir()
        if content:
            (folder / "bad.jpg").write_bytes(content)
        done = simgen("render", f"out={tmp_path / 'out'}", f"randomize.images={folder}")
        assert done.returncode == 2
        stderr = done.stderr
        assert stderr.count("\n") == 1 and "randomize.images" in stderr and str(folder) in stderr
        assert content is None or "bad.jpg" in stderr
    assert not (tmp_path / "out").exists()


def test_an_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/simgen")):
        done = simgen("render", "num=1", f"out={out}")
        assert done.returncode == 2, done.stderr
        *notices, last = done.stderr.splitlines()
        assert str(out) in last and all("cannot vary" in line for line in notices)


def test_commands_and_help() -> None:
    """As a user calls it: the status reaches the shell."""
    wrong = processes("rendr")
    assert wrong.returncode == 2
    assert "unknown command 'rendr': did you mean render? expected one of render, merge, preview" in wrong.stderr
    table = processes("--help")
    assert table.returncode == 0 and "render" in table.stdout and "preview" in table.stdout
    assert processes("render", "--help").returncode == 0


@pytest.mark.parametrize("name", ["müll.yaml", "mine (1).yaml", "7.yaml", "full.yaml"])
def test_a_preset_may_have_any_file_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("defaults: [none]\nsensor: {gamma: 1.25}\n")
    done = simgen("render", "num=1", f"randomize={tmp_path / name}", f"out={tmp_path / 'set'}", *SIZE)
    assert done.returncode == 0, done.stderr
    assert open_dataset(tmp_path / "set").manifest["recipe"]["randomize"]["sensor"]["gamma"] == 1.25


def test_preview_names_its_own_keys(tmp_path: Path) -> None:
    for setting, words in (
        ("vary=cluter", "vary: got cluter"),
        ("start=-1", "start: got -1"),
        (f"start={2**63}", "2^63"),
    ):
        done = simgen("preview", setting, "num=1", f"out={tmp_path / 'a.png'}", *SIZE)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_changed_mesh_of_a_block_is_another_dataset(tmp_path: Path) -> None:
    """Not the same with other shapes in its later samples."""
    shutil.copy(ROOT / "scenes" / "tabletop.yaml", tmp_path / "mine.yaml")
    text = (
        (tmp_path / "mine.yaml")
        .read_text()
        .replace("blocks/tobin.yaml", "set.yaml")
        .replace("model: cube", "model: gear")
    )
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "set.yaml").write_text("gear: {mesh: gear.stl}\n")
    keys = [f"scene={tmp_path / 'mine.yaml'}", "randomize=none", f"out={tmp_path / 'set'}", *SIZE]
    trimesh.creation.box((0.04, 0.05, 0.06)).export(tmp_path / "gear.stl")
    assert simgen("render", "num=1", *keys).returncode == 0
    recipe = open_dataset(tmp_path / "set").manifest["recipe"]
    assert recipe["world"]["block_meshes"] == {"gear": sha256_of(tmp_path / "gear.stl")}
    trimesh.creation.box((0.04, 0.05, 0.07)).export(tmp_path / "gear.stl")
    done = simgen("render", "num=2", *keys)
    assert done.returncode == 2 and "world.block_meshes.gear" in done.stderr


def test_a_sweep_makes_one_dataset_for_each_preset(tmp_path: Path) -> None:
    out = "out=" + str(tmp_path) + "/${hydra:runtime.choices.randomize}"
    before = set(ROOT.iterdir())
    done = simgen("render", "-m", "randomize=none,light", "num=2", "workers=1", out, *SIZE)
    assert done.returncode == 0, done.stderr
    assert set(ROOT.iterdir()) == before  # Hydra would leave a multirun.yaml
    assert sorted(path.name for path in tmp_path.iterdir()) == ["light", "none"]
    recipes = [open_dataset(tmp_path / name).manifest["recipe"]["randomize"] for name in ("none", "light")]
    assert [recipe["light"]["count"] for recipe in recipes] == [1, ["integer", 1, 4]]


def test_tiny_reports_once_what_it_cannot_vary(tmp_path: Path) -> None:
    done = simgen("render", "num=2", "renderer=tiny", "workers=1", f"out={tmp_path / 'set'}", *SIZE)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot vary light.count, light.kind") == 1
    recipe = open_dataset(tmp_path / "set").manifest["recipe"]
    assert "light.size" in recipe["ignored"]
    assert recipe["renderer"] == "tiny"
