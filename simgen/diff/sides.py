"""The two sides of a comparison: a dataset, or a configuration of which scenes are sampled."""

import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from simgen.command.grammar import setting
from simgen.command.keys import groups_of, keys_of
from simgen.config import Composed, composed
from simgen.dataset.layout import own_keys
from simgen.dataset.models import Model
from simgen.dataset.read import open_dataset, read_recipe
from simgen.dataset.recipe import describe
from simgen.dataset.scenes import Instance, Picture
from simgen.dataset.values import Value, instance_values, picture_values
from simgen.dataset.write import IMAGES_PER_SCENE
from simgen.diff.schema import DiffConfig
from simgen.errors import ConfigError, DatasetError, SimgenError
from simgen.geometry import inverse
from simgen.pipeline import make_pipeline
from simgen.scene import Scenes, take, to_json
from simgen.schema import Render
from simgen.shapes.solids import Solid
from simgen.workers import render
from simgen.yamlfile import read_yaml

Name = tuple[int, int]  # the numbers of scene and image
Values = Mapping[str, Value]

DRAWN = ("blocks.visible_fraction", "block.visible_fraction", "block.visible_pixels")  # unknown before rendering


@dataclass(frozen=True)
class Side:
    """One side. `recipe` are all settings that determine its samples, empty if they are unknown. `total` is the number of
    its samples; the others state those that are compared: `rows` the values of the factors of each picture, `blocks` those
    of each labeled block in it. `pictures` are empty for a configuration, of which no picture exists. `files` are SHA-256
    by path, empty unless all samples are compared. `source` is the configuration that the side is, None for a dataset."""

    name: str
    recipe: Mapping[str, Any]
    total: int
    rows: Mapping[Name, Values]
    blocks: Mapping[Name, Sequence[Values]]
    pictures: Mapping[Name, Picture]
    files: Mapping[str, str]
    source: Composed[Render] | None = None

    @property
    def is_dataset(self) -> bool:
        """Whether it has pictures."""
        return bool(self.pictures)


def open_sides(config: DiffConfig, stack: ExitStack) -> tuple[Side, Side]:
    """The sides a and b of `config`. A configuration has the samples of the dataset that it is compared with, the first
    config.num of them, and of the dataset no others are compared either. With config.render, configurations are rendered
    into temporary folders, which `stack` removes. Raises a SimgenError that begins with the side's key."""
    texts = {"a": config.a, "b": config.b}
    sides: dict[str, Side] = {}
    sources: dict[str, Composed[Render]] = {}
    for key, text in texts.items():
        with _named(key):
            source = _source(text)
            if isinstance(source, Composed):
                sources[key] = source
            else:
                sides[key] = _dataset(text, source, config.split)
    followed = [side for side in sides.values() if side.recipe]  # by another tool's dataset, samples have other numbers
    for key, of in sources.items():
        with _named(key):
            start = of.value.start
            index = _indices(followed[0])[: config.num] if followed else range(start, start + config.num)
            if config.render:
                side = _rendered(texts[key], of.value, index, stack)
            else:
                side = _configuration(texts[key], of.value, index)
            sides[key] = replace(side, source=of)
    a, b = sides["a"], sides["b"]
    if followed and sources:
        common = a.rows.keys() & b.rows.keys()
        a, b = _only(a, common), _only(b, common)
    return a, b


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Begins the message of a SimgenError with `key`."""
    try:
        yield
    except SimgenError as error:
        raise type(error)(f"{key}: {error}") from error


def _indices(side: Side) -> list[int]:
    """The indices of the samples of a dataset, in order."""
    return [scene * IMAGES_PER_SCENE + image for scene, image in sorted(side.rows)]


def _only(side: Side, names: Set[Name]) -> Side:
    """`side` with the samples `names` alone."""
    if side.rows.keys() == names:
        return side
    kept = sorted(names)
    pictures = {name: side.pictures[name] for name in kept if side.is_dataset}
    rows, blocks = {name: side.rows[name] for name in kept}, {name: side.blocks[name] for name in kept}
    return replace(side, rows=rows, blocks=blocks, pictures=pictures, files={})


def _source(text: str) -> Path | Composed[Render]:
    """What `text` names: the folder of a dataset, or a configuration of `render`, from a .yaml file or from settings.

    Raises ConfigError, which names the three forms, for anything else.
    """
    path = Path(text)
    if path.is_dir():
        return path
    if path.suffix in (".yaml", ".yml") and "=" not in text:
        if not path.is_file():
            raise ConfigError(f"{text}: no such file")
        return composed("render", Render, list(_settings(path)))
    try:
        settings = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{text}: {error}") from error
    if not settings or not all("=" in setting for setting in settings):
        raise ConfigError(
            f"{text}: no such folder; expected the folder of a dataset, a .yaml file, or settings of `render`, such as "
            "'randomize=full seed=1'"
        )
    return composed("render", Render, settings)


def _settings(path: Path) -> Iterator[str]:
    """The settings in a .yaml file, with sections as mappings, as they would be typed. A defaults list as in conf/ may
    choose groups, such as `- randomize: light`."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping with keys of `render`, such as randomize: light")
    for item in content.pop("defaults", None) or ():
        if isinstance(item, dict):
            yield from _flat(item)
        elif item not in ("_self_", "render_schema"):
            raise ConfigError(f"{path}: defaults: got {item!r}; expected a choice of a group, such as randomize: light")
    yield from _flat(content)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    keys = keys_of(Render, groups_of("render"))
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield setting(keys, f"{above}{name}", value)


