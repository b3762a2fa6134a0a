"""Poses from keypoints: exact keypoints give the pose back, and the covariance is that of repeated measurements."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from proposals import proposal_of
from scipy.spatial.transform import Rotation
from toy_cubes import written

from simgen.catalogue import load_world
from simgen.geometry import Array, inverse, look_at, project, rigid, rotation_about, transform_points
from train.blocks.kinds import BlockSet, Kind
from train.blocks.stances import Stances
from train.detect.detector import Detector, load_detector
from train.detect.predict import describe
from train.nets.crop_net import CropOutput
from train.nets.detection_net import KeypointNet, Peaks
from train.pose.solve import Keypoints, Resting, solve_free, solve_on_table
from train.pose.view import Pose, View

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids, load_world("kuka_table").solids])
LENS = np.array([-0.08, 0.01, 0.001, -0.001, 0.0])
CAMERA = np.array([[550.0, 0, 321], [0, 548, 238], [0, 0, 1]])
WORLD_FROM_CAMERA = look_at(np.array([-0.7, 0.3, 0.6]), np.array([0.02, 0.0, 0.0]), 0.05)
VIEW = View(CAMERA, LENS, inverse(WORLD_FROM_CAMERA))


def lying(kind: Kind, rest: int, place: tuple[float, float], yaw: float) -> Array:
    table_from_block = rigid(rotation_about(2, yaw), np.array([*place, 0])) @ kind.rests[rest]
    return np.asarray(VIEW.camera_from_table @ table_from_block)


def free(points: Array, pixels: Array, sigma: Array, view: View) -> Pose | None:
    """The free pose of one block."""
    return solve_free([Keypoints(points, pixels, sigma)], view)[0]


def on_table(
    points: Array, pixels: Array, sigma: Array, view: View, rests: Array, axis: Array | None = None
) -> Pose | None:
    """The pose on the table of one block."""
    return solve_on_table([Resting(Keypoints(points, pixels, sigma), rests, axis)], view)[0]


def seen(kind: Kind, pose: Array) -> Array:
    return np.asarray(project(transform_points(pose, kind.keypoints), CAMERA, LENS))


CASES = [(kind, rest) for kind in BLOCKS.kinds for rest in range(len(kind.rests))]


@pytest.mark.parametrize(("kind", "rest"), CASES, ids=lambda v: v.name if isinstance(v, Kind) else str(v))
def test_exact_keypoints_give_the_pose_back(kind: Kind, rest: int) -> None:
    for number in range(4):
        pose = lying(kind, rest, (0.15 - 0.1 * number, 0.07 * number - 0.1), 0.9 * number + 0.2)
        pixels, sigma = seen(kind, pose), np.ones(len(kind.keypoints))
        for solved in (
            free(kind.keypoints, pixels, sigma, VIEW),
            on_table(kind.keypoints, pixels, sigma, VIEW, kind.rests, kind.axis),
        ):
            assert solved is not None
            np.testing.assert_allclose(solved.camera_from_block, pose, atol=2e-5)
            assert solved.misfit < 1e-2


@pytest.mark.parametrize(("kind", "rest"), [case for case in CASES if case[0].axis is not None], ids=str)
def test_a_round_block_on_its_side_is_solved_at_any_roll(kind: Kind, rest: int) -> None:
    """The network predicts a round block's keypoints relative to the camera, whatever the roll in its label."""
    assert kind.axis is not None
    for roll in np.linspace(0.1, 6.2, 9):
        turn = rigid(Rotation.from_rotvec(roll * kind.axis).as_matrix(), np.zeros(3))
        pose = lying(kind, rest, (0.1, -0.05), 0.7) @ turn
        solved = on_table(kind.keypoints, seen(kind, pose), np.ones(len(kind.keypoints)), VIEW, kind.rests, kind.axis)
        assert solved is not None
        np.testing.assert_allclose(solved.camera_from_block, pose, atol=1e-4)
        # Height and tilt are known: only the place along the table is uncertain.
        up = VIEW.camera_from_table[:3, 2]  # type: ignore[index]
        assert up @ solved.covariance[3:, 3:] @ up < 1e-12 < np.trace(solved.covariance[3:, 3:])


