"""The schemas of conf/train.yaml and of the other commands, of conf/model/ and conf/data/, and their range checks.

Unknown keys, wrong types and missing values fail in simgen.config; what is left for here is whether a value makes
sense. "???" is OmegaConf's mark for a value that the user must give. What each leaf means is said in conf/.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simgen.errors import ConfigError
from simgen.schema import Randomize, Raycast

POSITION_MODELS = ("tobin_small", "tobin_vgg")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu")
_ZOOM = 0.25, 8
_CROP = 16  # what is left of it after the network has halved it four times is 1


@dataclass
class ModelConfig:
    name: str = "???"
    height: int = 168
    width: int = 224
    lr: float = 2e-3
    keypoint_weight: float = 1.0


@dataclass
class KeypointConfig:
    name: str = "keypoints"
    widths: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    features: int = 48
    stances: bool = False
    crop: int = 0
    crop_widths: list[int] = field(default_factory=list)
    frozen: bool = False
    lr: float = 2e-3
    weight_decay: float = 0.01
    average: float = 0.998
    keypoint_weight: float = 40.0
    kind_weight: float = 3.0
    scale_weight: float = 0.1
    table_weight: float = 0.0
    start: str | None = None


@dataclass
class DatasetConfig:
    root: str = "???"
    split: str | None = None
    names: Any = None  # {obj_id: name}; Hydra takes no new keys for a dict with a type
    targets: str | None = None
    table: bool | None = None


@dataclass
class SourceConfig(DatasetConfig):
    target: str = "auto"
    min_visible: float = 0.1


@dataclass
class DataConfig(SourceConfig):
    validation: float = 0.1
    cache_gb: float = 4.0
    workers: int = 2


@dataclass
class StreamConfig:
    scenes: list[str] = field(default_factory=list)
    width: int = 320
    height: int = 240
    raycast: Raycast = field(default_factory=Raycast)
    epoch: int = 250
    validation: int = 256
    workers: int = 1


# What `model=` and `data=` of `python -m train` may name, with the schema of each file in conf/model/ and conf/data/.
_MODELS = {"tobin": ModelConfig, "keypoints": KeypointConfig}
_DATA = {"bop": DataConfig, "stream": StreamConfig}


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
    model: Any = field(default="???", metadata={"options": _MODELS})
    data: Any = field(default="???", metadata={"options": _DATA})
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    out: str = "???"
    randomize: Randomize = field(default_factory=Randomize)


@dataclass
class DoctorConfig:
    model: Any = field(default="???", metadata={"options": _MODELS})
    data: Any = field(default="???", metadata={"options": _DATA})
    batch_size: int = 16
    steps: int | None = None
    short: int = 60
    accelerator: str = "auto"
    seed: int = 0
    out: str = "doctor"
    randomize: Randomize = field(default_factory=Randomize)


@dataclass
class EvaluateConfig:
    checkpoint: str = "???"
    data: SourceConfig = field(default_factory=SourceConfig)
    batch_size: int = 32
    accelerator: str = "auto"
    out: str | None = None
    seed: int = 0
    nominal_fov_deg: float | None = None
    nominal_position: list[float] | None = None
    zoom: float = 1.0


@dataclass
class CalibrateConfig:
    checkpoint: str = "???"
    data: DatasetConfig = field(default_factory=DatasetConfig)
    zoom: float = 1.0
    edges: bool | None = None
    batch_size: int = 32
    accelerator: str = "auto"
    out: str = "calibrated.ckpt"


@dataclass
class CompareConfig:
    first: str = "???"
    second: str = "???"


@dataclass
class PredictConfig:
    checkpoint: str = "shipped"
    image: Any = field(default="???", metadata={"texts": True})  # a text or a list of texts
    camera: str = "???"
    confidence: float = 0.5
    out: str = "predictions"
    accelerator: str = "auto"
    zoom: float = 1.0


@dataclass
class ExportConfig:
    checkpoint: str = "shipped"
    out: str = "model.onnx"
    width: int | None = None
    height: int | None = None


def check_train(config: TrainConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _check_model_and_data(config.model, config.data)
    _at_least("trainer.epochs", config.trainer.epochs, 1)
    _at_least("trainer.batch_size", config.trainer.batch_size, 1)
    _between("trainer.jitter", config.trainer.jitter, 0, 1)
    _one_of("trainer.precision", config.trainer.precision, PRECISIONS)
    _one_of("trainer.accelerator", config.trainer.accelerator, ACCELERATORS)
    _at_least("trainer.devices", config.trainer.devices, 1)
    _at_least("seed", config.seed, 0)


def check_doctor(config: DoctorConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _check_model_and_data(config.model, config.data)
    if isinstance(config.model, KeypointConfig) and config.model.frozen:
        raise ConfigError("model.frozen: the doctor starts from random weights, and all of them learn; leave it out")
    _at_least("batch_size", config.batch_size, 2)
    if config.steps is not None:
        _at_least("steps", config.steps, 20)
    _at_least("short", config.short, 20)
    _one_of("accelerator", config.accelerator, ACCELERATORS)
    _at_least("seed", config.seed, 0)


def check_evaluate(config: EvaluateConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _between("data.min_visible", config.data.min_visible, 0, 1)
    _at_least("batch_size", config.batch_size, 1)
    _one_of("accelerator", config.accelerator, ACCELERATORS)
    if config.nominal_fov_deg is not None:
        _between("nominal_fov_deg", config.nominal_fov_deg, 1, 170)
    place = config.nominal_position
    if place is not None and (config.nominal_fov_deg is None or len(place) != 3 or not all(map(math.isfinite, place))):
        raise ConfigError(f"nominal_position: got {place}; expected three numbers, beside nominal_fov_deg")
    _between("zoom", config.zoom, *_ZOOM)
    _at_least("seed", config.seed, 0)


def check_calibrate(config: CalibrateConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _between("zoom", config.zoom, *_ZOOM)
    _at_least("batch_size", config.batch_size, 1)
    _one_of("accelerator", config.accelerator, ACCELERATORS)


def check_predict(config: PredictConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _between("zoom", config.zoom, *_ZOOM)
    _between("confidence", config.confidence, 0, 1)
    _one_of("accelerator", config.accelerator, ACCELERATORS)


def _check_model_and_data(model: Any, data: Any) -> None:
    if isinstance(model, KeypointConfig):
        _check_keypoints(model)
        if isinstance(data, StreamConfig):
            _check_stream(data)
            return
    else:
        if not isinstance(data, DataConfig):
            raise ConfigError(f"data: model={model.name} does not learn from that; expected data=bop")
        _check_model(model)
    _check_data(data)


def _check_model(model: ModelConfig) -> None:
    _one_of("model.name", model.name, POSITION_MODELS)
    _at_least("model.height", model.height, 32)  # VGG-16 halves five times
    _at_least("model.width", model.width, 32)
    _above_zero("model.lr", model.lr)
    if not (model.keypoint_weight >= 0 and math.isfinite(model.keypoint_weight)):
        raise ConfigError(f"model.keypoint_weight: got {model.keypoint_weight}; expected a number of at least 0")


def _check_keypoints(model: KeypointConfig) -> None:
    for key, values, count in (("widths", model.widths, 5), ("depths", model.depths, 4)):
        if len(values) != count or min(values, default=0) < 1:
            raise ConfigError(f"model.{key}: got {values}; expected {count} numbers of at least 1")
    if model.crop < 0 or model.crop % _CROP:
        raise ConfigError(f"model.crop: got {model.crop}; expected 0 or a multiple of {_CROP}")
    if model.frozen and not (model.crop and model.start):
        raise ConfigError(
            "model.frozen: without a second look and weights to begin with nothing would be learnt; expected model.crop "
            "above 0 and a model.start"
        )
    if model.crop_widths and not model.crop:
        raise ConfigError(
            f"model.crop_widths: got {model.crop_widths} without a second look; expected model.crop above 0, or [] here"
        )
    if model.crop_widths and len(model.crop_widths) != 4:
        raise ConfigError(
            f"model.crop_widths: got {model.crop_widths}; expected 4 numbers, or [] for those of model.widths"
        )
    sizes = [("widths", model.widths), ("crop_widths", model.crop_widths), ("features", [model.features])]
    for key, channels in [(key, number) for key, numbers in sizes for number in numbers]:
        if channels < 8 or channels % 8:
            raise ConfigError(f"model.{key}: got {channels}; expected multiples of 8")
    _above_zero("model.lr", model.lr)
    _between("model.average", model.average, 0, 0.99999)
    for key in ("weight_decay", "keypoint_weight", "kind_weight", "scale_weight", "table_weight"):
        value = getattr(model, key)
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"model.{key}: got {value}; expected a number of at least 0")


def _check_stream(data: StreamConfig) -> None:
    if not data.scenes:
        raise ConfigError("data.scenes: got none; expected names of scenes/*.yaml, or paths")
    for key in ("width", "height"):
        size = getattr(data, key)
        if size < 32 or size % 4:
            raise ConfigError(f"data.{key}: got {size}; expected a multiple of 4, at least 32")
    _at_least("data.epoch", data.epoch, 1)
    _at_least("data.validation", data.validation, 1)
    _at_least("data.workers", data.workers, 0)


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


def _above_zero(key: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{key}: got {value}; expected a number above 0")


def _one_of(key: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key}: got {value!r}; expected one of {', '.join(allowed)}")
