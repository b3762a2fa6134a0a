"""Small pictures of one or two cubes, from which networks learn in seconds, and checkpoints of such networks."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from simgen.config import compose
from simgen.dataset.read import BopDataset, open_dataset
from simgen.schema import Render
from simgen.workers import render
from train.blocks.kinds import BlockSet
from train.config import KeypointConfig
from train.fit.training import describe_keypoints
from train.nets.detection_net import KeypointNet
from train.runs.checkpoint import AVERAGED

# Up to two red cubes, each with a place of its own, on a tan table, before a camera that hardly moves.
TOY = [
    "randomize=none",
    "randomize.blocks.slots=2",
    "randomize.blocks.count=[integer,0,2]",
    "randomize.blocks.model=cube",
    "randomize.blocks.place=[uniform,[-0.1,-0.1],[0.1,0.1]]",
    "randomize.blocks.yaw_deg=[uniform,-10,10]",
    "randomize.distractors.slots=0",
    "randomize.distractors.count=0",
    "randomize.camera.distance=[uniform,0.45,0.5]",
]
SIZE = (160, 120)
ORIGIN = {"seed": 7, "model": {"name": "keypoints"}}


def rendered(out: Path, *options: str, size: tuple[int, int] = SIZE) -> BopDataset:
    pixels = [f"width={size[0]}", f"height={size[1]}", "image_format=png"]
    render(compose("render", Render, [*TOY, *pixels, "renderer=raycast", "workers=1", f"out={out}", *options]))
    return open_dataset(out)


def written(net: KeypointNet, blocks: BlockSet, path: Path, *, mirrors: bool = True) -> Path:
    """The checkpoint `path` of `net`, with its run's configuration beside it."""
    weights = {AVERAGED + name: value for name, value in net.state_dict().items()}
    torch.save(
        {**describe_keypoints(KeypointConfig(), blocks, sides=True, mirrors=mirrors), "state_dict": weights}, path
    )
    (path.parent / "config.json").write_text(json.dumps(ORIGIN))
    return path


def without_table(dataset: BopDataset) -> BopDataset:
    return replace(dataset, pictures=tuple(replace(picture, camera_from_table=None) for picture in dataset.pictures))
