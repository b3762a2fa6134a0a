"""Signs that a training is ill, which no crash will tell: pure functions of losses, gradients, pictures and labels."""

import numpy as np
import torch
from torch import Tensor, nn

from simgen.geometry import Array
from train.data.targets import Targets

EXPLODED = 100.0  # times the median: a gradient's norm
UNLIKE = 6.0  # standard errors, between two sets of pictures
CONTRAST = 6  # of 255: what differs by less in and around a block's box is one surface


def dead_parts(net: nn.Module) -> list[str]:
    """The names of parameters that the last backward pass gave no gradient, or only zeros."""
    return [name for name, weight in net.named_parameters() if weight.grad is None or not bool(weight.grad.any())]


def gradient_norm(net: nn.Module) -> float:
    """The Euclidean norm of all gradients together; infinite or NaN where one of them is."""
    parts = [weight.grad.detach().norm() for weight in net.parameters() if weight.grad is not None]
    return float(torch.stack(parts).norm())


def exploded(norms: Array) -> int | None:
    """The first step whose gradient norm is not finite, or above EXPLODED times the median; None where all is well."""
    finite = norms[np.isfinite(norms)]
    limit = EXPLODED * float(np.median(finite)) if len(finite) else 0.0
    wrong = np.flatnonzero(~(norms <= limit))
    return int(wrong[0]) if len(wrong) else None


def unlikeness(first: Tensor, second: Tensor) -> float:
    """How far two sets of pictures (N, 3, H, W), two at least in each, differ in brightness or contrast, channel by channel,
    in standard errors (Welch 1947): about 1 where both are many of one kind, whatever they show."""
    worst = 0.0
    for measure in (_means, _contrasts):
        a, b = measure(first), measure(second)
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt().clamp_min(1e-9)
        worst = max(worst, float(((a.mean(0) - b.mean(0)).abs() / error).max()))
    return worst


def unsupported(images: Tensor, targets: Targets, asked: Tensor) -> list[tuple[int, int]]:
    """Picture and slot of each block in `asked` (B, N) bool that no pixel of `images` (B, 3, H, W) uint8 speaks for: in its
    visible box and 2 px around it all is of one colour. Some are bound to be, where all colours are random; many are a sign
    that labels and pictures are not of the same scenes."""
    height, width = images.shape[2:]
    found = []
    for picture, slot in asked.nonzero().tolist():
        left, top, right, bottom = targets.box[picture, slot].tolist()
        u0, v0 = max(int(left) - 2, 0), max(int(top) - 2, 0)
        u1, v1 = min(int(right) + 3, width), min(int(bottom) + 3, height)
        patch = images[picture, :, v0:v1, u0:u1].flatten(1).float()
        # Noise at single pixels is no contrast.
        ends = torch.quantile(patch, torch.tensor([0.02, 0.98], device=patch.device), dim=1)
        if float((ends[1] - ends[0]).max()) < CONTRAST:
            found.append((picture, slot))
    return found


def _means(images: Tensor) -> Tensor:
    return images.float().mean((2, 3))


def _contrasts(images: Tensor) -> Tensor:
    return images.float().std((2, 3))