def test_the_uncertainty_is_that_of_repeated_measurements() -> None:
    kind = BLOCKS.kinds[BLOCKS.names.index("cube")]
    pose = lying(kind, 0, (0.1, -0.05), 0.4)
    rng = np.random.default_rng(0)
    exact, sigma = seen(kind, pose), rng.uniform(0.3, 0.8, len(kind.keypoints))
    for solve in (
        lambda pixels: free(kind.keypoints, pixels, sigma, VIEW),
        lambda pixels: on_table(kind.keypoints, pixels, sigma, VIEW, kind.rests[:1]),
    ):
        results: list[Pose] = [solve(exact + sigma[:, None] * rng.normal(size=exact.shape)) for _ in range(600)]
        shifts = np.array([one.camera_from_block[:3, 3] - pose[:3, 3] for one in results])
        turns = np.array(
            [Rotation.from_matrix(one.camera_from_block[:3, :3] @ pose[:3, :3].T).as_rotvec() for one in results]
        )
        stated = np.mean([one.covariance for one in results], axis=0)
        measured = np.cov(np.concatenate([turns, shifts], 1).T)
        # Along the axes of the stated covariance the spread is the stated one, within the sampling error of 600.
        spread, axes = np.linalg.eigh(stated)
        for variance, axis in zip(spread, axes.T, strict=True):
            if variance > 1e-3 * spread[-1] or variance > 1e-9:
                assert 0.75 < np.sqrt(axis @ measured @ axis / variance) < 1.3
        # The mean square residual in sigmas is as expected: 1 less the fitted parameters per measurement.
        degrees = 6 if solve(exact).covariance[2, 2] and np.linalg.matrix_rank(stated, tol=1e-12) == 6 else 3
        expected = 1 - degrees / (2 * len(kind.keypoints))
        assert np.mean([one.misfit**2 for one in results]) == pytest.approx(expected, rel=0.15)


def test_the_table_determines_the_distance() -> None:
    """The same half pixel of noise: on the table the place is known several times better than free."""
    kind = BLOCKS.kinds[BLOCKS.names.index("kuka_box")]
    pose, rng = lying(kind, 0, (0.2, 0.1), 0.1), np.random.default_rng(1)
    sigma = np.full(len(kind.keypoints), 0.7)
    misses: dict[str, list[float]] = {"free": [], "table": []}
    for _ in range(100):
        pixels = seen(kind, pose) + sigma[:, None] * rng.normal(size=(len(sigma), 2))
        for name, solved in (
            ("free", free(kind.keypoints, pixels, sigma, VIEW)),
            ("table", on_table(kind.keypoints, pixels, sigma, VIEW, kind.rests)),
        ):
            assert solved is not None
            misses[name].append(float(np.linalg.norm(solved.camera_from_block[:3, 3] - pose[:3, 3])))
    assert np.median(misses["table"]) < 0.4 * np.median(misses["free"])


def test_one_outlier_does_not_spoil_the_pose() -> None:
    kind = BLOCKS.kinds[BLOCKS.names.index("cube")]
    pose = lying(kind, 0, (0.0, 0.0), 0.3)
    pixels, sigma = seen(kind, pose), np.full(len(kind.keypoints), 0.5)
    pixels[4] += [25, -10]
    solved = on_table(kind.keypoints, pixels, sigma, VIEW, kind.rests[:1])
    assert solved is not None
    assert np.linalg.norm(solved.camera_from_block[:3, 3] - pose[:3, 3]) < 0.003
    assert solved.misfit > 5  # and the misfit shows it


