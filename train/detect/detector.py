"""A trained keypoint model as a function: pictures and cameras in, blocks out."""

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
from train.nets.crop_net import upward_of, windows_of
from train.nets.detection_net import KeypointNet, Maps, Peaks, find_peaks, make_net
from train.pose.locate import find_camera
from train.pose.refine import LEAST_CHANCE, MOST_CLASSES, Hypothesis, hold, light_of
from train.pose.solve import misfit_of, solve_free, solve_on_table
from train.pose.view import Pose, View, pose_or_nan
from train.runs.checkpoint import AVERAGED, KEYPOINTS, fits_its_description, read_checkpoint, weights_below

MOST = 20  # blocks in a picture
LEAST_SCORE = 0.1  # of a peak that is looked into
_APART = 0.35  # two finds nearer than this share of their own extent are one block


class _Reading(NamedTuple):
    """What is told of D blocks in a picture, the best score first: stance (D,) the class, score (D,), share (D,) the
    probability of the class's kind, keypoints (D, K, 2) px and their deviation sigma (D, K) px. After a second look also
    chance (D, S) of each class and told (D, T, 2) px, the keypoints of all classes."""

    stance: NDArray[np.int64]
    score: Array
    share: Array
    keypoints: Array
    sigma: Array
    chance: Array | None = None
    told: Array | None = None


