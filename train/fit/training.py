"""`python -m train model=keypoints`: the training step, and the run up to best.ckpt.

A resumed run ends with the same weights as one without interruption, because the batch of a step is a function of
(configuration, seed, step) and everything else is in last.ckpt.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from simgen.errors import SimgenError
from simgen.files import sha256_of, write_json
from train.blocks.kinds import BlockSet
from train.config import KeypointConfig, TrainConfig
from train.data.batch import Batch, Items, batches
from train.data.sources import sources_of
from train.evaluate.calibrate import add_confidence
from train.fit.start import begin_from
from train.nets.detection_net import KeypointNet, make_net
from train.nets.losses import BlockLosses, Losses, Weights, crop_losses, keypoint_losses, table_loss
from train.runs.checkpoint import BEST, KEYPOINTS, Checkpoints, place_of
from train.runs.folder import METRICS, claim, code_versions
from train.runs.trainer import epochs_done, fit, make_trainer, rate, say

_NOTED = ("train_loss", "val_miss_px")
_CROP_PARTS = ("keypoints", "kind", "scale", "miss_px")
_PARTS = ("heat", *_CROP_PARTS)


class KeypointTraining(pl.LightningModule):
    """One training of a KeypointNet for pictures of `size` (width, height) px. Model selection is by the loss of its
    averaged weights on held-out pictures."""

    def __init__(self, config: TrainConfig, blocks: BlockSet, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.blocks, self.size = config, blocks, size
        self.model = make_net(config.model, blocks)
        if config.model.start is not None:
            begin_from(self.model, config.model.start, blocks)
        if config.model.frozen:
            for name, weights in self.model.named_parameters():
                weights.requires_grad_(name.startswith("crops."))
        self.average = AveragedModel(self.model, multi_avg_fn=_blend_of(config.model.average))
        self.average.requires_grad_(False)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        blocks, config = self.blocks.to(self.device), self.config.model
        # A frozen first stage has no use for its losses in training.
        losses = (
            second_stage_losses(self.model, batch, blocks, config)
            if config.frozen
            else losses_of(self.model, batch, blocks, config)
        )
        self._log("train", losses, len(batch.images))
        return losses.total

    def on_train_batch_end(self, *_: Any) -> None:
        self.average.update_parameters(self.model)

    def validation_step(self, batch: Batch, _: int) -> None:
        net = self.average.module
        assert isinstance(net, KeypointNet)
        losses = losses_of(net, batch, self.blocks.to(self.device), self.config.model)
        self._log("val", losses, len(batch.images))

    def on_train_epoch_end(self) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        epoch, epochs = self.current_epoch + 1, self.config.trainer.epochs
        if not math.isfinite(metrics["train_loss"] + metrics["val_loss"]):  # raised before the checkpoints
            raise SimgenError(
                f"epoch {epoch}: the training loss is {metrics['train_loss']}, that of validation {metrics['val_loss']}; "
                f"try a model.lr below {self.config.model.lr:g}, or trainer.precision=32"
            )
        table = f", table {100 * metrics['val_table_m']:.1f} cm off" if "val_table_m" in metrics else ""
        crops = (
            f", crops' {metrics['val_crop_miss_px']:.2f} px, kind {metrics['val_crop_kind']:.3f}"
            if "val_crop_kind" in metrics
            else ""
        )
        self.print(
            f"epoch {epoch:3}/{epochs}  train loss {metrics['train_loss']:.4f}  validation loss {metrics['val_loss']:.4f}  "
            f"keypoints {metrics['val_miss_px']:.2f} px off, heat {metrics['val_heat']:.3f}, kind {metrics['val_kind']:.3f}"
            f"{table}{crops}",
            flush=True,
        )

    def configure_optimizers(self) -> Any:
        model = self.config.model
        trained = [weights for weights in self.model.parameters() if weights.requires_grad]
        optimizer = torch.optim.AdamW(trained, model.lr, weight_decay=model.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(describe_keypoints(self.config.model, self.blocks))
        checkpoint["picture"] = list(self.size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        return batch.to(device)

    def _log(self, stage: str, losses: Losses | BlockLosses, count: int) -> None:
        for name, value in _numbers_of(losses).items():
            self.log(f"{stage}_{name}", value, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)


def losses_of(net: KeypointNet, batch: Batch, blocks: BlockSet, config: KeypointConfig) -> Losses:
    """The losses of `net` on `batch`; a training minimizes `total`."""
    maps = net.maps(net(batch.images))
    losses = keypoint_losses(maps, batch.targets, blocks, _weights_of(config))
    if config.table_weight > 0:
        table, distance = table_loss(maps, batch.cells)
        losses = replace(losses, total=losses.total + config.table_weight * table, table_m=distance)
    if net.crops is None:
        return losses
    crops = second_stage_losses(net, batch, blocks, config)
    return replace(losses, total=crops.total if config.frozen else losses.total + crops.total, crops=crops)


def second_stage_losses(net: KeypointNet, batch: Batch, blocks: BlockSet, config: KeypointConfig) -> BlockLosses:
    """The losses of the crop network on `batch`."""
    assert net.crops is not None
    weights = _weights_of(config)
    return crop_losses(net.crops, net.stances, batch.images, batch.jitter, batch.targets, blocks, weights)


def _weights_of(config: KeypointConfig) -> Weights:
    return Weights(config.keypoint_weight, config.kind_weight, config.scale_weight)


def _numbers_of(losses: Losses | BlockLosses) -> dict[str, Tensor]:
    """The logged values of `losses`, by name; BlockLosses are the crop network's."""
    if not isinstance(losses, Losses):
        return {"loss": losses.total.detach(), **_named_crops(losses)}
    named = {"loss": losses.total, **{name: getattr(losses, name) for name in _PARTS}}
    if losses.table_m is not None:
        named["table_m"] = losses.table_m
    if losses.crops is not None:
        named |= _named_crops(losses.crops)
    return {name: value.detach() for name, value in named.items()}


