"""The arms of each study: what differs between trainings that are otherwise equal, to the bit.

An arm is a preset of conf/randomize/ with some factors frozen. By the randomness law all others keep their values in every
sample, so that arms are compared in pairs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from simgen.catalogue import load_world
from simgen.config import compose
from simgen.errors import ConfigError
from simgen.pipeline import check_choice
from simgen.schema import Randomize, Render
from train.config import StreamConfig, TrainConfig, check_train
from transfer.schema import EXECUTORS, SCALES, STUDIES, Scale, TransferConfig

FULL = "full"
DETECTOR = "keypoints"
MODELS = ("tobin_small", "tobin_vgg", DETECTOR)
SCENE, BOX_SCENE = "kuka_table", "tea_box"
TARGET, BOX = "kuka_box", "tea_box"  # the blocks on which models are measured
_PLAIN = ["choice", "flat", "gradient", "checker", "stripes", "noise"]
_PRESETS = ("none", "blocks", "distractors", "clutter", "color", "background", "light", "textures", "surroundings", "camera",
            "sensor", "tobin2017", FULL)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """A row of a table: `preset` with the factors `changes` (key below `randomize` to value); `pictures` of each training,
    None for the scale's number; and further keys of the training, `train`. With `equal_time` there are as many pictures as
    the renderer draws in the time in which that of the first arm draws its own. `group` is the table."""

    name: str
    group: str
    preset: str = FULL
    changes: tuple[tuple[str, Any], ...] = ()
    pictures: int | None = None
    renderer: str = "raycast"
    train: tuple[str, ...] = ()
    equal_time: bool = False
    only: str | None = None  # the model that alone has this arm
    from_files: bool = False  # an arm of models that learn from a dataset: the detector draws its own pictures


@dataclass(frozen=True)
class Cell:
    """One training and its measurements. Its `name` is that of its folder."""

    arm: Arm
    model: str
    seed: int
    scale: Scale

    @property
    def name(self) -> str:
        return f"{self.arm.group}/{self.arm.name}/{self.model}-{self.seed}"

    @property
    def pictures(self) -> int:
        """The number of pictures, but for an arm of equal time."""
        return self.scale.pictures if self.arm.pictures is None else self.arm.pictures

    @property
    def detector(self) -> bool:
        """Whether it trains a keypoint model, which learns from pictures that are drawn during the training."""
        return self.model == DETECTOR


def cells_of(config: TransferConfig) -> list[Cell]:
    """The cells of a study, in the order in which they are computed: all arms of a seed before the next seed. Raises
    ConfigError for an unknown study, scale, executor, model or arm."""
    for name, options in (("study", STUDIES), ("scale", tuple(SCALES)), ("executor", EXECUTORS)):
        check_choice(name, getattr(config, name), options)
    scale, arms = SCALES[config.scale], arms_of(config)
    models = scale.models if config.models is None else tuple(config.models)
    for name in models:
        if name not in MODELS:
            raise ConfigError(f"models: got {name}; expected {', '.join(MODELS)}")
    known = [arm.name for arm in arms]
    for name in config.arms or []:
        if name not in known:
            raise ConfigError(f"arms: study={config.study} has no '{name}'; it has {', '.join(known)}")
    if config.arms is not None:
        arms = [arm for arm in arms if arm.name in config.arms]
    if config.study == "seeds":
        if config.models is not None:
            raise ConfigError(
                "models: study=seeds has the model of its training; leave it out, or write it into train="
            )
        models = (_model_of(config.train),)
        _check_training(config)
    if config.printed_box and DETECTOR not in models:
        raise ConfigError(
            f"printed_box: {', '.join(models)} {'knows' if len(models) == 1 else 'know'} one camera and one kind of block; "
            f"add {DETECTOR} to models=, or leave printed_box out"
        )
    seeds = scale.seeds if config.seeds is None else tuple(config.seeds)
    if not models or not arms or not seeds:
        raise ConfigError("models, arms, seeds: one of them is empty; expected at least one of each, or null for all")
    scale = replace(scale, models=models, seeds=seeds)
    cells = [
        Cell(arm, model, seed, scale)
        for seed in seeds
        for model in models
        for arm in arms
        if arm.only in (None, model) and not (arm.from_files and model == DETECTOR)
    ]  # fmt: skip
    if not cells:
        raise ConfigError(f"models: {', '.join(models)} has no arm of study={config.study}; choose another model")
    for name in config.arms or []:
        if not any(cell.arm.name == name for cell in cells):
            raise ConfigError(
                f"arms: '{name}' is not an arm of {', '.join(models)}; add the model that has it to models="
            )
    return cells


def arms_of(config: TransferConfig) -> list[Arm]:
    """The arms of a study, first the one with which the others of its group are compared."""
    scale = SCALES[config.scale]
    if config.study == "seeds":
        if not config.train:
            raise ConfigError("train: missing (the training that is repeated); write e.g. 'train=[experiment=kuka]'")
        return [Arm("train", "seeds", train=tuple(config.train))]
    if config.study == "presets":
        presets = [FULL, *(name for name in _PRESETS if name != FULL)]
        return [
            *(Arm(name, "presets", preset=name) for name in presets),
            Arm("adr", "presets", preset="adr", only=DETECTOR),
        ]
    if config.study == "renderers":
        return [
            Arm("raycast", "renderers", preset="tobin2017", from_files=True),
            Arm("tiny", "renderers", preset="tobin2017", renderer="tiny", from_files=True),
            Arm("tiny_equal_time", "renderers", preset="tobin2017", renderer="tiny", equal_time=True, from_files=True),
        ]
    return list(_tobin2017(scale))


def _tobin2017(scale: Scale) -> Iterator[Arm]:
    yield Arm(FULL, "ablations")
    for name, changes in ablations().items():
        yield Arm(name, "ablations", changes=tuple(changes.items()))
    for count in scale.counts:
        yield Arm(f"pictures_{count}", "pictures", pictures=count, from_files=True)
    for limit in scale.materials:
        yield Arm(f"materials_{limit}", "materials", changes=(("distinct_materials", limit),))
    for limit in scale.layouts:
        yield Arm(f"layouts_{limit}", "layouts", changes=(("distinct_layouts", limit),))
    yield Arm("scratch", "weights", train=("model.backbone=scratch",), only=DETECTOR)


def ablations() -> dict[str, dict[str, Any]]:
    """The factors that each ablation freezes, with their values: those of randomize=none unless stated otherwise."""
    frozen = dict(leaves_of(compose("render", Render, ["randomize=none"]).randomize))
    textures = [path for path in frozen if path.rpartition(".")[2] == "texture"]

    def below(*paths: str) -> dict[str, Any]:
        return {path: value for path, value in frozen.items() if path.startswith(paths)}

    return {
        "no_noise": below("sensor.shot_noise", "sensor.read_noise"),
        "no_camera": {key: value for key, value in below("camera.").items() if key != "camera.file"},
        "no_distractors": {"distractors.count": 0},
        "fixed_lights": {key: value for key, value in below("light.", "ambient.").items() if key != "light.slots"},
        "flat_textures": dict.fromkeys(textures, "flat"),
        "no_clutter": {"clutter.count": 0},
        "no_pictures": dict.fromkeys(textures, _PLAIN),
    }


def leaves_of(node: Randomize | Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a configuration with their values, as in sensor.gamma."""
    for item in fields(node):
        value = getattr(node, item.name)
        if is_dataclass(value):
            yield from leaves_of(value, f"{above}{item.name}.")
        else:
            yield f"{above}{item.name}", value


