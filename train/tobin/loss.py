"""What training minimises: the position's error, and where there is a heatmap, its miss of the block in the picture."""

import torch
from torch import Tensor
from torch.nn import functional

from train.tobin.model import Prediction


def position_loss(positions: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """The smooth L1 loss of `positions` against `truth`, both (B, 3) m, in units of `scale` (), as a mean over B.

    Tobin et al. use L2. Smooth L1 is the same below a tenth of the scale (some 3 cm on a table of 1 m) and grows
    linearly above, so a few blocks that hide behind others do not set the step for all. The three axes are added.
    """
    return functional.smooth_l1_loss(positions / scale, truth / scale, beta=0.1, reduction="none").sum(1).mean()


def keypoint_loss(heatmap: Tensor, keypoints: Tensor) -> Tensor:
    """The cross-entropy of `heatmap` (B, h, w) logits against the true places `keypoints` (B, 2) as (u, v).

    Coordinates as in `train.tobin.model.soft_argmax`. The target spreads over the four cells around the place with
    bilinear weights: its expectation is the exact place, so the minimum is sub-pixel exact. A place that is outside
    the outermost cell centres has no such target and is left out; the mean is over the others, 0 if there are none.
    """
    height, width = heatmap.shape[-2:]
    size = torch.tensor([width, height], device=heatmap.device)
    cell = (keypoints.float() + 1) / 2 * size - 0.5  # in cells, 0 = the first cell's centre
    inside = ((cell >= 0) & (cell <= size - 1)).all(1)
    cell = cell[inside]
    log_share = heatmap[inside].float().flatten(1).log_softmax(1)
    low = torch.minimum(cell.floor(), size - 2).long()
    right, below = (cell - low).unbind(1)
    first = low[:, 1] * width + low[:, 0]
    corners = torch.stack([first, first + 1, first + width, first + width + 1], 1)
    weights = torch.stack([(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below], 1)
    return -(weights * log_share.gather(1, corners)).sum() / inside.sum().clamp(min=1)


def total_loss(
    prediction: Prediction, positions: Tensor, keypoints: Tensor, *, scale: Tensor, keypoint_weight: float
) -> Tensor:
    """`position_loss` plus `keypoint_weight` times `keypoint_loss` where the network has a heatmap."""
    loss = position_loss(prediction.position, positions, scale)
    if prediction.heatmap is not None and keypoint_weight > 0:
        loss = loss + keypoint_weight * keypoint_loss(prediction.heatmap, keypoints)
    return loss
