"""The samples of all splits of a dataset, and the table of their factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from simgen.command.keys import Key, groups_of, keys_of
from simgen.command.progress import Progress
from simgen.dataset import layout
from simgen.dataset.models import Model, names_of
from simgen.dataset.read import open_dataset, read_recipe
from simgen.dataset.scenes import Picture
from simgen.dataset.values import Value, columns_of, instance_values, picture_values
from simgen.errors import DatasetError, SimgenError
from simgen.report.columns import Column, pack
from simgen.report.schema import ReportConfig
from simgen.schema import Render

PICTURE, BLOCK = "picture", "block"
_AT_ORIGIN = "of the camera as seen from the world's origin, the middle of the table's top"
# What the values of a picture and of a block are that are no keys of the configuration.
_OF_PICTURE = {
    "split": ("split of the dataset", ""),
    "camera.from_origin.distance": (f"distance {_AT_ORIGIN}", "m"),
    "camera.from_origin.azimuth_deg": (f"direction {_AT_ORIGIN}, from X toward Y", "degrees"),
    "camera.from_origin.elevation_deg": (f"angle above the table's plane {_AT_ORIGIN}", "degrees"),
    "camera.focal_px": ("vertical focal length", "px"),
    "camera.vertical_fov_deg": (
        "vertical field of view: `fov_deg` times `fov_scale`, or that of a camera file",
        "degrees",
    ),
    "blocks.distance": ("distance of the blocks' middles from the camera, mean", "m"),
    "blocks.visible_fraction": ("share of the blocks' silhouettes that is seen, mean", "0 to 1"),
    "light.total": ("sum of the lights' `intensity`", "1 is white"),
}
_OF_BLOCK = {
    "kind": ("name of the model", ""),
    "distance": ("distance of its middle from the camera", "m"),
    "u": ("column of the pixel of its middle", "px"),
    "v": ("row of the pixel of its middle", "px"),
    "visible_fraction": ("share of its silhouette that is seen", "0 to 1"),
    "visible_pixels": ("number of its pixels that are seen", "px"),
    "x": ("its middle on the table", "m"),
    "y": ("its middle on the table", "m"),
    "z": ("its middle above the table", "m"),
    "seen_from_azimuth_deg": ("direction of the camera in the block's frame", "degrees"),
    "seen_from_elevation_deg": ("direction of the camera in the block's frame", "degrees"),
}


@dataclass(frozen=True)
class Sample:
    """One picture of the split `split`; `models` are those of its dataset, by obj_id."""

    split: str
    picture: Picture
    models: Mapping[int, Model]

    @cached_property
    def name(self) -> str:
        """SPLIT/SCENE/IMAGE, with the scene's folder and six digits, as findings of `check` name it."""
        return f"{self.split}/{self.folder.name}/{self.picture.image_id:06d}"

    @property
    def folder(self) -> Path:
        """The folder of its scene."""
        return self.picture.path.parent.parent


@dataclass(frozen=True)
class Contents:
    """What could be read of the dataset at `root`. `errors` has, for each split that could not be opened, why; `table` is
    [[minimum X, minimum Y], [maximum X, maximum Y]] m, None if the dataset states none."""

    root: Path
    samples: Sequence[Sample] = ()
    table: list[list[float]] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    errors: Sequence[str] = ()


def read_samples(root: Path, config: ReportConfig) -> Contents:
    """The samples of the dataset at `root`. Raises DatasetError if `root` holds no split, or not `config.split`."""
    splits = layout.splits_of(root)
    if config.split is not None or not splits:
        try:
            splits = [layout.choose_split(root, config.split)]
        except DatasetError as error:
            raise DatasetError(layout.own_keys(str(error), "dataset=")) from error
    names = names_of(config.names, "names")
    samples: list[Sample] = []
    errors: list[str] = []
    left_out: dict[str, int] = {}
    table = None
    for split in splits:
        try:
            found = open_dataset(root, split, names=names, table=config.table)
        except SimgenError as error:
            errors.append(" ".join(layout.own_keys(str(error), "dataset=").split()))
            continue
        samples += [Sample(split, picture, found.models) for picture in found.pictures]
        for reason, count in found.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
        if found.table_center is not None and found.table_size is not None:
            half = found.table_size / 2
            table = [(found.table_center - half).tolist(), (found.table_center + half).tolist()]
    return Contents(root, samples, table, left_out, errors)


def table_of(
    samples: Sequence[Sample], more: Mapping[str, Mapping[str, Sequence[Value | None]]], errors: list[str]
) -> list[Column]:
    """The packed columns of the factors of all pictures and of all their blocks, in this order. `more` has further columns,
    by PICTURE or BLOCK and key. A damaged recipe is added to `errors`, and its picture has no values."""
    pictures: list[Mapping[str, Value]] = []
    blocks: list[Mapping[str, Value]] = []
    several = len({sample.split for sample in samples}) > 1
    damaged = 0
    with Progress("read", len(samples), "samples", ending=False) as progress:
        for sample in samples:
            of_picture: dict[str, Value] = {"split": sample.split} if several else {}
            of_blocks: list[dict[str, Value]] = [{} for _ in sample.picture.instances]
            try:
                picture, recipe = sample.picture, read_recipe(sample.picture)  # once for all of its blocks
                of_picture.update(picture_values(picture, recipe))
                of_blocks = [instance_values(picture, k, sample.models, recipe) for k in range(len(of_blocks))]
            except SimgenError as error:
                damaged += 1
                if damaged == 1:
                    errors.append(" ".join(layout.own_keys(str(error), "dataset=").split()))
            pictures.append(of_picture)
            blocks += of_blocks
            progress.update()
    if damaged > 1:
        errors.append(f"so it is with {damaged - 1} more samples: their factors are left out")
    keys = keys_of(Render, groups_of("render"))
    found = []
    for of, rows in ((PICTURE, pictures), (BLOCK, blocks)):
        for key, values in [*columns_of(rows).items(), *more.get(of, {}).items()]:
            packed = pack(key, values)
            if packed is not None:
                found.append({"key": key, "of": of, "group": _group(key, of), **_about(key, of, keys), **packed})
    return found


def _group(key: str, of: str) -> str:
    """The heading under which the page shows the factor `key`."""
    first = key.partition(".")[0] if "." in key else "scene"
    if of == BLOCK and first != "prediction":
        return "Each block" if key in _OF_BLOCK else "Each block's surface"
    return {"blocks": "Blocks (means of a picture)", "prediction": "Predictions", "check": "Findings"}.get(
        first, first.capitalize()
    )


def _about(key: str, of: str, keys: Mapping[str, Key]) -> dict[str, str]:
    """The explanation and the unit of the factor `key`, as far as they are known."""
    measured = _OF_BLOCK if of == BLOCK else _OF_PICTURE
    if key in measured:
        help, unit = measured[key]
        return {"help": help, "unit": unit}
    path = f"randomize.blocks.material.{key}" if of == BLOCK else f"randomize.{key}"
    for name in (path, path.rpartition(".")[0], f"randomize.blocks.{key}"):
        if name in keys and keys[name].kind not in ("section", "group"):
            return {"help": keys[name].help, "unit": keys[name].unit}
    return {}
