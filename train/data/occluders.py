"""Occluders in drawn training pictures: parts of other pictures of the batch, pasted over parts of blocks.

Blocks that something hides in part are a twelfth of those in scenes of `full`, and are missed most often. Pasting gives
many more for little time (Dwibedi et al. 2017, "Cut, Paste and Learn", paste blocks; here what is pasted is none). What an
occluder covers is no longer visible in the masks from which all targets follow, so these stay right.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from simgen.draws import Draws
from simgen.geometry import Array
from simgen.render import Frames
from train.data.targets import visible_boxes

_ELSEWHERE = 2  # occluders in each picture that are at no block: an edge of one is no sign of a block
_NUMBERS = 9  # that determine an occluder
_HALF = 0.15, 0.6  # of a block's extent in the picture: half the length and half the width of an occluder
_AWAY = 0.2, 0.9  # of the extent: the distance of its middle from the block's
_EXTENT = 20.0, 120.0  # px: of a block in whose place an occluder is that is at no block


def occluded(frames: Frames, draws: Draws, share: float) -> Frames:
    """`frames` of B pictures, with an occluder at each visible block with the probability `share`. It is a rectangle or an
    ellipse of any direction, and shows what another picture has at another place, but no block. `draws` are those of the B
    pictures. The depth and the amodal masks stay."""
    rgb, slot = torch.as_tensor(frames.rgb), torch.as_tensor(frames.slot)
    batch, height, width = slot.shape
    blocks = frames.amodal.shape[1]
    boxes = visible_boxes(slot, blocks)[0].double().cpu().numpy()
    numbers = draws.uniform(_NUMBERS * (blocks + _ELSEWHERE)).reshape(batch, -1, _NUMBERS)
    result, hidden = rgb.clone(), slot.clone()
    for picture in range(batch):
        other = (picture + 1) % batch
        for place in range(blocks + _ELSEWHERE):
            own = numbers[picture, place]
            box = boxes[picture, place] if place < blocks else _anywhere(own, width, height)
            if own[0] >= share or not np.isfinite(box).all():
                continue
            top, left, inside = _shape(box, own, height, width, slot.device)
            if not inside.numel():
                continue
            here = picture, slice(top, top + inside.shape[0]), slice(left, left + inside.shape[1])
            # The same part of the other picture, moved around its border.
            down, across = (int(part * size) for part, size in zip(own[7:], (height, width), strict=True))
            rows, columns = (
                (torch.arange(part.start, part.stop, device=slot.device) + move) % size
                for part, move, size in zip(here[1:], (down, across), (height, width), strict=True)
            )
            origin = other, rows[:, None], columns
            inside = inside & (slot[origin] < 0)
            # Not with a mask as an index: a GPU would be waited for each time.
            result[here] = torch.where(inside[..., None], rgb[origin], result[here])
            hidden[here] = torch.where(inside, -1, hidden[here])
    made = (result, hidden) if torch.is_tensor(frames.rgb) else (result.numpy(), hidden.numpy())
    return replace(frames, rgb=made[0], slot=made[1])


def _anywhere(own: Array, width: int, height: int) -> Array:
    """The box [left, top, right, bottom] px of no block, anywhere in the picture."""
    extent = _EXTENT[0] * (_EXTENT[1] / _EXTENT[0]) ** own[8]
    middle = own[6:8] * [width, height]
    return np.concatenate([middle - extent / 2, middle + extent / 2])


def _shape(box: Array, own: Array, height: int, width: int, device: torch.device) -> tuple[int, int, Tensor]:
    """The first row and column of the part of a picture around an occluder at the block with the `box` (4,) px, and which of
    its pixels (R, C) the occluder covers. Empty beyond the picture's border."""
    extent = max(box[2:] - box[:2])
    half = extent * (_HALF[0] + (_HALF[1] - _HALF[0]) * own[1:3])
    away, angle, turn = extent * (_AWAY[0] + (_AWAY[1] - _AWAY[0]) * own[3]), *(2 * np.pi * own[4:6])
    u, v = (box[:2] + box[2:]) / 2 + away * np.array([np.cos(angle), np.sin(angle)])
    reach = float(np.hypot(*half))
    (top, bottom), (left, right) = (
        np.clip([int(middle - reach), int(middle + reach) + 2], 0, size).tolist()
        for middle, size in ((v, height), (u, width))
    )
    x = torch.arange(left, right, device=device) - u
    y = (torch.arange(top, bottom, device=device) - v)[:, None]
    along = (np.cos(turn) * x + np.sin(turn) * y) / half[0]
    across = (np.cos(turn) * y - np.sin(turn) * x) / half[1]
    inside = torch.maximum(along.abs(), across.abs()) <= 1 if own[6] < 0.5 else along**2 + across**2 <= 1
    return top, left, inside
