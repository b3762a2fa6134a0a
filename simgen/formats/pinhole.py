"""Pictures without lens distortion, for programs whose cameras have none."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.dataset.scenes import Picture
from simgen.distortion import lens_reach
from simgen.geometry import project, unproject


class Undistorted:
    """What a pinhole camera with the intrinsics of `picture` sees, by images (height, width) of its lens; black where the
    lens sees nothing."""

    def __init__(self, picture: Picture, width: int, height: int) -> None:
        rows, columns = np.mgrid[:height, :width].astype(np.float64)
        rays = unproject(np.stack([columns, rows], -1).reshape(-1, 2), picture.intrinsics)
        places = project(rays, picture.intrinsics, picture.distortion)
        # Beyond lens_reach the distortion formula would map points back into the picture.
        places[np.linalg.norm(rays[:, :2], axis=1) > lens_reach(picture.distortion)] = -10
        self._across, self._down = (places[:, k].reshape(height, width).astype(np.float32) for k in range(2))

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`image` (H, W, 3), interpolated."""
        return np.asarray(cv2.remap(image, self._across, self._down, cv2.INTER_LINEAR), dtype=np.uint8)

    def values(self, image: NDArray[Any]) -> NDArray[Any]:
        """`image` (H, W) of masks or depths, whose values are not mixed."""
        return np.asarray(cv2.remap(image, self._across, self._down, cv2.INTER_NEAREST))
