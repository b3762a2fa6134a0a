"""`python -m train` for a position model: the training step, the schedule, and the run from the dataset to best.ckpt.

A run that was interrupted and resumed ends with the weights of an uninterrupted one, bit for bit on a CPU: an epoch is a
function of the configuration, the epoch's number and the state in last.ckpt alone.
"""

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from simgen.errors import SimgenError
from simgen.files import write_json
from simgen.geometry import Array
from train.config import TrainConfig
from train.data.images import EpochOrder, check_simulated, content_of_dataset, jitter, split
from train.draw.sheets import Image
from train.metrics import xy_errors
from train.runs.checkpoint import BEST, Checkpoints
from train.runs.folder import METRICS, claimed, code_versions
from train.runs.tensorboard import TensorBoardPictures
from train.runs.trainer import check_hardware, fit, make_trainer, rate, resumed_at, say
from train.tobin.checkpoint import describe
from train.tobin.data import Examples, PositionBatch, ResizedPictures, find_examples, loader_of
from train.tobin.figures import draw_input, held_out_sheets
from train.tobin.loss import total_loss
from train.tobin.model import make_model

LOOKED_AT = 64  # held-out pictures of which TensorBoard shows the first and the worst
GAIN = 0.9  # of the baseline's error: a model with a greater validation error has not learned anything useful


class Training(pl.LightningModule):
    """The Lightning module that trains `model` on batches of train.tobin.data and validates it by the XY error in cm."""

    def __init__(self, config: TrainConfig, examples: Examples, positions: Tensor, baseline_cm: float) -> None:
        super().__init__()
        self.config, self.target, self.baseline_cm = config, examples.target, baseline_cm
        self.model = make_model(config.model)
        self.model.normalize(positions)

    def training_step(self, batch: PositionBatch, _: int) -> Tensor:
        images = batch["images"]
        if self.config.trainer.jitter > 0:
            strength, epoch = self.config.trainer.jitter, self.current_epoch
            images = jitter(images, batch["rows"], strength=strength, seed=self.config.seed, epoch=epoch)
        loss = total_loss(
            self.model(images),
            batch["positions"],
            batch["keypoints"],
            scale=self.model.scale,
            keypoint_weight=self.config.model.keypoint_weight,
        )
        if not bool(torch.isfinite(loss)):
            raise SimgenError(f"step {self.global_step}: the training loss is {float(loss.detach())}; {self._advice()}")
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: PositionBatch, _: int) -> None:
        difference = self.model(batch["images"]).position - batch["positions"]
        error = 100 * difference[:, :2].norm(dim=1).mean()
        self.log("val_xy_cm", error, on_epoch=True, batch_size=len(difference), sync_dist=True)

    def on_train_epoch_end(self) -> None:
        loss, error_cm = (float(self.trainer.callback_metrics[name]) for name in ("train_loss", "val_xy_cm"))
        epoch, epochs = self.current_epoch + 1, self.config.trainer.epochs
        if not math.isfinite(loss + error_cm):  # raised before the checkpoints: last.ckpt is still good
            raise SimgenError(
                f"epoch {epoch}: the training loss is {loss}, the validation error {error_cm}; {self._advice()}"
            )
        error = f"validation XY error {error_cm:.2f} cm (baseline: {self.baseline_cm:.2f} cm)"
        self.print(f"epoch {epoch:3}/{epochs}  train loss {loss:.4f}  {error}", flush=True)

    def _advice(self) -> str:
        return f"try a model.lr below {self.config.model.lr:g}, or trainer.precision=32"

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), self.config.model.lr)
        # The steps of the whole run, also after a resume.
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(describe(self.config.model, self.target))


def train(config: TrainConfig) -> None:
    """Trains the model of `config` and writes best.ckpt, last.ckpt, config.json, metrics.json and tensorboard/ to its `out`.

    Resumes from last.ckpt if `out` holds an unfinished run of the same configuration. Raises ConfigError, DatasetError and
    CheckpointError.
    """
    check_hardware(config.trainer)
    examples = find_examples(config.data)
    check_simulated(examples.dataset)
    say(examples)
    rows, held_out = split(len(examples), config.data.validation, config.seed)
    folder = Path(config.out)
    description = {
        **asdict(config),
        "dataset": {**content_of_dataset(examples.dataset), "pictures": len(examples)},
        "target": examples.target,
        "code": code_versions(),
    }
    with claimed(folder, description) as last:
        _train(config, examples, (rows, held_out), last)


