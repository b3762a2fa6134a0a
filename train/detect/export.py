"""`python -m train export`: a keypoint model as ONNX files, checked and timed against torch, or as a weights file."""

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
from simgen.errors import CheckpointError, ConfigError, SimgenError
from simgen.files import read_json, write_json
from train.config import ExportConfig
from train.data.targets import STRIDE
from train.detect.detector import load_detector
from train.nets.crop_net import MARGIN
from train.nets.detection_net import KeypointNet
from train.nets.layers import DEVIATION, MEAN
from train.runs.checkpoint import WEIGHTS_SUFFIX, read_checkpoint, write_weights
from train.runs.folder import CONFIG, origin_of

TOLERANCE = 1e-4  # between torch and ONNX, in units of each output's greatest value: see `relative_difference`
OPSET = 18
_ROUNDS = 20  # timed runs
_OUTPUTS = ["heat", "stance", "keypoints", "log_scale"]


class Exported(nn.Module):
    """The detection network with the inputs and outputs of the ONNX file.

    Input: images (B, 3, H, W) float32 RGB in [0, 255]. Outputs: heat (B, h, w) and stance (B, S, h, w) logits and log_scale
    (B, h, w, K) as in train.nets.detection_net.Maps, and keypoints (B, h, w, T, 2) px of all classes.
    """

    def __init__(self, net: KeypointNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs = self.net(images)
        maps = self.net.maps(outputs)
        return maps.heat, maps.stance, self.net.all_keypoints(outputs[0]), maps.log_scale


def export(config: ExportConfig) -> dict[str, Any]:
    """Exports the keypoint model `config.checkpoint`. Prints and returns differences from torch, speeds and sizes.

    `config.out` is an ONNX file of the detection network for any number of images of `config.width` x `config.height` px. A
    JSON file of the same name has what inference needs: kinds, keypoints, sizes. The crop network, if there is one, is a
    second file, NAME.crops.onnx. Its inputs are crops, (pixels - `mean`) / `deviation`, whose windows are `margin` times as
    large as the box of the first stage's keypoints, and the vector of train.nets.crop_net.table_normals for each crop, zeros
    without a known camera. Its outputs are those of CropNet.forward.

    If `config.out` ends in .safetensors, it is the weights file alone, in half precision.

    Raises ConfigError, and CheckpointError for a bad checkpoint or if ONNX and torch differ by more than TOLERANCE.
    """
    out = Path(config.out)
    check_replaceable(out)
    if out.suffix == WEIGHTS_SUFFIX:
        return _export_weights(config, out)
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"export: {error.name} is not installed; pip install 'simgen[export]'") from error
    detector = load_detector(config.checkpoint, calibrated=False)  # the network alone is exported
    width, height = config.width or detector.width, config.height or detector.height
    for key, size in (("width", width), ("height", height)):
        if size < 32 or size % STRIDE:
            raise ConfigError(f"{key}: got {size}; expected a multiple of {STRIDE}, at least 32")
    out.parent.mkdir(parents=True, exist_ok=True)
    first = _written(Exported(detector.net), {"images": _noise(height, width)}, _OUTPUTS, out, config.checkpoint)
    result = {"difference": first.difference, "images_per_second": first.rates, "bytes": first.size}
    lines = [f"{out}: {first}; images of {width} x {height} px"]
    crops: dict[str, Any] | None = None
    if detector.net.crops is not None:
        second = out.with_name(out.stem + ".crops.onnx")
        size = detector.net.crops.size
        crop = _noise(size, size)
        inputs = {"crops": crop, "upward": functional.normalize(crop.flatten(1)[:, :3], dim=1)}
        net = _written(detector.net.crops, inputs, _OUTPUTS[1:], second, config.checkpoint)
        crops = {"file": second.name, "size": size, "margin": MARGIN, "mean": MEAN, "deviation": DEVIATION}
        result["crops"] = {"difference": net.difference, "crops_per_second": net.rates, "bytes": net.size}
        lines.append(f"{second}: {net}; crops of {size} px")
        net.rename()
    first.rename()
    stances = detector.net.stances
    classes = [
        {"kind": int(stances.kind[k]), "rests": stances.rests[k].tolist(), "keypoints": stances.rows[k].tolist()}
        for k in range(len(stances))
    ]
    kinds = detector.blocks.to_json()
    description = {
        "width": width,
        "height": height,
        "stride": STRIDE,
        "stances": classes,
        "kinds": kinds,
        "crops": crops,
    }
    write_json(out.with_suffix(".json"), description, indent=1)
    print("\n".join(lines))
    return result


