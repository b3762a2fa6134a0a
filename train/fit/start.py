"""A training that starts from the weights of another model: for other scenes, or with a table head or crop network added."""

from pathlib import Path

import torch

from simgen.errors import CheckpointError
from train.blocks.kinds import BlockSet
from train.detect.detector import load_detector
from train.nets.detection_net import KeypointNet


def begin_from(net: KeypointNet, path: Path | str, blocks: BlockSet) -> None:
    """Gives `net`, which is to detect `blocks`, the averaged weights of the keypoint model in `path`. Parts that this model
    lacks, such as a table head, keep their weights.

    Raises CheckpointError if the two do not detect the same blocks, or their sizes differ.
    """
    other = load_detector(path, calibrated=False)
    if other.blocks.names != blocks.names or not torch.allclose(other.blocks.keypoints, blocks.keypoints, atol=1e-6):
        raise CheckpointError(
            f"model.start: {path} detects {', '.join(other.blocks.names)}; expected the kinds and sizes of this training, "
            f"{', '.join(blocks.names)}"
        )
    own, given = net.state_dict(), other.net.state_dict()
    if net.crops is not None and other.net.crops is None:  # a new crop network begins with the first stage's weights
        given |= {f"crops.{name}": value for name, value in given.items() if f"crops.{name}" in own}
    # The last layer depends on the classes, which differ if only one of the two has stances. Either may lack the table head
    # or the crop network.
    free = ("out.", "table.") if net.crops and other.net.crops else ("out.", "table.", "crops.")
    for name in [*own, *(name for name in given if name not in own)]:
        if name in own and name in given and own[name].shape == given[name].shape:
            own[name] = given[name]
        elif not name.startswith(free):
            raise CheckpointError(
                f"model.start: {path} is a network of another size, by its {name}; expected the same model.widths, depths "
                "and features, and for the crop network the same model.stances, crop and crop_widths"
            )
    net.load_state_dict(own)
