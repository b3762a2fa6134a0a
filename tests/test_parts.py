"""`render part=K/N` and `merge`: however the work is cut, and whoever is killed, the dataset has the bytes of one run."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from builders import ROOT, Done, run_command, tree
from test_workers import running, until

import simgen.executors
import simgen.merge
import simgen.workers
from simgen.__main__ import COMMANDS
from simgen.catalogue import World
from simgen.config import compose, main
from simgen.dataset.read import open_dataset
from simgen.dataset.write import Sample
from simgen.errors import ConfigError, DatasetError, RenderError
from simgen.pipeline import Pipeline, make_pipeline
from simgen.render import Renderer, make_renderer
from simgen.schema import Merge, Render, Source
from simgen.workers import samples_of

NUM = 64
KEYS = ["renderer=tiny", "randomize=none", "physics=place", "width=64", "height=48", "workers=1", f"num={NUM}"]


@dataclass(frozen=True)
class Remembered(Pipeline):
    """A pipeline that draws each sample once. That sample i is the same in any order is what test_workers.py tests."""

    drawn: dict[int, Sample] = field(default_factory=dict)

    def samples(self, renderer: Renderer, index: Sequence[int]) -> Iterator[Sample]:
        for one in index:
            if one not in self.drawn:
                self.drawn.update(zip([one], super().samples(renderer, [one]), strict=True))
            yield self.drawn[one]


@pytest.fixture(scope="module", autouse=True)
def _one_pipeline() -> Iterator[None]:
    """Parts differ in nothing that a pipeline and a renderer are made of, but for the seed."""
    made: dict[int, Pipeline] = {}
    renderers: dict[int, Renderer] = {}

    def make(source: Source, *, checked: bool = False) -> Pipeline:
        if source.seed not in made:
            made[source.seed] = Remembered(**vars(make_pipeline(source, checked=checked)))
        return made[source.seed]

    def make_kept_renderer(name: str, world: World, *arguments: Any, **options: Any) -> Renderer:
        if id(world) not in renderers:
            renderers[id(world)] = make_renderer(name, world, *arguments, **options)
            renderers[id(world)].close = lambda: None  # type: ignore[method-assign]
        return renderers[id(world)]

    with pytest.MonkeyPatch.context() as patch:
        for module in (simgen.workers, simgen.executors):
            patch.setattr(module, "make_pipeline", make)
            patch.setattr(module, "make_renderer", make_kept_renderer)
        patch.setattr(simgen.workers, "PREFLIGHT", 1)
        yield


def command(*arguments: str) -> Done:
    return run_command(lambda: main("simgen", COMMANDS), "simgen", *arguments)


def render(out: Path, **keys: object) -> str:
    """What the command prints with these keys; to read the configuration takes longer than to render it."""
    argv = ["simgen", "render", *KEYS, f"out={out}", *(f"{key}={value}" for key, value in keys.items())]
    config = replace(compose("render", Render, KEYS), out=str(out), **keys)
    return run_command(lambda: simgen.workers.render(config), *argv).stdout


def merge(out: Path, *parts: Path) -> Done:
    return run_command(lambda: simgen.merge.merge(Merge(str(out), [str(part) for part in parts])), "simgen", "merge")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run without parts."""
    out = tmp_path_factory.mktemp("reference") / "set"
    render(out)
    return tree(out)


@pytest.mark.parametrize(("start", "num"), [(0, 1), (5, 63), (3, 1000)])
def test_parts_hold_each_sample_once(start: int, num: int) -> None:
    for n in (1, 2, 17, 64):
        parts = [samples_of(f"{k}/{n}", start, num) for k in range(1, n + 1)]
        assert [index for part in parts for index in part] == list(range(start, start + num))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", "1.5/4", "1/4 "])
def test_a_part_is_k_of_n(part: str) -> None:
    with pytest.raises(ConfigError, match=r"^part: got .*expected K/N.*part=1/64"):
        samples_of(part, 0, 100)


