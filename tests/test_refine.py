"""Edge-based refinement: the evidence is greatest at the truth, poses converge to it, and the right hypothesis wins."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import OLD_CAMERAS, sampler_of

from simgen.config import compose
from simgen.errors import ConfigError
from simgen.geometry import Array, inverse, project, rigid, rotation_about, transform_points
from simgen.render import make_renderer
from simgen.schema import Render
from simgen.sensor import sense
from simgen.workers import render
from train.blocks.kinds import Kind
from train.config import CalibrateConfig, DatasetConfig, ExportConfig
from train.detect.calibration import Calibration, Calibrations, Inflation
from train.detect.detector import load_detector
from train.detect.export import export
from train.evaluate.calibrate import calibrate_checkpoint
from train.metrics import adds
from train.pose.refine import Hypothesis, blurred_lab, evidence_of, refine_on_table
from train.pose.view import Pose, View
from train.runs.checkpoint import read_checkpoint

FACETS = {"cube": 6, "tetrahedron": 4, "triangular_prism": 5, "hexagonal_prism": 8, "pyramid": 5}


def scene_of(model: str, index: int = 0) -> tuple[np.ndarray, View, Kind, Array]:
    """A picture of one block, its camera, and the block's kind and camera_from_block."""
    sampler, world = sampler_of(
        "randomize=camera",
        *OLD_CAMERAS[:3],  # randomize=camera has no distortion
        f"randomize.blocks.model={model}",
        "randomize.blocks.yaw_deg=20",
        "randomize.light.direction=[0.5,0.3,1]",
        "randomize.camera.aim=[0,0,0]",
        "width=320",
        "height=240",
    )
    scenes = sampler.sample(1, [index])
    frames = make_renderer("raycast", world).render(scenes)
    picture = sense(frames.rgb, scenes.sensor)[0]
    camera = inverse(scenes.cameras.world_from_camera[0])
    view = View(scenes.cameras.intrinsics[0], scenes.cameras.distortion[0], camera)
    solid = world.solids[scenes.blocks.model[0, 0]]
    return picture, view, Kind.of(solid), camera @ scenes.blocks.world_from_block[0, 0]


def moved(pose: Array, view: View, x: float, y: float, yaw: float) -> Array:
    """`pose` moved over the table by x, y m and turned by yaw about the vertical through the block's origin."""
    assert view.camera_from_table is not None
    lying = inverse(view.camera_from_table) @ pose
    turned = rotation_about(2, yaw) @ lying[:3, :3]
    return np.asarray(view.camera_from_table @ rigid(turned, lying[:3, 3] + [x, y, 0]))


def hypothesis(kind: Kind, pose: Array, probability: float = 1.0) -> Hypothesis:
    return Hypothesis(0, kind, probability, np.zeros((len(kind.keypoints), 2)), Pose(pose, np.eye(6), 1.0))


@pytest.mark.parametrize("model", FACETS)
def test_edges_are_those_of_the_solid(model: str) -> None:
    """Euler's formula holds, and every edge lies in the planes of its two facets."""
    *_, kind, _ = scene_of(model)
    edges = kind.edges
    assert len(edges.facets) == FACETS[model]
    assert len(kind.corners) - len(edges.ends) + len(edges.facets) == 2
    for side in range(2):
        planes = edges.facets[edges.sides[:, side]]
        for end in range(2):
            points = kind.corners[edges.ends[:, end]]
            assert np.abs((planes[:, :3] * points).sum(1) - planes[:, 3]).max() < 1e-5
    assert edges.sharp.all()


def test_a_round_side_has_no_edges_along_it() -> None:
    *_, kind, _ = scene_of("cylinder")
    edges = kind.edges
    across = np.abs(np.diff(kind.corners[edges.ends][..., 2], axis=1)[:, 0]) > 1e-6  # from bottom to top
    assert across.any()
    assert not edges.sharp[across].any()
    assert edges.sharp[~across].all()


