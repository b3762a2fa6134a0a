"""`python -m train`: the training step, the schedule, and the run from dataset to best.ckpt.

A run that was killed and is started again ends with the weights of one that was not (bit for bit on a CPU): what an
epoch does is a function of the configuration, the epoch's number and the state in last.ckpt.
"""

import logging
import math
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from simgen.errors import ConfigError, SimgenError
from simgen.geometry import Array
from train.checkpoint import BEST, Checkpoints, describe, read_checkpoint
from train.config import TrainConfig
from train.data import Batch, EpochOrder, Examples, Pictures, batches, check_simulated, find_examples, jitter, split
from train.loss import total_loss
from train.metrics import xy_errors
from train.model import make_model
from train.runfolder import METRICS, claim, code_versions, manifest_hash, write_json

WARM_UP = 0.1  # share of the steps in which the learning rate rises
GAIN = 0.9  # a validation error above this share of the baseline's has learnt nothing worth the name

say = rank_zero_only(print)  # with several devices, each has a process that runs all of this


class Training(pl.LightningModule):
    """One training: `model` on batches of train.data, judged by the XY error in cm on the validation pictures."""

    def __init__(self, config: TrainConfig, examples: Examples, positions: Tensor, baseline_cm: float) -> None:
        super().__init__()
        self.config, self.target, self.baseline_cm = config, examples.target, baseline_cm
        self.model = make_model(config.model)
        self.model.normalise(positions)

    def training_step(self, batch: Batch, _: int) -> Tensor:
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
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        difference = self.model(batch["images"]).position - batch["positions"]
        error = 100 * difference[:, :2].norm(dim=1).mean()
        self.log("val_xy_cm", error, on_epoch=True, batch_size=len(difference), sync_dist=True)

    def on_train_epoch_end(self) -> None:
        loss, error_cm = (float(self.trainer.callback_metrics[name]) for name in ("train_loss", "val_xy_cm"))
        epoch, epochs = self.current_epoch + 1, self.config.trainer.epochs
        if not math.isfinite(loss + error_cm):  # raised before the checkpoints: last.ckpt is still good
            raise SimgenError(
                f"epoch {epoch}: the training loss is {loss}, the validation error {error_cm}; "
                f"try a model.lr below {self.config.model.lr:g}, or trainer.precision=32"
            )
        error = f"validation XY error {error_cm:.2f} cm (baseline: {self.baseline_cm:.2f} cm)"
        self.print(f"epoch {epoch:3}/{epochs}  train loss {loss:.4f}  {error}", flush=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), self.config.model.lr)
        # The whole run's steps, also when it goes on from the middle.
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(describe(self.config.model, self.target))


def rate(step: int, total: int) -> float:
    """The learning rate of step 0 <= `step` < `total` as a share of its peak: up in a line, down in half a cosine.

    Smith and Topin 2018, "Super-Convergence", one cycle. Not torch's OneCycleLR, which divides by 0 where the warm-up
    is a single step.
    """
    warm = max(1, round(WARM_UP * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (total - warm + 1)))


