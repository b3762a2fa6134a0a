"""train.metrics: bop_toolkit's values (tests/data/bop_toolkit_pose_errors.json) and values computed by hand."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from builders import ROOT

from simgen.catalogue import load_world
from simgen.draws import Draws
from simgen.geometry import Array, rigid, rotation_about
from train.blocks.kinds import BlockSet, Kind
from train.metrics import (
    adds,
    auc,
    brier_skill,
    expected_calibration_error,
    match,
    mspd,
    precision_recall,
    reprojection_error,
    risk_coverage,
    rotation_error,
    summary,
    translation_error,
)

TURNS = 12  # rotations that stand for a continuous symmetry

TABLE = json.loads((ROOT / "tests" / "data" / "bop_toolkit_pose_errors.json").read_text(encoding="utf-8"))
KINDS = BlockSet.of_worlds([load_world("tabletop").solids]).kinds
CAMERA = np.array(TABLE["intrinsics"])
PLAIN = np.array([[100.0, 0, 0], [0, 100, 0], [0, 0, 1]])
ONE = np.eye(4)[None]
AHEAD = rigid(rotation_about(0, 0.4) @ rotation_about(2, 1.1), np.array([0.05, -0.03, 0.6]))
POINTS = np.array([[0.0, 0, 0], [0.03, 0, 0], [0, 0.02, 0.01]])


def full(rows: list[float]) -> Array:
    """The transform (4, 4) whose first three rows are `rows` (12,)."""
    return np.vstack([np.reshape(rows, (3, 4)), [0, 0, 0, 1]])


def shifted(pose: Array, *shift: float) -> Array:
    return rigid(np.eye(3), np.array(shift)) @ pose


# bop_toolkit's values.

OURS: dict[str, Callable[[Array, Array, Array, Array], float]] = {
    "adi": lambda e, t, points, _: adds(e, t, points),
    "re": lambda e, t, *_: np.degrees(rotation_error(e, t, ONE)),
    "re_symmetric": lambda e, t, _, symmetries: np.degrees(rotation_error(e, t, symmetries)),
    "te": lambda e, t, *_: translation_error(e, t),
    "mspd": lambda e, t, points, symmetries: mspd(e, t, points, symmetries, CAMERA),
}


@pytest.mark.parametrize("name", OURS)
def test_errors_equal_bop_toolkits(name: str) -> None:
    assert len(TABLE["poses"]) == 48
    for row in TABLE["poses"]:
        block = TABLE["blocks"][row["block"]]
        symmetries = np.stack([full(symmetry) for symmetry in block["symmetries"]])
        ours = OURS[name](full(row["estimate"]), full(row["truth"]), np.array(block["points"]), symmetries)
        assert ours == pytest.approx(row[name], rel=0, abs=1e-6)


# Errors of one pose, by hand.


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_same_pose_has_no_error(kind: Kind) -> None:
    assert rotation_error(AHEAD, AHEAD, kind.group_of(TURNS)) < 1e-7
    assert translation_error(AHEAD, AHEAD) == adds(AHEAD, AHEAD, kind.corners) == 0
    assert mspd(AHEAD, AHEAD, kind.corners, kind.group_of(TURNS), CAMERA) < 1e-9


@pytest.mark.parametrize("kind", [kind for kind in KINDS if len(kind.group_of(TURNS)) > 1], ids=lambda kind: kind.name)
def test_a_symmetric_pose_is_as_good_as_the_true_one(kind: Kind) -> None:
    for symmetry in kind.group_of(TURNS)[1:]:
        pose = AHEAD @ symmetry
        assert rotation_error(pose, AHEAD, kind.group_of(TURNS)) < 1e-7
        assert mspd(pose, AHEAD, kind.corners, kind.group_of(TURNS), CAMERA) < 1e-6
        assert rotation_error(pose, AHEAD, ONE) > 0.5
        assert mspd(pose, AHEAD, kind.corners, ONE, CAMERA) > 1


def test_a_shift_has_its_length() -> None:
    pose = shifted(AHEAD, 0.002, -0.003, 0.006)
    assert rotation_error(pose, AHEAD, ONE) < 1e-9
    assert translation_error(pose, AHEAD) == pytest.approx(0.007, abs=1e-12)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.7, np.pi / 2, 3.0, np.pi - 1e-9, np.pi])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_has_its_angle(angle: float, axis: int) -> None:
    pose = AHEAD @ rigid(rotation_about(axis, angle), np.zeros(3))
    assert rotation_error(pose, AHEAD, ONE) == pytest.approx(angle, rel=0, abs=1e-12)
    quarter = np.stack([np.eye(4), rigid(rotation_about(axis, np.pi / 2), np.zeros(3))])
    assert rotation_error(pose, AHEAD, quarter) == pytest.approx(min(angle, abs(angle - np.pi / 2)), rel=0, abs=1e-12)


def test_adds_takes_the_nearest_point() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])  # moved by 1 they are at 1, 2, 4: 1, 0 and 1 away
    assert adds(shifted(np.eye(4), 1, 0, 0), np.eye(4), points) == pytest.approx(2 / 3, abs=1e-12)


def test_projections_by_hand() -> None:
    points, truth = np.array([[0.0, 0, 0], [0, 0, 0.5]]), shifted(np.eye(4), 0, 0, 0.5)
    pose = shifted(truth, 0.01, 0, 0)  # 2 px at 0.5 m, 1 px at 1 m
    assert mspd(pose, truth, points, ONE, PLAIN) == pytest.approx(2, abs=1e-12)
    assert reprojection_error(pose, truth, points, ONE, PLAIN) == pytest.approx(1.5, abs=1e-12)
    behind = shifted(truth, 0, 0, -0.6)
    assert mspd(behind, truth, points, ONE, PLAIN) == np.inf
    assert reprojection_error(behind, truth, points, ONE, PLAIN) == np.inf
    with pytest.raises(ValueError, match="truth: expected every point before the camera"):
        mspd(truth, behind, points, ONE, PLAIN)


# Many errors as one number.


def test_auc_by_hand() -> None:
    errors = np.array([0.0, 0.05, 0.2, np.inf])
    assert auc(errors, 0.1) == pytest.approx((1 + 0.5) / 4)
    assert auc(np.array([0.1]), 0.1) == 0


# Detections.


def test_match_by_hand() -> None:
    costs = np.array([[1.0, 2.0, 9.0], [0.5, 9.0, 9.0], [9.0, 3.0, 5.0], [0.0, 0.0, 4.0]])
    before = costs.copy()
    # The second takes truth 0, so the first gets truth 1; for the last, though nearest, only truth 2 remains.
    np.testing.assert_array_equal(match(np.array([0.8, 0.9, 0.7, 0.1]), costs, 5), [1, 0, -1, 2])
    np.testing.assert_array_equal(match(np.array([0.8, 0.9, 0.7, 0.1]), costs, 4), [1, 0, -1, -1])  # 4 is not below 4
    np.testing.assert_array_equal(match(np.full(4, 0.5), costs, 6), [0, -1, 1, 2])
    np.testing.assert_array_equal(costs, before)
    np.testing.assert_array_equal(match(np.array([1.0]), np.array([[np.inf]]), np.inf), [-1])
    np.testing.assert_array_equal(match(np.array([1.0, 0.5]), np.zeros((2, 0)), 1), [-1, -1])
    assert match(np.zeros(0), np.zeros((0, 3)), 1).shape == (0,)


def test_precision_recall_by_hand() -> None:
    curve = precision_recall(np.array([0.6, 0.9, 0.7, 0.8]), np.array([True, True, True, False]), 4)
    np.testing.assert_array_equal(curve.scores, [0.9, 0.8, 0.7, 0.6])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 3 / 4])
    np.testing.assert_allclose(curve.recall, [1 / 4, 1 / 4, 2 / 4, 3 / 4])
    assert curve.average_precision == pytest.approx(1 / 4 * (1 + 3 / 4 + 3 / 4))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_equal_scores_have_no_order(order: list[int]) -> None:
    scores, right = np.array([0.9, 0.5, 0.5, 0.5])[order], np.array([False, True, False, True])[order]
    curve = precision_recall(scores, right, 2)
    np.testing.assert_allclose(curve.precision, [0, 2 / 4])
    np.testing.assert_allclose(curve.recall, [0, 1])
    assert curve.average_precision == pytest.approx(1 / 2)
    kept = risk_coverage(scores, np.array([1.0, 2, 3, 7])[order])
    np.testing.assert_allclose(kept.risk, [1, 5 / 2, 9 / 3, 13 / 4])


def test_no_detections_have_no_precision() -> None:
    curve = precision_recall(np.zeros(0), np.zeros(0, dtype=bool), 3)
    assert (len(curve.scores), len(curve.precision), curve.average_precision) == (0, 0, 0)


# Confidence.


def test_calibration_error_by_hand() -> None:
    confidence, right = np.array([0.9, 0.2, 1.0, 0.1]), np.array([True, False, False, True])
    # Bins of 0.2: {0.1, 0.2} have confidence 0.3 and 1 right, {0.9, 1.0} have confidence 1.9 and 1 right.
    assert expected_calibration_error(confidence, right, 5) == pytest.approx((0.7 + 0.9) / 4)
    assert expected_calibration_error(confidence, right, 1) == pytest.approx((2.2 - 2) / 4)
    assert expected_calibration_error(np.array([0.0, 0.75, 0.75, 0.75, 0.75]), np.arange(5) > 1, 10) == pytest.approx(0)


def test_skill_by_hand() -> None:
    right = np.array([True, False, False, False])
    assert brier_skill(np.full(4, 0.25), right) == pytest.approx(0)
    assert brier_skill(right.astype(float), right) == 1
    # Squared errors 0.16, 0.01, 0.01 and 0.04; those of the constant prediction 0.25: 0.5625 and three times 0.0625.
    assert brier_skill(np.array([0.6, 0.1, 0.1, 0.2]), right) == pytest.approx(1 - 0.22 / 0.75)
    assert brier_skill(1.0 - right, right) < 0
    assert np.isnan(brier_skill(np.full(4, 0.5), np.ones(4, bool)))


def test_risk_coverage_by_hand() -> None:
    kept = risk_coverage(np.array([9.0, 5.0, 7.0]), np.array([1.0, 6.0, 2.0]))
    np.testing.assert_allclose(kept.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(kept.risk, [1, 3 / 2, 9 / 3])
    assert kept.area == pytest.approx(5.5 / 3)


# Invalid arguments.

NAN_POSE = np.where(np.eye(4) > 0, np.nan, 0)
YES = np.array([True])
WRONG: list[tuple[str, Callable[[], object]]] = [
    (r"points: expected shape \(V, 3\), V at least 1, not \(0, 3\)", lambda: adds(AHEAD, AHEAD, np.zeros((0, 3)))),
    ("points: expected finite numbers", lambda: adds(AHEAD, AHEAD, POINTS * np.nan)),
    (r"truth: expected shape \(4, 4\), not \(3, 4\)", lambda: adds(AHEAD, AHEAD[:3], POINTS)),
    (r"symmetries: expected shape \(S, 4, 4\)", lambda: mspd(AHEAD, AHEAD, POINTS, np.eye(4), CAMERA)),
    (r"points: expected shape \(V, 3\), V at least 1, not \(3, 2\)", lambda: adds(AHEAD, AHEAD, POINTS[:, :2])),
    ("estimate: expected finite numbers", lambda: translation_error(NAN_POSE, AHEAD)),
    ("symmetries: .* S at least 1", lambda: rotation_error(AHEAD, AHEAD, ONE[:0])),
    ("intrinsics: ", lambda: mspd(AHEAD, AHEAD, POINTS, ONE, np.eye(4))),
    ("errors: .* NaN", lambda: auc(np.array([0.1, np.nan]), 0.1)),
    ("errors: .* below 0", lambda: auc(np.array([-0.1]), 0.1)),
    ("greatest: expected more than 0 and finite", lambda: auc(np.array([0.1]), np.inf)),
    ("costs: expected shape", lambda: match(np.ones(2), np.ones((3, 1)), 1)),
    ("costs: expected no NaN", lambda: match(np.ones(1), np.full((1, 1), np.nan), 1)),
    ("scores: expected finite", lambda: match(np.array([np.nan]), np.ones((1, 1)), 1)),
    ("limit: ", lambda: match(np.ones(1), np.ones((1, 1)), np.nan)),
    ("truths: ", lambda: precision_recall(np.ones(1), ~YES, 0)),
    (r"truths: .* \(2\), not 1", lambda: precision_recall(np.ones(2), np.array([True, True]), 1)),
    (r"right: expected shape \(2,\)", lambda: precision_recall(np.ones(2), YES, 1)),
    ("confidence: expected from 0 to 1", lambda: expected_calibration_error(np.array([1.1]), YES, 5)),
    ("confidence: expected finite", lambda: expected_calibration_error(np.array([np.nan]), YES, 5)),
    ("bins: ", lambda: expected_calibration_error(np.ones(1), YES, 0)),
    (r"errors: expected shape \(1,\)", lambda: risk_coverage(np.ones(1), np.ones(2))),
    ("confidence: .* N at least 1", lambda: risk_coverage(np.zeros(0), np.zeros(0))),
]


@pytest.mark.parametrize("at_once", [1, 21, 7 * 40, 10**9])
def test_intervals_are_those_of_all_resamples_together(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.metrics._MOST_AT_ONCE", at_once)
    monkeypatch.setattr("train.metrics.RESAMPLES", 50)
    errors = np.random.default_rng(2).exponential(2, 40)
    resampled = errors[(Draws(3, np.arange(50)) / "bootstrap").integers(40, 40)]
    found = summary(errors, seed=3)
    assert found["mean"]["value"] == errors.mean()
    assert [found["median"][end] for end in ("low", "high")] == pytest.approx(
        np.percentile(np.median(resampled, 1), [2.5, 97.5])
    )
    assert [found["max"][end] for end in ("low", "high")] == pytest.approx(np.percentile(resampled.max(1), [2.5, 97.5]))


@pytest.mark.parametrize(("message", "call"), WRONG, ids=[message[:30] for message, _ in WRONG])
def test_invalid_arguments_are_refused(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