def check_replaceable(out: Path) -> None:
    """Raises ConfigError where exporting to `out` would overwrite what this command did not write: weights that are no
    checkpoint of simgen's, or an ONNX file without the JSON file that belongs to it."""
    beside = out.with_suffix(".json")
    for path in (out,) if out.suffix == WEIGHTS_SUFFIX else (out, out.with_name(out.stem + ".crops.onnx"), beside):
        if not path.exists():
            continue
        try:
            if out.suffix == WEIGHTS_SUFFIX:
                read_checkpoint(path)
                continue
            ours = {"stride", "stances", "kinds", "crops"} <= set(read_json(beside))
        except (SimgenError, TypeError):
            ours = False
        if not ours:
            raise ConfigError(f"out: {path} exists, and export did not write it; name another file")


@dataclass(frozen=True)
class _Written:
    """An ONNX file that was written beside `out`, to which `rename` moves it: its `difference` from torch; `rates`, the
    inputs per second of torch and onnxruntime at batch size 1; and its `size` in bytes."""

    out: Path
    difference: float
    rates: dict[str, float]
    size: int

    def rename(self) -> None:
        _part_of(self.out).replace(self.out)

    def __str__(self) -> str:
        return (
            f"{self.size / 1e6:.1f} MB, differs from torch by {self.difference:.1e}, torch {self.rates['torch']:.1f}/s, "
            f"onnxruntime {self.rates['onnxruntime']:.1f}/s on {os.cpu_count()} cores"
        )


def _written(model: nn.Module, inputs: Mapping[str, Tensor], names: list[str], out: Path, checkpoint: str) -> _Written:
    """Writes `model` as an ONNX file beside `out`, with any batch size; `inputs` are examples by name, `names` those of the
    outputs. Raises CheckpointError if its outputs differ from those of torch."""
    import onnxruntime

    model.eval()
    part = _part_of(out)
    with warnings.catch_warnings():  # about the exporter's internals
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
    difference = relative_difference(model, session, *inputs.values())
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
    """(2, 3, height, width) float32 noise in [0, 255], always the same."""
    noise = (Draws(0, np.arange(2)) / "export").uniform(3 * height * width)
    return torch.from_numpy(255 * noise.reshape(2, 3, height, width)).float()


def _export_weights(config: ExportConfig, out: Path) -> dict[str, Any]:
    content = read_checkpoint(config.checkpoint)
    load_detector(config.checkpoint)  # raises if it is not a complete keypoint model
    origin = origin_of(config.checkpoint, content)
    if not origin:
        raise CheckpointError(
            f"{config.checkpoint}: does not state its training configuration, and there is no {CONFIG} beside it; a weights "
            f"file stores the configuration: put the {CONFIG} of the run there"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(content, out, origin)
    size = out.stat().st_size
    print(f"{out}: {size / 1e6:.1f} MB, the averaged weights with their metadata")
    return {"bytes": size}


def relative_difference(model: nn.Module, session: Any, *inputs: Tensor) -> float:
    """The greatest difference between torch and ONNX on `inputs`, relative to the greatest absolute value of the same
    output, or to 1 if that is less: rounding errors of a keypoint at pixel 0 are as large as those of one at pixel 600."""
    with torch.inference_mode():
        expected = [part.numpy() for part in model(*inputs)]
    names = (one.name for one in session.get_inputs())
    got = session.run(None, {name: values.numpy() for name, values in zip(names, inputs, strict=True)})
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1)) if a.shape == b.shape else float("inf")
        for a, b in zip(expected, got, strict=True)
    )


def _rate(run: Any) -> float:
    """Calls per second: the median over _ROUNDS without the first quarter, which warms up."""
    seconds = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return 1 / statistics.median(seconds[_ROUNDS // 4 :])
