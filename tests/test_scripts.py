"""scripts/demo and scripts/test: which Python they choose, what they install and when, and what they print without one.

The interpreters are shell scripts that answer what scripts/environment.sh asks, so nothing is installed.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from builders import ROOT

PYTHON = """#!/bin/bash
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {lacks_venv} ;;
    *hashlib*) /usr/bin/env -i /bin/sh -c 'read line < pyproject.toml; echo "$line"' ;;
    "-m venv "*) echo "venv {version}" >> log; /bin/mkdir -p "$3/bin"; /bin/cp "$0" "$3/bin/python" ;;
    "-m pip "*) echo "pip ${{@: -1}}" >> log; exit {pip_fails} ;;
    "-m pytest"*) echo "pytest ${{@:3}}" >> log ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the scripts, a pyproject.toml and an empty bin/ for interpreters."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "pyproject.toml").write_text("first\n")
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "basename", "cat", "dirname"):
        path = shutil.which(tool)
        assert path is not None
        (tmp_path / "bin" / tool).symlink_to(path)
    return tmp_path


def add(checkout: Path, name: str, version: str, *, lacks_venv: int = 0, pip_fails: int = 0) -> None:
    path = checkout / "bin" / name
    path.write_text(PYTHON.format(version=version, lacks_venv=lacks_venv, pip_fails=pip_fails))
    path.chmod(0o755)


def call(checkout: Path, *arguments: str, **environment: str) -> tuple[int, list[str], str]:
    """Status, what the interpreters were asked to do since the last call, and standard error of scripts/test."""
    (checkout / "log").unlink(missing_ok=True)
    done = subprocess.run(
        ["/bin/bash", str(checkout / "scripts" / "test"), *arguments],
        env={"PATH": str(checkout / "bin"), "HOME": str(checkout), **environment},
        capture_output=True,
        text=True,
    )
    log = checkout / "log"
    return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stderr


def test_the_newest_python_is_chosen_and_a_second_run_installs_nothing(checkout: Path) -> None:
    for name, version in (("python3.11", "3.11"), ("python3", "3.12"), ("python3.13", ""), ("python", "3.14")):
        add(checkout, name, version)  # python3.13 does not run, like a pyenv shim of an inactive version
    assert call(checkout, "-k", "x y") == (0, ["venv 3.12", "pip .[dev]", "pytest -k x y"], "")
    assert call(checkout) == (0, ["pytest "], "")
    (checkout / "pyproject.toml").write_text("second\n")
    assert call(checkout) == (0, ["pip .[dev]", "pytest "], "")


def test_python_and_venv_choose(checkout: Path) -> None:
    add(checkout, "python3.13", "3.13")
    add(checkout, "python3.11", "3.11")
    assert call(checkout, PYTHON="python3.11", VENV="other")[:2] == (0, ["venv 3.11", "pip .[dev]", "pytest "])
    assert (checkout / "other" / "bin" / "python").exists() and not (checkout / ".venv").exists()
    status, log, stderr = call(checkout, PYTHON="python3.13", VENV="other")
    assert (status, log) == (1, []) and "other holds Python 3.11, but PYTHON=python3.13 is '3.13'" in stderr


def test_pyenvs_versions_are_found_on_no_path(checkout: Path) -> None:
    place = checkout / "pyenv" / "versions" / "3.13.0" / "bin"
    place.mkdir(parents=True)
    add(checkout, "python3", "3.13")
    (checkout / "bin" / "python3").rename(place / "python3")
    assert call(checkout, PYENV_ROOT=str(checkout / "pyenv"))[:2] == (0, ["venv 3.13", "pip .[dev]", "pytest "])


@pytest.mark.parametrize(
    ("pythons", "environment", "message"),
    [
        ({}, {}, "no Python 3.11, 3.12 or 3.13 found"),
        ({"python3": "3.10"}, {}, "no Python 3.11, 3.12 or 3.13 found"),
        ({"python3": "3.10"}, {"PYTHON": "python3"}, "PYTHON=python3 is Python 3.10; expected 3.11, 3.12 or 3.13"),
        ({}, {"PYTHON": "/nowhere/python3"}, "PYTHON=/nowhere/python3 does not run"),
        ({"python3.12": "3.12 lacks venv"}, {}, "apt install python3.12-venv"),
        ({"python3.12": "3.12 lacks venv"}, {"PYTHON": "python3.12"}, "apt install python3.12-venv"),
        ({"python3.12": "3.12"}, {"VENV": "bin"}, "bin exists and is no virtual environment"),
        ({"python3.12": "3.12 pip fails"}, {}, "the installation failed"),
    ],
)
def test_what_is_missing_is_one_line(
    checkout: Path, pythons: dict[str, str], environment: dict[str, str], message: str
) -> None:
    for name, answer in pythons.items():
        version = answer.split()[0]
        add(checkout, name, version, lacks_venv=int("lacks" in answer), pip_fails=int("fails" in answer))
    status, log, stderr = call(checkout, **environment)
    assert status == 1 and stderr.startswith("scripts/test: ") and stderr.count("\n") == 1 and message in stderr
    assert "pytest " not in log


def test_a_failed_installation_is_tried_again(checkout: Path) -> None:
    add(checkout, "python3.12", "3.12", pip_fails=1)
    assert call(checkout)[0] == 1
    add(checkout, "python3.12", "3.12")
    (checkout / "bin" / "python3.12").replace(checkout / ".venv" / "bin" / "python")
    assert call(checkout)[:2] == (0, ["pip .[dev]", "pytest "])


def test_the_demo_takes_no_folder_that_it_did_not_make(checkout: Path) -> None:
    add(checkout, "python3.12", "3.12")
    (checkout / "data" / "demo").mkdir(parents=True)
    (checkout / "data" / "demo" / "mine.png").write_bytes(b"mine")
    done = subprocess.run(
        ["/bin/bash", str(checkout / "scripts" / "demo")],
        env={"PATH": str(checkout / "bin"), "HOME": str(checkout)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "scripts/demo: data/demo exists and is not a demo's output; move it away\n"
    assert (checkout / "data" / "demo" / "mine.png").read_bytes() == b"mine"
