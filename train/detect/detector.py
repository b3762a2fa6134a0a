"""A trained keypoint model as a function: pictures and cameras in, detections out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from simgen.distortion import padded
from simgen.errors import CheckpointError, ConfigError
from simgen.geometry import Array, rigid
from train.blocks.kinds import BlockSet
from train.config import KeypointConfig
from train.data.images import resized
from train.data.targets import STRIDE
from train.detect.calibration import Calibrations, Inflation
from train.detect.types import Detection, Image
from train.nets.crop_net import table_normals, windows_of
from train.nets.detection_net import KeypointNet, Maps, Peaks, find_peaks, make_net
from train.pose.locate import find_camera
from train.pose.refine import LEAST_PROBABILITY, MOST_CLASSES, Hypothesis, blurred_lab, refine_on_table
from train.pose.solve import misfit_of, solve_free, solve_on_table
from train.pose.view import Pose, View, pose_or_nan
from train.runs.checkpoint import AVERAGED, KEYPOINTS, fits_its_description, read_checkpoint, weights_below

MOST = 20  # blocks in a picture
LEAST_SCORE = 0.1  # of a peak that is processed
_DUPLICATE = 0.35  # of a block's extent in the picture: a second detection nearer than this is the same block


class _Proposals(NamedTuple):
    """The networks' output for D blocks in a picture, best score first: stance (D,), the class; score (D,); share (D,), the
    probability of the class's kind; keypoints (D, K, 2) px and their standard deviations sigma (D, K) px. With a crop
    network also the probability (D, S) of each class and all_keypoints (D, T, 2) px, those of all classes; else None."""

    stance: NDArray[np.int64]
    score: Array
    share: Array
    keypoints: Array
    sigma: Array
    probability: Array | None = None
    all_keypoints: Array | None = None


@dataclass(frozen=True)
class Detector:
    """Detects `blocks` with `net`, which was trained on pictures of `width` x `height` px. Others are resized to about as
    many pixels, with their aspect ratio kept. With `edges` poses on a known table are refined by train.pose.refine, which
    needs a crop network."""

    net: KeypointNet
    blocks: BlockSet
    width: int
    height: int
    calibration: Calibrations = field(default_factory=Calibrations)
    inflation: Inflation = field(default_factory=Inflation)
    edges: bool = False

    def sized(self, sizes: Mapping[str, Array]) -> "Detector":
        """The same detector for blocks of other sizes: (3,) m of the bounding box, by kind. Other kinds keep theirs.

        The network sees shapes in pictures; only the pose depends on their size.
        """
        kinds = [kind.resized(sizes[kind.name]) if kind.name in sizes else kind for kind in self.blocks.kinds]
        return replace(self, blocks=BlockSet(kinds))

    def zoomed(self, factor: float) -> "Detector":
        """The same detector with `factor` times as many pixels along each side of the network's input. Blocks that are
        smaller in the pictures than in those of the training are detected better in a larger input."""
        return replace(self, width=round(self.width * factor), height=round(self.height * factor))

    def find(self, pictures: Sequence[Image], views: Sequence[View]) -> list[list[Detection]]:
        """The detected blocks in each of `pictures` (H, W, 3), RGB, of any size, taken by the cameras `views`; greatest
        confidence first. If a view has a table, blocks lie on it, and detections beyond its edge are dropped."""
        # torch takes no arrays with negative strides, such as BGR reversed to RGB.
        pictures = [np.ascontiguousarray(picture) for picture in pictures]
        detections: list[list[Detection]] = [[] for _ in pictures]
        sizes = [self._size(picture) for picture in pictures]
        for size in dict.fromkeys(sizes):
            rows = [row for row, other in enumerate(sizes) if other == size]
            peaks = self._peaks(np.stack([resized(pictures[row], *size) for row in rows]))
            for place, row in enumerate(rows):
                proposals = self._proposals(pictures[row], peaks.of(place), size, views[row])
                detections[row] = self._detections(proposals, views[row], pictures[row])
        return detections

    def locate(self, picture: Image, guess: View, eye: Array | None = None) -> View | None:
        """The camera of `picture` (H, W, 3), estimated from the table that it shows: its pose, and a focal length near that
        of `guess`. `eye` (3,) m is the camera's measured position in the table's frame, if known. None if too little of the
        table is visible. Raises ConfigError for a network without a table head."""
        size = self._size(picture)
        with torch.inference_mode():
            maps = self._maps(resized(picture, *size)[None])
        if maps.table is None or maps.table_log_scale is None:
            raise ConfigError(
                "camera: this model cannot estimate the camera; expected one trained with model.table_weight above 0"
            )
        places, scale = maps.table[0].double().cpu().numpy(), maps.table_log_scale[0].double().exp().cpu().numpy()
        across, down = picture.shape[1] / size[0], picture.shape[0] / size[1]
        v, u = np.meshgrid(*(STRIDE * np.arange(n) + STRIDE / 2 for n in scale.shape), indexing="ij")
        pixels = np.stack([u * across, v * down], -1) - 0.5
        return find_camera(pixels.reshape(-1, 2), places.reshape(-1, 2), scale.ravel(), guess, eye)

    def _maps(self, images: Image) -> Maps:
        device = next(self.net.parameters()).device
        return self.net.maps(self.net(torch.from_numpy(images).permute(0, 3, 1, 2).to(device)))

    def _size(self, picture: Image) -> tuple[int, int]:
        height, width = picture.shape[:2]
        factor = np.sqrt(self.width * self.height / (width * height)) / STRIDE
        return max(8, round(width * factor)) * STRIDE, max(8, round(height * factor)) * STRIDE

    def _peaks(self, images: Image) -> Peaks:
        """The peaks in each of `images` (B, height, width, 3) of one size."""
        with torch.inference_mode():
            return find_peaks(self._maps(images), MOST)

    def _proposals(self, picture: Image, peaks: Peaks, size: tuple[int, int], view: View) -> _Proposals:
        """The proposals for the `peaks` (B = 1) of `picture`, which was resized to `size` for the network."""
        count = int((peaks.score[0] >= LEAST_SCORE).sum())  # the best come first
        score, stance, share, keypoints, scale = (
            part[0, :count] for part in (peaks.score, peaks.stance, peaks.share, peaks.keypoints, peaks.scale)
        )
        back = keypoints.new_tensor([picture.shape[1] / size[0], picture.shape[0] / size[1]])
        keypoints, scale = (keypoints + 0.5) * back - 0.5, scale * back.mean()
        probability: Array | None = None
        all_keypoints: Array | None = None
        if self.net.crops is not None and count:
            stances = self.net.stances
            image = torch.tensor(picture, device=keypoints.device).permute(2, 0, 1)[None]
            real = self.blocks.real.to(keypoints.device)
            lens = keypoints.new_tensor(view.intrinsics).expand(count, 3, 3)
            pose = keypoints.new_tensor(pose_or_nan(view.camera_from_table)).expand(count, 4, 4)
            distortion = keypoints.new_tensor(padded(view.distortion)).expand(count, -1)
            with torch.inference_mode():
                # Two passes: the second one's windows are around the keypoints that the first one predicts.
                for predict in (self.net.crops.predict, self.net.crops.predict_averaged):
                    windows = windows_of(keypoints, real[stances.kind[stance]])
                    upward = table_normals(windows, lens, pose, distortion)
                    output = predict(image, torch.zeros_like(stance), windows, upward)
                    stance, share = stances.likeliest(output.stance.softmax(1))
                    keypoints = output.keypoints_of(stance, stances)
                scale = output.log_scale.exp()
                probability, all_keypoints = (
                    part.cpu().double().numpy() for part in (output.stance.softmax(1), output.keypoints)
                )
        # A Laplace distribution's standard deviation is its scale times the root of 2.
        parts = (score, share, keypoints, np.sqrt(2) * scale)
        proposals = _Proposals(stance.cpu().numpy(), *(part.cpu().double().numpy() for part in parts))
        return proposals._replace(probability=probability, all_keypoints=all_keypoints)

    def _detections(self, proposals: _Proposals, view: View, picture: Image) -> list[Detection]:
        """The `proposals` with poses, without duplicates; greatest confidence first."""
        refines = self.edges and view.camera_from_table is not None and proposals.probability is not None
        lab = blurred_lab(picture) if refines else None
        kinds = self.net.stances.kind.cpu().numpy()
        detections: list[Detection] = []
        for row, stance in enumerate(proposals.stance):
            pixels = proposals.keypoints[row, : len(self.blocks.kinds[kinds[stance]].keypoints)]
            extent = np.ptp(pixels, axis=0).max()
            if any(np.linalg.norm(pixels[0] - other.keypoints[0]) < _DUPLICATE * extent for other in detections):
                continue
            detection = self._detection(proposals, row, view, lab)
            if detection is not None:
                detections.append(detection)
        return sorted(detections, key=lambda detection: -detection.confidence)

    def _detection(
        self, proposals: _Proposals, row: int, view: View, lab: NDArray[np.float32] | None
    ) -> Detection | None:
        """Proposal number `row` with its poses and confidence, refined against the picture's `lab` if given; None if it has
        no pose or lies beyond the table's edge."""
        kinds = self.net.stances.kind.cpu().numpy()
        stance, share = int(proposals.stance[row]), proposals.share[row]
        kind = self.blocks.kinds[kinds[stance]]
        pixels = proposals.keypoints[row, : len(kind.keypoints)]
        refined = None if lab is None else refine_on_table(lab, self._hypotheses(proposals, row, view), view)
        if refined is not None:
            stance, kind, pixels = (refined.hypothesis.stance, refined.hypothesis.kind, refined.hypothesis.pixels)
            share = proposals.probability[row, kinds == kinds[stance]].sum()  # type: ignore[index]  # not None here
        sigma = proposals.sigma[row, : len(kind.keypoints)]

        on_table: Pose | None = None
        if refined is not None:
            symmetric_poses = refined.hypothesis.pose.camera_from_block @ kind.group
            misfit = misfit_of(symmetric_poses, kind.keypoints, pixels, sigma, view)
            on_table = replace(refined.hypothesis.pose, misfit=misfit)
        elif lab is None:
            on_table = self._pose_on_table(stance, pixels, sigma, view)
        # PnP fails for small blocks in the distance; a pose on the table may still be good.
        free = solve_free(kind.keypoints, pixels, sigma, view)
        free = free and free.inflated(self.inflation.free)
        on_table = on_table and on_table.inflated(self.inflation.on_table)
        if (free is None and on_table is None) or (on_table is not None and view.off_table(on_table)):
            return None

        score = float(proposals.score[row] * share)
        edges = None if refined is None else np.array([refined.evidence, refined.margin])
        detection = Detection(kind, score, score, pixels, sigma, free, on_table, edges)
        calibration = self.calibration.free if on_table is None else self.calibration.on_table
        if calibration is None:
            return detection
        return replace(detection, confidence=float(calibration.probability(detection.features)))

    def _pose_on_table(self, stance: int, pixels: Array, sigma: Array, view: View) -> Pose | None:
        """The pose on the table of a block of the class `stance`; None if the view has no table."""
        if view.camera_from_table is None:
            return None
        stances = self.net.stances
        kind = self.blocks.kinds[int(stances.kind[stance])]
        rests = kind.rests_like(stances.rests[stance])
        if kind.sphere:  # its keypoints are predicted relative to the camera, whatever its rotation
            free = solve_free(kind.keypoints, pixels, sigma, view)
            if free is None:
                return None
            turn = view.camera_from_table[:3, :3].T @ free.camera_from_block[:3, :3]
            rests = rigid(turn, rests[0, :3, 3])[None]
        return solve_on_table(kind.keypoints, pixels, sigma, view, rests, kind.axis)

    def _hypotheses(self, proposals: _Proposals, row: int, view: View) -> list[Hypothesis]:
        """The most probable classes of proposal number `row`, with their poses on the table; the most probable first."""
        assert proposals.probability is not None and proposals.all_keypoints is not None
        stances, probability = self.net.stances, proposals.probability[row]
        hypotheses = []
        for stance in np.argsort(-probability)[:MOST_CLASSES]:
            if probability[stance] < LEAST_PROBABILITY:
                break
            kind = self.blocks.kinds[int(stances.kind[stance])]
            count = len(kind.keypoints)
            pixels = proposals.all_keypoints[row, stances.rows[stance].cpu().numpy()[:count]]
            pose = self._pose_on_table(int(stance), pixels, proposals.sigma[row, :count], view)
            if pose is not None:
                hypotheses.append(Hypothesis(int(stance), kind, float(probability[stance]), pixels, pose))
        return hypotheses


def load_detector(path: Path | str, *, calibrated: bool = True) -> Detector:
    """The detector in the checkpoint `path`, with its averaged weights; "shipped" and "shipped-blocks" are bundled with the
    package. With `calibrated` off its stored calibration is ignored. Raises CheckpointError."""
    content = read_checkpoint(path)
    if content["simgen_train"] != KEYPOINTS:
        raise CheckpointError(
            f"{path}: contains no keypoint model; expected one that `python -m train model=keypoints` wrote"
        )
    with fits_its_description(path):
        config = KeypointConfig(**content["model"])
        blocks = BlockSet.from_json(json.loads(content["blocks"]))
        net = make_net(config, blocks)
        net.load_state_dict(weights_below(content, AVERAGED))
        width, height = content["picture"]
        detector = Detector(net.eval(), blocks, width, height, edges=bool(content.get("edges", False)))
    if not calibrated:
        return detector
    try:
        calibration = Calibrations.from_json(content.get("calibration") or {})
        inflation = Inflation(**content.get("inflation", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its calibration was written by another version ({type(error).__name__}); expected what "
            "`python -m train calibrate` writes: run that on this checkpoint"
        ) from error
    return replace(detector, calibration=calibration, inflation=inflation)
