"""Measures how many pictures of six blocks a detector finds in a second, everything included but reading the files.

    python scripts/bench_find.py                       # the bundled model, 640x480 px
    python scripts/bench_find.py --checkpoint runs/own/best.ckpt --scene scenes/mine.yaml

Renders `--num` pictures of randomize=full with six blocks into a temporary folder; finds the blocks of one picture at a
time, with the table known and unknown in turn, `--repeat` times. Prints the median of the repetitions with their least and
greatest.
"""

import argparse
import tempfile
import time

import numpy as np
import torch

from simgen.config import compose
from simgen.dataset.read import open_dataset, read_rgb
from simgen.schema import Render
from simgen.workers import render
from train.detect.detector import load_detector
from train.pose.view import View, table_of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", default="shipped")
    parser.add_argument("--scene", default="tabletop")
    parser.add_argument("--num", type=int, default=20, help="pictures")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    detector = load_detector(arguments.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        drawn = ["randomize=full", "randomize.blocks.count=6", "width=640", "height=480", "workers=2", "seed=777"]
        keys = [f"scene={arguments.scene}", *drawn, f"num={arguments.num}", f"out={folder}/set"]
        render(compose("render", Render, keys))
        dataset = open_dataset(f"{folder}/set")
        images = [read_rgb(picture.path) for picture in dataset.pictures]
    table = table_of(dataset.table_center, dataset.table_size)
    views = {
        "known": [View(one.intrinsics, one.distortion, one.camera_from_table, table) for one in dataset.pictures],
        "unknown": [View(one.intrinsics, one.distortion) for one in dataset.pictures],
    }
    rates: dict[str, list[float]] = {name: [] for name in views}
    for turn in range(1 + arguments.repeat):
        for name, cameras in views.items():
            begin = time.perf_counter()
            for image, view in zip(images, cameras, strict=True):
                detector.find([image], [view])
            if turn:  # the first is slower
                rates[name].append(len(images) / (time.perf_counter() - begin))
    print(
        f"{arguments.num} pictures of 640x480 px with six blocks, {torch.get_num_threads()} threads, {detector.device}"
    )
    for name, values in rates.items():
        print(f"table {name:8} {np.median(values):5.2f} a second ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
