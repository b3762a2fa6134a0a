"""`python -m train model=keypoints`: the training step, and the run up to best.ckpt.

A resumed run ends with the same weights as one without interruption, because the batch of a step is a function of
(configuration, seed, step) and everything else is in last.ckpt.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from simgen.errors import CheckpointError, SimgenError
from simgen.files import write_json
from train.adr.figure import draw_growth
from train.adr.growth import Growth
from train.blocks.kinds import BlockSet
from train.config import KeypointConfig, TrainConfig
from train.data.batch import Batch, Items, batches
from train.data.sources import Sources, sources_of
from train.detect.detector import Detector
from train.draw.sheets import Image
from train.evaluate.calibrate import add_confidence
from train.fit.pictures import held_out_sheets, input_sheet
from train.fit.step import Losses, losses_of
from train.nets.backbone import imagenet_file
from train.nets.detection_net import KeypointNet
from train.runs.checkpoint import BEST, KEYPOINTS, LAST, Checkpoints, read_checkpoint
from train.runs.folder import METRICS, claimed, code_versions
from train.runs.tensorboard import TensorBoardPictures
from train.runs.trainer import check_hardware, fit, make_trainer, rate, resumed_at, say

_NOTED = ("train_loss", "val_miss", "val_right")


class KeypointTraining(pl.LightningModule):
    """One training of a KeypointNet. Model selection is by the loss of its averaged weights on held-out pictures. `sides`:
    see Stances; `mirrors`: see Sources. `growth` is that of randomize=adr, None without."""

    def __init__(
        self, config: TrainConfig, blocks: BlockSet, *, sides: bool, mirrors: bool, growth: Growth | None = None
    ) -> None:
        super().__init__()
        self.config, self.blocks, self.growth = config, blocks, growth
        self.sides, self.mirrors = sides, mirrors
        self.model = new_net(config.model, blocks, sides=sides)
        self.average = AveragedModel(self.model, multi_avg_fn=_blend_of(config.model.average), use_buffers=True)
        self.average.requires_grad_(False)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        losses = losses_of(self.model, batch, self.blocks.to(self.device))
        if not bool(torch.isfinite(losses.total)):
            raise self._diverged(f"step {self.global_step}: the training loss", float(losses.total.detach()))
        self._log("train", losses, len(batch.images))
        if self.growth is not None and batch.bound is not None:
            for bound, solved in zip(batch.bound[losses.picture].tolist(), losses.crops.solved.tolist(), strict=True):
                if bound >= 0:
                    self.growth.note(bound, solved)
        return losses.total

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val or torch.inf)
        # Weights that are no numbers would be written before their loss is. With 16-mixed, such a step is left out.
        if not bool(torch.isfinite(norm)) and self.config.trainer.precision != "16-mixed":
            raise self._diverged(f"step {self.global_step}: the gradient's norm", float(norm))

    def _diverged(self, what: str, value: float) -> SimgenError:
        kept = (
            f"{LAST} in the run's folder is of before" if (Path(self.config.out) / LAST).exists() else "nothing is kept"
        )
        return SimgenError(
            f"{what} is {value}; {kept}; try a model.lr below {self.config.model.lr:g}, or trainer.precision=32"
        )

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.average.update_parameters(self.model)
        if isinstance(self.trainer.checkpoint_callback, Checkpoints):
            self.trainer.checkpoint_callback.save_within(self.trainer, batch_idx + 1)

    def validation_step(self, batch: Batch, _: int) -> None:
        net = self.average.module
        assert isinstance(net, KeypointNet)
        self._log("val", losses_of(net, batch, self.blocks.to(self.device)), len(batch.images))

    def on_train_epoch_end(self) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        epoch, epochs = self.current_epoch + 1, self.config.trainer.epochs
        if not math.isfinite(metrics["val_loss"]):  # raised before the checkpoints
            raise self._diverged(f"epoch {epoch}: the validation loss", metrics["val_loss"])
        self.print(
            f"epoch {epoch:3}/{epochs}  train loss {metrics['train_loss']:.3f}  validation loss {metrics['val_loss']:.3f}: "
            f"heat {metrics['val_heat']:.3f}, window {metrics['val_window']:.3f}, keypoints {metrics['val_keypoints']:.3f}; "
            f"{100 * metrics['val_right']:.1f}% classified right, keypoints {100 * metrics['val_miss']:.2f}% of a window "
            "off",
            flush=True,
        )
        if self.growth is not None:
            outward, inward = self.growth.advance()
            self.growth.write_states(Path(self.config.out))
            entropy, mean = self.growth.entropy(), sum(self.growth.fractions.values()) / len(self.growth.names)
            self.print(
                f"  ranges: {outward} bounds moved outward, {inward} inward; at {100 * mean:.0f}% of the way on average, "
                f"entropy {entropy:.2f} nats a dimension",
                flush=True,
            )
            self.log_dict({"adr/entropy": entropy, "adr/mean": mean})

    def configure_optimizers(self) -> Any:
        model = self.config.model
        optimizer = optimizer_of(self.model, model)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(describe_keypoints(self.config.model, self.blocks, sides=self.sides, mirrors=self.mirrors))
        if self.growth is not None:
            checkpoint["adr"] = self.growth.to_json()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        return batch.to(device)

    def _log(self, stage: str, losses: Losses, count: int) -> None:
        for name, value in numbers_of(losses).items():
            self.log(f"{stage}_{name}", value, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)


def new_net(config: KeypointConfig, blocks: BlockSet, *, sides: bool) -> KeypointNet:
    """The network of `config` for the kinds of `blocks` before its training: random weights from torch's global generator,
    and those of ImageNet. Raises ConfigError without the package that holds these."""
    net = KeypointNet(blocks, sides=sides, pretrained=config.backbone == "imagenet")
    if config.backbone == "imagenet":
        net.load_imagenet()
    return net


def optimizer_of(net: KeypointNet, config: KeypointConfig) -> torch.optim.AdamW:
    """The optimizer of `net`."""
    return torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay)


def numbers_of(losses: Losses) -> dict[str, Tensor]:
    """The logged values of `losses`, by name."""
    named = {"loss": losses.total, "heat": losses.detection.heat, "window": losses.detection.window}
    named |= {name: getattr(losses.crops, name) for name in ("stance", "sized", "keypoints", "right", "miss")}
    return {name: value.detach() for name, value in named.items()}


def _blend_of(average: float) -> Callable[[Any, Any, Tensor | int], None]:
    """An exponential moving average for AveragedModel. At first it averages over about count / 9 steps, so that the initial
    weights are soon forgotten, until that is as many as the factor `average` gives. Statistics of batches, which `scratch`
    has, are averaged too; of whole numbers the last are kept."""

    @torch.no_grad()
    def blend(averaged: Any, current: Any, count: Tensor | int) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        keep = min(average, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - keep)

    return blend


def describe_keypoints(config: KeypointConfig, blocks: BlockSet, *, sides: bool, mirrors: bool) -> dict[str, Any]:
    """The keys that a keypoint model adds to a Lightning checkpoint."""
    about = {"simgen_train": KEYPOINTS, "model": asdict(config), "sides": sides, "mirrors": mirrors}
    return {**about, "blocks": json.dumps(blocks.to_json())}


def train_keypoints(config: TrainConfig) -> None:
    """Trains with the configuration `config`; leaves best.ckpt, last.ckpt, config.json, metrics.json and tensorboard/ in
    its `out`.

    Resumes from last.ckpt if `out` holds an unfinished run of the same configuration. Raises ConfigError,
    RenderError and CheckpointError.
    """
    check_hardware(config.trainer)
    if config.model.backbone == "imagenet":
        imagenet_file()  # else its lack would be found after the folder is claimed
    sources = sources_of(config)
    folder = Path(config.out)
    about = {"blocks": sources.blocks.names, "code": code_versions(), **sources.described}
    with claimed(folder, {**asdict(config), **about}) as last:
        _train(config, sources, folder, last)


def _train(config: TrainConfig, sources: Sources, folder: Path, last: Path | None) -> None:
    """`train_keypoints` in its claimed `folder`, from the checkpoint `last` on if that is not None."""
    epochs, steps = resumed_at(last)
    say(sources.summary)

    torch.manual_seed(config.seed)
    growth = _growth_of(sources.bounds, last)
    if growth is not None:
        growth.write_states(folder)
    module = KeypointTraining(config, sources.blocks, sides=sources.sides, mirrors=sources.mirrors, growth=growth)
    checkpoints = Checkpoints(folder, "val_loss", _NOTED, config.trainer.save_steps)

    def draw_held_out(module: KeypointTraining) -> dict[str, Image]:
        net = module.average.module
        assert isinstance(net, KeypointNet)
        return held_out_sheets(Detector(net, sources.blocks.to(torch.device("cpu"))), kept[0])

    pictures = TensorBoardPictures(lambda batch: input_sheet(batch, sources.blocks), draw_held_out)
    trainer = make_trainer(config, folder, checkpoints, pictures, deal_out=False)
    rank, world = trainer.global_rank, trainer.world_size
    items = Items(sources.epoch, rank, world)
    items.start_at(epochs, steps)
    # Kept in memory: a few pictures, which are needed after every epoch.
    kept = Kept(sources.held_out, sources.chosen(rank, world))
    training = batches(sources.training, items, workers=sources.workers)
    fit(trainer, module, (training, DataLoader(kept, batch_size=None)), last)
    if trainer.is_global_zero:
        best = min(checkpoints.history, key=lambda row: row["val_loss"])
        print(f"{folder / BEST}: of epoch {best['epoch']}, validation loss {best['val_loss']:.4f}")
        # On other held-out pictures than those of model selection: as many for the calibration, and as many for its test.
        confidence = add_confidence(folder / BEST, sources.held_out, sources.learn, sources.check)
        result = {"best_epoch": int(best["epoch"]), "history": checkpoints.history, "confidence": confidence}
        if growth is not None:
            result["adr"] = growth.to_json() | {"entropy": growth.entropy()}
            draw_growth(folder / "adr.png", growth)
        write_json(folder / METRICS, result, indent=1)


def _growth_of(bounds: tuple[str, ...], last: Path | None) -> Growth | None:
    """The growth of a run with these `bounds`, that of the checkpoint `last` if it goes on; None if nothing grows. Raises
    CheckpointError if other bounds grew before."""
    if not bounds:
        return None
    if last is None:
        return Growth(bounds)
    growth = Growth.from_json(read_checkpoint(last)["adr"])
    if tuple(growth.names) != bounds:
        raise CheckpointError(
            f"{last}: the ranges of other factors grew in it, because conf/ or the scene has changed since; train anew in "
            "another folder"
        )
    return growth


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
