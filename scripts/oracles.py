"""Which stage of a keypoint model owes what: the share of right poses when a stage is given the truth.

    python scripts/oracles.py shipped-blocks data/full data/photographs [--zoom 1.5]

Each row gives the model more of the truth: nothing; the place of each block (the crops around its true keypoints); also its
kind and the side that it lies on; its true pose plus noise (standard deviation 5% of the diameter along the table and 8
degrees about the vertical), which is then refined against the picture's edges. Right is ADD-S under a tenth of the diameter,
on 1,000 points of the surface and, as before, on the corners of the convex hull. Only blocks seen by over half count.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from train.pose.refine import Hypothesis, _moved, blurred_lab, refine_on_table

from simgen.command.progress import Progress
from simgen.dataset.read import open_dataset, read_rgb
from simgen.dataset.scenes import Instance, Picture
from simgen.draws import Draws
from simgen.geometry import Array, inverse, project, transform_points
from train.blocks.kinds import Kind
from train.detect.calibration import RIGHT
from train.detect.detector import Detector, load_detector
from train.evaluate.matching import FalsePositive, match_dataset
from train.metrics import adds
from train.nets.detection_net import Peaks
from train.pose.view import Pose, View, table_of

SEEN = 0.5
ROWS = ("nothing", "place", "place, kind and side", "pose plus noise, before refinement", "pose plus noise, refined")
PIXELS = (0, 200, 400, 800, 1600, 10**9)


class Scored(NamedTuple):
    row: str
    kind: str
    surface: float  # ADD-S in diameters; infinite for a block without a pose
    corners: float
    pixels: int


def scored(row: str, kind: Kind, one: Instance, pose: Array | None) -> Scored:
    if pose is None:
        return Scored(row, kind.name, np.inf, np.inf, one.visible_pixels)
    truth = kind.facing(one.camera_from_block, pose)
    errors = [adds(pose, truth, points) / kind.diameter for points in (kind.surface, kind.corners)]
    return Scored(row, kind.name, errors[0], errors[1], one.visible_pixels)


def oracles(detector: Detector, picture: Picture, view: View, kinds: dict[int, Kind]) -> Iterator[Scored]:
    """The rows of ROWS but the first, for each block of one picture."""
    stances = detector.net.stances
    image = read_rgb(picture.path)
    known = [one for one in picture.instances if one.obj_id in kinds and one.visible_fraction > SEEN]
    if not known or view.camera_from_table is None:
        return
    lab = blurred_lab(image)
    most = detector.blocks.keypoints.shape[1]
    keypoints, classes = [], []
    for one in known:
        kind = kinds[one.obj_id]
        points = project(transform_points(one.camera_from_block, kind.keypoints), view.intrinsics, view.distortion)
        keypoints.append(np.concatenate([points, np.repeat(points[-1:], most - len(points), axis=0)]))
        up = (inverse(one.camera_from_block)[:3, :3] @ view.camera_from_table[:3, 2]).astype(np.float32)
        number = torch.tensor([detector.blocks.names.index(kind.name)])
        classes.append(int(stances.of(number, torch.from_numpy(up)[None])))
    size = image.shape[1], image.shape[0]
    stance = torch.tensor(classes)[None]
    ones = torch.ones(1, len(known))
    pixels = torch.from_numpy(np.stack(keypoints)).float()[None]
    proposals = detector._proposals(
        image, Peaks(ones, stance, ones, pixels, torch.ones(1, len(known), most)), size, view
    )
    draws = Draws(0, np.array([picture.image_id])) / "noise"
    for row, one in enumerate(known):
        kind = kinds[one.obj_id]
        found = detector._detection(proposals, row, view, lab)
        yield scored(ROWS[1], kind, one, None if found is None else found.pose.camera_from_block)
        given = proposals._replace(stance=proposals.stance.copy(), share=np.ones(len(known)))
        given.stance[row] = classes[row]
        if proposals.probability is not None and proposals.all_keypoints is not None:
            given = given._replace(probability=np.eye(len(stances))[classes], keypoints=proposals.keypoints.copy())
            rows = stances.rows[classes[row]].cpu().numpy()
            given.keypoints[row] = proposals.all_keypoints[row, rows]
        found = detector._detection(given, row, view, lab)
        yield scored(ROWS[2], kind, one, None if found is None else found.pose.camera_from_block)
        shift_x, shift_y, turn = (draws / str(row)).normal(3)[0] * [0.05, 0.05, np.radians(8)]
        table_from_block = inverse(view.camera_from_table) @ one.camera_from_block
        noisy = _moved(
            table_from_block[None],
            np.array([[shift_x, shift_y]]) * kind.diameter,
            np.array([turn]),
            view.camera_from_table,
        )[0]
        yield scored(ROWS[3], kind, one, noisy)
        start = Hypothesis(classes[row], kind, 1.0, keypoints[row][: len(kind.keypoints)], Pose(noisy, np.eye(6), 0.0))
        refined = refine_on_table(lab, [start], view)
        yield scored(ROWS[4], kind, one, None if refined is None else refined.hypothesis.pose.camera_from_block)


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
        results = [
            scored(ROWS[0], one.kind, one.truth, one.detection and one.detection.pose.camera_from_block)
            for one in match_dataset(detector, dataset, 16)
            if not isinstance(one, FalsePositive) and one.truth.visible_fraction > SEEN
        ]
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
        for low, high in pairwise(PIXELS):
            some = [one for one in results if low <= one.pixels < high]
            if some:
                parts = [[one.surface < RIGHT for one in some if one.row == row] for row in ROWS]
                shares_by_row = "  ".join(f"{100 * np.mean(part):5.1f}%" for part in parts)
                print(f"  {low:5} to {high if high < 10**9 else '':>5} visible px ({len(parts[0]):4}): {shares_by_row}")


if __name__ == "__main__":
    main()
