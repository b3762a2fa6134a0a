"""`python -m train export`: a keypoint model as ONNX, compared with torch and timed beside it, or as bare weights."""

import json
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simgen.dataset.read import read_json
from simgen.draws import Draws
from simgen.errors import CheckpointError, ConfigError
from train.checkpoint import HANDED_ON, hand_on, place_of, read_checkpoint
from train.config import ExportConfig
from train.detector import load_detector
from train.keypoint_net import STRIDE, KeypointNet
from train.runfolder import CONFIG

TOLERANCE = (
    1e-4  # between torch and ONNX: of the heat and stance logits, and of the other numbers as the network gives them
)
OPSET = 18
_ROUNDS = 20  # of timing


class Exported(nn.Module):
    """The network as others run it: images (B, 3, H, W) float32 RGB in [0, 255] in; heat (B, h, w) and stance (B, S, h, w)
    logits, log_scale (B, h, w, K) as in train.keypoint_net.Maps, and keypoints (B, h, w, T, 2) px of all classes out."""

    def __init__(self, net: KeypointNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        told = self.net(images)
        maps = self.net.maps(told)
        return maps.heat, maps.stance, self.net.all_keypoints(told[0]), maps.log_scale


def export(config: ExportConfig) -> dict[str, Any]:
    """Writes `config.out`, an ONNX file for pictures of `config.width` x `config.height` px and any number of them, and
    beside it a JSON file with what a user of it must know: kinds, keypoints, sizes. Prints the greatest difference and
    the speeds. With the suffix .safetensors it writes the weights alone, to be handed on.

    Raises CheckpointError, ConfigError, and CheckpointError where the two disagree by more than TOLERANCE.
    """
    out = Path(config.out)
    if out.suffix == HANDED_ON:
        return _hand_on(config, out)
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"export: {error.name} is not installed; pip install 'simgen[export]'") from error
    detector = load_detector(config.checkpoint)
    width, height = config.width or detector.width, config.height or detector.height
    for key, size in (("width", width), ("height", height)):
        if size < 32 or size % STRIDE:
            raise ConfigError(f"{key}: got {size}; expected a multiple of {STRIDE}, at least 32")
    model = Exported(detector.net).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    noise = (Draws(0, np.arange(2)) / "export").uniform(3 * height * width).reshape(2, 3, height, width)
    images = torch.from_numpy(255 * noise).float()
    names = ["heat", "stance", "keypoints", "log_scale"]
    part = out.with_name(out.name + ".part")
    with warnings.catch_warnings():  # the exporter muses about its own insides
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (images,),
            input_names=["images"],
            output_names=names,
            dynamic_shapes={"images": {0: torch.export.Dim("pictures", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(part))
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    difference = disagreement(model, session, images)
    if not difference <= TOLERANCE:
        part.unlink()
        raise CheckpointError(
            f"{config.checkpoint}: ONNX and torch differ by {difference:.2g}, more than {TOLERANCE:g}; nothing was written"
        )
    part.replace(out)
    stances = detector.net.stances
    classes = [
        {"kind": int(stances.kind[k]), "rests": stances.rests[k].tolist(), "keypoints": stances.rows[k].tolist()}
        for k in range(len(stances))
    ]
    kinds = detector.blocks.to_json()
    describe = {"width": width, "height": height, "stride": STRIDE, "stances": classes, "kinds": kinds}
    out.with_suffix(".json").write_text(json.dumps(describe, indent=1) + "\n", encoding="utf-8")
    one = images[:1].contiguous()
    with torch.inference_mode():
        speeds = {
            "torch": _rate(lambda: model(one)),
            "onnxruntime": _rate(lambda: session.run(None, {"images": one.numpy()})),
        }
    size = out.stat().st_size
    print(
        f"{out}: {size / 1e6:.1f} MB, differs from torch by {difference:.1e}; pictures of {width} x {height} px: torch "
        f"{speeds['torch']:.1f} images/s, onnxruntime {speeds['onnxruntime']:.1f} images/s on {os.cpu_count()} cores"
    )
    return {"difference": difference, "images_per_second": speeds, "bytes": size}


def _hand_on(config: ExportConfig, out: Path) -> dict[str, Any]:
    content = read_checkpoint(config.checkpoint)
    load_detector(config.checkpoint)  # raises where it is no whole keypoint model
    run = place_of(config.checkpoint).parent / CONFIG
    out.parent.mkdir(parents=True, exist_ok=True)
    hand_on(content, out, read_json(run) if run.exists() else {})
    size = out.stat().st_size
    print(f"{out}: {size / 1e6:.1f} MB, the averaged weights and what goes with them")
    return {"bytes": size}


def disagreement(model: Exported, session: Any, images: Tensor) -> float:
    """The greatest difference between torch and ONNX on `images`, relative to the numbers' size where that is above 1."""
    with torch.inference_mode():
        expected = [part.numpy() for part in model(images)]
    got = session.run(None, {"images": images.numpy()})
    return max(
        float((np.abs(a - b) / np.maximum(np.abs(a), 1)).max()) if a.shape == b.shape else float("inf")
        for a, b in zip(expected, got, strict=True)
    )


def _rate(run: Any) -> float:
    """Calls a second, the median of some after a few that warm up."""
    spent = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begin)
    return 1 / statistics.median(spent[_ROUNDS // 4 :])
