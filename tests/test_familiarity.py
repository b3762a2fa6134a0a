"""Familiarity: uniform for pictures like those it was fitted to, near 0 for others, and stored with the model."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from simgen.catalogue import load_world
from simgen.geometry import Array
from train.blocks.kinds import BlockSet
from train.config import KeypointConfig
from train.detect.detector import Detector, load_detector
from train.detect.familiarity import LEAST, STRANGE, Familiarity, features_of_levels, fit_familiarity
from train.evaluate.calibrate import add_confidence
from train.fit.training import describe_keypoints, new_net
from train.runs.checkpoint import AVERAGED

NUMBERS = 120  # features; more than there are directions


def drawn(count: int, seed: int) -> Array:
    """(count, NUMBERS) Gaussian features, correlated, of standard deviations from 1e-3 to 1."""
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(NUMBERS, NUMBERS)))[0]
    spread = np.geomspace(1, 1e-3, NUMBERS)
    return 3 + (np.random.default_rng(seed).normal(size=(count, NUMBERS)) * spread) @ mixing


def fitted_to(count: int = 600) -> Familiarity:
    fitted = fit_familiarity(drawn(count, 1), drawn(count, 2))
    assert fitted is not None
    return fitted


def test_of_pictures_like_the_held_out_ones_it_is_uniform() -> None:
    fitted = fitted_to()
    values = np.array([fitted.of(one) for one in drawn(600, 3)])
    assert kstest(values, "uniform").pvalue > 0.05
    assert np.mean(values < STRANGE) < 0.03
    assert kstest([fitted.of(one) for one in 3 + 1.3 * (drawn(600, 3) - 3)], "uniform").pvalue < 1e-6


@pytest.mark.parametrize("change", ["shifted", "scaled", "beside"])
def test_of_other_pictures_it_is_near_zero(change: str) -> None:
    """Also of those that differ in what hardly varies among the held-out ones, beside all directions."""
    fitted, features = fitted_to(), drawn(200, 4)
    if change == "shifted":
        features = features + 0.5
    elif change == "scaled":
        features = 3 + 3 * (features - 3)
    else:
        away = np.random.default_rng(5).normal(size=NUMBERS)
        away -= fitted.directions @ (fitted.directions.T @ away)
        features = features + 10 * np.sqrt(fitted.rest) * away / np.linalg.norm(away)
    values = np.array([fitted.of(one) for one in features])
    assert np.median(values) < STRANGE and np.mean(values < 5 * STRANGE) > 0.95


@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_json_keeps_it(unit: float) -> None:
    """Also features in units in which all of them are small."""
    fitted = fit_familiarity(unit * drawn(200, 1), unit * drawn(200, 2))
    assert fitted is not None
    again = Familiarity.from_json(json.loads(json.dumps(fitted.to_json())))
    features = unit * drawn(100, 3)
    assert [again.of(one) for one in features] == [fitted.of(one) for one in features]
    for damaged in ({}, {**fitted.to_json(), "rest": "x"}, {**fitted.to_json(), "mean": None, "spread": ["a"]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Familiarity.from_json(damaged)


def test_too_few_pictures_give_none() -> None:
    assert fit_familiarity(drawn(LEAST - 1, 1), drawn(LEAST, 2)) is None
    assert fit_familiarity(drawn(LEAST, 1), drawn(LEAST - 1, 2)) is None
    least = fit_familiarity(drawn(LEAST, 1), drawn(LEAST, 2))
    assert least is not None and np.isfinite(least.of(drawn(1, 3)[0]))


def test_features_are_means_and_logarithms_of_deviations() -> None:
    levels = [torch.rand(2, 3 + k, 4, 5) * (k + 1) for k in range(6)]
    got = features_of_levels(levels)
    assert got.shape == (2, 2 * (6 + 7 + 8))
    torch.testing.assert_close(got[:, :6], levels[3].mean((2, 3)))
    torch.testing.assert_close(got[:, 6:12].exp(), levels[3].flatten(2).std(2))
    assert torch.isfinite(features_of_levels([torch.ones(1, 2, 3, 3)] * 6)).all()


@pytest.mark.parametrize("each", [2, 3])
def test_the_end_of_a_training_stores_it(
    each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the batches of the calibration and those of its test, 40 pictures each: too few of either are a warning."""
    blocks = BlockSet.of_worlds([load_world("kuka_table").solids])
    config = KeypointConfig(backbone="scratch")
    net = new_net(config, blocks, sides=True)
    path = tmp_path / "best.ckpt"
    weights = {AVERAGED + name: value for name, value in net.state_dict().items()}
    torch.save({**describe_keypoints(config, blocks, sides=True, mirrors=True), "state_dict": weights}, path)

    def features(_: Detector, pictures: list[np.ndarray]) -> Array:
        return np.concatenate([drawn(1, int(one[0, 0, 0])) for one in pictures])

    monkeypatch.setattr(Detector, "features", features)
    monkeypatch.setattr("train.evaluate.calibrate.evaluate_batches", lambda *_: iter(()))
    numbers = torch.arange(2 * each * 40).to(torch.uint8)
    images = numbers.reshape(2 * each, 40, 1, 1, 1).expand(-1, -1, 3, 2, 2)
    batches: Any = [
        SimpleNamespace(images=one, targets=SimpleNamespace(camera_from_world=torch.eye(4)[None])) for one in images
    ]
    monkeypatch.setattr("train.evaluate.calibrate._without_table", lambda batch: batch)
    assert add_confidence(path, batches, range(each), range(each, 2 * each)) is None
    stored, warned = torch.load(path, weights_only=True)["familiarity"], capsys.readouterr().err
    again = load_detector(path).familiarity
    if each == 2:
        assert stored is None and again is None
        assert "WARNING: familiarity: 80 and 80 held-out pictures; expected at least 100 of each" in warned
        return
    learn, check = (np.concatenate([drawn(1, k) for k in part]) for part in (range(120), range(120, 240)))
    expected = fit_familiarity(learn, check)
    assert expected is not None and again is not None and "familiarity" not in warned
    assert stored == expected.to_json() and again.of(learn[0]) == expected.of(learn[0])
    assert load_detector(path, calibrated=False).familiarity is None
