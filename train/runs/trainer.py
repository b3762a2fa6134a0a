"""What every training shares: the learning rate's schedule, Lightning's trainer, going on with a run, the device."""

import logging
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from simgen.errors import ConfigError
from train.config import TrainConfig
from train.runs.checkpoint import Checkpoints, read_checkpoint

WARM_UP = 0.1  # share of the steps in which the learning rate rises
say = rank_zero_only(print)  # with several devices, each has a process that runs all of this


def device_of(accelerator: str) -> torch.device:
    """The device that `accelerator` (auto, cpu or gpu) means here. Raises ConfigError for a GPU that is not there."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("accelerator: got gpu, but torch sees no CUDA device here; expected auto or cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def rate(step: int, total: int) -> float:
    """The learning rate of step 0 <= `step` < `total` as a share of its peak: up in a line, down in half a cosine.

    Smith and Topin 2018, "Super-Convergence", one cycle. Not torch's OneCycleLR, which divides by 0 where the warm-up
    is a single step.
    """
    warm = max(1, round(WARM_UP * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (total - warm + 1)))


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
