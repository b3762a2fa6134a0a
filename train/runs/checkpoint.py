"""Writes and reads checkpoints. They contain tensors and plain values only, so that loading one cannot run code.

A checkpoint is Lightning's with keys of our own: `simgen_train` (1 for a position model, 3 for a keypoint model) and `model`
(its configuration as a dict). A position model adds `target` (the block's name); the normalization of positions is among
its weights. A keypoint model adds `blocks`, `sides` (of Stances), `mirrors` (of Detector), `calibration`, `inflation`,
`familiarity` and `origin` (its run's config.json). Keypoint models are distributed as safetensors files: the averaged
weights alone, in half precision, and these keys as JSON in the metadata.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from safetensors import safe_open
from safetensors.torch import save

from simgen.errors import CheckpointError, DamagedCheckpointError
from simgen.files import write_file, writing

POSITION, KEYPOINTS = FORMATS = (1, 3)
_OLD_KEYPOINTS = 2  # a keypoint model whose networks are no longer in this package
LAST = "last.ckpt"
BEST = "best.ckpt"
WEIGHTS_SUFFIX = ".safetensors"
SHIPPED = "shipped"  # the name of the bundled model
AVERAGED = "average.module."  # the prefix of the names of a keypoint model's averaged weights
# What to do with a keypoint model that cannot be loaded.
ANEW = (
    "train it anew: `python -m train experiment=blocks` for our blocks, `python -m train experiment=own scene=my.yaml` for "
    "your own"
)
_KEYS = ("simgen_train", "model", "blocks", "sides", "mirrors", "calibration", "inflation", "familiarity")


def place_of(checkpoint: Path | str) -> Path:
    """The file of `checkpoint`: a path, or SHIPPED."""
    if str(checkpoint) == SHIPPED:
        return Path(__file__).parent.parent / "weights" / f"blocks{WEIGHTS_SUFFIX}"
    return Path(checkpoint)


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """The content of the checkpoint `path`, on the CPU. Raises CheckpointError if it is missing, corrupt, not of this
    package, or of another version of it."""
    path = place_of(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a checkpoint that `python -m train` wrote, e.g. {BEST}")
    try:
        with warnings.catch_warnings():  # torch warns about unusual pickles; the error below is one line
            warnings.simplefilter("ignore")
            if path.suffix == WEIGHTS_SUFFIX:
                content = _read_weights(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise almost anything, from EOFError to UnicodeDecodeError
        raise DamagedCheckpointError(
            f"{path}: truncated, damaged or not a checkpoint ({type(error).__name__}); expected one that "
            "`python -m train` wrote; restore the file or train again"
        ) from error
    version = content.get("simgen_train") if isinstance(content, dict) else None
    if version == _OLD_KEYPOINTS:
        raise CheckpointError(
            f"{path}: is a keypoint model of an older version of simgen, which this one cannot load; {ANEW}"
        )
    if isinstance(version, int) and version > max(FORMATS):
        raise CheckpointError(
            f"{path}: was written by a newer version of simgen (simgen_train={version}); update simgen"
        )
    if version not in FORMATS:
        raise CheckpointError(
            f"{path}: not of this package's training; expected a checkpoint with simgen_train of {FORMATS} that "
            "`python -m train` wrote; name such a file or train again"
        )
    assert isinstance(content, dict)
    return content


def write_weights(content: Mapping[str, Any], path: Path, origin: Mapping[str, Any]) -> None:
    """Writes the keypoint model in the checkpoint `content` as a safetensors file; `origin` is its run's config.json. The
    run's folder is left out: it means nothing on another machine."""
    # Half precision halves the file and changes the network's output by about a thousandth.
    weights = {name: value.half().contiguous() for name, value in weights_below(content, AVERAGED).items()}
    about = {key: content[key] for key in _KEYS if key in content}
    recipe = {key: value for key, value in origin.items() if key != "out"}
    write_file(path, save(weights, {"simgen": json.dumps(about), "origin": json.dumps(recipe)}))


def _read_weights(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        about, origin = (json.loads(file.metadata()[key]) for key in ("simgen", "origin"))
        weights = {AVERAGED + name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        return {**about, "origin": origin, "state_dict": weights}


def weights_below(content: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The weights of a checkpoint whose names begin with `prefix`, by name without it."""
    weights = content["state_dict"].items()
    return {name.removeprefix(prefix): value for name, value in weights if name.startswith(prefix)}


def same_weights(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the keypoint models in two checkpoints have the same averaged weights, in the half precision of a weights
    file."""
    ours, theirs = weights_below(one, AVERAGED), weights_below(other, AVERAGED)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name].half(), theirs[name].half()) for name in ours)


@contextmanager
def fits_its_description(path: Path | str, advice: str = "train again") -> Iterator[None]:
    """Turns errors while a model is built from the checkpoint `path` into a CheckpointError that names it, with `advice`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its weights do not fit its own description ({type(error).__name__}); it was changed or is of "
            f"another version; {advice}"
        ) from error


class Checkpoints(Checkpoint):
    """Writes last.ckpt after every epoch, and within an epoch after every `every` steps of it (0: never), and best.ckpt
    after each epoch with the least `monitor` so far.

    `monitor` is the name of a logged number of the simulated validation; `recorded` are others to keep in the history.

    Lightning's ModelCheckpoint stores absolute paths and forgets its best score when the run's folder has been moved. Each
    file is written under another name and then renamed, best.ckpt first: a run that is killed in between repeats the epoch
    and writes the same best.ckpt again.
    """

    def __init__(self, folder: Path, monitor: str, recorded: Sequence[str], every: int = 0) -> None:
        self.folder, self.monitor, self.recorded, self.every = folder, monitor, recorded, every
        self.history: list[dict[str, float]] = []
        self._steps = 0  # of the epoch that is not finished

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    def save_within(self, trainer: pl.Trainer, steps: int) -> None:
        """Writes last.ckpt if it is due after `steps` steps of an epoch that has more. A module calls this when it is done
        with the step: Lightning calls callbacks earlier."""
        if self.every and steps % self.every == 0 and steps < trainer.num_training_batches:
            self._steps = steps
            _save(trainer, self.folder / LAST, weights_only=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._steps = 0
        before = [row[self.monitor] for row in self.history]
        row = {name: float(trainer.callback_metrics[name]) for name in (*self.recorded, self.monitor)}
        self.history = [*self.history, {"epoch": trainer.current_epoch + 1, **row}]
        if row[self.monitor] < min(before, default=float("inf")):
            _save(trainer, self.folder / BEST, weights_only=True)
        _save(trainer, self.folder / LAST, weights_only=False)


def progress_of(content: Mapping[str, Any]) -> tuple[int, int]:
    """The number of finished epochs of the run in the checkpoint `content`, and the steps that it has done of the next."""
    steps = int(content.get("callbacks", {}).get(Checkpoints.__qualname__, {}).get("steps", 0))
    return int(content["epoch"]) + (steps == 0), steps


def _save(trainer: pl.Trainer, path: Path, *, weights_only: bool) -> None:
    # Lightning writes into the system's temporary folder, which may be on another disk, and a copy from there can be cut
    # short by a kill. A rename within one folder is atomic.
    part = path.with_suffix(".part")
    with writing(path):
        try:
            trainer.save_checkpoint(part, weights_only=weights_only)
            if trainer.is_global_zero:
                part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
