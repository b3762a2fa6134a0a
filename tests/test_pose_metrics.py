"""train.pose_metrics: bop_toolkit's values (tests/data/bop_toolkit_pose_errors.json) and values computed by hand."""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import ROOT

from simgen.catalogue import load_world
from simgen.geometry import Array, rigid, rotation_about
from train.blockset import BlockSet, Kind
from train.pose_metrics import (
    add,
    adds,
    auc,
    average_recall,
    brier_skill,
    expected_calibration_error,
    match,
    mspd,
    mssd,
    pck,
    precision_recall,
    recall,
    reprojection_error,
    risk_coverage,
    rotation_error,
    translation_error,
    vsd,
)

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
    "add": lambda e, t, points, _: add(e, t, points),
    "adi": lambda e, t, points, _: adds(e, t, points),
    "re": lambda e, t, *_: np.degrees(rotation_error(e, t, ONE)),
    "re_symmetric": lambda e, t, _, symmetries: np.degrees(rotation_error(e, t, symmetries)),
    "te": lambda e, t, *_: translation_error(e, t),
    "mssd": lambda e, t, points, symmetries: mssd(e, t, points, symmetries),
    "mspd": lambda e, t, points, symmetries: mspd(e, t, points, symmetries, CAMERA),
    "proj": lambda e, t, points, _: reprojection_error(e, t, points, CAMERA),
}


@pytest.mark.parametrize("name", OURS)
def test_errors_equal_bop_toolkits(name: str) -> None:
    assert len(TABLE["poses"]) == 48
    for row in TABLE["poses"]:
        block = TABLE["blocks"][row["block"]]
        symmetries = np.stack([full(symmetry) for symmetry in block["symmetries"]])
        ours = OURS[name](full(row["estimate"]), full(row["truth"]), np.array(block["points"]), symmetries)
        assert ours == pytest.approx(row[name], rel=0, abs=1e-6)


@pytest.mark.parametrize("row", TABLE["vsd"], ids=lambda row: row["case"])
def test_vsd_equals_bop_toolkits(row: dict[str, Any]) -> None:
    estimate, truth, test = (
        np.frombuffer(zlib.decompress(base64.b64decode(row[name])), "<u2").reshape(36, 48) / 1e4
        for name in ("estimate", "truth", "test")
    )
    diameter = TABLE["blocks"][row["block"]]["diameter"]
    ours = vsd(estimate, truth, test, np.array(TABLE["depth_intrinsics"]), TABLE["delta"], TABLE["taus"], diameter)
    np.testing.assert_allclose(ours, row["vsd"], rtol=0, atol=1e-6)


# Errors of one pose, by hand.


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_same_pose_has_no_error(kind: Kind) -> None:
    assert rotation_error(AHEAD, AHEAD, kind.group) < 1e-7
    assert translation_error(AHEAD, AHEAD) == add(AHEAD, AHEAD, kind.corners) == adds(AHEAD, AHEAD, kind.corners) == 0
    assert mssd(AHEAD, AHEAD, kind.corners, kind.group) < 1e-12
    assert mspd(AHEAD, AHEAD, kind.corners, kind.group, CAMERA) < 1e-9
    assert reprojection_error(AHEAD, AHEAD, kind.corners, CAMERA) == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if len(kind.group) > 1], ids=lambda kind: kind.name)
def test_a_symmetric_pose_is_as_good_as_the_true_one(kind: Kind) -> None:
    for symmetry in kind.group[1:]:
        pose = AHEAD @ symmetry
        assert rotation_error(pose, AHEAD, kind.group) < 1e-7
        assert mssd(pose, AHEAD, kind.corners, kind.group) < 1e-9
        assert mspd(pose, AHEAD, kind.corners, kind.group, CAMERA) < 1e-6
        assert rotation_error(pose, AHEAD, ONE) > 0.5
        assert min(mssd(pose, AHEAD, kind.corners, ONE), add(pose, AHEAD, kind.corners)) > 0.005
        assert (
            min(mspd(pose, AHEAD, kind.corners, ONE, CAMERA), reprojection_error(pose, AHEAD, kind.corners, CAMERA)) > 1
        )


def test_a_shift_has_its_length() -> None:
    pose = shifted(AHEAD, 0.002, -0.003, 0.006)
    assert rotation_error(pose, AHEAD, ONE) < 1e-9
    for error in (translation_error(pose, AHEAD), add(pose, AHEAD, POINTS), mssd(pose, AHEAD, POINTS, ONE)):
        assert error == pytest.approx(0.007, abs=1e-12)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.7, np.pi / 2, 3.0, np.pi - 1e-9, np.pi])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turn_has_its_angle(angle: float, axis: int) -> None:
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
    assert reprojection_error(pose, truth, points, PLAIN) == pytest.approx(1.5, abs=1e-12)
    assert mspd(pose, truth, points, ONE, PLAIN) == pytest.approx(2, abs=1e-12)
    behind = shifted(truth, 0, 0, -0.6)
    assert mspd(behind, truth, points, ONE, PLAIN) == reprojection_error(behind, truth, points, PLAIN) == np.inf
    with pytest.raises(ValueError, match="truth: expected every point before the camera"):
        mspd(truth, behind, points, ONE, PLAIN)


