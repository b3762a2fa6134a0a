"""A stand-in for the output of a detector's networks."""

from collections.abc import Sequence

import numpy as np
import torch

from simgen.geometry import Array
from train.detect.detector import _Proposals
from train.nets.crop_net import CELLS


def proposal_of(
    stance: int, pixels: Array, sigma: float, probabilities: Sequence[float] | Array = (1, 1, 1, 1)
) -> _Proposals:
    """A detector's proposal of one block of the class `stance`, with keypoints at `pixels` (K, 2) and their standard
    deviation `sigma`, px; its maps are even. `probabilities` are those of a Detection."""
    heat, block, kind_share, sized = probabilities
    side = 1.5 * np.ptp(pixels, axis=0).max()
    return _Proposals(
        windows=np.concatenate([(pixels.min(0) + pixels.max(0)) / 2, [side]])[None],
        probabilities=np.array([[heat, block, sized]]),
        stance=np.array([[stance]]),
        share=np.array([[kind_share]]),
        kind_share=np.array([[kind_share]]),
        keypoints=pixels[None, None],
        sigma=np.full((1, 1, len(pixels)), sigma),
        places=torch.full((1, 1, len(pixels), CELLS, CELLS), -2 * np.log(CELLS)),
    )


def joined(proposals: Sequence[_Proposals]) -> _Proposals:
    """`proposals` of blocks with the same number of keypoints as those of one picture."""
    parts = zip(*proposals, strict=True)
    return _Proposals(*(torch.cat(part) if torch.is_tensor(part[0]) else np.concatenate(part) for part in parts))
