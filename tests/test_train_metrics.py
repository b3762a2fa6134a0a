"""train.metrics: hand-computed values, and the bootstrap against scipy's."""

import numpy as np
import pytest
import scipy.stats

from train.metrics import STATISTICS, summary, xy_errors


def test_xy_errors_ignore_height() -> None:
    predicted = np.array([[0.03, 0.04, 9.0], [1.0, 1.0, 0.0]])
    truth = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 5.0]])
    np.testing.assert_allclose(xy_errors(predicted, truth), [0.05, 0.0], atol=1e-15)


def test_summary_by_hand() -> None:
    errors = np.array([0.5, 1.0, 1.5, 4.0, 10.0, 2.0, 0.2, 3.0, 6.0, 1.8])
    values = {name: row["value"] for name, row in summary(errors).items()}
    assert values == pytest.approx(
        {
            "mean": 3.0,
            "median": 1.9,
            "percentile_90": 6.4,  # position 8.1 of the sorted errors: 6 + 0.1 * 4
            "max": 10.0,
            "share_under_1_cm": 0.2,  # 1.0 is not under 1
            "share_under_2_cm": 0.5,
            "share_under_5_cm": 0.8,
        }
    )


@pytest.mark.parametrize("name", ["mean", "median", "percentile_90", "share_under_2_cm"])
def test_intervals_agree_with_scipy(name: str) -> None:
    errors = np.random.default_rng(3).lognormal(0.5, 0.8, 400)
    row = summary(errors)[name]
    other = scipy.stats.bootstrap(
        (errors,), lambda sample, axis: STATISTICS[name](np.moveaxis(sample, axis, -1)), n_resamples=9999,
        method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    width = other.high - other.low
    assert abs(row["low"] - other.low) < 0.1 * width
    assert abs(row["high"] - other.high) < 0.1 * width
    assert row["low"] < row["value"] < row["high"]


def test_summary_depends_on_the_seed_only() -> None:
    errors = np.random.default_rng(0).exponential(2, 30)
    assert summary(errors, seed=1) == summary(errors, seed=1)
    assert summary(errors, seed=1)["mean"] != summary(errors, seed=2)["mean"]


def test_summary_of_one_error_is_that_error() -> None:
    assert summary(np.array([3.0]))["mean"] == {"value": 3.0, "low": 3.0, "high": 3.0}