def test_vsd_by_hand() -> None:
    far = np.array([[1e9, 0, 0], [0, 1e9, 0], [0, 0, 1]])  # rays along the axis, so that distance is depth
    truth = np.array([[0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]])
    estimate = np.array([[0.501, 0.52, 0.0, 0.53, 0.5, 0.5, 0.5]])
    scene = np.array([[0.5, 0.5, 0.5, 0.5, 0.4, 0.8, 0.0]])
    # Seen in both poses: pixels 0, 1 and 3, the estimate's behind the surface too; in one: 2, 5 and 6; in none: 4.
    # In parts of the diameter of 0.1 m pixels 0, 1, 3 are 0.01, 0.2, 0.3 off.
    errors = vsd(estimate, truth, scene, far, 0.015, np.array([0.005, 0.1, 0.25, 0.5]), 0.1)
    np.testing.assert_allclose(errors, np.array([6, 5, 4, 3]) / 6, atol=1e-12)
    np.testing.assert_array_equal(vsd(truth, truth, scene, far, 0.015, np.array([1e-6, 1.0]), 0.1), [0, 0])
    np.testing.assert_array_equal(vsd(truth, truth, np.full((1, 7), 0.4), far, 0.015, np.array([0.5]), 0.1), [1])


def test_vsd_compares_distances_along_rays() -> None:
    wide = np.eye(3)  # pixel u looks along (u, 0, 1): 0.01 of depth is 0.01 and 0.0141 of distance
    errors = vsd(np.array([[0.51, 0.51]]), np.full((1, 2), 0.5), np.zeros((1, 2)), wide, 0.015, np.array([0.12]), 0.1)
    np.testing.assert_allclose(errors, [0.5])


# Many errors as one number.


def test_recall_by_hand() -> None:
    errors = np.array([0.1, 0.2, np.inf])
    assert recall(errors, 0.2) == pytest.approx(1 / 3)  # 0.2 is not below 0.2
    assert recall(errors, 0.3) == pytest.approx(2 / 3)
    assert average_recall(errors, np.array([0.15, 0.25, 0.05, 0.3])) == pytest.approx(5 / 12)
    assert average_recall(errors[:2, None] * [1, 3], np.array([0.15, 0.4])) == pytest.approx(4 / 8)


def test_auc_by_hand() -> None:
    errors = np.array([0.0, 0.05, 0.2, np.inf])
    assert auc(errors, 0.1) == pytest.approx((1 + 0.5) / 4)
    thresholds = (np.arange(100_000) + 0.5) / 1e6
    assert auc(errors, 0.1) == pytest.approx(average_recall(errors, thresholds), abs=1e-5)
    assert auc(np.array([0.1]), 0.1) == 0


def test_pck_by_hand() -> None:
    truth = np.arange(12.0).reshape(2, 3, 2) * 20
    predicted = truth + np.array([[[3.0, 4], [0, 0], [0, 6]], [[5, 5], [np.nan, 0], [2, 0]]])
    visible = np.array([[True, False, True], [True, False, True]])  # 5, 6, 7.07 and 2 px off
    assert pck(predicted, truth, visible, 5) == pytest.approx(2 / 4)
    assert pck(predicted, truth, visible, 4.99) == pytest.approx(1 / 4)
    assert pck(predicted, truth, visible, 6) == pytest.approx(3 / 4)


# Detections.


def test_match_by_hand() -> None:
    costs = np.array([[1.0, 2.0, 9.0], [0.5, 9.0, 9.0], [9.0, 3.0, 5.0], [0.0, 0.0, 4.0]])
    before = costs.copy()
    # The second takes truth 0, so the first gets truth 1; the last, though nearest, finds but truth 2 left.
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


def test_no_detections_find_nothing() -> None:
    curve = precision_recall(np.zeros(0), np.zeros(0, dtype=bool), 3)
    assert (len(curve.scores), len(curve.precision), curve.average_precision) == (0, 0, 0)


# Confidence.


def test_calibration_error_by_hand() -> None:
    confidence, right = np.array([0.9, 0.2, 1.0, 0.1]), np.array([True, False, False, True])
    # Bins of 0.2: {0.1, 0.2} are 0.3 sure and 1 right, {0.9, 1.0} are 1.9 sure and 1 right.
    assert expected_calibration_error(confidence, right, 5) == pytest.approx((0.7 + 0.9) / 4)
    assert expected_calibration_error(confidence, right, 1) == pytest.approx((2.2 - 2) / 4)
    assert expected_calibration_error(np.array([0.0, 0.75, 0.75, 0.75, 0.75]), np.arange(5) > 1, 10) == pytest.approx(0)


