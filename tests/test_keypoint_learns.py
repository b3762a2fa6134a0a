"""A tiny keypoint model learns a toy scene from a fixed seed, and every command works with it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

from simgen.camera import read_camera
from simgen.config import compose
from simgen.dataset.read import BopDataset, open_dataset, read_rgb
from simgen.errors import CheckpointError, ConfigError, SimgenError
from simgen.geometry import inverse
from simgen.schema import Render
from simgen.workers import render
from train.config import (
    CalibrateConfig,
    DatasetConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    SourceConfig,
    TrainConfig,
    check_train,
)
from train.data.stream import HELD_OUT, Stream
from train.detect.calibration import Calibrations, Inflation, calibrate, inflation
from train.detect.detector import Detector, load_detector
from train.detect.drawing import draw_detections
from train.detect.export import export
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
from train.fit.training import train_keypoints
from train.metrics import adds, expected_calibration_error
from train.pose.view import Pose, View
from train.runs.checkpoint import read_checkpoint

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
SIZE = (128, 96)
STEPS, EPOCHS = 90, 4


def config_of(out: Path) -> TrainConfig:
    overrides = [
        "model=keypoints", "data=stream", "data.scenes=[tabletop]", *TOY, f"data.width={SIZE[0]}", f"data.height={SIZE[1]}",
        f"data.epoch={STEPS}", "data.validation=48", "data.workers=0", f"trainer.epochs={EPOCHS}", "trainer.batch_size=8",
        "trainer.accelerator=cpu", "model.widths=[8,16,24,32,32]", "model.depths=[1,1,1,1]", "model.features=16",
        "model.average=0.95", f"out={out}",
    ]  # fmt: skip
    config = compose("train", TrainConfig, overrides)
    check_train(config)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "toy"
    train_keypoints(config_of(out))
    return out


def test_a_calibration_ignores_an_earlier_one(run: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path / "x")
    stream = Stream(config.data, config.randomize, HELD_OUT, 8)
    results = []
    earlier = {"inflation": {"free": 9.0, "on_table": 9.0}, "calibration": {"of": "another version"}}
    for name, stated in (("once", {}), ("again", earlier)):
        content = torch.load(run / "best.ckpt", weights_only=True)
        path = tmp_path / f"{name}.ckpt"
        torch.save({**content, **stated}, path)
        if stated:
            with pytest.raises(CheckpointError, match=r"written by another version .* run that on this checkpoint"):
                load_detector(path)
        result = add_confidence(path, stream, range(30, 42), range(42, 44))
        results.append((result, torch.load(path, weights_only=True).get("inflation")))
    assert results[0] == results[1]
    result, inflation = results[0]
    assert result is not None and result["inflation"] == inflation
    assert 0.3 < inflation["on_table"] < 4


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return load_detector(run / "best.ckpt")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BopDataset:
    out = tmp_path_factory.mktemp("data") / "toy"
    size = [f"width={SIZE[0]}", f"height={SIZE[1]}"]
    render(compose("render", Render, [*TOY, *size, "renderer=raycast", "num=24", "seed=77", "workers=1", f"out={out}"]))
    return open_dataset(out)


def without_table(dataset: BopDataset) -> BopDataset:
    return replace(dataset, pictures=tuple(replace(picture, camera_from_table=None) for picture in dataset.pictures))


def test_calibrate_fits_every_second_picture_of_a_dataset(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compared with the same by hand. The detections in the other pictures have no effect on what is written."""
    size = [f"width={SIZE[0]}", f"height={SIZE[1]}"]
    # Farther away than in its training: not all will be right.
    wide = ["randomize.blocks.yaw_deg=[uniform,-20,20]", "randomize.camera.distance=[uniform,0.45,1.3]"]
    toy = [*TOY, *wide, *size, "renderer=raycast", "num=200", "seed=5", "workers=1", f"out={tmp_path / 'data'}"]
    render(compose("render", Render, toy))
    config = CalibrateConfig(
        str(run / "best.ckpt"), DatasetConfig(str(tmp_path / "data")), out=str(tmp_path / "new.ckpt")
    )
    result = calibrate_checkpoint(config)
    assert result is not None
    assert f"wrote {tmp_path / 'new.ckpt'}" in capsys.readouterr().out
    before, after = (torch.load(path, weights_only=True) for path in (run / "best.ckpt", tmp_path / "new.ckpt"))
    changed = {"calibration", "inflation"}
    assert before.keys() | changed == after.keys()
    assert all(torch.equal(value, after["state_dict"][name]) for name, value in before["state_dict"].items())

    raw = load_detector(run / "best.ckpt", calibrated=False)
    dataset = open_dataset(tmp_path / "data")
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
    for name, known in (("on_table", True), ("free", False)):
        again = _fit_confidence(scaled, lambda *_: every, known).calibration.to_json()
        np.testing.assert_allclose(again[name]["weights"], after["calibration"][name]["weights"], rtol=1e-6)
    assert after["inflation"] == asdict(factors) == result["inflation"]
    others = list(evaluate_dataset(load_detector(tmp_path / "new.ckpt"), halves[1], 32))
    assert result["finds"] == len(others) > 50
    assert result["right"] == sum(one.right for one in others)
    confidence, right = (
        np.array(part) for part in zip(*((o.detection.confidence, o.right) for o in others), strict=True)
    )
    assert result["expected_calibration_error"] == pytest.approx(expected_calibration_error(confidence, right, 15))
    others = list(evaluate_dataset(load_detector(tmp_path / "new.ckpt"), without_table(halves[1]), 32))
    free = result["no_table"]
    assert (free["finds"], free["right"]) == (len(others), sum(one.right for one in others))
    confidence, right = (
        np.array(part) for part in zip(*((o.detection.confidence, o.right) for o in others), strict=True)
    )
    assert free["brier_skill"] == pytest.approx(1 - ((confidence - right) ** 2).mean() / right.var())


