"""The sets of pictures on which each model is measured: rendered ones, made once for a study, and photographs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.config import compose
from simgen.dataset.read import open_dataset
from simgen.errors import ConfigError
from simgen.schema import Render
from simgen.workers import render
from train.data.images import manifest_hash
from transfer.schema import Scale, TransferConfig
from transfer.studies import DETECTOR, SCENE, Cell

SEED = 777_000  # no seed of a training
OCCLUDED = 0.25, 0.9  # visible fraction of a block that counts as occluded
TARGET, BOX = "kuka_box", "tea_box"
_MANY = ("randomize.distractors.count=[integer,4,10]", "randomize.clutter.count=[integer,10,25]")
# Rendered columns and what they show. The last three stand in for the paper's sets of photographs: on all surfaces are
# photographs that no training has seen.
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

    def measures(self, cell: Cell) -> bool:
        """Whether a model of `cell` can be measured: position models know one camera and one kind of block."""
        return cell.model == DETECTOR or not self.wrong


def columns_of(config: TransferConfig, out: Path) -> list[Column]:
    """The columns of a study whose rendered ones are below `out`. Raises DatasetError for photographs that are none."""
    out = out.resolve()  # on a cluster, tasks have another working directory
    columns = [
        Column(name, out / "columns" / name, visible=OCCLUDED if name == "occluded" else (0.0, 1.0)) for name in SIMULATED
    ]  # fmt: skip
    if config.kuka_table is not None:
        columns.append(Column("kuka_table", Path(config.kuka_table).resolve()))
    for number, root in enumerate(config.printed_box):
        name = "printed_box" if len(config.printed_box) == 1 else f"printed_box_{number + 1}"
        columns.append(
            Column(name, Path(root).resolve(), BOX, wrong=True, keys=("data.names={1:tea_box}", "data.table=true"))
        )
    for column in columns[len(SIMULATED) :]:
        if not open_dataset(column.root).pictures:
            raise ConfigError(f"{column.root}: no pictures; expected a dataset of photographs")
    return columns


def render_columns(columns: list[Column], scale: Scale) -> None:
    """Renders those of `columns` that are not there yet, with as many pictures as `scale` states."""
    for column in columns:
        if column.name not in SIMULATED:
            continue
        size = [f"{name}={getattr(scale, name)}" for name in ("width", "height", "workers")]
        keys = [f"scene={SCENE}", f"seed={SEED}", f"num={scale.tests}", f"out={column.root}", *size]
        render(compose("render", Render, [*keys, *SIMULATED[column.name]]))


def errors_in(column: Column, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figure of each picture of `column`, by scene and image, from the metrics.json of `python -m train evaluate`; of
    several blocks their mean. Raises ConfigError if a block has no figure."""
    low, high = column.visible
    fractions = _visible(column) if (low, high) != (0.0, 1.0) else {}
    found: dict[str, list[float]] = {}
    for row in metrics.get("per_picture", metrics.get("per_block", [])):
        name = f"{row['scene_id']}/{row['image_id']}"
        if not low <= fractions.get(name, 1.0) <= high:
            continue
        if column.wrong:
            found.setdefault(name, []).append(100.0 * (not row["right"]))
            continue
        error = row["xy_error_cm"] if "xy_error_cm" in row else row["xy_m"] and 100 * row["xy_m"]
        if error is None:
            raise ConfigError(
                f"{column.root}: the table's place is unknown, so that a miss has no error in cm; name a dataset "
                "with a manifest that states the table"
            )
        found.setdefault(name, []).append(float(error))
    return {name: sum(each) / len(each) for name, each in found.items()}


def _visible(column: Column) -> dict[str, float]:
    """The visible fraction of the target in each picture."""
    dataset = open_dataset(column.root)
    target = next(number for number, model in dataset.models.items() if model.name == column.target)
    return {
        f"{picture.scene_id}/{picture.image_id}": instance.visible_fraction
        for picture in dataset.pictures
        for instance in picture.instances
        if instance.obj_id == target
    }
