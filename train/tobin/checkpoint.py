"""Checkpoints of position models."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from simgen.errors import CheckpointError
from train.config import ModelConfig
from train.runs.checkpoint import POSITION, fits_its_description, read_checkpoint, weights_below
from train.tobin.model import PoseNet, make_model


@dataclass(frozen=True)
class Trained:
    """The contents of a checkpoint: the `model` with its weights, in evaluation mode; its configuration; and `target`, the
    name of the block that it was trained for."""

    model: PoseNet
    config: ModelConfig
    target: str


def load_checkpoint(path: Path | str) -> Trained:
    """The position model in the file `path`, on the CPU. Raises CheckpointError if the file is missing, corrupt or not a
    position model."""
    content = read_checkpoint(path)
    if content["simgen_train"] != POSITION:
        raise CheckpointError(
            f"{path}: holds a keypoint model; expected a position model (tobin_small or tobin_vgg); name such a file "
            "or train again"
        )
    with fits_its_description(path):
        config = ModelConfig(**{leaf.name: content["model"][leaf.name] for leaf in fields(ModelConfig)})
        model = make_model(config)
        model.load_state_dict(weights_below(content, "model."))
        target = str(content["target"])
    return Trained(model.eval(), config, target)


def describe(config: ModelConfig, target: str) -> dict[str, Any]:
    """The keys that training adds to a Lightning checkpoint, from which `load_checkpoint` rebuilds the model."""
    return {"simgen_train": POSITION, "model": asdict(config), "target": target}
