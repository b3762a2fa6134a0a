"""A trained keypoint model as a function: pictures and cameras in, detections out."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simgen.distortion import padded
from simgen.errors import CheckpointError
from simgen.geometry import Array, project, rigid, transform_points
from train.blocks.kinds import BlockSet, Kind
from train.config import KeypointConfig
from train.data.images import resized
from train.data.targets import STRIDE
from train.detect.calibration import Calibrations, Inflation
from train.detect.familiarity import Familiarity, features_of_levels
from train.detect.types import Detection, Image, Seen
from train.nets.crop_net import log_density, planes_of, read_places, windows_of
from train.nets.detection_net import LEAST_SIDE, PIXELS, KeypointNet, Maps, Peaks, find_peaks, maps_of
from train.nets.layers import normalized
from train.pose.solve import Keypoints, Resting, solve_free, solve_on_table
from train.pose.view import Pose, View, pose_or_nan
from train.runs.checkpoint import ANEW, AVERAGED, KEYPOINTS, fits_its_description, read_checkpoint, weights_below

MOST = 100  # blocks in a picture
LEAST_SCORE = 0.1  # of a peak that is processed
# Of the peaks after the first USUAL those with a score of SURE alone: most of many blocks, and few of clutter, which would
# take as long as blocks.
USUAL, SURE = 20, 0.5
_LEAST_BLOCK = 0.1  # the least probability of being a block at all
# The three that follow were chosen on 700 simulated pictures of another seed than those of docs/results.md. Before they were
# 3, 0.05 and 1; of the blocks that are found 0.9 points more are right now in `full`, and 1.2 in `photographs`.
_CLASSES = 5  # of a proposal whose poses are compared
_LEAST_SHARE = 0.02  # the least probability of those after the first
_ON_TABLE = 3.0  # weight of a keypoint's mean log density relative to the logarithm of a class's probability
_FREE = (
    1.0  # the same for free poses, which fit the keypoints of wrong kinds better: with 3, 2 points more kinds are wrong
)
_DUPLICATE = 0.35  # of a block's extent in the picture: a second detection nearer than this is the same block


class _Proposals(NamedTuple):
    """The networks' output for D blocks in a picture: windows (D, 3) px; probabilities (D, 3), the heat, and the
    probabilities of being a block and of having the size of its kind. For the C most probable classes of each, the most
    probable first: stance (D, C), the class; share (D, C) and kind_share (D, C), the probabilities of the class and of its
    kind; keypoints (D, C, K, 2) px and their standard deviations sigma (D, C, K) px; places (D, C, K, CELLS, CELLS), the log
    probabilities of CropNet.places."""

    windows: Array
    probabilities: Array
    stance: NDArray[np.int64]
    share: Array
    kind_share: Array
    keypoints: Array
    sigma: Array
    places: Tensor


class _Candidate(NamedTuple):
    """Class `number` of a proposal with its `pose`: the `evidence` for it, a logarithm, and Detection.agreement."""

    evidence: float
    number: int
    pose: Pose
    agreement: float


@dataclass(frozen=True)
class Detector:
    """Detects `blocks` with `net`. Pictures are resized for the detection network to about PIXELS pixels times the square of
    `zoom`, with their aspect ratio kept. `ratios` (C,) are the diameters of the blocks relative to those of the training.
    With `mirrors`, which needs kinds that equal their mirror images, the probabilities of kinds are means over each crop and
    its mirror image."""

    net: KeypointNet
    blocks: BlockSet
    zoom: float = 1.0
    calibration: Calibrations = field(default_factory=Calibrations)
    inflation: Inflation = field(default_factory=Inflation)
    familiarity: Familiarity | None = None
    ratios: Array | None = None
    mirrors: bool = False

    def sized(self, sizes: Mapping[str, Array]) -> "Detector":
        """The same detector for blocks of other sizes: (3,) m of the bounding box, by kind. Other kinds keep theirs.

        The network sees shapes in pictures; the table's scale in its input is divided by that of the blocks.
        """
        kinds = [kind.resized(sizes[kind.name]) if kind.name in sizes else kind for kind in self.blocks.kinds]
        before = np.ones(len(kinds)) if self.ratios is None else self.ratios
        ratios = [new.diameter / old.diameter for new, old in zip(kinds, self.blocks.kinds, strict=True)]
        return replace(self, blocks=BlockSet(kinds), ratios=before * ratios)

    def zoomed(self, factor: float) -> "Detector":
        """The same detector with `factor` times as many pixels along each side of the detection network's input. Blocks that
        are smaller in the pictures than in those of the training are detected better in a larger input."""
        return replace(self, zoom=self.zoom * factor)

    def find(self, pictures: Sequence[Image], views: Sequence[View]) -> list[list[Detection]]:
        """The detections of `look` alone."""
        return [seen.detections for seen in self.look(pictures, views)]

    def look(self, pictures: Sequence[Image], views: Sequence[View]) -> list[Seen]:
        """What each of `pictures` (H, W, 3), RGB, of any size, taken by the cameras `views`, shows. If a view has a table,
        blocks lie on it, and detections beyond its edge are dropped."""
        # torch takes no arrays with negative strides, such as BGR reversed to RGB.
        pictures = [np.ascontiguousarray(picture) for picture in pictures]
        found: dict[int, Seen] = {}
        sizes = [self._size(picture) for picture in pictures]
        with torch.inference_mode():
            for size in dict.fromkeys(sizes):
                rows = [row for row, other in enumerate(sizes) if other == size]
                peaks, features = self._peaks(np.stack([resized(pictures[row], *size) for row in rows]))
                for place, row in enumerate(rows):
                    proposals = self._proposals(pictures[row], peaks, place, size, views[row])
                    detections = self._detections(proposals, views[row])
                    known = None if self.familiarity is None else self.familiarity.of(features[place])
                    found[row] = Seen(detections, known)
        return [found[row] for row in range(len(pictures))]

    def features(self, pictures: Sequence[Image]) -> Array:
        """(B, F) the features of `pictures` (H, W, 3) that train.detect.familiarity compares."""
        with torch.inference_mode():
            return np.concatenate([self._peaks(resized(one, *self._size(one))[None])[1] for one in pictures])

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def _size(self, picture: Image) -> tuple[int, int]:
        """The width and height at which the detection network sees `picture`."""
        height, width = picture.shape[:2]
        factor = self.zoom * np.sqrt(PIXELS / (width * height)) / STRIDE
        least = LEAST_SIDE // STRIDE
        return max(least, round(width * factor)) * STRIDE, max(least, round(height * factor)) * STRIDE

    def _peaks(self, images: Image) -> tuple[Peaks, Array]:
        """The peaks in each of `images` (B, height, width, 3) of one size, and the images' features (B, F)."""
        maps, levels = self._maps(images)
        return find_peaks(maps, MOST), features_of_levels(levels).double().cpu().numpy()

    def _maps(self, images: Image) -> tuple[Maps, list[Tensor]]:
        """What the detection network predicts for `images`, and the backbone's outputs."""
        given = torch.tensor(images).permute(0, 3, 1, 2).to(self.device)  # a copy: some pictures are read-only
        levels = self.net.detection.backbone(normalized(given))
        return maps_of(self.net.detection.decode(levels)), levels

    def _proposals(self, picture: Image, peaks: Peaks, place: int, size: tuple[int, int], view: View) -> _Proposals:
        """The proposals for number `place` of `peaks`, those of `picture`, which was resized to `size`."""
        scores = peaks.score[place]  # the best come first
        count = max(int((scores[:USUAL] >= LEAST_SCORE).sum()), int((scores >= SURE).sum()))
        score, windows = peaks.score[place, :count], peaks.windows[place, :count]
        back = windows.new_tensor([picture.shape[1] / size[0], picture.shape[0] / size[1]])
        windows = torch.cat([(windows[:, :2] + 0.5) * back - 0.5, windows[:, 2:] * back.mean()], 1)
        net, stances = self.net.crops, self.net.stances
        # A network that never saw a table in training does not know what a plane means.
        table = pose_or_nan(view.camera_from_table if stances.sides else None)
        image = normalized(torch.tensor(picture, device=self.device).permute(2, 0, 1)[None])
        real = self.blocks.real.to(self.device)
        ratios = windows.new_tensor(np.ones(len(self.blocks)) if self.ratios is None else self.ratios)

        def crops_of(ratio: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            lens, pose, distortion = (
                windows.new_tensor(part).expand(len(windows), *part.shape)
                for part in (view.intrinsics, table, padded(view.distortion))
            )
            plane = planes_of(windows, lens, pose, distortion, ratio)
            return image, torch.zeros_like(score, dtype=torch.long), windows, plane

        output = net.predict(*crops_of(ratios.median().expand(count)))
        probability = output.stance.softmax(1)
        kept = 1 - probability[:, -1] >= _LEAST_BLOCK
        score, windows = score[kept], windows[kept]
        stance = stances.likeliest(probability[kept, :-1])
        keypoints, _ = read_places(net.places(output.features[kept], stance), windows)
        # The second pass's windows are around the keypoints that the first one predicts.
        kind = stances.kind[stance]
        windows = windows_of(keypoints, real[kind])
        crops = crops_of(ratios[kind])
        output = net.predict(*crops)
        probability, sized = output.stance.softmax(1), output.sized.sigmoid()
        if self.mirrors:
            logits, other = net.predict_mirrored(*crops)
            sized, probability = (sized + other.sigmoid()) / 2, stances.averaged(probability, logits.softmax(1))
        block = 1 - probability[:, -1]
        given = probability[:, :-1] / block[:, None].clamp_min(1e-6)
        share, stance = given.topk(min(_CLASSES, len(stances)), 1)
        kind_share = stances.of_kinds(given).gather(1, stances.kind[stance])
        rows = torch.arange(len(windows), device=self.device)[:, None].expand_as(stance).flatten()
        places = net.places(output.features[rows], stance.flatten())
        keypoints, sigma = read_places(places, windows[rows])
        return _Proposals(
            windows=_array(windows),
            probabilities=_array(torch.stack([score, block, sized], 1)),
            stance=stance.cpu().numpy(),
            share=_array(share),
            kind_share=_array(kind_share),
            keypoints=_array(keypoints.reshape(*stance.shape, *keypoints.shape[1:])),
            sigma=_array(sigma.reshape(*stance.shape, *sigma.shape[1:])),
            places=places.reshape(*stance.shape, *places.shape[1:]).cpu(),
        )

    def _detections(self, proposals: _Proposals, view: View) -> list[Detection]:
        """The `proposals` with poses, without duplicates; greatest confidence first."""
        candidates = [
            (row, number)
            for row, shares in enumerate(proposals.share)
            for number, share in enumerate(shares)
            if number == 0 or share >= _LEAST_SHARE
        ]
        known = view.camera_from_table is not None
        weight = _ON_TABLE if known else _FREE
        best: dict[int, _Candidate] = {}  # by row
        for (row, number), pose in zip(candidates, self._poses(proposals, candidates, view), strict=True):
            if pose is None:
                continue
            agreement = self._agreement(proposals, row, number, pose, view)
            evidence = float(np.log(max(proposals.share[row, number], 1e-9)) + weight * agreement)
            if row not in best or evidence > best[row].evidence:
                best[row] = _Candidate(evidence, number, pose, agreement)
        found = [self._detection(proposals, row, one, on_table=known) for row, one in best.items()]
        found = [one for one in found if not view.off_table(one.pose)]
        detections: list[Detection] = []
        for detection in sorted(found, key=lambda one: -one.score):
            pixels = detection.keypoints
            extent = np.ptp(pixels, axis=0).max()
            if not any(np.linalg.norm(pixels[0] - other.keypoints[0]) < _DUPLICATE * extent for other in detections):
                detections.append(detection)
        return sorted(detections, key=lambda detection: -detection.confidence)

    def _detection(
        self,
        proposals: _Proposals,
        row: int,
        one: _Candidate,
        *,
        on_table: bool,
    ) -> Detection:
        """Proposal number `row`, of the class and in the pose of `one`, with its confidence."""
        number = one.number
        seen = self._keypoints(proposals, row, number)
        heat, block, sized = proposals.probabilities[row]
        probabilities = np.array([heat, block, proposals.kind_share[row, number], sized])
        score = float(probabilities.prod())
        detection = Detection(
            self._kind(proposals, row, number),
            score,
            score,
            probabilities,
            one.agreement,
            seen.pixels,
            seen.sigma,
            one.pose.inflated(self.inflation.on_table if on_table else self.inflation.free),
            on_table,
        )
        calibration = self.calibration.on_table if on_table else self.calibration.free
        if calibration is None:
            return detection
        return replace(detection, confidence=float(calibration.probability(detection.features)))

    def _poses(self, proposals: _Proposals, candidates: Sequence[tuple[int, int]], view: View) -> list[Pose | None]:
        """The pose of each of `candidates`, a proposal's row and the number of its class: on the table if that is known,
        else free."""
        seen = [self._keypoints(proposals, *one) for one in candidates]
        if view.camera_from_table is None:
            return solve_free(seen, view)
        kinds = [self._kind(proposals, *one) for one in candidates]
        # The keypoints of a sphere are predicted relative to the camera, whatever its rotation.
        spheres = [place for place, kind in enumerate(kinds) if kind.sphere]
        turns = dict(zip(spheres, solve_free([seen[place] for place in spheres], view), strict=True))
        resting = []
        for place, (row, number) in enumerate(candidates):
            kind = kinds[place]
            rests = kind.rests_like(self.net.stances.rests[int(proposals.stance[row, number])])
            if kind.sphere:
                free = turns[place]
                turn = np.eye(3) if free is None else view.camera_from_table[:3, :3].T @ free.camera_from_block[:3, :3]
                rests = rigid(turn, rests[0, :3, 3])[None]
            resting.append(Resting(seen[place], rests, kind.axis))
        return solve_on_table(resting, view)

    def _kind(self, proposals: _Proposals, row: int, number: int) -> Kind:
        return self.blocks.kinds[int(self.net.stances.kind[proposals.stance[row, number]])]

    def _keypoints(self, proposals: _Proposals, row: int, number: int) -> Keypoints:
        """The keypoints of proposal `row`, if it is of its class `number`."""
        points = self._kind(proposals, row, number).keypoints
        pixels, sigma = (part[row, number, : len(points)] for part in (proposals.keypoints, proposals.sigma))
        return Keypoints(points, pixels, sigma)

    def _agreement(self, proposals: _Proposals, row: int, number: int, pose: Pose, view: View) -> float:
        """The mean log density of the keypoints of proposal `row`, if it is of its class `number`, in `pose`."""
        points = self._kind(proposals, row, number).keypoints
        pixels = project(transform_points(pose.camera_from_block, points), view.intrinsics, view.distortion)
        at = (pixels - proposals.windows[row, :2]) / proposals.windows[row, 2]
        at = np.where(np.isfinite(at), at, 1.0)  # a keypoint behind the camera counts as one outside the window
        places = proposals.places[row, number, None, : len(points)]
        return float(log_density(places, torch.tensor(at).float()[None, None]).mean())


def _array(values: Tensor) -> Array:
    return np.asarray(values.cpu().double().numpy())


def load_detector(path: Path | str, *, calibrated: bool = True) -> Detector:
    """The detector in the checkpoint `path`, with its averaged weights; "shipped" is bundled with the package. With
    `calibrated` off its stored calibration is ignored. Raises CheckpointError."""
    content = read_checkpoint(path)
    if content["simgen_train"] != KEYPOINTS:
        raise CheckpointError(
            f"{path}: contains no keypoint model; expected one that `python -m train model=keypoints` wrote"
        )
    with fits_its_description(path, ANEW):
        config = KeypointConfig(**content["model"])
        blocks = BlockSet.from_json(json.loads(content["blocks"]))
        net = KeypointNet(blocks, sides=bool(content["sides"]), pretrained=config.backbone == "imagenet")
        net.load_state_dict(weights_below(content, AVERAGED))
        detector = Detector(net.eval(), blocks, mirrors=bool(content.get("mirrors")))
    if not calibrated:
        return detector
    try:
        calibration = Calibrations.from_json(content.get("calibration") or {})
        inflation = Inflation(**content.get("inflation", {}))
        stored = content.get("familiarity")
        familiarity = None if stored is None else Familiarity.from_json(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its calibration was written by another version ({type(error).__name__}); expected what "
            "`python -m train calibrate` writes: run that on this checkpoint"
        ) from error
    return replace(detector, calibration=calibration, inflation=inflation, familiarity=familiarity)


def note_if_uncalibrated(path: Path | str, detector: Detector, known: Iterable[bool]) -> bool:
    """Whether `detector`, of the checkpoint `path`, is calibrated for poses with the table `known` and not; if it is not, a
    note on stderr says so."""
    fitted = {True: detector.calibration.on_table, False: detector.calibration.free}
    without = [table for table in sorted(set(known)) if fitted[table] is None]
    for table in without:
        print(
            f"{path}: is not calibrated for poses {'on' if table else 'without'} a known table: their confidence is the "
            "network's score; run `python -m train calibrate`",
            file=sys.stderr,
        )
    return not without
