"""Networks learn a few pictures from a fixed seed, and every command works with them."""

import importlib.util
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from builders import ROOT
from safetensors import safe_open
from streams import numbers

from simgen.camera import read_camera
from simgen.catalogue import load_world
from simgen.config import compose
from simgen.dataset.read import BopDataset, open_dataset, read_rgb
from simgen.errors import CheckpointError, ConfigError, SimgenError
from simgen.geometry import Array, inverse, project, transform_points
from simgen.schema import Render
from simgen.workers import render
from train.blocks.kinds import BlockSet
from train.config import (
    CalibrateConfig,
    DatasetConfig,
    EvaluateConfig,
    ExportConfig,
    KeypointConfig,
    PredictConfig,
    SourceConfig,
    TrainConfig,
)
from train.data.bop import BopBatches
from train.data.bop_labels import classes_of
from train.data.stream import HELD_OUT, Stream
from train.detect.calibration import Calibrations, Inflation, calibrate, inflation
from train.detect.detector import Detector, _Proposals, load_detector
from train.detect.drawing import draw_detections
from train.detect.export import export
from train.detect.familiarity import fit_familiarity
from train.detect.predict import predict, view_of
from train.detect.types import Detection
from train.draw.overlay import label
from train.evaluate.calibrate import (
    EvaluatedDetection,
    _fit_confidence,
    add_confidence,
    calibrate_checkpoint,
    evaluate_dataset,
    squares_free,
    squares_on_table,
)
from train.evaluate.report import evaluate_keypoints
from train.fit import step
from train.fit.training import describe_keypoints, new_net, numbers_of, optimizer_of
from train.metrics import adds, expected_calibration_error
from train.nets.detection_net import KeypointNet
from train.pose.view import Pose, View
from train.runs.checkpoint import AVERAGED, read_checkpoint

# Up to two red cubes, each with a place of its own, on a tan table, before a camera that hardly moves.
TOY = [
    "randomize=none",
    "randomize.blocks.slots=2",
    "randomize.blocks.count=[integer,0,2]",
    "randomize.blocks.model=cube",
    "randomize.blocks.place=[uniform,[-0.1,-0.1],[0.1,0.1]]",
    "randomize.blocks.yaw_deg=[uniform,-10,10]",
    "randomize.distractors.slots=0",
    "randomize.distractors.count=0",
    "randomize.camera.distance=[uniform,0.45,0.5]",
]
SIZE = (160, 120)
COUNT, STEPS = 5, 22
ORIGIN = {"seed": 7, "model": {"name": "keypoints"}}


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """The detection network sees whole pictures at their own size, in training and in use: a tenth of the usual pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.fit.step.CUT", SIZE)
        patch.setattr("train.fit.step._CUT_SHARE", 1)
        for module in ("train.fit.step", "train.detect.detector"):
            patch.setattr(f"{module}.PIXELS", SIZE[0] * SIZE[1])
        yield


def rendered(out: Path, *options: str, size: tuple[int, int] = SIZE) -> BopDataset:
    pixels = [f"width={size[0]}", f"height={size[1]}", "image_format=png"]
    render(compose("render", Render, [*TOY, *pixels, "renderer=raycast", "workers=1", f"out={out}", *options]))
    return open_dataset(out)


def written(net: KeypointNet, blocks: BlockSet, path: Path) -> Path:
    """The checkpoint `path` of `net`, with its run's configuration beside it."""
    weights = {AVERAGED + name: value for name, value in net.state_dict().items()}
    torch.save({**describe_keypoints(KeypointConfig(), blocks, sides=True), "state_dict": weights}, path)
    (path.parent / "config.json").write_text(json.dumps(ORIGIN))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BopDataset:
    return rendered(tmp_path_factory.mktemp("data") / "toy", f"num={COUNT}", "seed=77")