def _named_crops(losses: BlockLosses) -> dict[str, Tensor]:
    return {f"crop_{name}": getattr(losses, name).detach() for name in _CROP_PARTS}


def _blend_of(average: float) -> Callable[[Any, Any, Tensor | int], None]:
    """An exponential moving average for AveragedModel. At first it averages over about count / 9 steps, so that the initial
    weights are soon forgotten, until that is as many as the factor `average` gives."""

    @torch.no_grad()
    def blend(averaged: Any, current: Any, count: Tensor | int) -> None:
        keep = min(average, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - keep)

    return blend


def describe_keypoints(config: KeypointConfig, blocks: BlockSet) -> dict[str, Any]:
    """The keys that a keypoint model adds to a Lightning checkpoint."""
    return {"simgen_train": KEYPOINTS, "model": asdict(config), "blocks": json.dumps(blocks.to_json())}


def train_keypoints(config: TrainConfig) -> None:
    """Trains with the configuration `config`; leaves best.ckpt, last.ckpt, config.json, metrics.json and tensorboard/ in
    its `out`.

    Resumes from last.ckpt if `out` holds an unfinished run of the same configuration. Raises ConfigError,
    RenderError and CheckpointError.
    """
    sources = sources_of(config)
    folder = Path(config.out)
    about = {"blocks": sources.blocks.names, "code": code_versions(), **sources.described}
    if config.model.start is not None:
        about["start_sha256"] = sha256_of(place_of(config.model.start))
    last = claim(folder, {**asdict(config), **about})
    done = epochs_done(last)
    say(sources.summary)

    torch.manual_seed(config.seed)
    module = KeypointTraining(config, sources.blocks, sources.size)
    checkpoints = Checkpoints(folder, "val_loss", _NOTED)
    trainer = make_trainer(config, folder, checkpoints, deal_out=False)
    rank, world = trainer.global_rank, trainer.world_size
    items = Items(sources.epoch, rank, world)
    items.set_epoch(done)
    # Kept in memory: a few pictures, which are needed after every epoch.
    kept = Kept(sources.held_out, Items(max(1, len(sources.choose) // world), rank, world))
    training = batches(sources.training, items, workers=sources.workers)
    fit(trainer, module, (training, DataLoader(kept, batch_size=None)), last)
    if trainer.is_global_zero:
        best = min(checkpoints.history, key=lambda row: row["val_loss"])
        print(f"{folder / BEST}: of epoch {best['epoch']}, validation loss {best['val_loss']:.4f}")
        # On other held-out pictures than those of model selection: as many for the calibration, and as many for its test.
        confidence = add_confidence(folder / BEST, sources.held_out, sources.learn, sources.check)
        result = {"best_epoch": int(best["epoch"]), "history": checkpoints.history, "confidence": confidence}
        write_json(folder / METRICS, result, indent=1)


class Kept(Dataset[Batch]):
    """The batches of `items`, kept in memory after the first use."""

    def __init__(self, source: Dataset[Batch], items: Items) -> None:
        self.source, self.items = source, list(items)
        self._batches: dict[int, Batch] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Batch:
        if place not in self._batches:
            self._batches[place] = self.source[self.items[place]]
        return self._batches[place]
