"""A stand-in for the output of a detector's networks."""

import numpy as np
import torch

from simgen.geometry import Array
from train.detect.detector import _Proposals
from train.nets.crop_net import CELLS


def proposal_of(stance: int, pixels: Array, sigma: float) -> _Proposals:
    """A detector's proposal of one block that is certainly of the class `stance`, with keypoints at `pixels` (K, 2) and
    their standard deviation `sigma`, px; its maps are even."""
    one = np.ones((1, 1))
    side = 1.5 * np.ptp(pixels, axis=0).max()
    return _Proposals(
        windows=np.concatenate([(pixels.min(0) + pixels.max(0)) / 2, [side]])[None],
        probabilities=np.ones((1, 3)),
        stance=np.array([[stance]]),
        share=one,
        kind_share=one,
        keypoints=pixels[None, None],
        sigma=np.full((1, 1, len(pixels)), sigma),
        places=torch.full((1, 1, len(pixels), CELLS, CELLS), -2 * np.log(CELLS)),
    )