def test_blocks_that_are_solved_together_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(2)
    chosen = [CASES[k] for k in rng.permutation(len(CASES))[:9]]
    blocks = []
    for kind, rest in chosen:
        pixels = seen(kind, lying(kind, rest, (rng.uniform(-0.2, 0.2), 0.1), rng.uniform(0, 6)))
        pixels += rng.normal(0, 0.6, pixels.shape)
        blocks.append(
            Resting(Keypoints(kind.keypoints, pixels, rng.uniform(0.3, 2, len(pixels))), kind.rests, kind.axis)
        )
    blocks[4] = replace(blocks[4], seen=replace(blocks[4].seen, pixels=np.full_like(blocks[4].seen.pixels, -4000.0)))
    for together, alone in (
        (solve_free([one.seen for one in blocks], VIEW), [solve_free([one.seen], VIEW)[0] for one in blocks]),
        (solve_on_table(blocks, VIEW), [solve_on_table([one], VIEW)[0] for one in blocks]),
    ):
        assert [one is None for one in together] == [number == 4 for number in range(9)]
        for one, other in zip(together, alone, strict=True):
            if one is not None and other is not None:
                np.testing.assert_allclose(one.camera_from_block, other.camera_from_block, atol=1e-4)
                assert one.misfit == pytest.approx(other.misfit, abs=1e-3)
    assert solve_free([], VIEW) == solve_on_table([], VIEW) == []


def test_rays_that_miss_the_table_give_no_pose() -> None:
    kind = BLOCKS.kinds[0]
    above = np.full((len(kind.keypoints), 2), -4000.0)  # rays that never meet the table
    assert on_table(kind.keypoints, above, np.ones(len(above)), VIEW, kind.rests) is None


def test_the_camera_of_a_resized_picture() -> None:
    points = np.array([[0.1, -0.05, 0.9], [-0.2, 0.1, 1.3]])
    whole, half = project(points, CAMERA, LENS), project(points, VIEW.resized(0.5, 0.5).intrinsics, LENS)
    np.testing.assert_allclose(half, (whole + 0.5) * 0.5 - 0.5)


def test_a_pose_beyond_the_tables_edge_is_off_the_table() -> None:
    """Beyond by more than three standard deviations and 2 cm, along either axis. Without a known table no pose is."""
    kind = BLOCKS.kinds[BLOCKS.names.index("cube")]
    view = replace(VIEW, table=np.array([[-0.2, -0.1], [0.2, 0.1]]))
    turn = inverse(VIEW.camera_from_table)[:3, :3]  # type: ignore[arg-type]

    def off(x: float, y: float, deviation: float, one: View = view) -> bool:
        covariance = np.zeros((6, 6))
        covariance[3:, 3:] = turn.T @ np.diag([deviation**2, deviation**2, 0]) @ turn
        return one.off_table(Pose(lying(kind, 0, (x, y), 0.3), covariance, 1.0))

    assert not off(0.0, 0.0, 0.001) and not off(0.2, -0.1, 0.001)
    for x, y in ((0.221, 0.0), (-0.221, 0.0), (0.0, 0.121), (0.0, -0.121)):
        assert off(x, y, 0.001)
        assert not off(0.99 * x, 0.98 * y, 0.001)  # within 2 cm of the edge
        assert not off(x, y, 0.008)  # within three standard deviations
        assert not off(x, y, 0.001, VIEW)
        assert off(x, y, 0.001, view.resized(0.5, 0.5))


def test_a_distant_block_has_a_free_pose_while_its_keypoints_are_apart() -> None:
    """OpenCV's SQPnP raises an error for keypoints that almost coincide; solve_free returns None."""
    kind = next(kind for kind in BLOCKS.kinds if kind.name == "cube")
    for distance, solved in ((5.0, True), (50.0, False)):
        pixels = project(kind.keypoints + np.array([0, 0, distance]), VIEW.intrinsics, VIEW.distortion)
        pose = free(kind.keypoints, pixels, np.ones(len(pixels)), VIEW)
        assert (pose is not None) == solved


