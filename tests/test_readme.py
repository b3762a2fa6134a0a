"""The commands in the README and in docs/ exist and work."""

import re
import shlex
from pathlib import Path

import pytest
from builders import ROOT, run_command

from simgen.__main__ import COMMANDS
from simgen.command.arguments import Place, jobs_of, take_apart
from simgen.config import compose_job, main, values_of
from simgen.dataset.read import open_dataset
from train.__main__ import COMMANDS as TRAIN_COMMANDS


def _lines_of(path: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line.replace(".venv/bin/", "") for block in blocks for line in block.splitlines()]


LINES = _lines_of(ROOT / "README.md")
DOCS = [line for path in sorted((ROOT / "docs").glob("*.md")) for line in _lines_of(path)]


@pytest.mark.parametrize(
    "line", [line for line in LINES + DOCS if line.startswith(("python -m simgen", "python -m train"))]
)
def test_every_command_composes(line: str) -> None:
    """Each command's keys and presets exist."""
    _, _, program, *arguments = shlex.split(line, comments=True)
    table, default = (COMMANDS, None) if program == "simgen" else (TRAIN_COMMANDS, "train")
    if arguments and arguments[0] in table:
        name, *arguments = arguments
    else:
        assert default is not None
        name = default
    place = Place(name, table[name].schema, program, table[name].words, swept=table[name].swept)
    for settings in jobs_of(take_apart(arguments, place), place, values_of):
        compose_job(place, settings)


def test_every_script_is_there() -> None:
    scripts = {script for line in LINES + DOCS for script in re.findall(r"scripts/[\w.]+", line)}
    assert scripts and all((ROOT / script).is_file() for script in scripts)


def test_the_first_command_renders_and_previews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines after the installation, in an empty folder, with fewer samples."""
    from_readme = [
        line for line in LINES if line.startswith(("python -m simgen render num", "python -m simgen preview"))
    ]
    monkeypatch.chdir(tmp_path)
    for line in from_readme[:2]:
        done = run_command(lambda: main("simgen", COMMANDS), "simgen", *shlex.split(line)[3:], "num=4")
        assert done.returncode == 0, done.stderr
    assert len(open_dataset(tmp_path / "data" / "demo" / "blocks")) == 4
    assert (tmp_path / "data" / "demo" / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_the_map_of_the_code_is_complete() -> None:
    """Every module of simgen/, train/ and scripts/ is on the map, and nothing that is not there."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in ("simgen", "train", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name not in ("__init__.py", "__main__.py"):
                assert f"`{path.name}`" in page, path
    for name in re.findall(r"(\w+\.py)", page):
        assert list(ROOT.rglob(name)), name


def test_the_two_commands_are_what_ci_runs() -> None:
    assert {"bash scripts/demo", "bash scripts/test"} <= {line.split("#")[0].strip() for line in LINES}
    assert "bash scripts/test" in (ROOT / ".ci" / "run").read_text()
