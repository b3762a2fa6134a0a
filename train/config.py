"""The schemas of conf/train.yaml and of the other commands, of conf/model/ and conf/data/, and their range checks.

Each field holds its own explanation (simgen/command/keys.py) for the commands' help. Unknown keys, wrong types and missing
values are errors in simgen.config; this module checks ranges and combinations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simgen.command.keys import MISSING, key
from simgen.errors import ConfigError
from simgen.schema import Randomize, Raycast

POSITION_MODELS = ("tobin_small", "tobin_vgg")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu")
_ZOOM = 0.25, 8
_CROP = 16  # the crop network halves a crop four times
_CHECKPOINT = "written by `python -m train`, or a bundled model: shipped or shipped-blocks (train/weights/README.md)"
_DEVICE = "auto, cpu or gpu"
_SCALE = (
    "resize factor: image width and height at the network's input, as multiples of the training's; for blocks that are "
    "small in their images"
)


@dataclass
class ModelConfig:
    name: str = key("name of the model", MISSING)
    height: int = key("images are resized to height x width", 168, unit="px")
    width: int = key("images are resized to height x width", 224, unit="px")
    lr: float = key("peak learning rate", 2e-3)
    keypoint_weight: float = key(
        "weight of the heat map's loss, which trains it to peak at the block's center in the image; 0: none",
        1.0,
        needs="model=tobin_small",
    )


@dataclass
class KeypointConfig:
    name: str = key("name of the model", "keypoints")
    widths: list[int] = key("channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution", list)
    depths: list[int] = key("residual blocks at the last four of these", list)
    features: int = key("channels of the decoder", 48)
    stances: bool = key(
        "also classify the side on which a block lies, with keypoints for each; for blocks that lie on any side", False
    )
    crop: int = key(
        "side of the crops in which a second stage refines each detection; for blocks of similar kinds in any pose. 0: no "
        "second stage",
        0,
        unit="px",
    )
    crop_widths: list[int] = key(
        "channels of the crop network at 1/2, 1/4, 1/8 and 1/16 of the crop; []: as in widths", list
    )
    frozen: bool = key("train only the crop network; the first stage keeps the weights of model.start", False)
    lr: float = key("peak learning rate", 2e-3)
    weight_decay: float = key("weight decay of AdamW", 0.01)
    average: float = key(
        "decay per step of the moving average of the weights, which is saved; 0: the last weights", 0.998
    )
    keypoint_weight: float = key("weight of the keypoint loss; that of the heat map is 1", 40.0)
    kind_weight: float = key("weight of the classification loss: kinds, or with stances kinds and sides", 3.0)
    scale_weight: float = key("weight of the loss of the keypoints' uncertainties", 0.1)
    table_weight: float = key(
        "weight of the loss of each cell's point on the table, from which `evaluate nominal_fov_deg=` estimates a camera of "
        "unknown pose; for tables with visible landmarks",
        0.0,
    )
    start: str | None = key(
        "initial weights: a keypoint model of the same kinds and size, or a bundled one; null: random weights", None
    )


@dataclass
class DatasetConfig:
    root: str = key("folder of the BOP dataset", MISSING)
    split: str | None = key(
        "split of the dataset; null: the only split, or with data.targets the only one whose name begins with test",
        None,
    )
    names: Any = key(
        "names of objects by obj_id, if the dataset's differ from the model's: {1:cube,2:cone}; null: the dataset's",
        None,
    )
    targets: str | None = key(
        "file such as test_targets_bop19.json; images and objects that it does not list are left out; null: all", None
    )
    table: bool | None = key(
        "whether the plane z = 0 of the world in scene_camera.json is the table's top; null: if manifest.json has a table",
        None,
    )


@dataclass
class SourceConfig(DatasetConfig):
    target: str = key(
        "name of the block. auto: for position models the block that most images show exactly once, or the block of the "
        "checkpoint; for keypoint models all blocks",
        "auto",
    )
    min_visible: float = key(
        "least visible share of a block: with less, position models leave the image out and keypoint models ignore the "
        "block",
        0.1,
        unit="0 to 1",
    )


@dataclass
class DataConfig(SourceConfig):
    validation: float = key(
        "share of the images that is held out, for best.ckpt and for the confidence", 0.1, unit="0 to 1"
    )
    cache_gb: float = key("resized images stay in memory if they need no more than this; 0: never", 4.0, unit="GB")
    workers: int = key("threads that fill the cache; without a cache, processes that decode images", 2)


@dataclass
class StreamConfig:
    scenes: list[str] = key("scenes, in equal parts of each batch: names of scenes/*.yaml, or paths", list)
    width: int = key("image width; a multiple of 4", 320, unit="px")
    height: int = key("image height; a multiple of 4", 240, unit="px")
    raycast: Raycast = key("settings of the ray caster that draws the images", Raycast)
    epoch: int = key("batches between two validations", 250)
    validation: int = key("images of the held-out stream; the same at each validation", 256)
    workers: int = key("processes that draw; 0: the training's own process, as for data.raycast.device=cuda", 1)


# What `model=` and `data=` of `python -m train` may name, with the schema of each file in conf/model/ and conf/data/.
_MODELS = {"tobin": ModelConfig, "keypoints": KeypointConfig}
_DATA = {"bop": DataConfig, "stream": StreamConfig}
_MODEL_HELP = (
    "the model, a file of conf/model/: keypoints detects any number of blocks; tobin_* are the baseline of 2017"
)
_DATA_HELP = "where images come from: stream draws them during training, bop is a dataset in data.root"
_RANDOMIZE_HELP = "how the scenes of the stream vary: a preset of conf/randomize/, and each of its factors"


@dataclass
class TrainerConfig:
    epochs: int = key(
        "passes over the dataset, or validations of a stream. May be raised to continue an existing run, with the learning "
        "rate schedule of the new number",
        12,
    )
    batch_size: int = key("images per step and device", 32)
    jitter: float = key("strength of the random change of contrast and color; 0: none", 0.2, needs="data=bop")
    precision: str = key("number format of the arithmetic", "32", choices=PRECISIONS)
    accelerator: str = key(_DEVICE, "auto", choices=ACCELERATORS)
    devices: int = key("devices; each takes batch_size images a step", 1)


@dataclass
class TrainConfig:
    model: Any = key(_MODEL_HELP, MISSING, options=_MODELS)
    data: Any = key(_DATA_HELP, MISSING, options=_DATA)
    trainer: TrainerConfig = key("the training", TrainerConfig)
    seed: int = key("seed of weights, order and streams", 0)
    out: str = key(
        "folder of checkpoints, config.json, metrics.json and tensorboard/; an interrupted run in it is resumed",
        MISSING,
    )
    randomize: Randomize = key(_RANDOMIZE_HELP, Randomize, needs="data=stream")


@dataclass
class DoctorConfig:
    model: Any = key(_MODEL_HELP, MISSING, options=_MODELS)
    data: Any = key(_DATA_HELP, MISSING, options=_DATA)
    batch_size: int = key("images per step", 16)
    steps: int | None = key(
        "greatest number of steps on one batch and on the toy scene; null: 400, for position models 2000", None
    )
    short: int = key("steps of the short run of the real configuration", 60)
    accelerator: str = key(_DEVICE, "auto", choices=ACCELERATORS)
    seed: int = key("seed of weights, order and streams", 0)
    out: str = key("folder of the images that show the results", "doctor")
    randomize: Randomize = key(_RANDOMIZE_HELP, Randomize, needs="data=stream")


@dataclass
class EvaluateConfig:
    checkpoint: str = key(_CHECKPOINT, MISSING)
    data: SourceConfig = key("the dataset", SourceConfig)
    batch_size: int = key("images at a time", 32)
    accelerator: str = key(_DEVICE, "auto", choices=ACCELERATORS)
    out: str | None = key("folder of the results; null: beside the checkpoint, named after the dataset", None)
    seed: int = key("seed of the bootstrap intervals", 0)
    nominal_fov_deg: float | None = key(
        "ignore the dataset's cameras and estimate each from the table in the image, given this vertical field of view; for "
        "models with model.table_weight above 0. null: the dataset's cameras",
        None,
        unit="degrees",
    )
    nominal_position: list[float] | None = key(
        "measured position of that camera in the world frame; null: unknown",
        None,
        unit="m, [X,Y,Z]",
        needs="nominal_fov_deg!=null",
    )
    zoom: float = key(_SCALE, 1.0)


@dataclass
class CalibrateConfig:
    checkpoint: str = key(_CHECKPOINT, MISSING)
    data: DatasetConfig = key("the rendered dataset: every second image calibrates, the others test it", DatasetConfig)
    zoom: float = key(f"{_SCALE}; use the same in evaluate and predict", 1.0)
    edges: bool | None = key(
        "edge-based refinement of poses on a known table: more accurate and slower; null: the checkpoint's setting",
        None,
    )
    batch_size: int = key("images at a time", 32)
    accelerator: str = key(_DEVICE, "auto", choices=ACCELERATORS)
    out: str = key("file of the calibrated model", "calibrated.ckpt")


@dataclass
class CompareConfig:
    first: str = key("folder of a run", MISSING)
    second: str = key("folder of another run", MISSING)


@dataclass
class PredictConfig:
    checkpoint: str = key(_CHECKPOINT, "shipped")
    image: Any = key("a photograph, a folder of them, a video, or a list of these", MISSING, texts=True)
    camera: str = key("file of the camera's calibration", MISSING)
    confidence: float = key("detections below this are left out", 0.5, unit="0 to 1")
    out: str = key("folder of predictions.json and of the images with the detections drawn in", "predictions")
    accelerator: str = key(_DEVICE, "auto", choices=ACCELERATORS)
    zoom: float = key(_SCALE, 1.0)


@dataclass
class ExportConfig:
    checkpoint: str = key(_CHECKPOINT, "shipped")
    out: str = key(
        "the ONNX file, with a JSON file of kinds, sizes and keypoints beside it; or *.safetensors: the weights alone",
        "model.onnx",
    )
    width: int | None = key("image width; null: that of the training", None, unit="px", needs="out!=*.safetensors")
    height: int | None = key("image height; null: that of the training", None, unit="px", needs="out!=*.safetensors")


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
            raise ConfigError(f"data: model={model.name} trains on datasets only; add data=bop data.root=FOLDER")
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
    for name, values, count in (("widths", model.widths, 5), ("depths", model.depths, 4)):
        if len(values) != count or min(values, default=0) < 1:
            raise ConfigError(f"model.{name}: got {values}; expected {count} numbers of at least 1")
    if model.crop < 0 or model.crop % _CROP:
        raise ConfigError(f"model.crop: got {model.crop}; expected 0 or a multiple of {_CROP}")
    if model.frozen and not (model.crop and model.start):
        raise ConfigError(
            "model.frozen: without a second stage and initial weights nothing would be trained; expected model.crop "
            "above 0 and a model.start"
        )
    if model.crop_widths and not model.crop:
        raise ConfigError(
            f"model.crop_widths: got {model.crop_widths} without a second stage; expected model.crop above 0, or [] here"
        )
    if model.crop_widths and len(model.crop_widths) != 4:
        raise ConfigError(
            f"model.crop_widths: got {model.crop_widths}; expected 4 numbers, or [] for those of model.widths"
        )
    sizes = [("widths", model.widths), ("crop_widths", model.crop_widths), ("features", [model.features])]
    for name, channels in [(name, number) for name, numbers in sizes for number in numbers]:
        if channels < 8 or channels % 8:
            raise ConfigError(f"model.{name}: got {channels}; expected multiples of 8")
    _above_zero("model.lr", model.lr)
    _between("model.average", model.average, 0, 0.99999)
    for name in ("weight_decay", "keypoint_weight", "kind_weight", "scale_weight", "table_weight"):
        value = getattr(model, name)
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"model.{name}: got {value}; expected a number of at least 0")


def _check_stream(data: StreamConfig) -> None:
    if not data.scenes:
        raise ConfigError("data.scenes: got none; expected names of scenes/*.yaml, or paths")
    for name in ("width", "height"):
        size = getattr(data, name)
        if size < 32 or size % 4:
            raise ConfigError(f"data.{name}: got {size}; expected a multiple of 4, at least 32")
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