@pytest.fixture(scope="module")
def learned(dataset: BopDataset) -> tuple[KeypointNet, BlockSet, list[dict[str, float]]]:
    """Networks that learned all pictures of `dataset`, their kinds, and the logged values of each step."""
    source = BopBatches(dataset, np.arange(COUNT), classes_of(dataset, "auto"), batch_size=COUNT, shuffle=False)
    batch, config = source[0], KeypointConfig()
    torch.manual_seed(0)
    net = new_net(config, source.blocks, sides=True)
    optimizer, values = optimizer_of(net, config), []
    whole = torch.full((COUNT, 6), -1.0)  # the cut of a whole picture
    whole[:, 5] = 1  # in color
    for number in range(STEPS):
        jitter = numbers(*batch.jitter.shape, seed=number)
        jitter[..., 3], jitter[..., 4] = 1 - 2 * (number % 2), 1  # every second step without the table
        losses = step.losses_of(net, replace(batch, cut=whole, jitter=jitter), source.blocks)
        optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        for group, rate in zip(optimizer.param_groups, (config.backbone_lr, config.lr), strict=True):
            group["lr"] = rate * min(1.0, 2 * (1 - number / STEPS))
        optimizer.step()
        values.append({name: float(value) for name, value in numbers_of(losses).items()})
    return net.eval(), source.blocks, values