def _dataset(text: str, root: Path, split: str | None) -> Side:
    try:
        dataset = open_dataset(root, split)
    except DatasetError as error:  # which names training's key
        raise DatasetError(own_keys(str(error), "")) from error
    rows, blocks, pictures = {}, {}, {}
    for picture in dataset.pictures:
        name = picture.scene_id, picture.image_id
        pictures[name] = picture
        rows[name], blocks[name] = _values(picture, dataset.models, read_recipe(picture))
    manifest = dataset.manifest
    return Side(text, manifest.get("recipe", {}), len(rows), rows, blocks, pictures, manifest.get("files", {}))


def _rendered(text: str, source: Render, index: Sequence[int], stack: ExitStack) -> Side:
    """The samples of the configuration `source` from the first to the last of `index`, rendered into a temporary folder."""
    out = Path(stack.enter_context(TemporaryDirectory(prefix="simgen-diff-"))) / "dataset"
    render(replace(source, start=index[0], num=index[-1] + 1 - index[0], part=None, out=str(out)))
    return _dataset(text, out, None)


def _configuration(text: str, source: Render, index: Sequence[int]) -> Side:
    """The scenes `index` of the configuration `source`, without pictures."""
    pipeline = make_pipeline(source)
    recipe = {
        **describe(source, pipeline.world, pipeline.sampler, pipeline.images),
        "writer": source.writer,
        "image_format": source.image_format,
    }
    scenes = pipeline.scenes(index)
    models = {k: _model(k, solid) for k, solid in enumerate(pipeline.world.solids, start=1)}
    rows, blocks = {}, {}
    for row in range(len(scenes)):
        scene = take(scenes, [row])
        picture = _picture(scene, models)
        name = picture.scene_id, picture.image_id
        rows[name], blocks[name] = _values(picture, models, to_json(scene))
    return Side(text, recipe, len(rows), rows, blocks, {}, {})


def _values(
    picture: Picture, models: Mapping[int, Model], recipe: Mapping[str, Any] | None
) -> tuple[Values, list[Values]]:
    """The values of a picture and of each of its blocks."""
    rows = [
        picture_values(picture, recipe),
        *(instance_values(picture, k, models, recipe) for k in range(len(picture.instances))),
    ]
    return rows[0], [{f"block.{name}": value for name, value in row.items()} for row in rows[1:]]


def _picture(scene: Scenes, models: Mapping[int, Model]) -> Picture:
    """The labels of a scene of one sample as a dataset would state them, but for those of DRAWN."""
    camera_from_world = inverse(scene.cameras.world_from_camera[0])
    there = np.flatnonzero(scene.blocks.present[0] & scene.blocks.labelled[0])
    instances: list[Instance] = []
    for slot in there:
        model = models[int(scene.blocks.model[0, slot]) + 1]
        pose = camera_from_world @ scene.blocks.world_from_block[0, slot]
        size = model.size * scene.blocks.scale[0, slot]
        unseen = (-1, -1, -1, -1)
        one = Instance(model.obj_id, pose, size, unseen, unseen, visible_pixels=0, visible_fraction=np.nan)
        instances.append(replace(one, number=len(instances)))
    scene_id, image_id = divmod(int(scene.index[0]), IMAGES_PER_SCENE)
    return Picture(
        scene_id=scene_id,
        image_id=image_id,
        path=Path(),
        intrinsics=scene.cameras.intrinsics[0],
        distortion=scene.cameras.distortion[0],
        camera_from_world=camera_from_world,
        camera_from_table=camera_from_world,
        depth_scale=1.0,
        instances=tuple(instances),
    )


def _model(obj_id: int, solid: Solid) -> Model:
    return Model(
        obj_id=obj_id,
        name=solid.name,
        size=solid.size,
        diameter=solid.diameter,
        symmetries=solid.symmetries,
        axes=np.zeros((0, 3)),
        keypoints=solid.keypoints,
        center=np.zeros(3),
        middle=np.zeros(3),
        mesh=Path(),
        mesh_origin=None,
    )