def test_a_distant_block_is_detected_by_its_pose_on_the_table() -> None:
    """PnP fails for a cube of 5 cm at 20 m with a focal length of 300 px; the pose on the table is exact."""
    number = BLOCKS.names.index("cube")
    kind = BLOCKS.kinds[number]
    camera = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
    view = View(camera, np.zeros(5), inverse(look_at(np.array([0.0, -19.6, 4.0]), np.zeros(3), 0.0)))
    assert view.camera_from_table is not None
    truth = view.camera_from_table @ rigid(np.eye(3), np.array([0.3, 0.1, 0])) @ kind.rests[0]
    pixels = project(transform_points(truth, kind.keypoints), view.intrinsics, view.distortion)
    proposals = proposal_of(number, pixels, 0.5)
    net = SimpleNamespace(stances=Stances(BLOCKS, sides=False))
    detector = Detector(net, BLOCKS)  # type: ignore[arg-type]
    (detection,) = detector._detections(proposals, view)
    assert detection.on_table
    np.testing.assert_allclose(detection.pose.camera_from_block, truth, atol=1e-9)
    assert np.isfinite(detection.features).all()
    line = json.loads(json.dumps(describe(detection, view), allow_nan=False))
    assert line["on_table"] is True
    # Without a table there is no pose at all.
    assert detector._detections(proposals, View(view.intrinsics, view.distortion)) == []


@pytest.mark.parametrize(("gain", "on_table", "free"), [(0.2, 0, 0), (0.5, 1, 0), (1.2, 1, 1)])
def test_keypoints_where_they_are_expected_decide_between_kinds(gain: float, on_table: int, free: int) -> None:
    """Of two kinds with 0.7 and 0.3 the second has keypoints e^`gain` times as probable where its pose has them. On a table
    that counts three times as much as for a free pose, which fits any keypoints better."""
    numbers = [BLOCKS.names.index(name) for name in ("cube", "rectangular_prism")]
    truths = [lying(BLOCKS.kinds[number], 0, (0.02, 0.01), 0.4) for number in numbers]
    each = [
        proposal_of(number, project(transform_points(pose, BLOCKS.kinds[number].keypoints), CAMERA, LENS), 0.5)
        for number, pose in zip(numbers, truths, strict=True)
    ]
    parts = zip(*(one[2:] for one in each), strict=True)
    both = each[0]._replace(
        **{
            name: torch.cat(part, 1) if torch.is_tensor(part[0]) else np.concatenate(part, 1)
            for name, part in zip(each[0]._fields[2:], parts, strict=True)
        }
    )
    places = both.places.clone()
    places[0, 1] += gain
    both = both._replace(share=np.array([[0.7, 0.3]]), kind_share=np.array([[0.7, 0.3]]), places=places)
    detector = Detector(SimpleNamespace(stances=Stances(BLOCKS, sides=False)), BLOCKS)  # type: ignore[arg-type]
    for view, expected in ((VIEW, on_table), (View(CAMERA, LENS), free)):
        (detection,) = detector._detections(both, view)
        assert detection.kind.name == BLOCKS.names[numbers[expected]]


def test_a_keypoint_behind_the_camera_is_no_error() -> None:
    """A block of which a corner is beside the lens, as in a closeup: its keypoint has no place in the picture."""
    number = BLOCKS.names.index("cube")
    kind = BLOCKS.kinds[number]
    pose = rigid(np.eye(3), np.array([0.0, 0, 0.5 * kind.size[2] - 0.002]))
    pixels = np.array([[300.0, 200 + 9 * k] for k in range(len(kind.keypoints))])
    net = SimpleNamespace(stances=Stances(BLOCKS, sides=False))
    detector = Detector(net, BLOCKS)  # type: ignore[arg-type]
    points = project(transform_points(pose, kind.keypoints), VIEW.intrinsics, VIEW.distortion)
    assert np.isnan(points).any() and np.isfinite(points).any()
    proposals = proposal_of(number, pixels, 0.5)
    assert np.isfinite(detector._agreement(proposals, 0, 0, Pose(pose, np.eye(6), 1.0), VIEW))


