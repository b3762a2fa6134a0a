"""How familiar a detector is with pictures like those of its training, with changed ones, and with others.

    python scripts/familiarity.py shipped data/full data/photographs data/kuka_real data/trifinger

The first dataset is one like the training's, e.g. of randomize=full: its pictures are shown as they are and changed in
several ways. Each other dataset, and nine photographs of scikit-image that show no table, are shown as they are. Prints the
median of the familiarity over the first 100 pictures, and how many are below 0.01, where `python -m train predict` warns.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from simgen.dataset.read import open_dataset, read_rgb
from simgen.draws import Draws
from simgen.pictures import Image
from simgen.textures.photographs import photographs
from train.detect.detector import Detector, load_detector
from train.detect.familiarity import STRANGE

NINE = ("astronaut", "coffee", "chelsea", "rocket", "camera", "coins", "brick", "grass", "gravel")
_BEND = 1.1  # rad: half of the angle of view of the bent pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--num", type=int, default=100, help="pictures of each")
    arguments = parser.parse_args()
    detector = load_detector(arguments.checkpoint)
    shown = changed([read_rgb(one.path) for one in open_dataset(arguments.data[0]).pictures[: arguments.num]])
    for root in arguments.data[1:]:
        shown[str(root)] = [read_rgb(one.path) for one in open_dataset(root).pictures[: arguments.num]]
    shown["nine without a table"] = without_table()
    for name, pictures in shown.items():
        values = familiarities(detector, pictures)
        low = int((values < STRANGE).sum())
        print(f"{name:40} median {np.median(values):.2f}, below {STRANGE}: {low} of {len(values)}", flush=True)


def familiarities(detector: Detector, pictures: Sequence[Image]) -> np.ndarray:
    """The familiarity of each of `pictures`. Raises ValueError for a model without."""
    if detector.familiarity is None:
        raise ValueError("the model states no familiarity: it was trained without calibration")
    return np.array([detector.familiarity.of(features) for features in detector.features(pictures)])


def changed(pictures: Sequence[Image]) -> dict[str, list[Image]]:
    """`pictures` as they are and changed, by what was done."""
    noise = [
        60 * (Draws(0, np.array([k])) / "noise").normal(one.size).reshape(one.shape) for k, one in enumerate(pictures)
    ]
    return {
        "as they are": list(pictures),
        "blurred by 4 px": [np.asarray(cv2.GaussianBlur(one, (0, 0), 4), np.uint8) for one in pictures],
        "blurred by 8 px": [np.asarray(cv2.GaussianBlur(one, (0, 0), 8), np.uint8) for one in pictures],
        "noise with a deviation of 60": [
            np.clip(one + added, 0, 255).astype(np.uint8) for one, added in zip(pictures, noise, strict=True)
        ],
        "red and blue swapped": [np.ascontiguousarray(one[..., ::-1]) for one in pictures],
        "all channels moved by one": [np.roll(one, 1, -1) for one in pictures],
        "bent as by a fisheye lens": [bent(one) for one in pictures],
        "upside down": [np.ascontiguousarray(one[::-1, ::-1]) for one in pictures],
    }


def bent(picture: Image) -> Image:
    """`picture` (H, W, 3) as an equidistant fisheye lens shows it: the angle grows with the distance from the middle."""
    height, width = picture.shape[:2]
    v, u = np.mgrid[:height, :width].astype(np.float32)
    x, y = (u - width / 2) / (width / 2), (v - height / 2) / (width / 2)
    radius = np.hypot(x, y) + 1e-9
    scale = np.tan(np.minimum(radius * _BEND, 1.4)) / radius / np.tan(_BEND)
    columns, rows = (
        (part * scale * width / 2 + side / 2).astype(np.float32) for part, side in ((x, width), (y, height))
    )
    return np.asarray(cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)


def without_table() -> list[Image]:
    """Photographs of scikit-image, RGB."""
    paths = {path.stem: path for path in photographs()}
    return [read_rgb(paths[name]) for name in NINE]


if __name__ == "__main__":
    main()
