"""Confidence: the regression recovers the model that made the data, and its probabilities are calibrated."""

import json

import numpy as np
import pytest
from scipy.special import expit

from simgen.errors import SimgenError
from train.detect.calibration import FEATURES, Calibration, calibrate, features_of, inflation
from train.metrics import expected_calibration_error


def made(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal([2, -1, 0, 5], [1, 2, 0.5, 3], (number, 4))
    probability = expit(0.7 + 1.5 * (features[:, 0] - 2) - 0.8 * (features[:, 1] + 1))
    return features, rng.uniform(size=number) < probability


def test_the_model_of_the_data_is_recovered_and_calibrated_on_new_data() -> None:
    calibration = calibrate(*made(20000, 0))
    slopes = calibration.weights / calibration.scale
    np.testing.assert_allclose(slopes, [1.5, -0.8, 0, 0], atol=0.08)
    features, right = made(20000, 1)
    assert expected_calibration_error(calibration.probability(features), right, 15) < 0.02
    # For comparison: the squared probabilities are not calibrated.
    assert expected_calibration_error(calibration.probability(features) ** 2, right, 15) > 0.05


def test_it_is_written_and_read_back() -> None:
    features, right = made(300, 0)
    features = np.concatenate([features, features[:, ::-1]], 1)  # as many as FEATURES
    calibration = calibrate(features, right)
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert np.array_equal(again.probability(features), calibration.probability(features))
    with pytest.raises(ValueError, match="7 weights; expected 8"):  # of an older version
        Calibration.from_json({k: v[:7] for k, v in calibration.to_json().items()})


def test_weights_of_separable_data_are_finite() -> None:
    features = np.zeros((100, 4))
    features[50:, 0] = 1
    calibration = calibrate(features, np.arange(100) >= 50)
    probability = calibration.probability(features)
    assert (probability[:50] < 0.05).all() and (probability[50:] > 0.95).all()
    assert np.isfinite(calibration.weights).all()


def test_features_by_hand() -> None:
    """Logits of the probabilities and logarithms of ratios; both are finite at their ends."""
    probabilities = np.array([0.5, 0.9, 0.2, 0.75])
    logits = [0, np.log(9), -np.log(4), np.log(3)]
    got = features_of(probabilities, -2.5, 1.0, 2.0, 20.0, 0.001, 0.1)
    assert got == pytest.approx([*logits, 0, np.log(0.1), np.log(0.01), -2.5]) and len(got) == len(FEATURES)
    ends = features_of(np.array([0.0, 1, 1, 0]), -9.0, 0.0, 0.0, 0.0, np.inf, 0.1)
    assert np.isfinite(ends).all() and ends[0] == pytest.approx(-ends[1])


@pytest.mark.parametrize("right", [np.ones(100, bool), np.zeros(100, bool), np.arange(20) > 10])
def test_too_few_detections_are_refused(right: np.ndarray) -> None:
    with pytest.raises(SimgenError, match=r"detections on held-out pictures"):
        calibrate(np.zeros((len(right), 4)), right)


@pytest.mark.parametrize("freedom", [2, 3])
def test_underestimated_deviations_get_a_factor(freedom: int) -> None:
    """Errors three times as large as predicted, one in ten of them gross: the factor is 3 all the same."""
    rng = np.random.default_rng(freedom)
    squares = (9 * rng.normal(size=(20000, freedom)) ** 2).sum(1)
    assert inflation(squares, freedom) == pytest.approx(3, abs=0.05)
    squares[::10] = 1e6
    assert inflation(squares, freedom) == pytest.approx(3, rel=0.1)
    with pytest.raises(SimgenError, match="right detections on held-out"):
        inflation(squares[:10], freedom)