def preset_of(arm: Arm) -> Mapping[str, Any]:
    """The content of a preset file of the arm, as `randomize=FILE` takes it."""
    tree: dict[str, Any] = {"defaults": [arm.preset]}
    for path, value in arm.changes:
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


def _check_training(config: TransferConfig) -> None:
    """Raises ConfigError if the training that study=seeds repeats has a mistake, or does not learn the blocks of the
    columns: else that would be known only after it."""
    training = compose("train", TrainConfig, [*config.train, "out=."])
    check_train(training)
    if not isinstance(training.data, StreamConfig):
        return
    known = {solid.name for scene in training.data.scenes for solid in load_world(scene).solids}
    for target, key in ((TARGET, "the columns"), *(((BOX, "printed_box"),) if config.printed_box else ())):
        if target not in known:
            raise ConfigError(
                f"train: it learns {', '.join(sorted(known))}; {key} need a model of {target}: train with the scene "
                f"{SCENE if target == TARGET else BOX_SCENE}, as in data.scenes=[{SCENE},{BOX_SCENE}]"
            )


def _model_of(train: list[str]) -> str:
    """The model that the keys `train` of a training choose."""
    given = [text.partition("=")[2] for text in train if text.startswith("model=")]
    return given[-1] if given else DETECTOR
