"""One trial: a training in a process of its own, `python -m train`, and its loss.

A process, because a training may crash, or leave memory of a GPU occupied that the next one needs.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from simgen.config import INTERRUPTED
from simgen.files import read_json
from train.config import KeypointConfig, TrainConfig
from train.runs.folder import METRICS

# Trains with settings key=value in a folder, with a log file and a descriptor to inherit: None, or why it failed.
RunTraining = Callable[[Sequence[str], Path, Path, int], str | None]

_PATIENCE = 20  # s, for a training to end after Ctrl+C, which reaches it too, and after SIGTERM
_ERROR = "train: error: "


def run_training(settings: Sequence[str], folder: Path, log: Path, claim: int) -> str | None:
    """Trains, or continues a training, with `settings` in `folder`; what it prints is appended to `log`. Returns None, or
    why it failed. Its process inherits the descriptor `claim`. Raises KeyboardInterrupt if it was interrupted."""
    command = [sys.executable, "-m", "train", *settings, f"out={folder}"]
    with log.open("ab") as file:
        begin = file.tell()  # after what an earlier attempt printed
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, pass_fds=(claim,)
        )
        try:
            status = process.wait()
        except BaseException:
            _end(process)
            raise
    if status in (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    return _reason(log, begin, status) if status else None


def loss_of(folder: Path, config: TrainConfig) -> tuple[float, int]:
    """The least validation loss of a finished training, of a position model its error in cm, and the epoch of it: that by
    which best.ckpt is chosen. It is measured on held-out simulated pictures, never on photographs."""
    name, _ = objective_of(config)
    history = read_json(folder / METRICS)["history"]
    best = min(history, key=lambda row: row[name])
    return float(best[name]), int(best["epoch"])


def objective_of(config: TrainConfig) -> tuple[str, str]:
    """The name of the loss in metrics.json, and in words."""
    if isinstance(config.model, KeypointConfig):
        return "val_loss", "validation loss"
    return "val_xy_cm", "validation XY error, cm"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Waits until `process` ends, and sends SIGTERM and then SIGKILL if it does not."""
    for stop in (process.terminate, process.kill):
        try:
            process.wait(_PATIENCE)
            return
        except subprocess.TimeoutExpired:
            stop()
    process.wait()


def _reason(log: Path, begin: int, status: int) -> str:
    """Why a training failed that ended with `status` and printed what `log` has from the byte `begin` on."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
    printed = log.read_bytes()[begin:].decode(errors="replace")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return (errors or lines or [f"exit status {status}"])[-1]
