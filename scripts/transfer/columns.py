"""The sets of pictures on which each model is measured: rendered ones, made once for a study, and photographs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from simgen.config import compose
from simgen.dataset.read import BopDataset, open_dataset
from simgen.errors import ConfigError
from simgen.files import locked
from simgen.schema import Render
from simgen.workers import render
from train.data.images import manifest_hash
from transfer.schema import SCALES, Scale, TransferConfig
from transfer.studies import BOX, DETECTOR, SCENE, TARGET

SEED = 777_000  # no seed of a training; each column has the next, so that their pictures are independent
OCCLUDED = 0.25, 0.9  # visible fraction of a block that counts as occluded
_MANY = ("randomize.distractors.count=[integer,4,10]", "randomize.clutter.count=[integer,10,25]")
PICTURE = 640, 480  # px: of pictures on which the detector is measured, as it is trained
# Rendered columns and what they show. The last three stand in for the paper's sets of photographs: on all surfaces are
# photographs that no training has seen. Camera, lights and noise are those of randomize=full.
SIMULATED = {
    "simulated": ("randomize=full",),
    "photographs": ("randomize=photographs",),
    "alone": ("randomize=photographs", "randomize.distractors.count=0", "randomize.clutter.count=0"),
    "distractors": ("randomize=photographs", "randomize.distractors.count=[integer,4,10]", "randomize.clutter.count=0"),
    "occluded": ("randomize=photographs", *_MANY),
}


@dataclass(frozen=True)
class Column:
    """A set of pictures in `root`, of which those count whose block `target` has a visible fraction within `visible`. The
    figure is the XY error in cm, or with `wrong` the percentage of poses that are not right (ADD-S under a tenth of the
    diameter). `keys` are further keys of `python -m train evaluate`."""

    name: str
    root: Path
    target: str = TARGET
    visible: tuple[float, float] = (0.0, 1.0)
    wrong: bool = False
    keys: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """What tells whether the pictures are others: the hash of the manifest, or the folder if there is none."""
        return manifest_hash(self.root) or str(self.root.resolve())

    @property
    def unit(self) -> str:
        return "% wrong" if self.wrong else "cm"


def columns_of(config: TransferConfig, out: Path, model: str) -> list[Column]:
    """The columns on which `model` is measured; rendered ones are below `out`. A position model knows one camera and one
    kind of block, so it has no `printed_box`. Raises DatasetError and ConfigError for photographs that cannot be used."""
    out = out.resolve()  # on a cluster, tasks have another working directory
    folder = out / "columns" / "{}x{}".format(*_size(model, SCALES[config.scale]))
    columns = [
        Column(name, folder / name, visible=OCCLUDED if name == "occluded" else (0.0, 1.0)) for name in SIMULATED
    ]  # fmt: skip
    if config.kuka_table is not None:
        columns.append(Column("kuka_table", Path(config.kuka_table).resolve()))
    for number, root in enumerate(config.printed_box if model == DETECTOR else []):
        name = "printed_box" if len(config.printed_box) == 1 else f"printed_box_{number + 1}"
        columns.append(
            Column(name, Path(root).resolve(), BOX, wrong=True, keys=("data.names={1:tea_box}", "data.table=true"))
        )
    for column in columns[len(SIMULATED) :]:
        photographs = open_dataset(column.root)
        if not photographs.pictures:
            raise ConfigError(f"{column.root}: no pictures; expected a dataset of photographs")
        names = {number: model.name for number, model in photographs.models.items()}
        if column.wrong and 1 not in names:
            raise ConfigError(f"{column.root}: has the objects {sorted(names)}; expected the tea box as object 1")
        if not column.wrong and column.target not in names.values():
            shown = ", ".join(sorted(names.values()))
            raise ConfigError(f"{column.root}: shows {shown}; expected photographs of {column.target}")
        if not column.wrong and photographs.table_center is None:
            raise ConfigError(
                f"{column.root}: the table's place is unknown, so that a miss has no error in cm; name a dataset with a "
                "manifest that states the table"
            )
        unknown = [picture for picture in photographs.pictures if picture.camera_from_table is None]
        if not column.wrong and unknown:
            raise ConfigError(
                f"{column.root}: {len(unknown)} of {len(photographs.pictures)} pictures lack the camera's pose, first "
                f"{unknown[0].path.name}, so that their errors in cm are unknown; leave them out of the dataset"
            )
    return columns


def render_columns(columns: list[Column], model: str, scale: Scale) -> None:
    """Renders those of the `columns` of `model` that are not there yet, with as many pictures as `scale` states. Of several
    processes that compute parts of one study, one renders a column and the others wait for it. Raises FileError."""
    width, height = _size(model, scale)
    names = list(SIMULATED)
    for column in columns:
        if column.name in SIMULATED:
            with locked(column.root.with_name(f".{column.name}.lock"), wait=True):
                _render(column, names.index(column.name), width, height, scale)


def _render(column: Column, number: int, width: int, height: int, scale: Scale) -> None:
    size = [f"width={width}", f"height={height}", f"workers={scale.workers}", f"num={scale.tests}"]
    # As in the trainings, blocks are placed: a drop is another distribution of poses.
    keys = [f"scene={SCENE}", "physics=place", f"seed={SEED + number}", f"out={column.root}", *size]
    render(compose("render", Render, [*keys, *SIMULATED[column.name]]))


def _size(model: str, scale: Scale) -> tuple[int, int]:
    """The width and height px of the rendered pictures on which `model` is measured."""
    if model == DETECTOR:
        return PICTURE
    return scale.width, scale.height


def errors_in(column: Column, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figure of each picture of `column`, by scene and image, from the metrics.json of `python -m train evaluate`; of
    several blocks their mean."""
    return _by_picture(column, metrics, partial(_figure, column))


def constant_errors_in(column: Column, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The same of the prediction that is always the table's center, cm: what a model that has learned nothing reaches. Empty
    for a column that is not in cm."""
    if column.wrong:
        return {}
    center = _opened(column.root).table_center
    return _by_picture(column, metrics, lambda row: 100 * math.dist(row["true_m"][:2], center))


@cache
def _opened(root: Path) -> BopDataset:
    """A column's dataset, which is the same for all cells and not changed by them."""
    return open_dataset(root)


def _figure(column: Column, row: Mapping[str, Any]) -> float:
    if column.wrong:
        return 100.0 * (not row["right"])
    return float(row["xy_error_cm"] if "xy_error_cm" in row else 100 * row["xy_m"])


def _by_picture(
    column: Column, metrics: Mapping[str, Any], figure: Callable[[Mapping[str, Any]], float]
) -> dict[str, float]:
    """The mean of `figure` over the blocks of each picture, by scene and image; those within `column.visible` count."""
    low, high = column.visible
    fractions = _visible(column) if (low, high) != (0.0, 1.0) else {}
    found: dict[str, list[float]] = {}
    for row in metrics.get("per_picture", metrics.get("per_block", [])):
        name = f"{row['scene_id']}/{row['image_id']}"
        if not low <= fractions.get(name, 1.0) <= high:
            continue
        found.setdefault(name, []).append(figure(row))
    return {name: sum(each) / len(each) for name, each in found.items()}


def _visible(column: Column) -> dict[str, float]:
    """The visible fraction of the target in each picture."""
    dataset = _opened(column.root)
    target = next(number for number, model in dataset.models.items() if model.name == column.target)
    return {
        f"{picture.scene_id}/{picture.image_id}": instance.visible_fraction
        for picture in dataset.pictures
        for instance in picture.instances
        if instance.obj_id == target
    }
