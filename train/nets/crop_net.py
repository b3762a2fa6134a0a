"""The second stage of model=keypoints: the crop network predicts class and keypoints of each detection from a crop.

The first stage's maps have the same coarse cells for distant blocks as for near ones. A crop has a fixed size in pixels,
whatever the block's size in the picture, and is cut from the picture at its original resolution. (The head of He et al.
2017, "Mask R-CNN", does the same with features.) If the camera is known, the network also gets the table's normal in the
crop. The tilt removes an ambiguity: it determines what a square on the table looks like.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from simgen.distortion import straighten
from train.blocks.stances import Stances
from train.nets.layers import layer, normalized, stages

MARGIN = 1.5  # a window's side, in sides of the keypoints' box: the surroundings show where the block ends
_LEAST_SIDE, _MOST_SIDE = 8.0, 4096.0  # px: limits of a window's side
_SHIFT = 0.15  # sides: the greatest shift of a window in training, along each axis
_GROW = 0.25  # the greatest change of the logarithm of its side
_SHIFTS = (0, 0), (0.045, 0.045), (-0.045, 0.045), (0.045, -0.045), (-0.045, -0.045)  # sides: windows to average over
_AGREE = 0.08  # sides: keypoints farther than this from those of the middle window are outliers
_LEVELS = 4  # at which the resolution is halved
_HIDDEN = 512  # units of each hidden layer
_TILT = 128  # units of the layers that process the table's normal
UNKNOWN_TABLE = 0.1  # fraction of the training windows whose table normal is withheld


@dataclass(frozen=True)
class CropOutput:
    """The crop network's output for P crops: stance (P, S), logits of the classes; keypoints (P, T, 2) px of the picture,
    those of all classes; log_scale (P, K), the logarithm of the scale in px of their errors' Laplace distribution."""

    stance: Tensor
    keypoints: Tensor
    log_scale: Tensor

    def keypoints_of(self, stance: Tensor, stances: Stances) -> Tensor:
        """(P, K, 2) px: those of the classes `stance` (P,)."""
        return self.keypoints.gather(1, stances.rows[stance][..., None].expand(-1, -1, 2))


