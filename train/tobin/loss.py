"""The loss of the position models: the error of the position, and for networks with a heat map, that of the heat map."""

import torch
from torch import Tensor
from torch.nn import functional

from train.tobin.model import Prediction


def position_loss(positions: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """The smooth L1 loss between `positions` and `truth`, both (B, 3) m, in units of `scale` (): the sum over the axes, the
    mean over B.

    Tobin et al. use L2. Smooth L1 is quadratic below a tenth of the scale (some 3 cm on a table of 1 m) and linear above,
    so that a few occluded blocks do not dominate the gradient.
    """
    return functional.smooth_l1_loss(positions / scale, truth / scale, beta=0.1, reduction="none").sum(1).mean()


def keypoint_loss(heatmap: Tensor, keypoints: Tensor) -> Tensor:
    """The cross-entropy between `heatmap` (B, h, w) logits and the true `keypoints` (B, 2) as (u, v), a mean over B.

    Coordinates are those of `train.tobin.model.soft_argmax`. The target distribution has bilinear weights on the four
    cells around the keypoint. Its expectation is the exact keypoint, so the minimum is exact to less than a cell. A
    keypoint outside the outermost cell centers has no such target and is left out; without any keypoint the loss is 0.
    """
    height, width = heatmap.shape[-2:]
    size = torch.tensor([width, height], device=heatmap.device)
    cell = (keypoints.float() + 1) / 2 * size - 0.5  # in cells, 0 = the first cell's center
    inside = ((cell >= 0) & (cell <= size - 1)).all(1)
    cell = cell[inside]
    log_probability = heatmap[inside].float().flatten(1).log_softmax(1)
    low = torch.minimum(cell.floor(), size - 2).long()
    right, below = (cell - low).unbind(1)
    first = low[:, 1] * width + low[:, 0]
    corners = torch.stack([first, first + 1, first + width, first + width + 1], 1)
    weights = torch.stack([(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below], 1)
    return -(weights * log_probability.gather(1, corners)).sum() / inside.sum().clamp(min=1)


def total_loss(
    prediction: Prediction, positions: Tensor, keypoints: Tensor, *, scale: Tensor, keypoint_weight: float
) -> Tensor:
    """`position_loss`, for networks with a heat map plus `keypoint_weight` times `keypoint_loss`."""
    loss = position_loss(prediction.position, positions, scale)
    if prediction.heatmap is not None and keypoint_weight > 0:
        loss = loss + keypoint_weight * keypoint_loss(prediction.heatmap, keypoints)
    return loss
