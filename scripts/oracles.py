"""Which stage of a keypoint model owes what: the share of right poses when a stage is given the truth.

    python scripts/oracles.py shipped data/full data/photographs [--zoom 1.5]

Each row gives the model more of the truth: nothing; the middle of each block (the detection network's own window there); its
place (the window around its true keypoints, which tells something of its kind, too); also its kind and the side that it lies
on. A pose of another kind than the true one is wrong. There is no row of a refined pose, for nothing is refined. Right is
ADD-S under a tenth of the diameter, on 1,000 points of the surface and, as before, on the corners of the convex hull. Only
blocks seen by over half count. "Asked for a kind" is that of `python -m train evaluate`, and the same without detections of
other objects.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from simgen.command.progress import Progress
from simgen.dataset.read import open_dataset, read_rgb
from simgen.dataset.scenes import Instance, Picture
from simgen.distortion import padded
from simgen.geometry import Array
from simgen.pictures import Image
from train.blocks.kinds import Kind
from train.data.images import resized
from train.data.targets import Targets
from train.detect.calibration import RIGHT
from train.detect.detector import Detector, load_detector
from train.detect.types import Detection
from train.evaluate.matching import FalsePositive, match_dataset
from train.evaluate.report import SEEN, asked_for
from train.metrics import adds
from train.nets.crop_net import CropNet, CropOutput
from train.nets.detection_net import KeypointNet, Peaks
from train.nets.truth import LEAST_PIXELS, Truth, truth_of
from train.pose.view import View, table_of

ROWS = ("nothing", "middle", "place", "place, kind and side")
PIXELS = (0, 200, 400, 800, 1600, 10**9)


class Scored(NamedTuple):
    row: str
    kind: str
    surface: float  # ADD-S in diameters; infinite for a block without a pose, or with one of another kind
    corners: float
    pixels: int


def scored(row: str, kind: Kind, one: Instance, detection: Detection | None) -> Scored:
    if detection is None or detection.kind.name != kind.name:  # a pose counts for its own kind alone
        return Scored(row, kind.name, np.inf, np.inf, one.visible_pixels)
    pose = detection.pose.camera_from_block
    truth = kind.facing(one.camera_from_block, pose)
    errors = [adds(pose, truth, points) / kind.diameter for points in (kind.surface, kind.corners)]
    return Scored(row, kind.name, errors[0], errors[1], one.visible_pixels)


def of_class(net: KeypointNet, stance: int) -> SimpleNamespace:
    """`net`, whose crop network is sure that each crop shows a block of the class `stance`, and of its size."""
    crops: CropNet = net.crops

    def sure(output: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.full_like(output, -40.0)
        logits[:, stance] = 40
        return logits, torch.full_like(output[:, 0], 40.0)

    def predict(*given: Tensor) -> CropOutput:
        output = crops.predict(*given)
        logits, sized = sure(output.stance)
        return replace(output, stance=logits, sized=sized)

    def predict_mirrored(*given: Tensor) -> tuple[Tensor, Tensor]:
        return sure(crops.predict_mirrored(*given)[0])

    forced = SimpleNamespace(predict=predict, predict_mirrored=predict_mirrored, places=crops.places)
    return SimpleNamespace(crops=forced, stances=net.stances, parameters=net.parameters)


def truth_about(detector: Detector, view: View, kind: Kind, camera_from_block: Array) -> Truth:
    """The class and the window that the networks are to predict for a visible block of `kind`."""

    def alone(values: Any) -> Tensor:
        """`values` as those of the only block, or the camera, of the only picture."""
        made = torch.as_tensor(values, device=detector.device)[None]
        return made.float() if made.is_floating_point() else made

    targets = Targets(
        present=alone([True]),
        labelled=alone([True]),
        model=alone([detector.blocks.names.index(kind.name)]),
        scale=alone([1.0]),
        camera_from_block=alone(camera_from_block[None]),
        intrinsics=alone(view.intrinsics),
        distortion=alone(padded(view.distortion)),
        camera_from_world=alone(view.camera_from_table),
        box=alone([[np.nan] * 4]),
        seen=alone([LEAST_PIXELS]),
        share=alone([1.0]),
    )
    return truth_of(targets, detector.blocks.to(detector.device), detector.net.stances)


def window_at(windows: Tensor, image: Image, u: float, v: float) -> Tensor:
    """The window (3,) px that the detection network's map `windows` (h, w, 3) of `image` has for a block whose middle is at
    (u, v) px of `image`."""
    rows, columns = windows.shape[:2]
    row = min(rows - 1, max(0, int((v + 0.5) * rows / image.shape[0])))
    column = min(columns - 1, max(0, int((u + 0.5) * columns / image.shape[1])))
    return windows[row, column]


def windows_of(detector: Detector, image: Image) -> tuple[Tensor, tuple[int, int]]:
    """The detection network's windows (h, w, 3) px of `image`, in the picture as it is resized for the network, and the
    width and height px of that."""
    size = detector._size(image)
    with torch.inference_mode():
        maps, _ = detector._maps(resized(image, *size)[None])
    return maps.windows[0], size


def oracles(detector: Detector, picture: Picture, view: View, kinds: dict[int, Kind]) -> Iterator[Scored]:
    """The rows of ROWS but the first, for each block of one picture."""
    image = read_rgb(picture.path)
    known = [one for one in picture.instances if one.obj_id in kinds and one.visible_fraction > SEEN]
    if view.camera_from_table is None:
        return
    windows, size = windows_of(detector, image)
    for one in known:
        kind = kinds[one.obj_id]
        truth = truth_about(detector, view, kind, one.camera_from_block)
        whole = truth.windows[0], (image.shape[1], image.shape[0])
        own = window_at(windows, image, *map(float, truth.windows[0, :2])), size
        sure = of_class(detector.net, int(truth.stance))
        for row, (window, seen), net in zip(
            ROWS[1:], (own, whole, whole), (detector.net, detector.net, sure), strict=True
        ):
            given = replace(detector, net=net)
            peaks = Peaks(torch.ones(1, 1, device=detector.device), window[None, None])
            with torch.inference_mode():
                proposals = given._proposals(image, peaks, 0, seen, view)
            found = next(iter(given._detections(proposals, view)), None)
            yield scored(row, kind, one, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--zoom", type=float, default=1.0)
    arguments = parser.parse_args()
    detector = load_detector(arguments.checkpoint).zoomed(arguments.zoom)
    by_name = {kind.name: kind for kind in detector.blocks.kinds}
    for root in arguments.data:
        dataset = open_dataset(root)
        kinds = {number: by_name[model.name] for number, model in dataset.models.items() if model.name in by_name}
        matched = list(match_dataset(detector, dataset, 16))
        blocks = [one for one in matched if not isinstance(one, FalsePositive)]
        results = [
            scored(ROWS[0], one.kind, one.truth, one.detection)
            for one in blocks
            if one.truth.visible_fraction > SEEN
        ]
        elsewhere = [one for one in matched if isinstance(one, FalsePositive)]
        asked, alone = (asked_for(blocks, others) < 0.01 for others in (elsewhere, []))
        table = table_of(dataset.table_center, dataset.table_size)
        progress = Progress("given the truth", len(dataset.pictures), "images", ending=False)
        for picture in dataset.pictures:
            view = View(picture.intrinsics, picture.distortion, picture.camera_from_table, table)
            results += oracles(detector, picture, view, kinds)
            progress.update(1)
        progress.close()
        print(f"{root}: right, surface points / corners")
        for row in ROWS:
            of_row = [one for one in results if one.row == row]
            shares = [100 * np.mean([getattr(one, name) < RIGHT for one in of_row]) for name in ("surface", "corners")]
            print(f"  given {row:40} {shares[0]:5.1f}% / {shares[1]:5.1f}% of {len(of_row)}")
        shares_asked = f"{asked.mean():.1%} of {len(asked)}; without detections of other objects {alone.mean():.1%}"
        print(f"  asked for a kind, right within 1 cm: {shares_asked}")
        for low, high in pairwise(PIXELS):
            some = [one for one in results if low <= one.pixels < high]
            if some:
                parts = [[one.surface < RIGHT for one in some if one.row == row] for row in ROWS]
                shares_by_row = "  ".join(f"{100 * np.mean(part):5.1f}%" for part in parts)
                print(f"  {low:5} to {high if high < 10**9 else '':>5} visible px ({len(parts[0]):4}): {shares_by_row}")


if __name__ == "__main__":
    main()
