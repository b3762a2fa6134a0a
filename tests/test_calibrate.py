"""`python -m train calibrate`, with a stand-in for the networks whose deviations and mistakes are known."""

import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from proposals import joined, proposal_of
from toy_cubes import ORIGIN, TOY, rendered, without_table, written

from simgen.catalogue import load_world
from simgen.config import compose
from simgen.dataset.read import BopDataset, read_rgb
from simgen.errors import CheckpointError, SimgenError
from simgen.geometry import Array, project, transform_points
from train.blocks.kinds import BlockSet
from train.config import (
    CalibrateConfig,
    DatasetConfig,
    KeypointConfig,
    TrainConfig,
)
from train.data.images import manifest_hash
from train.data.stream import HELD_OUT, Stream, seed_of
from train.detect.calibration import FEATURES, Calibrations, Inflation, calibrate, inflation
from train.detect.detector import Detector, _Proposals, load_detector, note_if_uncalibrated
from train.detect.familiarity import fit_familiarity
from train.detect.types import Detection
from train.evaluate.calibrate import (
    EvaluatedDetection,
    _fit_confidence,
    _share_within,
    add_confidence,
    calibrate_checkpoint,
    evaluate_dataset,
    squares_free,
    squares_on_table,
)
from train.evaluate.learned import note_what_was_learned
from train.fit.training import new_net
from train.metrics import expected_calibration_error
from train.pose.view import Pose, View

pytestmark = pytest.mark.usefixtures("small_input")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BopDataset:
    return rendered(tmp_path_factory.mktemp("data") / "toy", "num=5", "seed=77")


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
            rows.append(proposal_of(stance, pixels, 0.4, rng.uniform(0.6 - 0.2 * wrong, 1 - 0.2 * wrong, 4)))
        return joined(rows)


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
        assert {one.detection.on_table for one in evaluated} == {name == "on_table"}
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


def test_without_a_table_the_confidence_of_free_poses_alone_is_calibrated(
    untrained: Path, tmp_path: Path, known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the same as with the table; the scale of covariances and the confidence of poses on a table stay as they are."""
    wide = "randomize.camera.distance=[uniform,0.45,0.9]"
    dataset = rendered(tmp_path / "data", "num=48", "seed=5", wide, "randomize.blocks.count=2", size=(96, 72))
    known.add_dataset(dataset)
    (tmp_path / "data" / "manifest.json").unlink()  # which states that the world's plane z = 0 is a table
    fitted = calibrate(
        np.random.default_rng(0).uniform(0.1, 0.9, (199, len(FEATURES))), np.arange(199) % 2 == 0
    ).to_json()
    earlier = {"inflation": {"free": 3.0, "on_table": 2.0}, "calibration": {"on_table": fitted, "free": None}}
    torch.save({**torch.load(untrained, weights_only=True), **earlier}, tmp_path / "old.ckpt")
    config = CalibrateConfig(
        str(tmp_path / "old.ckpt"), DatasetConfig(str(tmp_path / "data")), out=str(tmp_path / "new.ckpt")
    )
    result = calibrate_checkpoint(config)
    assert result is not None and result.keys() == {"no_table"} and result["no_table"]["finds"] > 20
    printed = capsys.readouterr()
    assert "no picture states where the table is" in printed.err and "uncertainty" not in printed.out
    after = torch.load(tmp_path / "new.ckpt", weights_only=True)
    assert after["calibration"]["on_table"] == fitted and after["inflation"] == earlier["inflation"]  # stay as they are
    raw = load_detector(untrained, calibrated=False)
    half = replace(dataset, pictures=[p for p in dataset.pictures if p.image_id % 2 == 0])
    evaluated = list(evaluate_dataset(raw, without_table(half), 32))
    expected = calibrate([one.detection.features for one in evaluated], [one.right for one in evaluated])
    np.testing.assert_allclose(after["calibration"]["free"]["weights"], expected.weights, rtol=1e-6)


SPELLINGS = "mine.yaml", "./mine.yaml", str(Path.cwd() / "mine.yaml")  # of one file


def test_pictures_from_which_the_model_learned_are_told(
    dataset: BopDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = dataset.manifest["recipe"]
    ours = {"seed": recipe["seed"], "data": {"scenes": ["closeup", recipe["scene"]]}}
    first = {"seed": recipe["seed"], "data": {"scenes": [recipe["scene"]]}}
    other = {"seed": recipe["seed"] + 1, "data": {"scenes": [recipe["scene"]]}}
    own = {"seed": 9, "data": {"root": "d"}, "dataset": {"manifest_sha256": manifest_hash(dataset.root)}}
    moved = replace(dataset, manifest={"recipe": {**recipe, "seed": seed_of(recipe["seed"], 1)}})

    def spelled(scene: str) -> dict[str, Any]:
        return {"seed": recipe["seed"], "data": {"scenes": [scene]}}

    def file_of(scene: str) -> BopDataset:
        return replace(dataset, manifest={"recipe": {**recipe, "scene": scene}})

    for origin, data, expected in (
        (first, dataset, "has the scene and the seed"), (ours, dataset, ""), (ours, moved, "has the scene and the seed"),
        (other, dataset, ""), ({}, dataset, ""), (own, dataset, "the model learned from"),
        (first, replace(dataset, manifest={}), ""),
        *((spelled(one), file_of(other), "has the scene and the seed") for one in SPELLINGS for other in SPELLINGS),
        (spelled("other/mine.yaml"), file_of("mine.yaml"), ""),
    ):  # fmt: skip
        note_what_was_learned(origin, data)
        assert (expected in (printed := capsys.readouterr().err)) and bool(printed) == bool(expected)


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
        parts = kind, rng.uniform(), 0.5, rng.uniform(0.1, 0.9, 4), 0.0, pixels, np.ones(len(pixels)), pose
        return EvaluatedDetection(Detection(*parts, on_table=known), right, None, View(np.eye(3), np.zeros(5)))

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


def test_a_share_of_nothing_is_not_zero() -> None:
    assert _share_within(np.array([]), 2) is None
    # 95% of a chi-square distribution with 2 degrees of freedom are below -2 ln 0.05 = 5.99.
    assert _share_within(np.array([0.0, 5.9, 6.1, 100.0]), 2) == 0.5


def test_an_uncalibrated_model_is_reported_wherever_its_confidence_is_used(
    untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = load_detector(untrained, calibrated=False)
    fitted = replace(bare, calibration=load_detector("shipped").calibration)
    half = replace(fitted, calibration=replace(fitted.calibration, free=None))
    for detector, known, lines in (
        (bare, {True, False}, ["without a known table", "on a known table"]),
        (bare, {True}, ["on a known table"]), (half, {True}, []), (half, {False}, ["without a known table"]),
        (fitted, {True, False}, []),
    ):  # fmt: skip
        assert note_if_uncalibrated("m.ckpt", detector, known) == (not lines)
        printed = capsys.readouterr().err.splitlines()
        assert [line.split(" poses ")[1].split(":")[0] for line in printed] == lines
        assert all(
            "their confidence is the network's score; run `python -m train calibrate`" in line for line in printed
        )
