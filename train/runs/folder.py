"""The folder of a training run: checks that a run may write into it, and records how it was made."""

import fcntl
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from simgen.errors import ConfigError, SimgenError
from simgen.files import differences, locked, read_json, write_json
from train.runs.checkpoint import BEST, LAST, place_of, progress_of, read_checkpoint, same_weights

CONFIG = "config.json"
METRICS = "metrics.json"
_LOCK = ".lock"
EPOCHS = "trainer.epochs"
# Keys that change only the speed of a run: a run may be resumed with other values.
FREE = ("out", "data.root", "data.cache_gb", "data.workers", "trainer.save_steps")


def origin_of(checkpoint: Path | str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The training configuration of the keypoint model in the file `checkpoint` with the given `content`: its own record, or
    config.json beside it; empty if there is neither."""
    beside = place_of(checkpoint).parent / CONFIG
    return dict(content.get("origin") or (read_json(beside) if beside.is_file() else {}))


def check_same_model(out: Path, checkpoint: Path | str) -> None:
    """Raises ConfigError if a file `out` exists that a copy of the model in `checkpoint` may not replace: what is no
    checkpoint of simgen's or has other weights, and the last or the best checkpoint of another run than its own."""
    if not out.exists():
        return
    try:
        there = read_checkpoint(out)
    except SimgenError as error:
        raise ConfigError(f"out: {out} exists and is no checkpoint of simgen's; name another file") from error
    own = out.resolve() == place_of(checkpoint).resolve()
    if not own and out.name in (LAST, BEST) and (out.parent / CONFIG).is_file():
        raise ConfigError(f"out: {out} is of the run in {out.parent}, and would be overwritten; name another file")
    if not own and not same_weights(there, read_checkpoint(checkpoint)):
        raise ConfigError(f"out: {out} exists and is another model than {checkpoint}; name another file")


def claim(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The checkpoint in `folder` from which the run described by `config` resumes, or None for a new run.

    Writes config.json into a new folder. `trainer.epochs` may differ from the earlier value, but must be at least the number
    of finished epochs; config.json then has the new value and, under `continued`, the earlier one. Raises ConfigError, which
    names the differing keys, if the folder holds another run.
    """
    config = json.loads(json.dumps(config))  # as read back from JSON: lists for tuples
    if not (folder / CONFIG).exists():
        # Processes of one run on several machines claim it at the same time; one may just be writing CONFIG.
        others = folder.exists() and (
            not folder.is_dir()
            or any(not path.name.startswith((CONFIG, f".{CONFIG}.", _LOCK)) for path in folder.iterdir())
        )
        if others and not (folder / CONFIG).exists():
            raise ConfigError(f"out: {folder} exists and is not a training run; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config, indent=1)
        return None
    before = read_json(folder / CONFIG)
    before.get("trainer", {}).setdefault("nodes", 1)  # older versions trained on one machine
    # What older versions did not record.
    before.setdefault("content", config.get("content"))
    if "dataset" in before and "labels_sha256" in config.get("dataset", {}):
        before["dataset"].setdefault("labels_sha256", config["dataset"]["labels_sha256"])
    changed = [
        f"{key} was {old!r} and is {new!r}"
        for key, old, new in differences(before, config)
        if key not in (*FREE, EPOCHS, "continued") and not key.startswith("code.")
    ]
    if changed:
        raise ConfigError(
            f"out: {folder} holds a run of another configuration ({'; '.join(changed)}); "
            "name another folder, or repeat that configuration to resume it"
        )
    last = folder / LAST if (folder / LAST).exists() else None
    planned, epochs = before.get("trainer", {}).get("epochs"), config.get("trainer", {}).get("epochs")
    if epochs != planned:
        done = 0 if last is None else progress_of(read_checkpoint(last))[0]
        if epochs < done:
            raise ConfigError(
                f"{EPOCHS}: got {epochs}, but the run in {folder} has done {done}; expected at least {done}, or another out"
            )
        continued = [*before.get("continued", []), {"after_epochs": done, "planned": planned}]
        trainer = {**before["trainer"], "epochs": epochs}
        write_json(folder / CONFIG, {**before, "trainer": trainer, "continued": continued}, indent=1)
    return last


@contextmanager
def claimed(folder: Path, config: Mapping[str, Any]) -> Iterator[Path | None]:
    """`claim`; in this context no other process trains in `folder`. Raises ConfigError, before anything is written, if one
    does. Of several processes of one run, one holds the folder."""
    with ExitStack() as stack:

        def hold() -> None:
            try:
                descriptor = stack.enter_context(locked(folder / _LOCK, wait=False))
            except BlockingIOError as error:
                raise ConfigError(f"out: a training in {folder} is still running; wait for it or end it") from error
            # Processes that load pictures inherit the descriptor, and may end later.
            stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)

        first, there = getattr(rank_zero_only, "rank", 0) == 0, (folder / CONFIG).exists()
        if first and there:
            hold()
        last = claim(folder, config)
        if first and not there:
            hold()
        yield last


def code_versions() -> dict[str, str | None]:
    """The versions of the code of a run; `commit` is None outside a git checkout, `-dirty` marks local changes."""
    versions: dict[str, str | None] = {}
    for package in ("simgen", "torch", "pytorch-lightning"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None  # simgen runs from a checkout and is not installed
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        versions["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        versions["commit"] = None
    return versions