def test_skill_by_hand() -> None:
    right = np.array([True, False, False, False])
    assert brier_skill(np.full(4, 0.25), right) == pytest.approx(0)
    assert brier_skill(right.astype(float), right) == 1
    # Squares of 0.16, 0.01, 0.01 and 0.04 beside those of 0.25 said of each: 0.5625 and three times 0.0625.
    assert brier_skill(np.array([0.6, 0.1, 0.1, 0.2]), right) == pytest.approx(1 - 0.22 / 0.75)
    assert brier_skill(1.0 - right, right) < 0
    assert np.isnan(brier_skill(np.full(4, 0.5), np.ones(4, bool)))


def test_risk_coverage_by_hand() -> None:
    kept = risk_coverage(np.array([9.0, 5.0, 7.0]), np.array([1.0, 6.0, 2.0]))
    np.testing.assert_allclose(kept.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(kept.risk, [1, 3 / 2, 9 / 3])
    assert kept.area == pytest.approx(5.5 / 3)


# The border.

NAN_POSE = np.where(np.eye(4) > 0, np.nan, 0)
DEPTH, TAU, YES = np.ones((2, 3)), np.array([0.1]), np.array([True])
WRONG: list[tuple[str, Callable[[], object]]] = [
    (r"points: expected shape \(V, 3\), V at least 1, not \(0, 3\)", lambda: add(AHEAD, AHEAD, np.zeros((0, 3)))),
    (r"points: expected shape \(V, 3\), V at least 1, not \(3, 2\)", lambda: adds(AHEAD, AHEAD, POINTS[:, :2])),
    ("points: expected finite numbers", lambda: mssd(AHEAD, AHEAD, POINTS * np.nan, ONE)),
    ("estimate: expected finite numbers", lambda: translation_error(NAN_POSE, AHEAD)),
    (r"truth: expected shape \(4, 4\), not \(3, 4\)", lambda: add(AHEAD, AHEAD[:3], POINTS)),
    ("symmetries: .* S at least 1", lambda: rotation_error(AHEAD, AHEAD, ONE[:0])),
    (r"symmetries: expected shape \(S, 4, 4\)", lambda: mssd(AHEAD, AHEAD, POINTS, np.eye(4))),
    ("intrinsics: ", lambda: mspd(AHEAD, AHEAD, POINTS, ONE, np.eye(4))),
    (r"depth_truth: expected shape \(2, 3\), not", lambda: vsd(DEPTH, DEPTH.T, DEPTH, PLAIN, 0.1, TAU, 0.1)),
    ("depth images: .* below 0", lambda: vsd(-DEPTH, DEPTH, DEPTH, PLAIN, 0.1, TAU, 0.1)),
    ("delta: expected more than 0", lambda: vsd(DEPTH, DEPTH, DEPTH, PLAIN, 0, TAU, 0.1)),
    ("taus: expected more than 0", lambda: vsd(DEPTH, DEPTH, DEPTH, PLAIN, 0.1, TAU * 0, 0.1)),
    ("diameter: expected more than 0", lambda: vsd(DEPTH, DEPTH, DEPTH, PLAIN, 0.1, TAU, -1)),
    ("errors: expected at least one", lambda: recall(np.zeros(0), 0.1)),
    ("errors: .* NaN", lambda: auc(np.array([0.1, np.nan]), 0.1)),
    ("errors: .* below 0", lambda: auc(np.array([-0.1]), 0.1)),
    ("greatest: expected more than 0 and finite", lambda: auc(np.array([0.1]), np.inf)),
    ("thresholds: expected shape", lambda: average_recall(np.array([0.1]), np.zeros(0))),
    ("thresholds: expected finite", lambda: recall(np.array([0.1]), np.nan)),
    ("visible: expected at least one", lambda: pck(np.zeros((1, 2)), np.zeros((1, 2)), ~YES, 1)),
    (r"predicted: expected shape \(1, 2\)", lambda: pck(np.zeros((2, 2)), np.zeros((1, 2)), YES, 1)),
    ("truth: expected finite", lambda: pck(np.zeros((1, 2)), np.full((1, 2), np.nan), YES, 1)),
    ("visible: .* of bool, not .* float64", lambda: pck(np.zeros((1, 2)), np.zeros((1, 2)), np.ones(1), 1)),
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


@pytest.mark.parametrize(("message", "call"), WRONG, ids=[message[:30] for message, _ in WRONG])
def test_what_does_not_fit_is_told(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