def _train(
    config: TrainConfig, examples: Examples, split: tuple[NDArray[np.int64], NDArray[np.int64]], last: Path | None
) -> None:
    """`train` in its claimed folder, with the rows of `examples` for training and those that are held out, from the
    checkpoint `last` on if that is not None."""
    folder, (rows, held_out) = Path(config.out), split
    done, _ = resumed_at(last)

    center, baseline = baseline_center(examples, rows)
    baseline_cm = float(
        100 * np.mean(xy_errors(np.broadcast_to(center, (len(held_out), 2)), examples.positions[held_out]))
    )
    say(f"{len(rows)} pictures to train on, {len(held_out)} to validate; the baseline always predicts {baseline}")

    torch.manual_seed(config.seed)
    module = Training(config, examples, torch.from_numpy(examples.positions[rows]).float(), baseline_cm)
    order = EpochOrder(len(rows), config.seed)
    order.set_epoch(done)
    training, validation = (_pictures(config, examples, chosen) for chosen in (rows, held_out))
    size, workers = config.trainer.batch_size, config.data.workers
    checkpoints = Checkpoints(folder, "val_xy_cm", ["train_loss"])
    shown = examples.at(held_out[:LOOKED_AT])
    images = validation.__getitems__(list(range(len(shown))))["images"]

    def draw_held_out(module: Training) -> dict[str, Image]:
        predicted = module.model(images.to(module.device)).position.double().cpu().numpy()
        return held_out_sheets(shown, predicted)

    trainer = make_trainer(config, folder, checkpoints, TensorBoardPictures(draw_input, draw_held_out))
    loaders = loader_of(training, size, order=order, workers=workers), loader_of(validation, size, workers=workers)
    fit(trainer, module, loaders, last)
    if trainer.is_global_zero:
        _report(folder, examples, checkpoints.history, baseline=baseline, baseline_cm=baseline_cm)


def _report(
    folder: Path, examples: Examples, history: list[dict[str, float]], *, baseline: str, baseline_cm: float
) -> None:
    best = min(history, key=lambda row: row["val_xy_cm"])
    result = {
        "target": examples.target,
        "best_epoch": int(best["epoch"]),
        "best_val_xy_cm": best["val_xy_cm"],
        "baseline_val_xy_cm": baseline_cm,
        "baseline": baseline,
        "pictures": {"used": len(examples), "left_out": dict(examples.left_out)},
        "history": history,
    }
    write_json(folder / METRICS, result, indent=1)
    errors = f"validation XY error {best['val_xy_cm']:.2f} cm (baseline: {baseline_cm:.2f} cm)"
    print(f"{folder / BEST}: of epoch {best['epoch']}, {errors}")
    if best["val_xy_cm"] > GAIN * baseline_cm:
        print(
            "WARNING: this is no better than always predicting the same place: the model has learned nothing. Try more "
            "epochs or pictures, a smaller model.lr, and `python -m train doctor`, which checks if it can learn at all.",
            file=sys.stderr,
        )


def baseline_center(examples: Examples, rows: Any) -> tuple[Array, str]:
    """The constant prediction (2,) m to compare a model with, and its name: the table's center, or, if the dataset does not
    state it, the mean of the labels in `rows`."""
    if examples.dataset.table_center is not None:
        return examples.dataset.table_center, "the table's center"
    return examples.positions[rows, :2].mean(0), "the mean label, for the dataset states no table"


def _pictures(config: TrainConfig, examples: Examples, rows: Any) -> ResizedPictures:
    size = {"height": config.model.height, "width": config.model.width}
    pictures = ResizedPictures(examples, rows, **size, cache_gb=config.data.cache_gb, workers=config.data.workers)
    if not pictures.cached:
        say(f"{len(rows)} resized pictures exceed data.cache_gb={config.data.cache_gb:g}: decoded in every epoch")
    return pictures
