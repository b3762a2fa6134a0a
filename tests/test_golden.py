"""A few pictures that rendering must go on giving; see scripts/make_golden.py."""

import sys

import cv2
import numpy as np
import pytest
from builders import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from make_golden import FOLDER, SETTINGS, golden_picture


@pytest.mark.parametrize("name", SETTINGS)
def test_golden(name: str) -> None:
    wanted = cv2.imread(str(FOLDER / f"{name}.png"))[..., ::-1]
    differing = np.any(golden_picture(name) != wanted, axis=-1)
    assert not differing.any(), f"{differing.mean():.2%} of the pixels changed; if that was meant, make new ones"
