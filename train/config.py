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
BACKBONES = ("imagenet", "scratch")
_ZOOM = 0.25, 8
_CHECKPOINT = "written by `python -m train`, or the bundled model: shipped (train/weights/README.md)"
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
    backbone: str = key(
        "initial weights of both networks: imagenet, those of photographs, or scratch, random ones",
        "imagenet",
        choices=BACKBONES,
    )
    lr: float = key("peak learning rate", 1e-3)
    weight_decay: float = key("weight decay of AdamW", 0.01)
    clip: float = key("greatest norm of the gradient of a step", 5.0)
    average: float = key(
        "decay per step of the moving average of the weights, which is saved; 0: the last weights", 0.998
    )


@dataclass
class DatasetConfig:
    root: str = key("folder of the BOP dataset", MISSING)
    split: str | None = key(
        "split of the dataset; null: the only split, or with data.targets the only one whose name begins with test",
        None,
    )
    names: Any = key(
        "names of objects by obj_id, if the dataset's differ from the model's, quoted for the shell: "
        "'data.names={1:cube,2:cone}'; null: the dataset's",
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
        "block; these also learn from none of which less than 0.1 is visible",
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
    width: int = key("image width; a multiple of 4", 640, unit="px")
    height: int = key("image height; a multiple of 4", 480, unit="px")
    raycast: Raycast = key("settings of the ray caster that draws the images", Raycast)
    physics: str = key(
        "whether blocks are dropped and come to rest. randomize: as `randomize.settle` states for each scene; place: never, "
        "blocks lie apart, and no PyBullet is needed; settle: always",
        "randomize",
        choices=("randomize", "place", "settle"),
    )
    epoch: int = key("batches between two validations", 250)
    passes: int = key("steps in which each image is used, each time other parts of it", 3)
    validation: int = key("held-out images of each validation; calibration and its test use as many others", 256)
    photographs: bool = key(
        "every second held-out batch has surfaces and surroundings of photographs, as with randomize=photographs", True
    )
    workers: int = key("processes that draw, with raycast.device=cuda all on that GPU; 0: the training's own draws", 1)


# What `model=` and `data=` of `python -m train` may name, with the schema of each file in conf/model/ and conf/data/.
_MODELS = {"tobin": ModelConfig, "keypoints": KeypointConfig}
_DATA = {"bop": DataConfig, "stream": StreamConfig}
_MODEL_HELP = "the model, a file of conf/model/: keypoints detects up to 100 blocks; tobin_* are the baseline of 2017"
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
    devices: int = key("devices of a machine; each takes batch_size images a step", 1)
    save_steps: int = key(
        "steps of an epoch between two writes of last.ckpt, from which an interrupted run goes on; 0: after epochs alone",
        500,
        needs="model=keypoints",
    )
    nodes: int = key("machines, each with as many devices, as torchrun or SLURM started them", 1)

    @property
    def all_devices(self) -> int:
        """The devices of all machines together."""
        return self.devices * self.nodes


@dataclass
class TrainConfig:
    experiment: str = key(
        "a recipe, a file of conf/experiment/: blocks, blocks_gpu, kuka (a benchmark's scene), or own, for your own scene=",
        "none",
    )
    scene: str | None = key("your scene file, a name of scenes/*.yaml or a path", MISSING, needs="experiment=own")
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
class SweepConfig(TrainConfig):
    trials: int = key("trainings in all, with those already done; may be raised", 20)
    out: str = key("folder of study.journal, the trainings and the report; the same command continues them", MISSING)


@dataclass
class DoctorConfig:
    model: Any = key(_MODEL_HELP, MISSING, options=_MODELS, unread={"average": "doctor tests the last weights"})
    data: Any = key(_DATA_HELP, MISSING, options=_DATA, unread={"workers": "doctor makes its few batches itself"})
    batch_size: int = key("images per step; position models: 8", 16, needs="model=keypoints")
    steps: int | None = key(
        "greatest number of steps on one batch and on the toy scene; null: 150, for position models 2000", None
    )
    short: int = key("steps of the short run of the real configuration", 60, needs="model=keypoints")
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
    zoom: float = key(_SCALE, 1.0)


@dataclass
class CalibrateConfig:
    checkpoint: str = key(_CHECKPOINT, MISSING)
    data: DatasetConfig = key("the rendered dataset: every second image calibrates, the others test it", DatasetConfig)
    zoom: float = key(f"{_SCALE}; use the same in evaluate and predict", 1.0)
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
    board: str | None = key(
        "file of a printed board (see `python -m simgen board`) that lies on the table: its plane is found in each "
        "picture, as for a camera in the hand; null: the table is that of the camera's file",
        None,
    )
    ruler_mm: float = key(
        "length that the printed ruler of 100 mm has in truth, by which the whole print is scaled",
        100.0,
        unit="mm",
        needs="board!=null",
    )
    confidence: float = key("detections below this are left out", 0.5, unit="0 to 1")
    out: str = key("folder of predictions.json and of the images with the detections drawn in", "predictions")
    accelerator: str = key(_DEVICE, "auto", choices=ACCELERATORS)
    zoom: float = key(_SCALE, 1.0)
    kinds: list[str] | None = key(
        "names of the kinds of blocks to report, [cube,cone]; null: all that the model knows", None
    )


@dataclass
class ExportConfig:
    checkpoint: str = key(_CHECKPOINT, "shipped")
    out: str = key(
        "the ONNX file, with a JSON file of kinds, sizes and keypoints beside it; or *.safetensors: the weights alone",
        "model.onnx",
    )
    width: int | None = key("image width; null: 512", None, unit="px", needs="out!=*.safetensors")
    height: int | None = key("image height; null: 384", None, unit="px", needs="out!=*.safetensors")


def check_train(config: TrainConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    _check_model_and_data(config.model, config.data)
    _at_least("trainer.epochs", config.trainer.epochs, 1)
    _at_least("trainer.batch_size", config.trainer.batch_size, 1)
    _between("trainer.jitter", config.trainer.jitter, 0, 1)
    _one_of("trainer.precision", config.trainer.precision, PRECISIONS)
    _one_of("trainer.accelerator", config.trainer.accelerator, ACCELERATORS)
    _at_least("trainer.devices", config.trainer.devices, 1)
    _at_least("trainer.save_steps", config.trainer.save_steps, 0)
    _at_least("trainer.nodes", config.trainer.nodes, 1)
    _at_least("seed", config.seed, 0)
    if isinstance(config.data, StreamConfig):
        check_parts(config.trainer.batch_size, config.data)
    if config.randomize.automatic and config.trainer.all_devices > 1:
        raise ConfigError(
            "randomize.automatic: one process counts the results by which ranges grow; use trainer.devices=1 and "
            "trainer.nodes=1, or randomize=full"
        )


def check_doctor(config: DoctorConfig) -> None:
    """Raises ConfigError, beginning with the full key, for the first value out of range."""
    if config.randomize.automatic:
        raise ConfigError(
            "randomize.automatic: nothing grows in so short runs; use randomize=full, to which it would grow"
        )
    _check_model_and_data(config.model, config.data)
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
    if config.kinds == []:
        raise ConfigError("kinds: got none; expected names of blocks, or null for all that the model knows")
    _one_of("accelerator", config.accelerator, ACCELERATORS)


def check_parts(batch_size: int, data: StreamConfig) -> None:
    """Raises ConfigError if `batch_size` pictures cannot be of the scenes of `data` in equal parts."""
    if batch_size % len(data.scenes):
        raise ConfigError(
            f"trainer.batch_size: got {batch_size}; expected a multiple of {len(data.scenes)}, as there are that many "
            "data.scenes"
        )


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
    _one_of("model.backbone", model.backbone, BACKBONES)
    for name in ("lr", "clip"):
        _above_zero(f"model.{name}", getattr(model, name))
    _between("model.average", model.average, 0, 0.99999)
    if not (model.weight_decay >= 0 and math.isfinite(model.weight_decay)):
        raise ConfigError(f"model.weight_decay: got {model.weight_decay}; expected a number of at least 0")


def _check_stream(data: StreamConfig) -> None:
    if not data.scenes:
        raise ConfigError("data.scenes: got none; expected names of scenes/*.yaml, or paths")
    for name in ("width", "height"):
        size = getattr(data, name)
        if size < 32 or size % 4:
            raise ConfigError(f"data.{name}: got {size}; expected a multiple of 4, at least 32")
    _at_least("data.epoch", data.epoch, 1)
    _at_least("data.passes", data.passes, 1)
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
