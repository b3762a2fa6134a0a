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

from simgen.draws import Draws
from simgen.errors import CheckpointError, ConfigError, SimgenError
from simgen.files import read_json, write_json
from train.config import ExportConfig
from train.data.targets import STRIDE
from train.detect.detector import load_detector
from train.nets.crop_net import MARGIN, PLANE, SIZE
from train.nets.detection_net import HEIGHT, LEAST_SIDE, WIDTH, KeypointNet, maps_of
from train.nets.layers import normalized
from train.runs.checkpoint import WEIGHTS_SUFFIX, read_checkpoint, write_weights
from train.runs.folder import CONFIG, check_same_model, origin_of

TOLERANCE = 1e-4  # between torch and ONNX, in units of each output's greatest value: see `relative_difference`
OPSET = 18
_ROUNDS = 20  # timed runs


class ExportedDetection(nn.Module):
    """The detection network with the inputs and outputs of its ONNX file.

    Input: images (B, 3, H, W) float32 RGB in [0, 255]. Outputs: heat (B, h, w) logits and windows (B, h, w, 3) px, those of
    train.nets.detection_net.Maps.
    """

    def __init__(self, net: KeypointNet) -> None:
        super().__init__()
        self.net = net.detection

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = maps_of(self.net(normalized(images)))
        return maps.heat, maps.windows


class ExportedCrops(nn.Module):
    """The crop network with the inputs and outputs of its ONNX file.

    Inputs: crops (P, 3, SIZE, SIZE) float32 RGB in [0, 255], and plane (P, PLANE), that of train.nets.crop_net.planes_of,
    zeros without a known table. Outputs: stance (P, S + 1), the logits of the classes and, last, of no block; sized (P,),
    the logit of the block having the size of its kind; and the features (P, n, CELLS, CELLS) for ExportedPlaces.
    """

    def __init__(self, net: KeypointNet) -> None:
        super().__init__()
        self.net = net.crops

    def forward(self, crops: Tensor, plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out, features = self.net(normalized(crops), plane)
        return out[:, :-1], out[:, -1], features


class ExportedPlaces(nn.Module):
    """The last layer of the crop network with the inputs and the output of its ONNX file, which is asked for each class
    that is compared.

    Inputs: features (P, n, CELLS, CELLS) of ExportedCrops, and stance (P,) int64, a class. Output: the log probabilities
    (P, K, CELLS, CELLS) of the cells in which the keypoints of that class are.
    """

    def __init__(self, net: KeypointNet) -> None:
        super().__init__()
        self.net = net.crops

    def forward(self, features: Tensor, stance: Tensor) -> tuple[Tensor]:
        return (self.net.places(features, stance),)


def export(config: ExportConfig) -> dict[str, Any]:
    """Exports the keypoint model `config.checkpoint`. Prints and returns differences from torch, speeds and sizes.

    `config.out` is an ONNX file of the detection network for any number of images of `config.width` x `config.height` px. A
    JSON file of the same name has what inference needs: kinds, keypoints, sizes. The crop network is a second file,
    NAME.crops.onnx, and its last layer a third, NAME.places.onnx. Its crops are windows whose sides are `margin` times
    those of the box of the keypoints.

    If `config.out` ends in .safetensors, it is the weights file alone, in half precision.

    Raises ConfigError, and CheckpointError for a bad checkpoint or if ONNX and torch differ by more than TOLERANCE.
    """
    out = Path(config.out)
    check_replaceable(out, config.checkpoint)
    if out.suffix == WEIGHTS_SUFFIX:
        return _export_weights(config, out)
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"export: {error.name} is not installed; pip install 'simgen[export]'") from error
    detector = load_detector(config.checkpoint, calibrated=False)  # the networks alone are exported
    width = WIDTH if config.width is None else config.width
    height = HEIGHT if config.height is None else config.height
    for key, size in (("width", width), ("height", height)):
        if size < LEAST_SIDE or size % STRIDE:
            raise ConfigError(f"{key}: got {size}; expected a multiple of {STRIDE}, at least {LEAST_SIDE}")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(out)
    images, crops = _noise(height, width), _noise(SIZE, SIZE)
    plane = crops.flatten(1)[:, :PLANE] / 255
    stances = detector.net.stances
    with torch.inference_mode():
        features = ExportedCrops(detector.net)(crops, plane)[2].clone()
    parts: list[tuple[nn.Module, dict[str, Tensor], list[str]]] = [
        (ExportedDetection(detector.net), {"images": images}, ["heat", "windows"]),
        (ExportedCrops(detector.net), {"crops": crops, "plane": plane}, ["stance", "sized", "features"]),
        (
            ExportedPlaces(detector.net),
            {"features": features, "stance": torch.tensor([0, len(stances) - 1])},
            ["places"],
        ),
    ]
    files = (out, *beside)
    try:
        made = [_written(*part, path, config.checkpoint) for part, path in zip(parts, files, strict=True)]
    except BaseException:
        for path in files:
            _part_of(path).unlink(missing_ok=True)
        raise
    whats = (f"images of {width} x {height} px", f"crops of {SIZE} px", "the keypoints of a class in each crop")
    lines = [f"{path}: {one}; {what}" for path, one, what in zip(files, made, whats, strict=True)]
    description = {
        "width": width,
        "height": height,
        "stride": STRIDE,
        "stances": [
            {"kind": int(kind), "rests": rests.tolist()}
            for kind, rests in zip(stances.kind, stances.rests, strict=True)
        ],
        "kinds": detector.blocks.to_json(),
        "sides": stances.sides,
        "mirrors": detector.mirrors,
        "crops": {"file": beside[0].name, "places": beside[1].name, "size": SIZE, "margin": MARGIN},
    }
    first, *others = ({"difference": one.difference, "per_second": one.rates, "bytes": one.size} for one in made)
    result = {**first, "crops": others[0], "places": others[1]}
    write_json(out.with_suffix(".json"), description, indent=1)  # first: by it the same command knows its own files
    for one in reversed(made):
        one.rename()
    print("\n".join(lines))
    return result


def check_replaceable(out: Path, checkpoint: Path | str) -> None:
    """Raises ConfigError for a name of neither format, and where exporting `checkpoint` to `out` would overwrite what this
    command did not write: another model's weights, or an ONNX file without the JSON file that belongs to it."""
    if out.suffix not in (".onnx", WEIGHTS_SUFFIX):
        raise ConfigError(f"out: got {out}; expected a name that ends in .onnx or {WEIGHTS_SUFFIX}")
    if out.suffix == WEIGHTS_SUFFIX:
        check_same_model(out, checkpoint)
        return
    beside = out.with_suffix(".json")
    for path in (out, *_beside(out), beside):
        if not path.exists():
            continue
        try:
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


def _beside(out: Path) -> tuple[Path, Path]:
    """The files of the crop network and of its last layer, beside that of the detection network."""
    return out.with_name(out.stem + ".crops.onnx"), out.with_name(out.stem + ".places.onnx")


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
