"""What a training writes to TensorBoard beside its losses of each epoch: pictures and the losses of its first steps."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from tensorboard.compat.proto.summary_pb2 import Summary

from simgen.drawings import png_bytes
from simgen.pictures import Image

# The names of the pictures.
INPUT = "pictures/1 training input with labels"
PREDICTIONS = "pictures/2 held-out: labels green, predictions red"
WORST = "pictures/3 worst held-out cases"
EVERY = 10  # steps between two losses, after the first EVERY
EARLY = (1, 10, 100)  # steps after which pictures are drawn, before the first validation


class TensorBoardPictures(pl.Callback):
    """Writes to the run's TensorBoard folder, so that a training shows within its first minute what it learns from and what
    it predicts:

    - before the first step: the pictures (H, W, 3) that `draw_input` draws of the first batch
    - after each of the first EVERY steps, and then after every EVERY: the loss and the learning rate
    - after the steps EARLY and after each validation: the pictures that `draw_held_out` returns by name, of held-out data

    The model is in evaluation mode while they are drawn, and draws no random numbers, so the run has the same weights.
    """

    def __init__(self, draw_input: Callable[[Any], Image], draw_held_out: Callable[[Any], Mapping[str, Image]]) -> None:
        self._draw_input, self._draw_held_out = draw_input, draw_held_out
        self._begun, self._rate = False, 0.0
        self._drawn = -1  # the step after which pictures were drawn last

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int) -> None:
        if not self._begun and trainer.is_global_zero:
            self._write(trainer, {INPUT: self._draw_input(batch)})
        self._begun = True
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])  # after the batch it is that of the next step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or (step > EVERY and step % EVERY):
            return
        writer: Any = trainer.logger.experiment  # type: ignore[union-attr]
        writer.add_scalar("step/loss", float(outputs["loss"]), step)
        writer.add_scalar("step/learning rate", self._rate, step)
        writer.flush()
        if step in EARLY:
            self._show(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._show(trainer, pl_module)

    def _show(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._drawn == trainer.global_step:
            return
        self._drawn = trainer.global_step
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            with torch.inference_mode():
                self._write(trainer, self._draw_held_out(module))
        finally:
            for part, mode in modes:
                part.training = mode

    def _write(self, trainer: pl.Trainer, pictures: Mapping[str, Image]) -> None:
        writer: Any = trainer.logger.experiment  # type: ignore[union-attr]
        for name, picture in pictures.items():
            # Its own add_image compresses PNG ten times as long, to no use.
            height, width, _ = picture.shape
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png_bytes(picture))
            summary = Summary(value=[Summary.Value(tag=name, image=image)])
            writer._get_file_writer().add_summary(summary, trainer.global_step)
        writer.flush()
