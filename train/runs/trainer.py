"""Shared by all trainings: learning rate schedule, Lightning trainer, progress output and resuming."""

import logging
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from simgen.command.progress import Progress
from simgen.errors import ConfigError, SimgenError
from train.config import TrainConfig, TrainerConfig
from train.runs.checkpoint import Checkpoints, fits_its_description, progress_of, read_checkpoint
from train.runs.tensorboard import TensorBoardPictures

WARM_UP = 0.1  # share of the steps for the warm-up of the learning rate
say = rank_zero_only(print)  # with several devices, this code runs in one process for each


def device_of(accelerator: str) -> torch.device:
    """The device for `accelerator` (auto, cpu or gpu). Raises ConfigError for gpu without a GPU."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("accelerator: got gpu, but torch sees no CUDA device here; expected auto or cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def check_hardware(config: TrainerConfig) -> None:
    """Raises ConfigError for devices, or a precision, that this machine lacks, and for another number of processes than was
    started: before a run's folder is claimed, because a claimed one is of that configuration alone."""
    try:
        device = device_of(config.accelerator)
    except ConfigError as error:
        raise ConfigError(f"trainer.{error}") from error
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise ConfigError(
            f"trainer.devices: got {config.devices}; expected at most {torch.cuda.device_count()}, the GPUs of this machine"
        )
    if device.type == "cpu" and config.precision == "16-mixed":  # Lightning would take bf16-mixed without a word
        raise ConfigError("trainer.precision: 16-mixed needs a GPU; expected 32, or bf16-mixed")
    _check_processes(config)


def rate(step: int, total: int) -> float:
    """The learning rate at step 0 <= `step` < `total` as a share of its peak: linear warm-up, then cosine decay.

    Smith and Topin 2018, "Super-Convergence", one cycle. Not torch's OneCycleLR, which divides by 0 where the warm-up
    is a single step.
    """
    warm = max(1, round(WARM_UP * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (total - warm + 1)))


class Resumption(pl.Callback):
    """Sets the learning rate of a resumed run by the schedule of its current number of epochs.

    The checkpoint holds the next step's rate by the schedule of the earlier number of epochs. If the number is the same, so
    is the rate.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 0:
            return
        for row in trainer.lr_scheduler_configs:
            schedule: Any = row.scheduler
            shares = [share(schedule.last_epoch) for share in schedule.lr_lambdas]
            for group, base, share in zip(schedule.optimizer.param_groups, schedule.base_lrs, shares, strict=True):
                group["lr"] = base * share
            say(
                f"at step {trainer.global_step} of {int(trainer.estimated_stepping_batches)}; the learning rate is "
                f"{100 * shares[0]:.0f}% of its peak, by the schedule of {trainer.max_epochs} epochs"
            )


class EpochProgress(pl.Callback):
    """Prints progress lines within long epochs to a log file; on a terminal Lightning shows a bar."""

    _progress: Progress | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and not sys.stderr.isatty():
            verb = f"epoch {trainer.current_epoch + 1:3}/{trainer.max_epochs}: trained"
            self._progress = Progress(verb, int(trainer.num_training_batches), "steps", ending=False)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._progress is not None:
            self._progress.update()


def resumed_at(last: Path | None) -> tuple[int, int]:
    """The number of finished epochs in the checkpoint `last` and of the steps of the next; 0 and 0 without one. Prints that
    the run resumes from it.

    Raises CheckpointError for a file that Lightning cannot read. A sampler needs these numbers before the first iteration,
    and Lightning sets them only after that.
    """
    if last is None:
        return 0, 0
    epochs, steps = progress_of(read_checkpoint(last))
    say(f"resumes from {last}" + (f", after step {steps} of epoch {epochs + 1}" if steps else ""))
    return epochs, steps


def fit(trainer: pl.Trainer, module: pl.LightningModule, loaders: tuple[Any, Any], last: Path | None) -> None:
    """Runs `trainer` on the loaders of training and validation, from the checkpoint `last` if that is not None.

    A SimgenError in a DataLoader process arrives here with a traceback as its message; it is raised again with its own line.
    Raises CheckpointError if the weights in `last` are of another model, and SimgenError where a GPU's memory is too small.
    """
    if last is not None:
        with fits_its_description(last, "train anew in another folder"):
            module.load_state_dict(read_checkpoint(last)["state_dict"])
    try:
        trainer.fit(module, *loaders, ckpt_path=last, weights_only=True)
    except SimgenError as error:
        raise type(error)(_own_line(error)) from error
    except torch.cuda.OutOfMemoryError as error:
        raise SimgenError(
            f"the GPU's memory is too small ({str(error).splitlines()[0]}); lower trainer.batch_size, and data.workers "
            "where they draw on the GPU"
        ) from error
    except SystemExit as error:
        if trainer.interrupted:  # Lightning exits with status 1 after Ctrl+C; simgen with 130 and a message
            raise KeyboardInterrupt from error
        raise


def make_trainer(
    config: TrainConfig, folder: Path, checkpoints: Checkpoints, pictures: TensorBoardPictures, *, deal_out: bool = True
) -> pl.Trainer:
    """The trainer of a run in `folder`, which writes `pictures`. With `deal_out`, Lightning distributes the images among
    several processes. Prints where the run can be watched.

    Raises ConfigError for devices that this machine lacks.
    """
    # Lightning's hints on workers and devices do not apply here.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    say(f"losses and pictures: tensorboard --logdir {folder}, then http://localhost:6006 in a browser")
    try:
        return pl.Trainer(
            max_epochs=config.trainer.epochs,
            precision=config.trainer.precision,  # type: ignore[arg-type]  # checked in train.config
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            num_nodes=config.trainer.nodes,
            callbacks=[checkpoints, Resumption(), EpochProgress(), pictures],
            gradient_clip_val=getattr(config.model, "clip", None),
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


def _check_processes(config: TrainerConfig) -> None:
    """Raises ConfigError if torchrun or SLURM started another number of processes than the configuration has devices. Those
    beyond would do the same training again."""
    expected = config.all_devices
    for environment in (TorchElasticEnvironment, SLURMEnvironment):
        if not environment.detect():
            continue
        try:
            started = environment().world_size()
        except RuntimeError as error:  # of Slurm's --ntasks without --ntasks-per-node
            raise ConfigError(f"trainer.nodes: {error}") from error
        if started != expected:
            raise ConfigError(
                f"trainer.nodes: got {config.nodes} with trainer.devices={config.devices}; expected a "
                f"product of {started}, the number of processes that were started"
            )


def _own_line(error: SimgenError) -> str:
    """The message of `error` without the traceback that torch adds to errors of DataLoader processes."""
    return str(error).rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")[2].strip()
