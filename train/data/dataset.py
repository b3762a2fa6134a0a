"""Opens the dataset that `data=` names, and states on stderr what of it is left out or looks wrong."""

import sys

import numpy as np

from simgen.dataset.layout import CAMERAS
from simgen.dataset.models import Model, names_of, solid_of
from simgen.dataset.read import BopDataset, open_dataset
from simgen.dataset.shards import Shards, is_shards, open_shards
from simgen.errors import ConfigError, SimgenError
from simgen.geometry import Array, inverse, transform_points
from train.config import DatasetConfig
from train.data.targets import SAME_SIZE

_TOUCHES = 0.005, 0.05  # m, and of the diameter: a block whose lowest point is as near to the table lies on it
_MANY = 500  # blocks that tell
_OTHER_SIZE = 0.01  # relative difference of a block's size from its model's that is reported


def open_source(data: DatasetConfig) -> BopDataset:
    """The dataset of the keys data.root, split, names, targets and table. Raises ConfigError and DatasetError."""
    if is_shards(data.root):
        raise ConfigError(
            f"data.root: {data.root} is a dataset in shards, which `python -m train model=keypoints` alone reads; expected "
            "the folder of a BOP dataset"
        )
    dataset = open_dataset(
        data.root, data.split, names=names_of(data.names, "data.names"), targets=data.targets, table=data.table
    )
    if dataset.skipped:
        print(f"{dataset.root}: {dataset.skipped}", file=sys.stderr)
    for advice in (table_advice(dataset, data.table), size_advice(dataset)):
        if advice:
            print(advice, file=sys.stderr)
    return dataset


def open_shard_source(data: DatasetConfig) -> Shards:
    """The dataset in shards of the keys data.root, split, names and table. Raises ConfigError and DatasetError."""
    if data.targets is not None:
        raise ConfigError(
            "data.targets: is for datasets in BOP's folders, and data.root is one in shards; leave it out"
        )
    shards = open_shards(data.root, names=names_of(data.names, "data.names"), table=data.table)
    if data.split not in (None, shards.index.split):
        raise ConfigError(f"data.split: got '{data.split}'; {data.root} holds the split {shards.index.split} alone")
    return shards


def table_advice(dataset: BopDataset, table: bool | None) -> str:
    """A line for the user where `data.table` does not fit the labeled blocks of a dataset that describes no table; else
    empty."""
    if table is False or dataset.table_center is not None:
        return ""
    heights, near = _heights(dataset)
    if not len(heights):
        return ""
    touching = int(near.sum())
    if table and touching < len(heights) / 2:
        return (
            f"WARNING: data.table=true, but {touching} of {len(heights)} labeled blocks touch the world's plane z = 0 "
            f"(median of their lowest points: {1000 * np.median(heights):.0f} mm); if this is not the table's top, poses "
            "are wrong: leave data.table out"
        )
    if table is None and touching > 0.9 * len(heights):
        return (
            f"NOTE: {dataset.root} describes no table, so poses are free. Its labeled blocks lie on the plane z = 0 of "
            f"{CAMERAS}'s world; if this is the table's top, data.table=true makes poses on it far more exact"
        )
    return ""


def size_advice(dataset: BopDataset) -> str:
    """A line for the user where labeled blocks have another size than their model; else empty."""
    labeled = [one for picture in dataset.pictures for one in picture.instances]
    ratios = np.array([one.size.max() / dataset.models[one.obj_id].size.max() for one in labeled])
    others = ratios[np.abs(ratios - 1) > _OTHER_SIZE]
    if not len(others):
        return ""
    return (
        f"WARNING: {dataset.root}: {len(others)} of {len(labeled)} labeled blocks are {others.min():.2f} to "
        f"{others.max():.2f} times as large as their model. A keypoint model computes poses for the model's size: such "
        "blocks appear nearer or farther than they are, count as wrong, and in training, where the difference is over "
        f"{SAME_SIZE:.0%}, as blocks of another size; render with randomize.blocks.scale=1, or with a block of each size"
    )


def _heights(dataset: BopDataset) -> tuple[Array, Array]:
    """(N,) m the lowest points of labeled blocks over the world's plane z = 0, and whether each is as good as on it."""
    corners: dict[int, Array] = {}
    heights: list[float] = []
    near: list[bool] = []
    for picture in dataset.pictures:
        if picture.camera_from_world is None or len(heights) >= _MANY:
            continue
        world_from_camera = inverse(picture.camera_from_world)
        for one in picture.instances:
            model = dataset.models[one.obj_id]
            if one.obj_id not in corners:
                corners[one.obj_id] = _corners(model)
            points = corners[one.obj_id] * (one.size / model.size)
            lowest = float(transform_points(world_from_camera @ one.camera_from_block, points)[:, 2].min())
            heights.append(lowest)
            near.append(abs(lowest) < max(_TOUCHES[0], _TOUCHES[1] * model.diameter))
    return np.array(heights), np.array(near, dtype=bool)


def _corners(model: Model) -> Array:
    """(P, 3) m: the corners of its hull, or of its box where no mesh can be read."""
    try:
        solid = solid_of(model)
        return np.asarray(solid.vertices[solid.hull.vertices])
    except SimgenError:
        signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(-1, 3)
        return signs * model.size + model.middle
