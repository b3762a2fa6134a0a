"""Labels in pictures."""

import numpy as np
import pytest

from train.draw.overlay import label


@pytest.mark.parametrize("place", [(0, 0), (159, 0), (0, 119), (159, 119), (-30, 400)])
def test_a_label_is_whole_wherever_its_block_is(place: tuple[int, int]) -> None:
    shapes = []
    for at in (place, (40, 60)):
        image = np.full((120, 160, 3), 128, np.uint8)
        label(image, "cube 0.97", at, (255, 200, 0), 1)
        rows, columns = np.nonzero((image == (255, 200, 0)).all(2))
        box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert not (box == 128).all(2).any()
        shapes.append(box)
    assert np.array_equal(*shapes)
