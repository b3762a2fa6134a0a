"""Signs of a faulty training that cause no crash: pure functions of losses, gradients, pictures and labels."""

import numpy as np
import torch
from torch import Tensor, nn

from simgen.geometry import Array
from train.data.targets import Targets

EXPLODED = 100.0  # medians: a gradient norm above it
UNLIKE = 6.0  # standard errors between two sets of pictures
CONTRAST = 6  # of 255: with a smaller range of values in and around its box a block cannot be seen


def dead_parts(net: nn.Module) -> list[str]:
    """The names of the parameters that got no gradient, or only zeros, in the last backward pass."""
    return [name for name, weight in net.named_parameters() if weight.grad is None or not bool(weight.grad.any())]


def exploded(norms: Array) -> int | None:
    """The first step whose gradient norm is not finite or above EXPLODED times the median; None if there is none."""
    finite = norms[np.isfinite(norms)]
    limit = EXPLODED * float(np.median(finite)) if len(finite) else 0.0
    wrong = np.flatnonzero(~(norms <= limit))
    return int(wrong[0]) if len(wrong) else None


def unlikeness(first: Tensor, second: Tensor) -> float:
    """The largest difference, over channels, in brightness or contrast of two sets of at least two pictures (N, 3, H, W), in
    standard errors (Welch 1947): about 1 if both sets are samples of one distribution."""
    worst = 0.0
    for measure in (_means, _contrasts):
        a, b = measure(first), measure(second)
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt().clamp_min(1e-9)
        worst = max(worst, float(((a.mean(0) - b.mean(0)).abs() / error).max()))
    return worst


def unsupported(images: Tensor, targets: Targets, blocks: Tensor) -> list[tuple[int, int]]:
    """The picture and slot of each of the `blocks` (B, N) bool that cannot be seen in `images` (B, 3, H, W) uint8: its
    visible box and 2 px around it have one color. With random colors there are always some; many are a sign that labels and
    pictures do not belong together."""
    height, width = images.shape[2:]
    result = []
    for picture, slot in blocks.nonzero().tolist():
        left, top, right, bottom = targets.box[picture, slot].tolist()
        u0, v0 = max(int(left) - 2, 0), max(int(top) - 2, 0)
        u1, v1 = min(int(right) + 3, width), min(int(bottom) + 3, height)
        patch = images[picture, :, v0:v1, u0:u1].flatten(1).float()
        # Quantiles, because noise in single pixels is no contrast.
        ends = torch.quantile(patch, torch.tensor([0.02, 0.98], device=patch.device), dim=1)
        if float((ends[1] - ends[0]).max()) < CONTRAST:
            result.append((picture, slot))
    return result


def _means(images: Tensor) -> Tensor:
    return images.float().mean((2, 3))


def _contrasts(images: Tensor) -> Tensor:
    return images.float().std((2, 3))