def test_64_parts_of_which_3_are_killed_then_cut_anew_into_17(reference: dict[str, bytes], tmp_path: Path) -> None:
    """One killed part never began, one was writing its picture, and the third its record when its machine lost its power."""
    out, killed = tmp_path / "set", (11, 42, 64)
    for k in range(1, 65):
        if k not in killed:
            render(out, part=f"{k}/64")
    scene = out / "train" / "000000"
    lost = [samples_of(f"{k}/64", 0, NUM)[0] for k in killed]
    (scene / "rgb" / f".{lost[1]:06d}.jpg.{'0' * 16}.tmp").write_bytes(b"\xff\xd8")
    (scene / "rgb" / f"{lost[2]:06d}.jpg").write_bytes(reference[f"train/000000/rgb/{lost[2]:06d}.jpg"])
    (scene / "sample" / f"{lost[2]:06d}.json").write_bytes(b"")
    before = tree(out)
    done = command("merge", str(out))
    assert done.returncode == 2 and tree(out) == before
    assert f"3 of {NUM} samples are missing: {'; '.join(map(str, lost))}; render them" in done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("python -m simgen render")]
    assert [line.split("part=")[1].split()[0] for line in commands] == [f"{k}/64" for k in killed]
    shutil.copytree(out, tmp_path / "other")
    for k in range(1, 18):
        render(out, part=f"{k}/17")
    merge(out)
    assert tree(out) == reference
    assert "complete" in merge(out).stdout
    pasted = shlex.split(commands[0].replace(str(out), str(tmp_path / "other")))
    assert command(*pasted[3:]).returncode == 0
    for k in killed[1:]:
        render(tmp_path / "other", part=f"{k}/64")
    merge(tmp_path / "other")
    assert tree(tmp_path / "other") == reference


def test_folders_of_several_machines_are_copied_together(reference: dict[str, bytes], tmp_path: Path) -> None:
    """By `merge`, or by any other program; the folders are left as they are, and may overlap."""
    folders = [tmp_path / str(k) for k in range(3)]
    for folder, part in zip(folders, ("1/2", "2/2", "2/3"), strict=True):
        render(folder, part=part)
    before = [tree(folder) for folder in folders]
    for folder in folders:
        shutil.copytree(folder, tmp_path / "copied", dirs_exist_ok=True)
    merge(tmp_path / "copied")
    done = command("merge", f"out={tmp_path / 'merged'}", f"parts=[{','.join(map(str, folders))}]")
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "copied") == tree(tmp_path / "merged") == reference
    assert [tree(folder) for folder in folders] == before
    # Ranges of a user's own are parts, too.
    for folder, start, num in ((tmp_path / "a", 0, 25), (tmp_path / "b", 25, NUM - 25)):
        render(folder, start=start, num=num)
    merge(tmp_path / "own", tmp_path / "b", tmp_path / "a")
    assert tree(tmp_path / "own") == reference