@pytest.mark.parametrize("sides", [True, False])
def test_a_network_that_never_saw_a_table_gets_none(sides: bool) -> None:
    torch.manual_seed(0)
    net = KeypointNet(BLOCKS, sides=sides, pretrained=True).eval()
    torch.nn.init.normal_(net.crops.film.weight, std=0.1)
    peaks = Peaks(torch.ones(1, 1), torch.tensor([[[300.0, 220, 60]]]))
    picture = np.full((480, 640, 3), 128, np.uint8)
    pose = inverse(look_at(np.array([0.0, -0.6, 0.5]), np.zeros(3), 0.0))
    with torch.inference_mode():
        known, unknown = (
            Detector(net, BLOCKS)._proposals(picture, peaks, 0, (512, 384), View(VIEW.intrinsics, np.zeros(5), table))
            for table in (pose, None)
        )
    assert len(known.share) == 1
    assert np.array_equal(known.share, unknown.share) == (not sides)


def test_kinds_are_means_over_each_crop_and_its_mirror_image(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = KeypointNet(BLOCKS, sides=True, pretrained=True).eval()
    torch.nn.init.normal_(net.crops.out.weight, std=3.0)
    peaks = Peaks(torch.ones(1, 2), torch.tensor([[[300.0, 220, 60], [150.0, 120, 80]]]))
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    view = View(VIEW.intrinsics, np.zeros(5), inverse(look_at(np.array([0.0, -0.6, 0.5]), np.zeros(3), 0.0)))
    straights: list[tuple[torch.Tensor, CropOutput]] = []
    mirrors: list[tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]] = []
    for name, noted in (("predict", straights), ("predict_mirrored", mirrors)):
        original = getattr(net.crops, name)

        def spy(*given: torch.Tensor, original: Any = original, noted: list[Any] = noted) -> Any:
            noted.append((given[2], original(*given)))
            return noted[-1][1]

        monkeypatch.setattr(net.crops, name, spy)
    with torch.inference_mode():
        alone, both = (
            Detector(net, BLOCKS, mirrors=mirrors)._proposals(picture, peaks, 0, (512, 384), view)
            for mirrors in (False, True)
        )
    assert (len(straights), len(mirrors)) == (4, 1)
    (windows, straight), (again, (stance, sized)) = straights[3], mirrors[0]
    assert torch.equal(windows, again)
    probability = net.stances.averaged(straight.stance.softmax(1), stance.softmax(1))
    block = 1 - probability[:, -1:]
    kinds = net.stances.of_kinds(probability[:, :-1] / block)
    np.testing.assert_allclose(both.probabilities[:, 1:2], block, rtol=1e-5)
    np.testing.assert_allclose(both.probabilities[:, 2], (straight.sized.sigmoid() + sized.sigmoid()) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        both.kind_share[:, 0], kinds.gather(1, net.stances.kind[both.stance[:, :1]])[:, 0], rtol=1e-5
    )
    assert np.abs(both.kind_share / alone.kind_share - 1).min() > 1e-4  # the tolerance is 1e-5
    assert np.array_equal(both.windows, alone.windows)


def test_a_mirror_image_counts_only_if_the_training_says_so(tmp_path: Path) -> None:
    net = KeypointNet(BLOCKS, sides=True, pretrained=True)
    path = tmp_path / "model.ckpt"
    for mirrors in (False, True):
        detector = load_detector(written(net, BLOCKS, path, mirrors=mirrors))
        assert detector.mirrors is mirrors and detector.zoomed(2).mirrors is mirrors
    content = torch.load(path, weights_only=True)
    del content["mirrors"]  # an older model
    torch.save(content, path)
    assert load_detector(path).mirrors is False