@dataclass(frozen=True)
class Detector:
    """`net` finds `blocks`. It has learnt from pictures of `width` x `height` px; others are resized to about as many
    pixels, in their own ratio of the sides. With `edges` what a second look says of a block on a known table is held
    against the picture (train.pose.refine)."""

    net: KeypointNet
    blocks: BlockSet
    width: int
    height: int
    calibration: Calibrations = field(default_factory=Calibrations)
    inflation: Inflation = field(default_factory=Inflation)
    edges: bool = False

    def sized(self, sizes: Mapping[str, Array]) -> "Detector":
        """The same for blocks of other sizes: (3,) m of the bounding box, by kind. What is not named stays as it was learnt.

        The network sees shapes in pictures; how large they are is for the pose alone to know.
        """
        kinds = [kind.resized(sizes[kind.name]) if kind.name in sizes else kind for kind in self.blocks.kinds]
        return replace(self, blocks=BlockSet(kinds))

    def zoomed(self, factor: float) -> "Detector":
        """The same with `factor` times as many pixels along each side of what goes into the network: where blocks are small
        in their pictures, beside what it has learnt from, they are found better in larger ones."""
        return replace(self, width=round(self.width * factor), height=round(self.height * factor))

    def find(self, pictures: Sequence[Image], views: Sequence[View]) -> list[list[Detection]]:
        """The blocks in each of `pictures` (H, W, 3), RGB, of any size, seen by the cameras `views`; best first. Where a
        view knows its table, a block lies on it: what would lie beyond the edge is no block."""
        pictures = [
            np.ascontiguousarray(picture) for picture in pictures
        ]  # torch takes no reversed views, such as BGR read as RGB
        finds: list[list[Detection]] = [[] for _ in pictures]
        sizes = [self._size(picture) for picture in pictures]
        for size in dict.fromkeys(sizes):
            rows = [row for row, other in enumerate(sizes) if other == size]
            peaks = self._find(np.stack([resized(pictures[row], *size) for row in rows]))
            for place, row in enumerate(rows):
                told = self._read(pictures[row], peaks.of(place), size, views[row])
                finds[row] = self._solve(told, views[row], pictures[row])
        return finds

    def locate(self, picture: Image, guess: View, eye: Array | None = None) -> View | None:
        """The camera of `picture` (H, W, 3), found from the table that it shows: pose and focal length, the latter near that
        of `guess`, and the camera near `eye` (3,) m in the table's frame if given. None where too little of the table is
        seen. Raises ConfigError for a network that has not learnt it."""
        size = self._size(picture)
        with torch.inference_mode():
            maps = self._maps(resized(picture, *size)[None])
        if maps.table is None or maps.table_log_scale is None:
            raise ConfigError(
                "camera: this model cannot find the camera; expected one that was trained with model.table_weight above 0"
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

    def _find(self, images: Image) -> Peaks:
        """The peaks in each of `images` (B, height, width, 3) of one size."""
        with torch.inference_mode():
            return find_peaks(self._maps(images), MOST)

    def _read(self, picture: Image, peaks: Peaks, size: tuple[int, int], view: View) -> _Reading:
        """What is told of the blocks at `peaks` (1 picture) of `picture`, which went into the network in `size`."""
        count = int((peaks.score[0] >= LEAST_SCORE).sum())  # the best come first
        score, stance, share, keypoints, scale = (
            part[0, :count] for part in (peaks.score, peaks.stance, peaks.share, peaks.keypoints, peaks.scale)
        )
        back = keypoints.new_tensor([picture.shape[1] / size[0], picture.shape[0] / size[1]])
        keypoints, scale = (keypoints + 0.5) * back - 0.5, scale * back.mean()
        chance: Array | None = None
        told: Array | None = None
        if self.net.crops is not None and count:
            stances = self.net.stances
            image = torch.tensor(picture, device=keypoints.device).permute(2, 0, 1)[None]
            real = self.blocks.real.to(keypoints.device)
            lens = keypoints.new_tensor(view.intrinsics).expand(count, 3, 3)
            pose = keypoints.new_tensor(pose_or_nan(view.camera_from_table)).expand(count, 4, 4)
            distortion = keypoints.new_tensor(padded(view.distortion)).expand(count, -1)
            with torch.inference_mode():
                # Twice: the second time the window is of what the first has seen.
                for see in (self.net.crops.look, self.net.crops.look_around):
                    windows = windows_of(keypoints, real[stances.kind[stance]])
                    look = see(image, torch.zeros_like(stance), windows, upward_of(windows, lens, pose, distortion))
                    stance, share = stances.likeliest(look.stance.softmax(1))
                    keypoints = look.keypoints_of(stance, stances)
                scale = look.log_scale.exp()
                chance, told = (part.cpu().double().numpy() for part in (look.stance.softmax(1), look.keypoints))
        # The scale of a Laplace distribution is its deviation over the root of 2.
        parts = (score, share, keypoints, np.sqrt(2) * scale)
        read = _Reading(stance.cpu().numpy(), *(part.cpu().double().numpy() for part in parts))
        return read._replace(chance=chance, told=told)

    def _solve(self, told: _Reading, view: View, picture: Image) -> list[Detection]:
        stances = self.net.stances
        kinds = stances.kind.cpu().numpy()
        asks = self.edges and view.camera_from_table is not None and told.chance is not None
        light = light_of(picture) if asks else None
        found: list[Detection] = []
        for row, (number, score, share) in enumerate(zip(told.stance, told.score, told.share, strict=True)):
            chosen = self.blocks.kinds[kinds[number]]
            pixels = told.keypoints[row, : len(chosen.keypoints)]
            extent = np.ptp(pixels, axis=0).max()
            if any(np.linalg.norm(pixels[0] - other.keypoints[0]) < _APART * extent for other in found):
                continue
            held = hold(light, self._answers(told, row, view), view) if light is not None else None
            if held is not None:
                number, chosen, pixels = held.answer.stance, held.answer.kind, held.answer.pixels
                share = told.chance[row, kinds == kinds[number]].sum()  # type: ignore[index]  # it is there
            doubt = told.sigma[row, : len(chosen.keypoints)]
            free = solve_free(chosen.keypoints, pixels, doubt, view)
            if free is None:
                continue
            free = free.inflated(self.inflation.free)
            lying: Pose | None = None
            if held is not None:
                moved = held.answer.pose.camera_from_block
                misfit = misfit_of(moved @ chosen.group, chosen.keypoints, pixels, doubt, view)
                lying = replace(held.answer.pose, misfit=misfit)
            elif light is None:
                lying = self._lying(number, pixels, doubt, view)
            lying = lying and lying.inflated(self.inflation.on_table)
            if lying and view.off_table(lying):
                continue
            sure = float(score * share)
            edges = None if held is None else np.array([held.evidence, held.margin])
            one = Detection(chosen, sure, sure, pixels, doubt, free, lying, edges)
            calibration = self.calibration.on_table if lying else self.calibration.free
            if calibration is not None:
                one = replace(one, confidence=float(calibration.chance(one.features)))
            found.append(one)
        return sorted(found, key=lambda one: -one.confidence)

    def _lying(self, stance: int, pixels: Array, sigma: Array, view: View) -> Pose | None:
        """The pose on the table of a block of the class `stance`; None where the view knows no table."""
        if view.camera_from_table is None:
            return None
        stances = self.net.stances
        kind = self.blocks.kinds[int(stances.kind[stance])]
        rests = kind.rests_like(stances.rests[stance])
        if kind.sphere:  # its keypoints lie as the camera sees them, however it was rolled
            free = solve_free(kind.keypoints, pixels, sigma, view)
            if free is None:
                return None
            turn = view.camera_from_table[:3, :3].T @ free.camera_from_block[:3, :3]
            rests = rigid(turn, rests[0, :3, 3])[None]
        return solve_on_table(kind.keypoints, pixels, sigma, view, rests, kind.axis)

    def _answers(self, told: _Reading, row: int, view: View) -> list[Hypothesis]:
        """What the block `row` of `told` may be, the likeliest first."""
        assert told.chance is not None and told.told is not None
        stances, chance = self.net.stances, told.chance[row]
        answers = []
        for stance in np.argsort(-chance)[:MOST_CLASSES]:
            if chance[stance] < LEAST_CHANCE:
                break
            kind = self.blocks.kinds[int(stances.kind[stance])]
            count = len(kind.keypoints)
            pixels = told.told[row, stances.rows[stance].cpu().numpy()[:count]]
            pose = self._lying(int(stance), pixels, told.sigma[row, :count], view)
            if pose is not None:
                answers.append(Hypothesis(int(stance), kind, float(chance[stance]), pixels, pose))
        return answers


def load_detector(path: Path | str, *, calibrated: bool = True) -> Detector:
    """The detector in the checkpoint `path`, with its averaged weights; "shipped" and "shipped-blocks" come with the
    package. One that is not to be `calibrated` is as its network is, whatever was learnt since. Raises CheckpointError."""
    content = read_checkpoint(path)
    if content["simgen_train"] != KEYPOINTS:
        raise CheckpointError(
            f"{path}: holds no keypoint model; expected one that `python -m train model=keypoints` wrote"
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
            f"{path}: what it states of its finds was learnt by another version ({type(error).__name__}); expected what "
            "`python -m train calibrate` writes: run that on this checkpoint"
        ) from error
    return replace(detector, calibration=calibration, inflation=inflation)