class CropNet(nn.Module):
    """Residual blocks, as in KeypointNet, from crops of `size` px down to a 16th of the resolution, and fully connected
    layers from there to the classes and keypoints of `stances`. `widths` are the channels at 1/2, 1/4, 1/8 and 1/16,
    `depths` the residual blocks at the last three.

    The table's normal scales and shifts the activations of both hidden layers (Perez et al. 2018, "FiLM").
    """

    def __init__(self, stances: Stances, size: int, widths: list[int], depths: list[int]) -> None:
        super().__init__()
        self.size, self.widths = size, widths
        self.parts = [len(stances), 2 * stances.total, stances.rows.shape[1]]
        self.stem = layer(3, widths[0], kernel=5, stride=2)
        self.down = stages(widths, depths)
        cells = (size >> _LEVELS) ** 2
        self.all = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * cells, _HIDDEN))
        self.more = nn.ModuleList(nn.Linear(_HIDDEN, _HIDDEN) for _ in range(2))
        self.out = nn.Linear(_HIDDEN, sum(self.parts))
        nn.init.normal_(self.out.weight, std=0.01)
        self.tilt = nn.Sequential(
            nn.Linear(3, _TILT), nn.ReLU(inplace=True), nn.Linear(_TILT, _TILT), nn.ReLU(inplace=True)
        )
        self.film = nn.Linear(_TILT, 4 * _HIDDEN)
        for weights in (*self.more[1].parameters(), *self.film.parameters()):
            nn.init.zeros_(weights)  # at first these layers have no effect

    def forward(self, crops: Tensor, upward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The raw output, which `predict` decodes: class logits (P, S), keypoints (P, T, 2) in sides from the window's
        center, and log scales (P, K) in sides. `crops` (P, 3, size, size) are of `crops_of`, `upward` (P, 3) of
        `table_normals`."""
        x = self.stem(crops.contiguous(memory_format=torch.channels_last))
        for down in self.down:
            x = down(x)
        stretch, shift, stretch_more, shift_more = self.film(self.tilt(upward)).chunk(4, 1)
        x = functional.relu(self.all(x) * (1 + stretch) + shift)
        x = x + self.more[1](functional.relu(self.more[0](x) * (1 + stretch_more) + shift_more))
        stance, keypoints, log_scale = self.out(x).float().split(self.parts, 1)
        return stance, keypoints.unflatten(1, (-1, 2)), log_scale

    def predict(self, images: Tensor, picture: Tensor, windows: Tensor, upward: Tensor) -> CropOutput:
        """The prediction for the `windows` (P, 3) px, each in image number `picture` (P,) of `images` (B, 3, H, W), RGB in
        [0, 255], with the table's normals `upward` (P, 3) of `table_normals`."""
        stance, keypoints, log_scale = self(crops_of(images, picture, windows, self.size), upward)
        side = windows[:, 2:]
        return CropOutput(stance, windows[:, None, :2] + side[..., None] * keypoints, log_scale + torch.log(side))

    def predict_averaged(self, images: Tensor, picture: Tensor, windows: Tensor, upward: Tensor) -> CropOutput:
        """As `predict`, averaged over each window and four shifted ones; stance then holds log probabilities. Each keypoint
        is averaged over the windows that agree with the middle one: others may predict it for another symmetric pose."""
        shift = windows.new_tensor(_SHIFTS)[:, None] * windows[:, 2:]  # (W, P, 2)
        shifted = torch.cat([windows[:, :2] + shift, windows[:, 2:].expand(len(shift), -1, -1)], 2)
        times = len(shift)
        outputs = self.predict(images, picture.repeat(times), shifted.flatten(0, 1), upward.repeat(times, 1))
        stance, keypoints, log_scale = (
            part.reshape(times, -1, *part.shape[1:]) for part in (outputs.stance, outputs.keypoints, outputs.log_scale)
        )
        agree = (keypoints - keypoints[:1]).norm(dim=-1, keepdim=True) < _AGREE * windows[:, 2, None, None]
        return CropOutput(stance.log_softmax(2).mean(0), (keypoints * agree).sum(0) / agree.sum(0), log_scale.mean(0))


def windows_of(keypoints: Tensor, real: Tensor) -> Tensor:
    """(P, 3) px [u, v, side]: the square windows around P blocks' `keypoints` (P, K, 2) px, without those of padding, which
    are not `real` (P, K)."""
    far = torch.finfo(keypoints.dtype).max
    low = keypoints.masked_fill(~real[..., None], far).amin(1)
    high = keypoints.masked_fill(~real[..., None], -far).amax(1)
    side = (MARGIN * (high - low).amax(1, keepdim=True)).clamp(_LEAST_SIDE, _MOST_SIDE)
    return torch.cat([(low + high) / 2, side], 1)


def jittered(windows: Tensor, jitter: Tensor) -> Tensor:
    """`windows` (P, 3) shifted and scaled by the first three of `jitter` (P, 4) in [-1, 1], about as far as the first
    stage's windows are off."""
    side = windows[:, 2:]
    return torch.cat([windows[:, :2] + _SHIFT * side * jitter[:, :2], side * torch.exp(_GROW * jitter[:, 2:3])], 1)


def table_normals(
    windows: Tensor, intrinsics: Tensor, camera_from_table: Tensor, distortion: Tensor | None = None
) -> Tensor:
    """(P, 3): the unit normal of the table, pointing up, in the OpenCV axes of a camera that is rotated, by the smallest
    rotation, so that its optical axis goes through the center of each of `windows` (P, 3) px. 0 where `camera_from_table`
    (P, 4, 4) is unknown, that is, NaN.

    `intrinsics` (P, 3, 3) px; `distortion` (P, 9) or None. Only a fisheye's distortion is removed: any other lens changes a
    ray's direction by a degree or less, except in the corners.
    """
    pixels = torch.cat([windows[:, :2], torch.ones_like(windows[:, :1])], 1)
    ray = torch.linalg.solve(intrinsics, pixels)
    if distortion is not None and bool((distortion[:, 8] > 0).any()):
        fisheye = distortion[:, 8] > 0
        flat = straighten(ray[:, 0], ray[:, 1], distortion.unbind(1), torch)
        ray[:, :2] = torch.where(fisheye[:, None], torch.stack(flat, 1), ray[:, :2])
    ray = functional.normalize(ray, dim=1)
    normal = camera_from_table[:, :3, 2]
    forward = ray.new_tensor([0.0, 0, 1]).expand_as(ray)
    both = ray + forward  # Rodrigues' formula for the rotation from one to the other, about their cross product
    turned = normal - (normal * both).sum(1, keepdim=True) / (1 + ray[:, 2:]) * both
    return (turned + 2 * (normal * ray).sum(1, keepdim=True) * forward).nan_to_num(0)


def crops_of(images: Tensor, picture: Tensor, windows: Tensor, size: int) -> Tensor:
    """(P, 3, size, size) float32: the `windows` (P, 3) px, each of image number `picture` (P,) of `images` (B, 3, H, W),
    normalized; 0 beyond the border. Each pixel of a crop is the mean of the area that it covers."""
    middle, half = windows[:, :2] + 0.5, windows[:, 2:] / 2  # roi_align counts from the corner of the first pixel
    boxes = torch.cat([picture[:, None].float(), middle - half, middle + half], 1)
    return torch.as_tensor(roi_align(normalized(images), boxes, size, 1.0, -1, True))