@pytest.mark.parametrize("model", ["cube", "cylinder", "pyramid", "hexagonal_prism"])
def test_the_evidence_is_greatest_at_the_truth(model: str) -> None:
    picture, view, kind, truth = scene_of(model)
    lab = blurred_lab(picture)
    away = [(x, y) for x in (-0.012, 0, 0.012) for y in (-0.012, 0, 0.012) if x or y]
    poses = np.stack([truth, *(moved(truth, view, x, y, 0) for x, y in away)])
    evidence = evidence_of(lab, kind, poses, view)
    assert evidence.argmax() == 0
    assert evidence[0] > evidence[1:].max() + 0.3
    # A pose alone has the same evidence, and one behind the camera has none.
    np.testing.assert_allclose([evidence_of(lab, kind, one[None], view)[0] for one in poses], evidence, rtol=1e-5)
    behind = truth.copy()
    behind[2, 3] *= -1
    assert evidence_of(lab, kind, behind[None], view)[0] == -np.inf


def test_a_gray_picture_has_no_evidence() -> None:
    _, view, kind, truth = scene_of("cube")
    gray = blurred_lab(np.full((240, 320, 3), 90, np.uint8))
    assert evidence_of(gray, kind, truth[None], view)[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("model", ["cube", "rectangular_prism", "hexagonal_prism", "cone", "triangular_prism"])
def test_a_pose_near_the_truth_converges_to_it(model: str) -> None:
    for index in range(3):
        picture, view, kind, truth = scene_of(model, index)
        start = moved(truth, view, 0.006, -0.005, np.radians(7))
        refined = refine_on_table(blurred_lab(picture), [hypothesis(kind, start)], view)
        assert refined is not None
        pose = refined.hypothesis.pose.camera_from_block
        before, after = (adds(one, truth, kind.corners) / kind.diameter for one in (start, pose))
        assert before > 0.06
        assert after < 0.035
        assert after < before / 2
        # It stays on the table, on the same side.
        assert view.camera_from_table is not None
        lying, own = (inverse(view.camera_from_table) @ one for one in (pose, truth))
        np.testing.assert_allclose(lying[2], own[2], atol=1e-9)


def test_edges_outweigh_a_slightly_more_probable_wrong_kind() -> None:
    picture, view, cube, truth = scene_of("cube")
    *_, pyramid, _ = scene_of("pyramid")
    place = (inverse(view.camera_from_table) @ truth)[:3, 3]  # type: ignore[arg-type]
    wrong = view.camera_from_table @ rigid(np.eye(3), np.array([*place[:2], pyramid.size[2] / 2]))  # type: ignore[operator]
    lab = blurred_lab(picture)
    refined = refine_on_table(lab, [hypothesis(pyramid, wrong, 0.6), hypothesis(cube, truth, 0.4)], view)
    assert refined is not None
    assert refined.hypothesis.kind is cube
    # A network that is almost certain outweighs the edges.
    certain = refine_on_table(lab, [hypothesis(pyramid, wrong, 1.0), hypothesis(cube, truth, 1e-9)], view)
    assert certain is not None
    assert certain.hypothesis.kind is pyramid
    assert refine_on_table(lab, [], view) is None


@pytest.mark.parametrize("model", ["cube", "cone", "pyramid", "rectangular_prism", "triangular_prism"])
def test_the_margin_is_to_a_hypothesis_that_looks_different(model: str) -> None:
    """Symmetric poses count as one hypothesis: a cube rotated by 90 degrees, a cone by 30."""
    picture, view, kind, truth = scene_of(model)
    symmetric_poses = [truth @ symmetry for symmetry in kind.group]
    *_, other, _ = scene_of("tetrahedron")
    place = (inverse(view.camera_from_table) @ truth)[:3, 3]  # type: ignore[arg-type]
    wrong = view.camera_from_table @ rigid(np.eye(3), np.array([*place[:2], other.size[2] / 2]))  # type: ignore[operator]
    hypotheses = [*(hypothesis(kind, one, 0.5) for one in symmetric_poses), hypothesis(other, wrong)]
    refined = refine_on_table(blurred_lab(picture), hypotheses, view)
    assert refined is not None
    assert refined.hypothesis.kind is kind
    # Less than the maximum: the symmetric poses were tried once, so the other kind was tried, too.
    assert 1 < refined.margin < 10


def test_the_misfit_of_a_refined_pose_is_its_distance_from_the_keypoints() -> None:
    """It is that of the symmetric pose nearest to the keypoints, in sigmas."""
    detector = load_detector("shipped-blocks", calibrated=False)
    picture, view, *_ = scene_of("cube")
    ((one, *_),) = detector.find([picture], [view])
    assert one.on_table is not None and one.free is not None
    symmetric_poses = one.on_table.camera_from_block @ one.kind.group
    projected = [
        project(transform_points(symmetric_pose, one.kind.keypoints), view.intrinsics, view.distortion) - one.keypoints
        for symmetric_pose in symmetric_poses
    ]
    misfits = [np.sqrt(np.mean((error / np.maximum(one.sigma, 0.25)[:, None]) ** 2)) for error in projected]
    assert one.on_table.misfit == pytest.approx(min(misfits))
    assert max(misfits) > 2 * min(misfits)
    # The free pose fits the keypoints better.
    assert one.on_table.misfit > one.free.misfit


def test_a_detector_refines_only_on_a_known_table(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = load_detector("shipped-blocks", calibrated=False)
    picture, view, *_ = scene_of("cube")
    (refined,) = detector.find([picture], [view])
    assert refined
    assert all(one.edges is not None and np.isfinite(one.edges).all() and len(one.features) == 6 for one in refined)
    no_table = View(view.intrinsics, view.distortion)
    (unrefined,) = detector.find([picture], [no_table])
    assert unrefined
    assert all(one.edges is None and len(one.features) == 4 and one.on_table is None for one in unrefined)
    # Each has a calibration of its own.
    calibrated = load_detector("shipped-blocks")
    for one_view, calibration in ((view, calibrated.calibration.on_table), (no_table, calibrated.calibration.free)):
        assert calibration is not None
        (detections,) = calibrated.find([picture], [one_view])
        expected = [float(calibration.probability(one.features)) for one in detections]
        assert [one.confidence for one in detections] == expected
    # If refinement gives nothing, poses are free, even if the best class alone has a pose on the table.
    monkeypatch.setattr("train.detect.detector.refine_on_table", lambda *_: None)
    (free,) = calibrated.find([picture], [view])
    assert free
    assert all(one.on_table is None and one.edges is None for one in free)
    (plain,) = replace(detector, edges=False).find([picture], [view])
    assert any(one.on_table is not None for one in plain)
    assert all(one.edges is None and len(one.features) == 4 for one in plain)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "two"
    small = ["scene=tabletop", "renderer=raycast", "num=2", "width=128", "height=96", "workers=1"]
    render(compose("render", Render, [*small, f"out={out}"]))
    return out


@pytest.mark.parametrize(("given", "kept"), [(None, True), (True, True), (False, False)])
def test_edges_is_stored_with_the_weights(
    given: bool | None, kept: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `calibrate edges=` into the checkpoint, and from there into the exported weights; by default it is unchanged."""
    fitted = Calibrations(
        *(Calibration(np.zeros(n), np.ones(n), np.arange(n) + 1.0, 0.5) for n in (4, 6 if kept else 4))
    )
    inflated = Inflation(1.5, 2.0)
    monkeypatch.setattr(
        "train.evaluate.calibrate._fit_covariance_scale", lambda detector, _: replace(detector, inflation=inflated)
    )
    monkeypatch.setattr(
        "train.evaluate.calibrate._fit_confidence", lambda detector, *_: replace(detector, calibration=fitted)
    )
    monkeypatch.setattr("train.evaluate.calibrate.report_calibration", lambda detector, _: {"edges": detector.edges})
    assert load_detector("shipped-blocks").edges
    made = tmp_path / "made.ckpt"
    assert calibrate_checkpoint(
        CalibrateConfig("shipped-blocks", DatasetConfig(str(data)), edges=given, out=str(made))
    ) == {"edges": kept}
    export(ExportConfig(str(made), str(tmp_path / "made.safetensors")))
    for path in (made, tmp_path / "made.safetensors"):
        again = load_detector(path)
        assert again.edges is kept
        assert again.inflation == Inflation(1.5, 2.0)
        assert again.calibration.to_json() == fitted.to_json()
        assert read_checkpoint(path)["origin"] == read_checkpoint("shipped-blocks")["origin"]


def test_edges_need_a_crop_network(data: Path, tmp_path: Path) -> None:
    config = CalibrateConfig("shipped", DatasetConfig(str(data)), edges=True, out=str(tmp_path / "made.ckpt"))
    with pytest.raises(ConfigError, match=r"^edges: shipped has no crop network"):
        calibrate_checkpoint(config)
    assert not list(tmp_path.iterdir())
