"""`python -m train doctor` for the position models: overfit one batch of 8 images.

A model that cannot overfit one batch will not learn a dataset. The check uses the training's own model, loss and optimizer
without color jitter. On failure it names the likely cause: contradictory labels, dead gradients, or a bad learning rate.
"""

import numpy as np
import torch
from torch import Tensor, nn

from simgen.errors import DatasetError, SimgenError
from train.config import DoctorConfig, ModelConfig
from train.data.images import EpochOrder
from train.runs.trainer import device_of
from train.tobin.data import PositionBatch, ResizedPictures, find_examples
from train.tobin.loss import total_loss
from train.tobin.model import PoseNet, make_model

PICTURES = 8
GOAL_MM = 1.0
STEPS = 2000  # at most


def doctor(config: DoctorConfig) -> None:
    """Prints "doctor: pass" as soon as the mean 3D error over `PICTURES` images is under `GOAL_MM`.

    Raises SimgenError, with the likely cause, if that takes more than `config.steps` steps (default `STEPS`), and
    DatasetError if the images or labels make it impossible.
    """
    examples = find_examples(config.data)
    print(examples)
    if len(examples) < PICTURES:
        raise DatasetError(f"{examples.dataset.root}: {len(examples)} usable pictures; expected at least {PICTURES}")
    chosen = np.array(list(EpochOrder(len(examples), config.seed))[:PICTURES])
    size = {"height": config.model.height, "width": config.model.width}
    batch = ResizedPictures(examples, chosen, **size, cache_gb=config.data.cache_gb, workers=1).__getitems__(
        list(range(PICTURES))
    )
    check_batch(batch, [examples.pictures[row].path.name for row in chosen])

    torch.manual_seed(config.seed)
    device = device_of(config.accelerator)
    model = make_model(config.model)
    model.normalize(batch["positions"])
    limit = config.steps or STEPS
    error_mm, steps = overfit(
        model.to(device), {key: value.to(device) for key, value in batch.items()}, config.model, limit
    )
    if error_mm >= GOAL_MM:
        raise SimgenError(
            f"doctor: fail: {PICTURES} images at {error_mm:.2f} mm after {steps} steps, not under {GOAL_MM:g}; "
            f"model.lr={config.model.lr:g} may be too large or too small, or steps={limit} too few"
        )
    print(f"doctor: pass, {PICTURES} images at {error_mm:.2f} mm after {steps} steps")


def overfit(model: PoseNet, batch: PositionBatch, config: ModelConfig, limit: int) -> tuple[float, int]:
    """The mean 3D error in mm of `model` on `batch` after training, and the number of steps: until the error is under
    `GOAL_MM`, at most `limit`.

    Raises SimgenError for a loss that is not finite and for weights without gradient.
    """
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=0)
    # The learning rate decays to 0: with a constant one, the steps themselves cause errors of about a millimeter.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, limit)
    for step in range(limit + 1):
        prediction = model(batch["images"])
        error_mm = 1000 * float((prediction.position.detach() - batch["positions"]).norm(dim=1).mean())
        if error_mm < GOAL_MM or step == limit:
            break
        weight = config.keypoint_weight
        loss = total_loss(prediction, batch["positions"], batch["keypoints"], scale=model.scale, keypoint_weight=weight)
        if not bool(torch.isfinite(loss)):
            raise SimgenError(f"doctor: fail: the loss is {float(loss)} at step {step}; try a smaller model.lr")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if step == 0:
            _check_gradients(model)
        optimizer.step()
        schedule.step()
    return error_mm, step


def check_batch(batch: PositionBatch, names: list[str]) -> None:
    """Raises DatasetError for labels that are not finite or all equal, and for equal images with different labels."""
    images, positions = batch["images"], batch["positions"]
    if not bool(torch.isfinite(positions).all()):
        raise DatasetError("doctor: a label is not a number; check the dataset's poses")
    if len(torch.unique(positions, dim=0)) == 1:
        raise DatasetError("doctor: all labels are the same, so there is nothing to learn; check the placement")
    for i in range(len(images)):
        for j in range(i):
            if torch.equal(images[i], images[j]) and not torch.equal(positions[i], positions[j]):
                distance_mm = 1000 * float((positions[i] - positions[j]).norm())
                raise DatasetError(
                    f"doctor: images {names[j]} and {names[i]} have the same pixels but labels {distance_mm:.1f} mm "
                    "apart; no model can learn both; check the renderer and the labels"
                )


def _check_gradients(model: nn.Module) -> None:
    def dead(gradient: Tensor | None) -> bool:
        return gradient is None or not bool(gradient.any())

    names = [name for name, weight in model.named_parameters() if dead(weight.grad)]
    if names:
        raise SimgenError(
            f"doctor: fail: no gradient reaches {', '.join(names)}; its units are dead or the graph is disconnected"
        )
