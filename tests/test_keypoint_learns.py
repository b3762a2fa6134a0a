"""Networks learn a few pictures from a fixed seed, and every command works with them."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from builders import script_module
from safetensors import safe_open
from streams import numbers
from toy_cubes import ORIGIN, SIZE, rendered, written

from simgen.camera import fit_camera, read_camera
from simgen.dataset.read import BopDataset, read_rgb
from simgen.errors import CheckpointError, ConfigError
from simgen.geometry import inverse, project, transform_points
from train.blocks.kinds import BlockSet
from train.config import (
    EvaluateConfig,
    ExportConfig,
    KeypointConfig,
    PredictConfig,
    SourceConfig,
)
from train.data.bop import BopBatches
from train.data.bop_labels import classes_of
from train.detect.detector import Detector, load_detector
from train.detect.drawing import draw_detections
from train.detect.export import export
from train.detect.predict import predict
from train.evaluate.report import evaluate_keypoints
from train.fit import step
from train.fit.training import new_net, numbers_of, optimizer_of
from train.metrics import adds
from train.nets.crop_net import PLANE
from train.nets.detection_net import KeypointNet, Peaks
from train.nets.layers import normalized
from train.pose.view import View
from train.runs.checkpoint import read_checkpoint

COUNT, STEPS = 5, 22

pytestmark = pytest.mark.usefixtures("small_input")


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
        jitter[..., :3] *= 0.3
        jitter[..., 3] = 1 - 2 * (number % 2)  # every second step without the table
        losses = step.losses_of(net, replace(batch, cut=whole, jitter=jitter), source.blocks)
        optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        optimizer.param_groups[0]["lr"] = config.lr * min(1.0, 2 * (1 - number / STEPS))
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


def views_of(dataset: BopDataset) -> list[View]:
    return [View(p.intrinsics, p.distortion, p.camera_from_world) for p in dataset.pictures]


def test_a_few_pictures_are_learned(learned: tuple[Any, Any, list[dict[str, float]]]) -> None:
    first, last = learned[2][0], learned[2][-1]
    assert last["miss"] < 0.05 < 0.3 < first["miss"]
    assert last["heat"] < 0.3 and last["window"] < 0.2 and last["stance"] < 0.1
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
            assert np.median(off) < 0.3 and np.quantile(off, 0.95) < 2
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
    config = PredictConfig(
        str(run / "best.ckpt"), str(picture.path), str(camera), out=str(tmp_path / "out"), accelerator="cpu"
    )
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
        fit_camera(read_camera(camera), 96, 96, "camera.json")
    (tmp_path / "empty").mkdir()
    for image in ("empty", "nowhere.jpg", "nowhere.mp4"):
        config = PredictConfig(
            str(run / "best.ckpt"), str(tmp_path / image), str(camera), out=str(tmp_path / "o"), accelerator="cpu"
        )
        with pytest.raises(ConfigError, match=image):
            predict(config)


def session_of(path: Path) -> Any:
    return pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_onnx_agrees_with_torch(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.detect.export._ROUNDS", 4)
    with pytest.raises(ConfigError, match="multiple of 4"):
        export(ExportConfig(str(run / "best.ckpt"), str(tmp_path / "x.onnx"), 33, 64))
    result = export(ExportConfig(str(run / "best.ckpt"), str(tmp_path / "toy.onnx"), *SIZE))
    assert max(one["difference"] for one in (result, result["crops"], result["places"])) <= 1e-4
    assert (tmp_path / "toy.onnx").stat().st_size == result["bytes"] > 1e5
    described = json.loads((tmp_path / "toy.json").read_text())
    assert (described["width"], described["height"]) == SIZE
    assert described["kinds"][1]["name"] == "cube" and described["mirrors"] is True and described["sides"] is True
    crops = described["crops"]
    assert (crops["size"], crops["margin"]) == (96, 1.5)
    assert (tmp_path / crops["file"]).stat().st_size == result["crops"]["bytes"]
    assert {path.name for path in tmp_path.iterdir()} == {"toy.onnx", "toy.json", crops["file"], crops["places"]}
    # A program without torch has the keypoints of any class of any number of crops.
    net, pixels = load_detector(run / "best.ckpt").net, np.random.default_rng(0).uniform(0, 255, (3, 3, 96, 96))
    given = {"crops": pixels.astype(np.float32), "plane": np.zeros((3, PLANE), np.float32)}
    stance, sized, features = session_of(tmp_path / crops["file"]).run(None, given)
    classes = np.array([len(net.stances) - 1, 0, 1])
    (places,) = session_of(tmp_path / crops["places"]).run(None, {"features": features, "stance": classes})
    with torch.inference_mode():
        out, inner = net.crops(normalized(torch.tensor(given["crops"])), torch.tensor(given["plane"]))
        expected = net.crops.places(inner, torch.tensor(classes))
    np.testing.assert_allclose(np.concatenate([stance, sized[:, None]], 1), out.numpy(), atol=1e-3)
    np.testing.assert_allclose(places, expected.numpy(), atol=2e-3)


def test_the_oracles_are_given_the_truth(run: Path, dataset: BopDataset) -> None:
    """The class, and the window around the keypoints, of each block; a network that is sure of the class is no worse."""
    script = script_module("oracles")
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
    parts = [[one for one in rows if one.row == name] for name in script.ROWS[1:]]
    assert [len(part) for part in parts] == [blocks] * 3 and blocks > 3
    right = [sum(one.surface < 0.1 for one in part) for part in parts]
    assert right[2] >= right[1] > 0 and right[2] >= right[0] > 0
    picture, view = next((p, v) for p, v in zip(dataset.pictures, views, strict=True) if p.instances)
    one = picture.instances[0]
    truth = script.truth_about(detector, view, kinds[one.obj_id], one.camera_from_block)
    peaks, stances = Peaks(torch.ones(1, 1), truth.windows[None]), detector.net.stances
    for number in range(len(stances)):  # also those that the network itself would not choose
        forced = replace(detector, net=script.of_class(detector.net, number), mirrors=True)
        with torch.inference_mode():
            made = forced._proposals(read_rgb(picture.path), peaks, 0, SIZE, view)
        assert made.stance[0, 0] == number and made.share[0, 0] > 0.999 and np.all(made.probabilities[0, 1:] > 0.999)
    # The network's own window in the middle of a block is nearly the true one.
    number, picture = next((k, one) for k, one in enumerate(dataset.pictures) if one.instances)
    one = picture.instances[0]
    truth = script.truth_about(detector, views[number], kinds[one.obj_id], one.camera_from_block).windows[0]
    image = read_rgb(picture.path)
    windows, (width, height) = script.windows_of(detector, image)
    window = script.window_at(windows, image, *map(float, truth[:2]))
    scale = np.array([image.shape[1] / width, image.shape[0] / height])
    middle = (window[:2].numpy() + 0.5) * scale - 0.5
    assert np.abs(middle - truth[:2].numpy()).max() < 0.35 * float(truth[2])


def test_the_oracles_count_no_pose_of_another_kind(run: Path, dataset: BopDataset) -> None:
    script = script_module("oracles")
    detector = load_detector(run / "best.ckpt")
    cube, other = detector.blocks.kinds[1], detector.blocks.kinds[0]
    one = next(one for picture in dataset.pictures for one in picture.instances)
    perfect = SimpleNamespace(camera_from_block=one.camera_from_block)
    found = [SimpleNamespace(kind=kind, pose=perfect) for kind in (cube, other)]
    own, foreign, missing = (script.scored("middle", cube, one, detection) for detection in (*found, None))
    assert own.surface == own.corners == pytest.approx(0, abs=1e-9) and cube.name != other.name
    assert foreign == missing and foreign.surface == foreign.corners == np.inf


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