@pytest.fixture(scope="module")
def run(learned: tuple[KeypointNet, BlockSet, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of their checkpoint, best.ckpt."""
    out = tmp_path_factory.mktemp("run")
    written(learned[0], learned[1], out / "best.ckpt")
    return out


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return load_detector(run / "best.ckpt")


def without_table(dataset: BopDataset) -> BopDataset:
    return replace(dataset, pictures=tuple(replace(picture, camera_from_table=None) for picture in dataset.pictures))


def views_of(dataset: BopDataset) -> list[View]:
    return [View(p.intrinsics, p.distortion, p.camera_from_world) for p in dataset.pictures]


def test_a_few_pictures_are_learned(learned: tuple[Any, Any, list[dict[str, float]]]) -> None:
    first, last = learned[2][0], learned[2][-1]
    assert last["miss"] < 0.05 < 0.3 < first["miss"]
    assert last["heat"] < 0.3 and last["window"] < 0.2 and last["kind"] < 0.1
    assert last["loss"] < 0.2 * first["loss"]


def test_the_blocks_are_detected_and_nothing_else(detector: Detector, dataset: BopDataset) -> None:
    counts = set()
    detections = detector.find([read_rgb(p.path) for p in dataset.pictures], views_of(dataset))
    for picture, detected in zip(dataset.pictures, detections, strict=True):
        confident = [one for one in detected if one.score > 0.5]
        whole = [one for one in picture.instances if one.visible_fraction > 0.9]
        if len(whole) < len(picture.instances):
            continue
        counts.add(len(whole))
        assert len(confident) == len(whole), picture.path
        for one in whole:
            errors = [adds(f.pose.camera_from_block, one.camera_from_block, f.kind.corners) for f in confident]
            assert min(errors) < 0.1 * 0.0866
    assert len(counts) > 1


def test_a_picture_gives_the_same_alone_and_in_a_batch(detector: Detector, dataset: BopDataset) -> None:
    pictures, views = [read_rgb(p.path) for p in dataset.pictures], views_of(dataset)
    together = detector.find(pictures, views)
    for picture, view, expected in zip(pictures, views, together, strict=True):
        # Arrays with negative strides, such as BGR reversed to RGB, are pictures, too.
        (alone,) = detector.find([np.ascontiguousarray(picture[..., ::-1])[..., ::-1]], [view])
        assert len(alone) == len(expected)
        for a, b in zip(alone, expected, strict=True):
            np.testing.assert_allclose(a.pose.camera_from_block, b.pose.camera_from_block, atol=1e-4)


def test_a_picture_of_twice_the_size_gives_the_same_poses(detector: Detector, dataset: BopDataset) -> None:
    pictures, views = [read_rgb(p.path) for p in dataset.pictures], views_of(dataset)
    big = [
        np.asarray(cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST), dtype=np.uint8) for p in pictures
    ]
    compared = 0
    for small, large in zip(
        detector.find(pictures, views), detector.find(big, [view.resized(2, 2) for view in views]), strict=True
    ):
        pairs = [[one for one in part if one.score > 0.5] for part in (small, large)]
        for a, b in zip(*pairs, strict=True):
            # Magnified, each of its pixels is a square of one color, which the networks never saw: 3 degrees, 2 mm.
            one, other = a.pose.camera_from_block, b.pose.camera_from_block
            np.testing.assert_allclose(one[:3, :3], other[:3, :3], atol=0.05)
            np.testing.assert_allclose(one[:3, 3], other[:3, 3], atol=2e-3)
            off = np.abs(b.keypoints - (2 * (a.keypoints + 0.5) - 0.5))
            assert np.median(off) < 0.3 and off.max() < 4
            compared += 1
    assert compared > 2


def test_the_command_evaluate(
    run: Path, dataset: BopDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SourceConfig(str(dataset.root), min_visible=0.5)
    evaluate_keypoints(EvaluateConfig(str(run / "best.ckpt"), source, out=str(tmp_path / "out"), accelerator="cpu"))
    printed = capsys.readouterr().out
    assert "right (ADD-S < 10%)" in printed and "average precision" in printed
    for name in ("worst", "overlays", "factors"):
        assert cv2.imread(str(tmp_path / "out" / f"{name}.png")).std() > 5
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert result["blocks"] == len(result["per_block"]) > 2
    assert result["right"] > 0.7
    assert result["xy_error_cm"]["model"]["median"]["value"] < 0.5
    assert result["xy_error_cm"]["baseline"]["median"]["value"] > 2


def camera_file(dataset: BopDataset, number: int, path: Path, **changes: Any) -> Path:
    picture = dataset.pictures[number]
    assert picture.camera_from_world is not None
    content = {
        "width": SIZE[0],
        "height": SIZE[1],
        "intrinsics": picture.intrinsics.tolist(),
        "distortion": picture.distortion.tolist(),
        "camera_from_table": picture.camera_from_world.tolist(),
        **changes,
    }
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def test_the_command_predict(
    run: Path, dataset: BopDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = next(
        k for k, p in enumerate(dataset.pictures) if len(p.instances) == 1 and p.instances[0].visible_fraction > 0.95
    )
    picture = dataset.pictures[number]
    camera = camera_file(dataset, number, tmp_path / "camera.json")
    config = PredictConfig(str(run / "best.ckpt"), str(picture.path), str(camera), 0.5, str(tmp_path / "out"), "cpu")
    predict(config)
    line = json.loads(capsys.readouterr().out)
    assert line["image"] == picture.path.name
    (block,) = line["blocks"]
    assert block["kind"] == "cube" and block["on_table"] and 0.5 <= block["confidence"] <= 1
    true = inverse(picture.camera_from_world) @ picture.instances[0].camera_from_block  # type: ignore[arg-type]
    assert np.linalg.norm(np.subtract(block["table_from_block"]["translation_m"], true[:3, 3])) < 0.01
    assert block["table_from_block"]["translation_m"][2] == pytest.approx(0.025, abs=1e-4)
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == [line]
    drawn, plain = read_rgb(tmp_path / "out" / f"{picture.path.name}.overlay.png"), read_rgb(picture.path)
    changed = np.argwhere((drawn != plain).any(2))
    assert 20 < len(changed) < 0.5 * plain.size / 3
    u, v = block["keypoints_px"][0]
    assert np.linalg.norm(changed.mean(0) - [v, u]) < 25
    view = View(picture.intrinsics, picture.distortion, picture.camera_from_world)
    assert np.array_equal(draw_detections(plain, [], view), plain)
    # A block beyond the table's edge is dropped; on a table that is large enough nothing changes.
    x, y = true[:2, 3]
    camera_file(dataset, number, camera, table=[[x - 1, y - 0.05], [x + 1, y + 0.05]])
    predict(config)
    assert json.loads(capsys.readouterr().out) == line
    camera_file(dataset, number, camera, table=[[x - 1, y + 0.05], [x + 1, y + 1]])
    predict(config)
    assert json.loads(capsys.readouterr().out)["blocks"] == []
    # Without a known table the pose is free and less certain.
    camera_file(dataset, number, camera, camera_from_table=None)
    predict(replace(config, confidence=0.0))
    free = json.loads(capsys.readouterr().out)["blocks"][0]
    assert not free["on_table"] and "table_from_block" not in free
    assert max(free["sigma"]["translation_m"]) > max(block["sigma"]["translation_m"])


def test_bad_pictures_are_refused(run: Path, dataset: BopDataset, tmp_path: Path) -> None:
    camera = camera_file(dataset, 0, tmp_path / "camera.json")
    with pytest.raises(ConfigError, match="a crop"):
        view_of(read_camera(camera), np.zeros((96, 96, 3), np.uint8), "camera.json")
    (tmp_path / "empty").mkdir()
    for image in ("empty", "nowhere.jpg", "nowhere.mp4"):
        config = PredictConfig(
            str(run / "best.ckpt"), str(tmp_path / image), str(camera), 0.5, str(tmp_path / "o"), "cpu"
        )
        with pytest.raises(ConfigError, match=image):
            predict(config)


def test_onnx_agrees_with_torch(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.detect.export._ROUNDS", 4)
    with pytest.raises(ConfigError, match="multiple of 4"):
        export(ExportConfig(str(run / "best.ckpt"), str(tmp_path / "x.onnx"), 33, 64))
    result = export(ExportConfig(str(run / "best.ckpt"), str(tmp_path / "toy.onnx"), *SIZE))
    assert max(result["difference"], result["crops"]["difference"]) <= 1e-4
    assert (tmp_path / "toy.onnx").stat().st_size == result["bytes"] > 1e5
    described = json.loads((tmp_path / "toy.json").read_text())
    assert (described["width"], described["height"]) == SIZE
    assert described["kinds"][1]["name"] == "cube"
    crops = described["crops"]
    assert (crops["size"], crops["margin"]) == (96, 1.5)
    assert (tmp_path / crops["file"]).stat().st_size == result["crops"]["bytes"]
    assert {path.name for path in tmp_path.iterdir()} == {"toy.onnx", "toy.json", "toy.crops.onnx"}


def test_the_oracles_are_given_the_truth(run: Path, dataset: BopDataset) -> None:
    """The class, and the window around the keypoints, of each block; a network that is sure of the class is no worse."""
    spec = importlib.util.spec_from_file_location("oracles", ROOT / "scripts" / "oracles.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    detector, views = load_detector(run / "best.ckpt"), views_of(dataset)
    kinds = {number: detector.blocks.kinds[k] for k, number in enumerate(dataset.models)}
    rows = []
    for picture, view in zip(dataset.pictures, views, strict=True):
        rows += script.oracles(detector, picture, view, kinds)
        for one in picture.instances:
            truth = script.truth_about(detector, view, kinds[one.obj_id], one.camera_from_block)
            points = project(transform_points(one.camera_from_block, kinds[one.obj_id].corners), view.intrinsics, None)
            middle = (points.min(0) + points.max(0)) / 2
            np.testing.assert_allclose(truth.windows[0, :2].numpy(), middle, atol=2)
    blocks = sum(one.visible_fraction > 0.5 for picture in dataset.pictures for one in picture.instances)
    place, side = ([one for one in rows if one.row == name] for name in script.ROWS[1:])
    assert len(place) == len(side) == blocks > 3
    right = [sum(one.surface < 0.1 for one in part) for part in (place, side)]
    assert right[1] >= right[0] > 0


def test_exported_weights_give_the_same_detections(run: Path, dataset: BopDataset, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    result = export(ExportConfig(str(run / "best.ckpt"), str(path)))
    assert path.stat().st_size == result["bytes"] < 0.6 * (run / "best.ckpt").stat().st_size
    pictures, views = [read_rgb(p.path) for p in dataset.pictures], views_of(dataset)
    before, after = (
        [[one for one in row if one.score > 0.5] for row in load_detector(one).find(pictures, views)]
        for one in (run / "best.ckpt", path)
    )
    assert sum(map(len, before)) > 2
    for expected, got in zip(before, after, strict=True):
        # They are in half precision.
        assert [one.confidence for one in got] == pytest.approx([one.confidence for one in expected], abs=0.05)
        for a, b in zip(expected, got, strict=True):
            assert np.abs(a.keypoints - b.keypoints).max() < 0.3
            assert np.linalg.norm((a.pose.camera_from_block - b.pose.camera_from_block)[:3, 3]) < 3e-3
    with safe_open(path, framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
        assert json.loads(file.metadata()["origin"]) == ORIGIN
    # The origin is in the checkpoint or in config.json beside it.
    content = torch.load(run / "best.ckpt", weights_only=True)
    bare = tmp_path / "bare.ckpt"
    torch.save(content, bare)
    with pytest.raises(CheckpointError, match=r"bare\.ckpt: does not state its training configuration"):
        export(ExportConfig(str(bare), str(tmp_path / "bare.safetensors")))
    assert not (tmp_path / "bare.safetensors").exists()
    torch.save({**content, "origin": ORIGIN}, bare)
    export(ExportConfig(str(bare), str(tmp_path / "bare.safetensors")))
    same, expected = (read_checkpoint(one) for one in (tmp_path / "bare.safetensors", path))
    torch.testing.assert_close(same.pop("state_dict"), expected.pop("state_dict"), rtol=0, atol=0)
    assert same == expected  # the bytes may differ: the metadata have no fixed order
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_detector(path)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blocks = BlockSet.of_worlds([load_world("tabletop").solids])
    return written(new_net(KeypointConfig(), blocks, sides=True), blocks, tmp_path_factory.mktemp("new") / "best.ckpt")


class Known:
    """Stands in for both networks: it detects the blocks of pictures that it knows, with keypoints about half a pixel off. A
    fourth is detected elsewhere, with smaller probabilities; which one is a function of the picture."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, list[tuple[str, Array, Array]]] = {}

    def add(self, picture: np.ndarray, blocks: list[tuple[str, Array, Array]]) -> None:
        """`blocks`: the name of the kind, camera_from_block, and the table's z axis in the camera frame."""
        self.blocks[np.ascontiguousarray(picture).tobytes()] = blocks

    def add_dataset(self, dataset: BopDataset) -> None:
        for picture in dataset.pictures:
            assert picture.camera_from_world is not None
            up = picture.camera_from_world[:3, 2]
            rows = [(dataset.models[one.obj_id].name, one.camera_from_block, up) for one in picture.instances]
            self.add(read_rgb(picture.path), rows)

    def proposals(self, detector: Detector, picture: np.ndarray, *given: Any) -> _Proposals:
        view: View = given[-1]
        rng = np.random.default_rng(zlib.crc32(picture.tobytes()))
        stances, rows = detector.net.stances, []
        for name, pose, up in self.blocks[picture.tobytes()]:
            kind = detector.blocks.names.index(name)
            block, stance = detector.blocks.kinds[kind], int((stances.kind == kind).nonzero()[0])
            # The symmetric pose that lies on the side of the class.
            same = pose @ block.symmetries
            side = block.rests[stances.rests[stance][0], 2, :3]
            points = transform_points(same[(np.swapaxes(same[:, :3, :3], 1, 2) @ up @ side).argmax()], block.keypoints)
            pixels = project(points, view.intrinsics, view.distortion) + rng.normal(0, 0.5, (len(points), 2))
            wrong = rng.uniform() < 0.25
            pixels += 20 * wrong
            probabilities = rng.uniform(0.6 - 0.2 * wrong, 1 - 0.2 * wrong, 4)
            pixels = np.concatenate([pixels, np.zeros((stances.most - len(pixels), 2))])
            rows.append((stance, probabilities, pixels))
        stance = np.array([row[0] for row in rows], dtype=np.int64)
        keypoints = np.array([row[2] for row in rows]).reshape(-1, stances.most, 2)
        sigma = np.full(keypoints.shape[:2], 0.4)
        return _Proposals(stance, np.array([row[1] for row in rows]).reshape(-1, 4), keypoints, sigma)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    stand_in = Known()
    monkeypatch.setattr(
        Detector, "_peaks", lambda _, images: (None, images[:, ::24, ::24].reshape(len(images), -1) / 255)
    )
    monkeypatch.setattr(Detector, "_proposals", lambda self, *given: stand_in.proposals(self, *given))
    for module in ("calibration", "familiarity"):
        monkeypatch.setattr(f"train.detect.{module}.LEAST", 20)
    return stand_in


def test_a_calibration_ignores_an_earlier_one(untrained: Path, tmp_path: Path, known: Known) -> None:
    small = ["data.scenes=[tabletop]", "data.width=96", "data.height=72", f"out={tmp_path}"]
    config = compose("train", TrainConfig, [*TOY, *small, "randomize.blocks.count=2"])
    stream = Stream(config.data, config.randomize, HELD_OUT, 12)
    batches = [stream[k] for k in range(3)]
    for batch in batches:
        targets = batch.targets
        for row, picture in enumerate(batch.images.permute(0, 2, 3, 1).numpy()):
            up = targets.camera_from_world[row, :3, 2].double().numpy()
            there = (targets.present[row] & (targets.seen[row] > 0)).nonzero()[:, 0].tolist()
            poses = targets.camera_from_block[row].double().numpy()
            known.add(picture, [("cube", poses[slot], up) for slot in there])
    results = []
    earlier = {"inflation": {"free": 9.0, "on_table": 9.0}, "calibration": {"of": "another version"}}
    for name, stated in (("once", {}), ("again", earlier)):
        content = torch.load(untrained, weights_only=True)
        path = tmp_path / f"{name}.ckpt"
        torch.save({**content, **stated}, path)
        if stated:
            with pytest.raises(CheckpointError, match=r"written by another version .* run that on this checkpoint"):
                load_detector(path)
        result = add_confidence(path, batches, range(2), range(2, 3))  # type: ignore[arg-type]
        results.append((result, torch.load(path, weights_only=True).get("inflation")))
    assert results[0] == results[1]
    result, inflation = results[0]
    assert result is not None and result["inflation"] == inflation
    assert 0.7 < inflation["on_table"] < 2  # the deviations are stated as 0.4 px, and are 0.5


def test_calibrate_fits_every_second_picture_of_a_dataset(
    untrained: Path, tmp_path: Path, known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compared with the same by hand. The detections in the other pictures have no effect on what is written."""
    wide = "randomize.camera.distance=[uniform,0.45,0.9]"  # so that free poses are not all right
    dataset = rendered(tmp_path / "data", "num=48", "seed=5", wide, "randomize.blocks.count=2", size=(96, 72))
    known.add_dataset(dataset)
    config = CalibrateConfig(str(untrained), DatasetConfig(str(tmp_path / "data")), out=str(tmp_path / "new.ckpt"))
    result = calibrate_checkpoint(config)
    assert result is not None
    assert f"wrote {tmp_path / 'new.ckpt'}" in capsys.readouterr().out
    before, after = (torch.load(path, weights_only=True) for path in (untrained, tmp_path / "new.ckpt"))
    assert (
        before.keys() | {"calibration", "inflation", "familiarity", "origin"} == after.keys()
        and after["origin"] == ORIGIN
    )
    assert all(torch.equal(value, after["state_dict"][name]) for name, value in before["state_dict"].items())

    raw = load_detector(untrained, calibrated=False)
    halves = [replace(dataset, pictures=[p for p in dataset.pictures if p.image_id % 2 == k]) for k in (0, 1)]
    unscaled = list(evaluate_dataset(raw, halves[0], 32))
    factors = Inflation(inflation(squares_free(unscaled), 3), inflation(squares_on_table(unscaled), 2))
    scaled = replace(raw, inflation=factors)
    every: list[EvaluatedDetection] = []
    for name, pictures in (("on_table", halves[0]), ("free", without_table(halves[0]))):
        evaluated = list(evaluate_dataset(scaled, pictures, 32))
        assert {one.detection.on_table is not None for one in evaluated} == {name == "on_table"}
        expected = calibrate([one.detection.features for one in evaluated], [one.right for one in evaluated])
        np.testing.assert_allclose(after["calibration"][name]["weights"], expected.weights, rtol=1e-6)
        every += evaluated
    # In a mixture, as where some blocks lie on no table, each is fitted to its own.
    for name, table in (("on_table", True), ("free", False)):
        again = _fit_confidence(scaled, lambda *_: every, table).calibration.to_json()
        np.testing.assert_allclose(again[name]["weights"], after["calibration"][name]["weights"], rtol=1e-6)
    assert after["inflation"] == asdict(factors) == result["inflation"]
    of_halves = (raw.features([read_rgb(p.path) for p in half.pictures]) for half in halves)
    expected_familiarity = fit_familiarity(*of_halves)
    assert expected_familiarity is not None and after["familiarity"] == expected_familiarity.to_json()
    for measured, pictures in ((result, halves[1]), (result["no_table"], without_table(halves[1]))):
        others = list(evaluate_dataset(load_detector(tmp_path / "new.ckpt"), pictures, 32))
        assert measured["finds"] == len(others) > 20
        assert measured["right"] == sum(one.right for one in others)
        confidence, right = (
            np.array(part) for part in zip(*((o.detection.confidence, o.right) for o in others), strict=True)
        )
        error = expected_calibration_error(confidence, right, 15)
        assert measured["expected_calibration_error"] == pytest.approx(error)
        assert measured["brier_skill"] == pytest.approx(1 - ((confidence - right) ** 2).mean() / right.var())
    assert result["brier_skill"] > 0.2  # wrong ones have smaller probabilities


def test_calibrate_warns_of_too_few_right_free_poses(
    untrained: Path,
    dataset: BopDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It writes the calibration on the table; without one the confidence is the score. A checkpoint without an origin works,
    too, and one whose calibration is None, as older code wrote it."""
    content = torch.load(untrained, weights_only=True)
    torch.save({**content, "calibration": None}, tmp_path / "bare.ckpt")
    assert load_detector(tmp_path / "bare.ckpt").calibration == Calibrations()
    rng = np.random.default_rng(0)
    kind = load_detector(untrained).blocks.kinds[0]
    pose = Pose(np.eye(4), np.eye(6), 1.0)

    def made(known: bool, right: bool) -> EvaluatedDetection:
        pixels = 100 * rng.uniform(size=(len(kind.keypoints), 2))
        parts = kind, rng.uniform(), 0.5, rng.uniform(0.1, 0.9, 4), pixels, np.ones(len(pixels)), pose
        detection = Detection(*parts, pose if known else None)
        return EvaluatedDetection(detection, right, None, np.eye(4))

    monkeypatch.setattr("train.evaluate.calibrate._fit_covariance_scale", lambda detector, _: detector)
    monkeypatch.setattr("train.evaluate.calibrate.report_calibration", lambda *_: None)
    monkeypatch.setattr(
        "train.evaluate.calibrate.evaluate_dataset",
        lambda _, dataset, __: [
            made(known := dataset.pictures[0].camera_from_table is not None, known and k % 2 == 0) for k in range(60)
        ],
    )
    config = CalibrateConfig(
        str(tmp_path / "bare.ckpt"), DatasetConfig(str(dataset.root)), out=str(tmp_path / "new.ckpt")
    )
    calibrate_checkpoint(config)
    assert "WARNING: confidence where no table is known: 60 detections on held-out" in capsys.readouterr().err
    calibration = load_detector(tmp_path / "new.ckpt").calibration
    assert calibration.on_table is not None and calibration.free is None


def test_calibrate_refuses_too_few_detections_and_writes_nothing(
    untrained: Path, dataset: BopDataset, tmp_path: Path
) -> None:
    config = CalibrateConfig(str(untrained), DatasetConfig(str(dataset.root)), out=str(tmp_path / "new.ckpt"))
    with pytest.raises(SimgenError, match=r"right detections on held-out pictures; expected at least 50"):
        calibrate_checkpoint(config)
    assert not list(tmp_path.iterdir())


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
