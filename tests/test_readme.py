"""What the README tells a newcomer to type is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from builders import ROOT

from simgen.__main__ import COMMANDS
from simgen.arguments import Place, jobs_of, take_apart
from simgen.config import compose_job, values_of
from simgen.dataset.read import open_dataset
from train.__main__ import COMMANDS as TRAIN_COMMANDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [
    line.replace(".venv/bin/", "")
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith(("python -m simgen", "python -m train"))])
def test_every_command_composes(line: str) -> None:
    """Each command's keys and presets exist."""
    _, _, program, *arguments = shlex.split(line, comments=True)
    table, default = (COMMANDS, None) if program == "simgen" else (TRAIN_COMMANDS, "train")
    if arguments and arguments[0] in table:
        name, *arguments = arguments
    else:
        assert default is not None
        name = default
    place = Place(name, table[name].schema, program, table[name].words)
    for settings in jobs_of(take_apart(arguments, place), place, values_of):
        compose_job(place, settings)


def test_every_script_is_there() -> None:
    scripts = {script for line in LINES for script in re.findall(r"scripts/\w+\.py", line)}
    assert scripts and all((ROOT / script).is_file() for script in scripts)


def test_the_first_command_renders_and_previews(tmp_path: Path) -> None:
    """Its lines after the installation, in an empty folder, with fewer samples."""
    from_readme = [
        line for line in LINES if line.startswith(("python -m simgen render num", "python -m simgen preview out"))
    ]
    render, preview = from_readme[:2]
    for line, fewer in ((render, "num=4"), (preview, "num=4")):
        command = [sys.executable, *shlex.split(line)[1:], fewer]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len(open_dataset(tmp_path / "data" / "blocks")) == 4
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_the_map_of_the_code_is_complete() -> None:
    """Every module of simgen/, train/ and scripts/ is on the map, and nothing that is not there."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in ("simgen", "train", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name not in ("__init__.py", "__main__.py"):
                assert f"`{path.name}`" in page, path
    for name in re.findall(r"(\w+\.py)", page):
        assert list(ROOT.rglob(name)), name


def test_ci_runs_the_readme() -> None:
    command = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "readme_command.py"), "test"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-m pytest" in command and "pip install" in command
    assert "scripts/readme_command.py test" in (ROOT / ".ci" / "run").read_text()
