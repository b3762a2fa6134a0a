"""The schemas of conf/train.yaml, conf/overfit.yaml, conf/evaluate.yaml and conf/model/, and their range checks.

Unknown keys, wrong types and missing values fail in simgen.config; what is left for here is whether a value makes
sense. "???" is OmegaConf's mark for a value that the user must give. What each leaf means is said in conf/.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simgen.errors import ConfigError

MODELS = ("tobin_small", "tobin_vgg")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu")


@dataclass
class ModelConfig:
    name: str = "???"
    height: int = 168
    width: int = 224
    lr: float = 2e-3
    keypoint_weight: float = 1.0


@dataclass
class SourceConfig:
    root: str = "???"
    split: str | None = None
    target: str = "auto"
    min_visible: float = 0.1


@dataclass
class DataConfig(SourceConfig):
    validation: float = 0.1
    cache_gb: float = 4.0
    workers: int = 2


@dataclass
class TrainerConfig:
    epochs: int = 12
    batch_size: int = 32
    jitter: float = 0.2
    precision: str = "32"
    accelerator: str = "auto"
    devices: int = 1


@dataclass
class TrainConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    out: str = "???"


@dataclass
class OverfitConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    data: SourceConfig = field(default_factory=SourceConfig)
    steps: int = 2000
    accelerator: str = "auto"
    seed: int = 0


@dataclass
class EvaluateConfig:
    checkpoint: str = "???"
    data: SourceConfig = field(default_factory=SourceConfig)
    batch_size: int = 32
    accelerator: str = "auto"
    out: str | None = None
    seed: int = 0


def check_train(config: TrainConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _check_model(config.model)
    _check_data(config.data)
    _at_least("trainer.epochs", config.trainer.epochs, 1)
    _at_least("trainer.batch_size", config.trainer.batch_size, 1)
    _between("trainer.jitter", config.trainer.jitter, 0, 1)
    _one_of("trainer.precision", config.trainer.precision, PRECISIONS)
    _one_of("trainer.accelerator", config.trainer.accelerator, ACCELERATORS)
    _at_least("trainer.devices", config.trainer.devices, 1)
    _at_least("seed", config.seed, 0)


def check_overfit(config: OverfitConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _check_model(config.model)
    _between("data.min_visible", config.data.min_visible, 0, 1)
    _at_least("steps", config.steps, 1)
    _one_of("accelerator", config.accelerator, ACCELERATORS)
    _at_least("seed", config.seed, 0)


def check_evaluate(config: EvaluateConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _between("data.min_visible", config.data.min_visible, 0, 1)
    _at_least("batch_size", config.batch_size, 1)
    _one_of("accelerator", config.accelerator, ACCELERATORS)
    _at_least("seed", config.seed, 0)


def _check_model(model: ModelConfig) -> None:
    _one_of("model.name", model.name, MODELS)
    _at_least("model.height", model.height, 32)  # VGG-16 halves five times
    _at_least("model.width", model.width, 32)
    if not (model.lr > 0 and math.isfinite(model.lr)):
        raise ConfigError(f"model.lr: got {model.lr}; expected a number above 0")
    if not (model.keypoint_weight >= 0 and math.isfinite(model.keypoint_weight)):
        raise ConfigError(f"model.keypoint_weight: got {model.keypoint_weight}; expected a number of at least 0")


def _check_data(data: DataConfig) -> None:
    _between("data.min_visible", data.min_visible, 0, 1)
    if not 0 < data.validation < 1:
        raise ConfigError(f"data.validation: got {data.validation}; expected a share above 0 and below 1")
    if not data.cache_gb >= 0:
        raise ConfigError(f"data.cache_gb: got {data.cache_gb}; expected at least 0")
    _at_least("data.workers", data.workers, 0)


def _at_least(key: str, value: int, low: int) -> None:
    if value < low:
        raise ConfigError(f"{key}: got {value}; expected at least {low}")


def _between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{key}: got {value}; expected a number from {low} to {high}")


def _one_of(key: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key}: got {value!r}; expected one of {', '.join(allowed)}")
