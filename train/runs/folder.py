"""The folder of a training run: who may write into it, and what it says about how it came to be."""

import json
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simgen.errors import ConfigError
from simgen.files import differences, read_json, write_json
from train.runs.checkpoint import LAST, place_of

CONFIG = "config.json"
METRICS = "metrics.json"
# Leaves that change how fast a run is but not what it computes: a run may go on with others.
FREE = ("out", "data.root", "data.cache_gb", "data.workers")


def origin_of(checkpoint: Path | str, content: Mapping[str, Any]) -> dict[str, Any]:
    """How the keypoint model in the file `checkpoint` with this `content` came to be: what it says itself, or config.json
    beside it; nothing where neither does."""
    beside = place_of(checkpoint).parent / CONFIG
    return dict(content.get("origin") or (read_json(beside) if beside.is_file() else {}))


def claim(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The checkpoint in `folder` from which the run described by `config` goes on, or None where it begins.

    Writes config.json into a new folder. Raises ConfigError, saying what differs, where another run has been there.
    """
    config = json.loads(json.dumps(config))  # as it will be read back: lists for tuples
    if not (folder / CONFIG).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"out: {folder} is there already and is no training run; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config, indent=1)
        return None
    before = read_json(folder / CONFIG)
    changed = [
        f"{key} was {old!r} and is {new!r}"
        for key, old, new in differences(before, config)
        if key not in FREE and not key.startswith("code.")
    ]
    if changed:
        raise ConfigError(
            f"out: {folder} holds a run of another configuration ({'; '.join(changed)}); "
            "name another folder, or repeat that configuration to go on with it"
        )
    return folder / LAST if (folder / LAST).exists() else None


def code_versions() -> dict[str, str | None]:
    """The versions that a run was made with; `commit` is None outside a git checkout, `-dirty` marks local changes."""
    versions: dict[str, str | None] = {}
    for package in ("simgen", "torch", "pytorch-lightning"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None  # run from a checkout that is not installed
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        versions["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        versions["commit"] = None
    return versions