def test_models_are_whole_after_a_crash_and_after_a_copy_that_broke_off(
    reference: dict[str, bytes], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    render(one, part="1/2")
    render(two, part="2/2")
    shutil.copytree(one, tmp_path / "set")
    for name in ("obj_000002.ply", "models_info.json"):
        (tmp_path / "set" / "models" / name).write_bytes(b"")
    render(tmp_path / "set")
    assert tree(tmp_path / "set") == reference
    (one / "models" / "obj_000001.ply").unlink()
    (one / "models" / "models_info.json").write_bytes(b"")
    merge(tmp_path / "merged", one, two)
    assert tree(tmp_path / "merged") == reference
    (two / "models" / "obj_000001.ply").unlink()
    with pytest.raises(
        DatasetError, match=r"models/obj_000001\.ply is missing, or empty, in .*one, .*two; copy it again"
    ):
        merge(tmp_path / "gone", one, two)
    (one / "models" / "obj_000003.ply").write_bytes(reference["models/obj_000003.ply"][:-9])
    with pytest.raises(DatasetError, match=r"models/obj_000003\.ply differs in .*one and .*two"):
        merge(tmp_path / "cut", one, two)
    # Also of folders that were copied together by another program, with all samples, before the merge.
    both = tmp_path / "both"
    for part in ("1/2", "2/2"):
        render(both, part=part)
    for content, message in (
        (b"", r"models_info\.json is missing, or empty, in .*; copy it again, or repeat the command"),
        (b"{", r"models_info\.json is damaged"),
        (b"[{}]", r"models_info\.json is damaged"),
    ):
        (both / "models" / "models_info.json").write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            merge(both)
    (both / "models" / "models_info.json").unlink()
    render(both)  # which writes them again
    assert tree(both) == reference


def test_a_complete_dataset_has_no_parts(reference: dict[str, bytes], tmp_path: Path) -> None:
    """Also after a part of it is rendered once more, or after a merge that was killed at its end."""
    out = tmp_path / "set"
    for part in ("1/2", "2/2"):
        render(out, part=part)
    shutil.copytree(out / "parts", tmp_path / "parts")
    merge(out)
    assert tree(out) == reference
    render(out, part="2/2")
    assert tree(out) == reference
    shutil.copytree(tmp_path / "parts", out / "parts")
    merge(out)
    assert tree(out) == reference


def test_a_worker_that_would_draw_other_pictures_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a scene file was changed while a long run makes new processes."""
    describe = simgen.executors.describe_dataset
    monkeypatch.setattr(simgen.executors, "describe_dataset", lambda *given: {**describe(*given), "seed": 7})
    with pytest.raises(
        RenderError, match=r"a worker would draw other pictures .*: seed is 0 there and 7 here.*restore"
    ):
        render(tmp_path / "set", num=64)


def test_the_manifest_is_streamed_and_sorted(tmp_path: Path) -> None:
    """Over a border of scenes, as json writes it."""
    render(tmp_path / "set", start=998, num=4)
    text = (tmp_path / "set" / "manifest.json").read_text()
    files = json.loads(text)["files"]
    assert text == json.dumps(json.loads(text), indent=1) + "\n"
    assert list(files) == sorted(tree(tmp_path / "set", ["manifest.json"]))
    assert {name.split("/")[1] for name in files if name.startswith("train/")} == {"000000", "000001"}


def test_what_is_no_whole_dataset_is_refused(
    reference: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    render(one, part="1/2")
    render(other, part="2/2", seed=1)
    with pytest.raises(DatasetError, match="seed is 0 there and 1 here"):
        merge(tmp_path / "new", one, other)
    assert not (tmp_path / "new").exists()
    mixed = tmp_path / "mixed"
    for folder in (one, other):
        shutil.copytree(folder, mixed, dirs_exist_ok=True)
    before = tree(mixed)
    for finishing in (lambda: merge(mixed), lambda: render(mixed, seed=1)):
        with pytest.raises(
            DatasetError, match=r"several datasets.* 0 to 31 and that of 32 to 63 differ: seed is 0 there"
        ):
            finishing()
        assert tree(mixed).items() >= before.items()
    # A copy broke off, and another has other bytes of the same length.
    render(one, part="2/2")
    names = ["train/000000/rgb/000003.jpg", "train/000000/mask/000050_000000.png"]
    (one / names[0]).write_bytes(reference[names[0]][:-100])
    (one / names[1]).write_bytes(reference[names[1]][:-1] + b"x")
    for folders in ([tmp_path / "copied", one], [one]):
        with pytest.raises(DatasetError, match="2 of 64 samples are missing: 3; 50; render them"):
            simgen.merge.merge(Merge(str(folders[0]), [str(part) for part in folders[1:]]))
        printed = capsys.readouterr().err
        assert all(f"{name}: truncated or changed" in printed for name in names)
    assert f"rendering 2 of {NUM}" in render(one)
    assert tree(one) == reference
    # The same sample, drawn by machines of two kinds.
    record = one / "train/000000/sample/000007.json"
    record.write_text(json.dumps(json.loads(record.read_text()), indent=1))
    with pytest.raises(DatasetError, match=r"sample 7 is in .* with different bytes"):
        merge(tmp_path / "copied", one)
    with pytest.raises(ConfigError, match="holds no dataset"):
        merge(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="is not a dataset of simgen's"):
        merge(tmp_path)
    with pytest.raises(DatasetError, match=r"has no manifest\.json"):
        merge(tmp_path / "x", tmp_path)


def test_kill_9_of_one_part(tmp_path: Path) -> None:
    """While another part is complete: the killed one alone is rendered further, also in other pieces."""
    out, keys = tmp_path / "set", [*KEYS, "num=48", "seed=3"]
    argv = [sys.executable, "-m", "simgen", "render", *keys, "workers=2", f"out={out}", "part=1/2"]
    run = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: len(list(out.glob("train/*/sample/*.json"))) >= 5)
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: not running(run.pid))
    records = len(list(out.glob("train/*/sample/*.json")))
    assert 5 <= records < 24
    for part in ("2/2", "1/3", "2/3"):
        render(out, num=48, seed=3, part=part)
    merge(out)
    render(tmp_path / "whole", num=48, seed=3)
    assert tree(out) == tree(tmp_path / "whole")
    assert len(open_dataset(out)) == 48