def test_calibrate_warns_of_too_few_right_free_poses(
    run: Path,
    dataset: BopDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It writes the calibration on the table; without one the confidence is the score. A checkpoint without an origin works,
    too, and one whose calibration is None, as older code wrote it."""
    content = torch.load(run / "best.ckpt", weights_only=True)
    del content["origin"]
    torch.save({**content, "calibration": None}, tmp_path / "bare.ckpt")
    assert load_detector(tmp_path / "bare.ckpt").calibration == Calibrations()
    rng = np.random.default_rng(0)
    kind = load_detector(run / "best.ckpt").blocks.kinds[0]
    pose = Pose(np.eye(4), np.eye(6), 1.0)

    def made(known: bool, right: bool) -> EvaluatedDetection:
        pixels = 100 * rng.uniform(size=(len(kind.keypoints), 2))
        detection = Detection(kind, rng.uniform(), 0.5, pixels, np.ones(len(pixels)), pose, pose if known else None)
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
    run: Path, dataset: BopDataset, tmp_path: Path
) -> None:
    config = CalibrateConfig(str(run / "best.ckpt"), DatasetConfig(str(dataset.root)), out=str(tmp_path / "new.ckpt"))
    with pytest.raises(SimgenError, match=r"right detections on held-out pictures; expected at least 50"):
        calibrate_checkpoint(config)
    assert not list(tmp_path.iterdir())


def views_of(dataset: BopDataset) -> list[View]:
    return [View(p.intrinsics, p.distortion, p.camera_from_world) for p in dataset.pictures]


def test_the_toy_scene_is_learned(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    last = metrics["history"][-1]
    assert last["val_miss_px"] < 1.3
    assert last["val_loss"] < 0.75


def test_none_one_and_two_blocks_are_detected(detector: Detector, dataset: BopDataset) -> None:
    numbers = set()
    detections = detector.find([read_rgb(p.path) for p in dataset.pictures], views_of(dataset))
    right = total = 0
    for picture, detected in zip(dataset.pictures, detections, strict=True):
        confident = [one for one in detected if one.score > 0.5]
        whole = [one for one in picture.instances if one.visible_fraction > 0.9]
        if len(whole) == len(picture.instances):
            numbers.add(len(whole))
            assert len(confident) == len(whole), picture.path
        for one in whole:
            errors = [adds(f.pose.camera_from_block, one.camera_from_block, f.kind.corners) for f in confident]
            right += min(errors, default=1.0) < 0.1 * 0.0866
            total += 1
    assert numbers == {0, 1, 2}
    assert right >= 0.7 * total


def test_a_picture_gives_the_same_alone_and_in_a_batch(detector: Detector, dataset: BopDataset) -> None:
    pictures, views = [read_rgb(p.path) for p in dataset.pictures[:5]], views_of(dataset)[:5]
    together = detector.find(pictures, views)
    for picture, view, expected in zip(pictures, views, together, strict=True):
        (alone,) = detector.find([picture], [view])
        assert len(alone) == len(expected)
        for a, b in zip(alone, expected, strict=True):
            np.testing.assert_allclose(a.pose.camera_from_block, b.pose.camera_from_block, atol=1e-4)


def test_a_picture_of_twice_the_size_gives_the_same_poses(detector: Detector, dataset: BopDataset) -> None:
    pictures, views = [read_rgb(p.path) for p in dataset.pictures[:6]], views_of(dataset)[:6]
    big = [
        np.asarray(cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST), dtype=np.uint8) for p in pictures
    ]
    compared = 0
    for small, large in zip(
        detector.find(pictures, views), detector.find(big, [view.resized(2, 2) for view in views]), strict=True
    ):
        assert len(small) == len(large)
        for a, b in zip(small, large, strict=True):
            np.testing.assert_allclose(a.pose.camera_from_block, b.pose.camera_from_block, atol=2e-3)
            compared += 1
    assert compared > 3


def test_the_command_evaluate(
    run: Path, dataset: BopDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SourceConfig(str(dataset.root), min_visible=0.5)
    result = evaluate_keypoints(
        EvaluateConfig(str(run / "best.ckpt"), source, out=str(tmp_path / "out"), accelerator="cpu")
    )
    printed = capsys.readouterr().out
    assert (
        "right (ADD-S < 10%)" in printed and "average precision" in printed and "factor: explained variance" in printed
    )
    assert {"distance (m)", "distance from the image center"} <= {row["factor"] for row in result["by_factor"]}
    for name in ("worst", "overlays", "factors"):
        assert cv2.imread(str(tmp_path / "out" / f"{name}.png")).std() > 5
    again = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert again["blocks"] == len(result["per_block"]) > 15
    assert again["right"] > 0.7
    assert again["xy_error_cm"]["model"]["median"]["value"] < 0.5
    assert again["xy_error_cm"]["baseline"]["median"]["value"] > 3


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
    config = PredictConfig(str(run / "best.ckpt"), str(picture.path), str(camera), 0.3, str(tmp_path / "out"), "cpu")
    predict(config)
    line = json.loads(capsys.readouterr().out)
    assert line["image"] == picture.path.name
    (block,) = line["blocks"]
    assert block["kind"] == "cube" and block["on_table"] and 0.3 <= block["confidence"] <= 1
    true = inverse(picture.camera_from_world) @ picture.instances[0].camera_from_block  # type: ignore[arg-type]
    assert np.linalg.norm(np.subtract(block["table_from_block"]["translation_m"], true[:3, 3])) < 0.01
    assert block["table_from_block"]["translation_m"][2] == pytest.approx(0.025, abs=1e-4)
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == [line]
    drawn, plain = read_rgb(tmp_path / "out" / f"{picture.path.name}.overlay.png"), read_rgb(picture.path)
    changed = (drawn != plain).any(2)
    assert 20 < changed.sum() < 0.5 * changed.size
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
    assert free["confidence"] < block["confidence"]
    assert max(free["sigma"]["translation_m"]) > max(block["sigma"]["translation_m"])


def test_predict_takes_folders_and_videos(
    run: Path, dataset: BopDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = camera_file(dataset, 0, tmp_path / "camera.json")
    predict(
        PredictConfig(
            str(run / "best.ckpt"), str(dataset.pictures[0].path.parent), str(camera), 0.5, str(tmp_path / "a"), "cpu"
        )
    )
    folder = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in folder] == [p.path.name for p in dataset.pictures]
    assert len(list((tmp_path / "a").glob("*.png"))) == len(folder) == 24
    video = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, SIZE)
    for p in dataset.pictures[:4]:
        video.write(read_rgb(p.path)[..., ::-1].copy())
    video.release()
    predict(
        PredictConfig(str(run / "best.ckpt"), str(tmp_path / "film.avi"), str(camera), 0.5, str(tmp_path / "b"), "cpu")
    )
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in frames] == [f"film.avi#{k:06d}" for k in range(4)]
    assert [len(line["blocks"]) for line in frames] == [len(line["blocks"]) for line in folder[:4]]
    back = cv2.VideoCapture(str(tmp_path / "b" / "film.avi.overlay.avi"))
    assert int(back.get(cv2.CAP_PROP_FRAME_COUNT)) == 4


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


def test_onnx_agrees_with_torch(run: Path, tmp_path: Path) -> None:
    result = export(ExportConfig(str(run / "best.ckpt"), str(tmp_path / "toy.onnx")))
    assert result["difference"] <= 1e-4
    assert (tmp_path / "toy.onnx").stat().st_size == result["bytes"] > 1e5
    described = json.loads((tmp_path / "toy.json").read_text())
    assert (described["width"], described["height"]) == SIZE
    assert described["kinds"][1]["name"] == "cube"
    assert described["crops"] is None
    with pytest.raises(ConfigError, match="multiple of 4"):
        export(ExportConfig(str(run / "best.ckpt"), str(tmp_path / "x.onnx"), 33, 64))


def test_exported_weights_give_the_same_detections(run: Path, dataset: BopDataset, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    result = export(ExportConfig(str(run / "best.ckpt"), str(path)))
    assert path.stat().st_size == result["bytes"] < (run / "best.ckpt").stat().st_size
    pictures, views = [read_rgb(p.path) for p in dataset.pictures[:8]], views_of(dataset)[:8]
    before, after = (load_detector(one).find(pictures, views) for one in (run / "best.ckpt", path))
    assert sum(map(len, before)) > 2
    for expected, got in zip(before, after, strict=True):
        # They are in half precision.
        assert [one.confidence for one in got] == pytest.approx([one.confidence for one in expected], abs=0.01)
        for a, b in zip(expected, got, strict=True):
            assert np.abs(a.keypoints - b.keypoints).max() < 0.1
            assert np.linalg.norm((a.pose.camera_from_block - b.pose.camera_from_block)[:3, 3]) < 1e-3
    with safe_open(path, framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
        origin = json.loads(file.metadata()["origin"])
    assert origin == json.loads((run / "config.json").read_text())
    # The origin is in the checkpoint; one without it needs config.json beside it.
    content = torch.load(run / "best.ckpt", weights_only=True)
    assert content.pop("origin") == origin
    bare = tmp_path / "bare.ckpt"
    torch.save(content, bare)
    with pytest.raises(CheckpointError, match=r"bare\.ckpt: does not state its training configuration"):
        export(ExportConfig(str(bare), str(tmp_path / "bare.safetensors")))
    assert not (tmp_path / "bare.safetensors").exists()
    (tmp_path / "config.json").write_text(json.dumps(origin))
    export(ExportConfig(str(bare), str(tmp_path / "bare.safetensors")))
    same, expected = (read_checkpoint(one) for one in (tmp_path / "bare.safetensors", path))
    torch.testing.assert_close(same.pop("state_dict"), expected.pop("state_dict"), rtol=0, atol=0)
    assert same == expected  # the bytes may differ: the metadata have no fixed order
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_detector(path)


def test_an_overlay_marks_the_block_and_leaves_the_rest(detector: Detector, dataset: BopDataset) -> None:
    picture = next(p for p in dataset.pictures if len(p.instances) == 1)
    image, view = read_rgb(picture.path), View(picture.intrinsics, picture.distortion, picture.camera_from_world)
    detections = [one for one in detector.find([image], [view])[0] if one.score > 0.5]
    assert np.array_equal(draw_detections(image, [], view), image)
    drawn = draw_detections(image, detections, view)
    changed = np.argwhere((drawn != image).any(2))
    middle = np.array([detections[0].keypoints[0][1], detections[0].keypoints[0][0]])
    assert np.linalg.norm(changed.mean(0) - middle) < 25


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