def train(config: TrainConfig) -> None:
    """Trains as `config` says and leaves best.ckpt, last.ckpt, config.json, metrics.json and tensorboard/ in its `out`.

    Goes on from last.ckpt where `out` holds an unfinished run of the same configuration. Raises ConfigError,
    DatasetError and CheckpointError.
    """
    examples = find_examples(config.data)
    check_simulated(examples.dataset)
    say(examples)
    rows, held_out = split(len(examples), config.data.validation, config.seed)
    folder = Path(config.out)
    description = {
        **asdict(config),
        "dataset": {"manifest_sha256": manifest_hash(examples.dataset.root), "pictures": len(examples)},
        "target": examples.target,
        "code": code_versions(),
    }
    last = claim(folder, description)
    done = epochs_done(last)

    center, of = baseline_center(examples, rows)
    baseline_cm = float(
        100 * np.mean(xy_errors(np.broadcast_to(center, (len(held_out), 2)), examples.positions[held_out]))
    )
    say(f"{len(rows)} pictures to train on, {len(held_out)} to validate; the baseline always predicts {of}")

    torch.manual_seed(config.seed)
    module = Training(config, examples, torch.from_numpy(examples.positions[rows]).float(), baseline_cm)
    order = EpochOrder(len(rows), config.seed)
    order.set_epoch(done)
    training, validation = (_pictures(config, examples, chosen) for chosen in (rows, held_out))
    size, workers = config.trainer.batch_size, config.data.workers
    checkpoints = Checkpoints(folder, "val_xy_cm", ["train_loss"])
    trainer = make_trainer(config, folder, checkpoints)
    loaders = batches(training, size, order=order, workers=workers), batches(validation, size, workers=workers)
    fit(trainer, module, loaders, last)
    if trainer.is_global_zero:
        _report(folder, examples, checkpoints.history, baseline=of, baseline_cm=baseline_cm)


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
    write_json(folder / METRICS, result)
    errors = f"validation XY error {best['val_xy_cm']:.2f} cm (baseline: {baseline_cm:.2f} cm)"
    print(f"{folder / BEST}: of epoch {best['epoch']}, {errors}")
    if best["val_xy_cm"] > GAIN * baseline_cm:
        print(
            "WARNING: this is no better than always predicting the same place: nothing was learnt. Try more epochs or "
            "pictures, a smaller model.lr, and `python -m train overfit`, which tells if the model can learn at all.",
            file=sys.stderr,
        )


def baseline_center(examples: Examples, rows: Any) -> tuple[Array, str]:
    """The place (2,) m that a model without eyes would predict, and its name: the table's centre, or, where the dataset
    does not state it, the mean of the labels in `rows`."""
    if examples.dataset.table_center is not None:
        return examples.dataset.table_center, "the table's centre"
    return examples.positions[rows, :2].mean(0), "the mean label, for the dataset states no table"


def _pictures(config: TrainConfig, examples: Examples, rows: Any) -> Pictures:
    size = {"height": config.model.height, "width": config.model.width}
    pictures = Pictures(examples, rows, **size, cache_gb=config.data.cache_gb, workers=config.data.workers)
    if not pictures.cached:
        say(f"{len(rows)} resized pictures exceed data.cache_gb={config.data.cache_gb:g}: decoded in every epoch")
    return pictures


def epochs_done(last: Path | None) -> int:
    """The epochs that are behind the checkpoint `last`, 0 without one. Says that the run goes on from there.

    Raises CheckpointError, in one line, for what Lightning would fail at in many. A sampler must be told where it begins:
    Lightning tells it after it has begun to ask it.
    """
    if last is None:
        return 0
    content = read_checkpoint(last)
    say(f"goes on from {last}")
    return int(content["epoch"]) + 1


def fit(trainer: pl.Trainer, module: pl.LightningModule, loaders: tuple[Any, Any], last: Path | None) -> None:
    """Runs `trainer` over the loaders of training and of validation, from the checkpoint `last` where there is one."""
    try:
        trainer.fit(module, *loaders, ckpt_path=last, weights_only=True)
    except SystemExit as error:
        if trainer.interrupted:  # Lightning turns Ctrl+C into an exit with status 1; ours are 130 and a line
            raise KeyboardInterrupt from error
        raise


def make_trainer(config: TrainConfig, folder: Path, checkpoints: Checkpoints, *, deal_out: bool = True) -> pl.Trainer:
    """`deal_out` says whether Lightning is to share out the pictures among processes, or they do so themselves."""
    # Lightning's advice on workers and its announcements of devices say nothing about this run that is not known.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    try:
        return pl.Trainer(
            max_epochs=config.trainer.epochs,
            precision=config.trainer.precision,  # type: ignore[arg-type]  # checked in train.config
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            callbacks=[checkpoints],
            use_distributed_sampler=deal_out,
            logger=TensorBoardLogger(folder, name=None, version="tensorboard"),
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )
    except MisconfigurationException as error:
        got = f"accelerator={config.trainer.accelerator} devices={config.trainer.devices}"
        raise ConfigError(f"trainer: {got} cannot be had here ({error}); expected auto or cpu") from error
