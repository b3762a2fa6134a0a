"""`python -m train export`: a keypoint model as ONNX, compared with torch and timed beside it, or as bare weights."""

import json
import os
import statistics
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from simgen.draws import Draws
from simgen.errors import CheckpointError, ConfigError
from train.config import ExportConfig
from train.data.targets import STRIDE
from train.detect.detector import load_detector
from train.nets.crop_net import MARGIN
from train.nets.detection_net import KeypointNet
from train.nets.layers import DEVIATION, MEAN
from train.runs.checkpoint import HANDED_ON, hand_on, read_checkpoint
from train.runs.folder import CONFIG, origin_of

TOLERANCE = 1e-4  # between torch and ONNX, in units of each output's greatest number: see `disagreement`
OPSET = 18
_ROUNDS = 20  # of timing
_OUTPUTS = ["heat", "stance", "keypoints", "log_scale"]


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
    beside it a JSON file with what a user of it must know: kinds, keypoints, sizes. The second look is a file of its own,
    `.crops.onnx`, for crops (pixels less `mean`, over `deviation`) whose windows are `margin` times the box of the first
    look's keypoints, and for what train.crop_net.upward_of says of each, zeros where no camera is known; it gives what
    CropNet.forward does. Prints the greatest differences and the speeds. With the suffix .safetensors it writes the weights
    alone, to be handed on.

    Raises CheckpointError, ConfigError, and CheckpointError where the two disagree by more than TOLERANCE.
    """
    out = Path(config.out)
    if out.suffix == HANDED_ON:
        return _hand_on(config, out)
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"export: {error.name} is not installed; pip install 'simgen[export]'") from error
    detector = load_detector(config.checkpoint, calibrated=False)  # which is no part of the network
    width, height = config.width or detector.width, config.height or detector.height
    for key, size in (("width", width), ("height", height)):
        if size < 32 or size % STRIDE:
            raise ConfigError(f"{key}: got {size}; expected a multiple of {STRIDE}, at least 32")
    out.parent.mkdir(parents=True, exist_ok=True)
    first = _written(Exported(detector.net), {"images": _noise(height, width)}, _OUTPUTS, out, config.checkpoint)
    result = {"difference": first.difference, "images_per_second": first.rates, "bytes": first.size}
    told = [f"{out}: {first}; pictures of {width} x {height} px"]
    crops: dict[str, Any] | None = None
    if detector.net.crops is not None:
        second = out.with_name(out.stem + ".crops.onnx")
        size = detector.net.crops.size
        crop = _noise(size, size)
        inputs = {"crops": crop, "upward": functional.normalize(crop.flatten(1)[:, :3], dim=1)}
        net = _written(detector.net.crops, inputs, _OUTPUTS[1:], second, config.checkpoint)
        crops = {"file": second.name, "size": size, "margin": MARGIN, "mean": MEAN, "deviation": DEVIATION}
        result["crops"] = {"difference": net.difference, "crops_per_second": net.rates, "bytes": net.size}
        told.append(f"{second}: {net}; crops of {size} px")
        net.keep()
    first.keep()
    stances = detector.net.stances
    classes = [
        {"kind": int(stances.kind[k]), "rests": stances.rests[k].tolist(), "keypoints": stances.rows[k].tolist()}
        for k in range(len(stances))
    ]
    kinds = detector.blocks.to_json()
    describe = {"width": width, "height": height, "stride": STRIDE, "stances": classes, "kinds": kinds, "crops": crops}
    out.with_suffix(".json").write_text(json.dumps(describe, indent=1) + "\n", encoding="utf-8")
    print("\n".join(told))
    return result


@dataclass(frozen=True)
class _Written:
    """A network in an ONNX file beside its place `out`, to which `keep` moves it: how far it is from torch, how many inputs
    a second torch and onnxruntime take, one at a time, and its bytes."""

    out: Path
    difference: float
    rates: dict[str, float]
    size: int

    def keep(self) -> None:
        _part_of(self.out).replace(self.out)

    def __str__(self) -> str:
        return (
            f"{self.size / 1e6:.1f} MB, differs from torch by {self.difference:.1e}, torch {self.rates['torch']:.1f}/s, "
            f"onnxruntime {self.rates['onnxruntime']:.1f}/s on {os.cpu_count()} cores"
        )


def _written(model: nn.Module, inputs: Mapping[str, Tensor], names: list[str], out: Path, checkpoint: str) -> _Written:
    """`model` in an ONNX file that takes any number of `inputs`, by name. Raises CheckpointError."""
    import onnxruntime

    model.eval()
    part = _part_of(out)
    with warnings.catch_warnings():  # the exporter muses about its own insides
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=names,
            dynamic_shapes=[{0: torch.export.Dim("pictures", min=1)} for _ in inputs],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(part))
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    difference = disagreement(model, session, *inputs.values())
    if not difference <= TOLERANCE:
        part.unlink()
        raise CheckpointError(
            f"{checkpoint}: ONNX and torch differ by {difference:.2g}, more than {TOLERANCE:g}; {out} was not written"
        )
    one = {name: values[:1].contiguous() for name, values in inputs.items()}
    arrays = {name: values.numpy() for name, values in one.items()}
    with torch.inference_mode():
        rates = {
            "torch": _rate(lambda: model(*one.values())),
            "onnxruntime": _rate(lambda: session.run(None, arrays)),
        }
    return _Written(out, difference, rates, part.stat().st_size)


def _part_of(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _noise(height: int, width: int) -> Tensor:
    """(2, 3, height, width) in [0, 255]"""
    noise = (Draws(0, np.arange(2)) / "export").uniform(3 * height * width)
    return torch.from_numpy(255 * noise.reshape(2, 3, height, width)).float()


def _hand_on(config: ExportConfig, out: Path) -> dict[str, Any]:
    content = read_checkpoint(config.checkpoint)
    load_detector(config.checkpoint)  # raises where it is no whole keypoint model
    origin = origin_of(config.checkpoint, content)
    if not origin:
        raise CheckpointError(
            f"{config.checkpoint}: does not say how it came to be, and there is no {CONFIG} beside it; expected one of the "
            f"two in what is handed on: put the {CONFIG} of its run there"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    hand_on(content, out, origin)
    size = out.stat().st_size
    print(f"{out}: {size / 1e6:.1f} MB, the averaged weights and what goes with them")
    return {"bytes": size}


def disagreement(model: nn.Module, session: Any, *inputs: Tensor) -> float:
    """The greatest difference between torch and ONNX on `inputs`, relative to the greatest number of the same output where
    that is above 1: a keypoint at pixel 0 is rounded as its neighbours at 600 are."""
    with torch.inference_mode():
        expected = [part.numpy() for part in model(*inputs)]
    names = (one.name for one in session.get_inputs())
    got = session.run(None, {name: values.numpy() for name, values in zip(names, inputs, strict=True)})
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1)) if a.shape == b.shape else float("inf")
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
