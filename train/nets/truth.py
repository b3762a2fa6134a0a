"""What the networks are to predict of the blocks in a batch: class, keypoints in all symmetric poses, window."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from simgen.distortion import bend
from simgen.geometry import NEAR
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.data.targets import SAME_SIZE, Targets
from train.nets.crop_net import windows_of

LEAST_SHARE = 0.1  # visible share of a block that is a target
LEAST_PIXELS = 16  # its visible pixels
# Where the table is not known in training, a class is a kind, and of a block's symmetric poses those are right whose angle
# to an upright one exceeds the least by less than this. With all of them a network predicts their average for long.
_SLACK = 0.26  # rad: 15 degrees


@dataclass(frozen=True)
class Truth:
    """The P blocks to be detected, block number `slot` (P,) of image number `picture` (P,): kind and stance (P,); `sized`
    (P,), 1 if its size is that of its kind, else 0; real (P, K) of BlockSet; keypoints (P, G, K, 2) px in all symmetric
    poses, of which those in members (P, G) may be predicted; windows (P, 3) px."""

    picture: Tensor
    slot: Tensor
    kind: Tensor
    stance: Tensor
    sized: Tensor
    real: Tensor
    members: Tensor
    keypoints: Tensor
    windows: Tensor

    def __len__(self) -> int:
        return len(self.kind)


def truth_of(targets: Targets, blocks: BlockSet, stances: Stances) -> Truth:
    """The blocks of `targets`, whose `model` is the place of the kind in `blocks`, -1 for objects that are not to be
    detected. Always in single precision: pixels have more digits than bfloat16."""
    with torch.autocast(targets.model.device.type, enabled=False):
        return _truth_of(targets, blocks, stances)


def _truth_of(targets: Targets, blocks: BlockSet, stances: Stances) -> Truth:
    picture, slot = detectable(targets).nonzero(as_tuple=True)
    kind = targets.model[picture, slot]
    keypoints, rotations = candidates(targets, picture, slot, kind, blocks)
    # Not the origin, which a symmetry may move: the direction to the viewer must be the same for all symmetric poses.
    pose = targets.camera_from_block[picture, slot]
    center = targets.scale[picture, slot, None] * blocks.center[kind]
    upright = _upright((pose[:, :3, :3] @ center[:, :, None])[..., 0] + pose[:, :3, 3])
    angle = _angle(rotations, upright[:, None]).masked_fill(~blocks.members[kind], torch.inf)
    vertical = targets.camera_from_world[picture, :3, 2]
    frame = torch.stack([vertical, -(upright[:, :, 1])], 1)
    near = angle <= angle.amin(1, keepdim=True) + _SLACK
    members = blocks.members[kind] if stances.sides else near
    stance, members = stances.of(kind, _up(targets, picture, slot), rotations, members, frame)
    real = blocks.real[kind]
    around = members.int() if stances.sides else -angle
    one = keypoints[torch.arange(len(kind), device=kind.device), around.argmax(1)]
    return Truth(
        picture,
        slot,
        kind,
        stance,
        ((targets.scale[picture, slot] - 1).abs() < SAME_SIZE).float(),
        real,
        members,
        keypoints,
        windows_of(one, real),
    )


def detectable(targets: Targets) -> Tensor:
    """(B, N) bool: the blocks to be detected, those of a known kind of which enough is visible."""
    enough = (targets.share >= LEAST_SHARE) & (targets.seen >= LEAST_PIXELS)
    return targets.present & (targets.model >= 0) & enough


def candidates(
    targets: Targets, picture: Tensor, slot: Tensor, kind: Tensor, blocks: BlockSet
) -> tuple[Tensor, Tensor]:
    """The keypoints of the blocks (picture, slot) (P,) of `kind` (P,) in each symmetric pose, (P, G, K, 2) px, and the
    rotations (P, G, 3, 3) of these poses, camera_from_block. A block with a continuous symmetry is first rotated to face the
    camera, so that the keypoints follow from what is visible."""
    pose = targets.camera_from_block[picture, slot]
    turn, shift = pose[:, :3, :3], pose[:, :3, 3]
    # All rotations of a sphere are the same pose: its keypoints are placed as the camera sees it.
    turn = torch.where(blocks.sphere[kind][:, None, None], _upright(shift), turn)
    eye = -(turn.transpose(1, 2) @ shift[..., None])  # (P, 3, 1): the camera in the block frame
    frame = blocks.frame[kind]
    x, y, _ = (frame @ eye)[..., 0].unbind(1)
    angle = torch.atan2(y, x)  # 0 where the frame is
    facing = _about(frame, angle)
    points = targets.scale[picture, slot, None, None, None] * blocks.keypoints[kind][:, None]  # (P, 1, K, 3)
    group = blocks.group[kind]  # (P, G, 4, 4): translations are of the block at scale 1
    moved = (
        points @ group[..., :3, :3].transpose(-1, -2)
        + targets.scale[picture, slot, None, None, None] * group[..., None, :3, 3]
    )
    faced = turn @ facing
    seen = moved @ faced[:, None].transpose(-1, -2) + shift[:, None, None]
    rotations = faced[:, None] @ group[..., :3, :3]
    return _project(seen, targets.intrinsics[picture], targets.distortion[picture]), rotations


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """(...) the angle in rad between the rotations `one` and `other` (..., 3, 3)."""
    return (((one * other).sum((-2, -1)) - 1) / 2).clamp(-1, 1).acos()


def _up(targets: Targets, picture: Tensor, slot: Tensor) -> Tensor:
    """(P, 3) the table's z axis in each block's frame."""
    z = targets.camera_from_world[picture, :3, 2]
    return (targets.camera_from_block[picture, slot, :3, :3].mT @ z[:, :, None])[..., 0]


def _upright(shift: Tensor) -> Tensor:
    """(P, 3, 3) camera_from_block rotations of blocks at `shift` (P, 3) that stand upright, squarely in front of a camera
    that looks down on them at 45 degrees: x points right, z halfway between up and towards the camera."""
    away = functional.normalize(shift, dim=1)
    down = torch.tensor([0.0, 1, 0], device=shift.device, dtype=shift.dtype)
    right = functional.normalize(torch.linalg.cross(down.expand_as(away), away), dim=1)
    up = torch.linalg.cross(right, away)  # at a right angle to the line of sight
    z = functional.normalize(up - away, dim=1)
    return torch.stack([right, torch.linalg.cross(z, right), z], 2)


def _about(frame: Tensor, angle: Tensor) -> Tensor:
    """(P, 3, 3) rotations by `angle` (P,) about the third row of `frame` (P, 3, 3); the identity where the frame is 0."""
    first, second, axis = frame.unbind(1)
    outer = axis[:, :, None] * axis[:, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = first[:, :, None] * first[:, None] + second[:, :, None] * second[:, None]
    swap = second[:, :, None] * first[:, None] - first[:, :, None] * second[:, None]
    round_kind = (axis.norm(dim=1) > 0)[:, None, None]
    return torch.where(round_kind, outer + cosine * across + sine * swap, torch.eye(3, device=frame.device))


def _project(points: Tensor, intrinsics: Tensor, distortion: Tensor) -> Tensor:
    """geometry.project for points (P, G, K, 3) of cameras (P, ...); points behind the camera are put far outside."""
    x, y = (points[..., k] / points[..., 2].clamp_min(NEAR) for k in (0, 1))
    plane = torch.stack(bend(x, y, [part[:, None, None] for part in distortion.unbind(1)], torch), -1)
    lens = intrinsics[:, None, :2, :2].transpose(-1, -2)
    return plane @ lens + intrinsics[:, None, None, :2, 2]
