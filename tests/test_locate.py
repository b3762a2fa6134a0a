"""The camera from predicted points of the table: exact points give it back; the training targets agree with geometry."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from builders import pipeline_of

from simgen.catalogue import load_world
from simgen.errors import ConfigError
from simgen.geometry import Array, inverse, look_at, project, transform_points, unproject
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.config import EvaluateConfig, PredictConfig, check_evaluate, check_predict
from train.data.targets import STRIDE, TABLE_REACH, cells_on_table
from train.evaluate.matching import nominal_view
from train.nets.detection_net import Maps, TableHead, waves_of
from train.nets.losses import table_loss
from train.pose.locate import find_camera
from train.pose.view import View

SIZE = (640, 480)
FOCAL = SIZE[1] / 2 / np.tan(np.radians(47.2) / 2)
CAMERA = np.array([[FOCAL, 0, 319.5], [0, FOCAL, 239.5], [0, 0, 1]])
TRUE = View(CAMERA, np.zeros(5), inverse(look_at(np.array([-1.74, 0.03, 0.76]), np.array([-0.71, -0.02, 0.0]), -0.03)))


def table_points(rng: np.random.Generator, number: int = 1500) -> tuple[Array, Array]:
    """Pixels and places of random points on a table of 0.76 by 1.22 m."""
    places = rng.uniform([-1.26, -0.61], [-0.5, 0.61], (number, 2))
    points = transform_points(TRUE.camera_from_table, np.concatenate([places, np.zeros((number, 1))], 1))
    return project(points, TRUE.intrinsics, TRUE.distortion), places


def off(found: View | None) -> tuple[float, float, float]:
    """The difference of a camera from TRUE: meters, degrees and fraction of the focal length."""
    assert found is not None and found.camera_from_table is not None and TRUE.camera_from_table is not None
    difference = inverse(found.camera_from_table) @ TRUE.camera_from_table
    eyes = [inverse(view.camera_from_table)[:3, 3] for view in (found, TRUE)]  # type: ignore[arg-type]
    angle = np.degrees(np.arccos(np.clip((np.trace(difference[:3, :3]) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(eyes[0] - eyes[1])), float(angle), abs(found.intrinsics[0, 0] / FOCAL - 1)


def test_exact_places_give_the_camera_back() -> None:
    pixels, places = table_points(np.random.default_rng(0))
    meters, degrees, share = off(find_camera(pixels, places, np.full(len(pixels), 1e-3), nominal_view(*SIZE, 45)))
    assert meters < 0.002 and degrees < 0.1 and share < 2e-3


@pytest.mark.parametrize("seed", range(4))
def test_noise_and_outliers_change_the_camera_little(seed: int) -> None:
    """Points 3 cm off, one in eight anywhere with the same stated uncertainty. The error that matters is on the table."""
    rng = np.random.default_rng(seed)
    pixels, places = table_points(rng)
    noisy = places + rng.normal(0, 0.03, places.shape)
    noisy[::8] = rng.uniform(-1, 1, noisy[::8].shape)
    found = find_camera(pixels, noisy, np.full(len(pixels), 0.03), nominal_view(*SIZE, 45))
    assert found is not None and found.camera_from_table is not None
    rays = unproject(pixels, found.intrinsics, found.distortion) @ found.camera_from_table[:3, :3]
    eye = inverse(found.camera_from_table)[:3, 3]
    hits = eye[:2] - eye[2] / rays[:, 2:] * rays[:, :2]
    assert np.linalg.norm(hits - places, axis=1).mean() < 0.012


def test_a_point_behind_the_camera_has_no_effect() -> None:
    pixels, places = table_points(np.random.default_rng(3))
    places[7] = -3.0, 0.0
    meters, degrees, share = off(find_camera(pixels, places, np.full(len(pixels), 1e-3), nominal_view(*SIZE, 45)))
    assert meters < 0.002 and degrees < 0.1 and share < 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_inconsistent_points_give_no_camera(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, SIZE, (400, 2))
    assert find_camera(pixels, rng.uniform(-1, 1, (400, 2)), np.full(400, 0.5), nominal_view(*SIZE, 45)) is None


def test_the_focal_length_stays_near_the_guess() -> None:
    pixels, places = table_points(np.random.default_rng(4))
    found = find_camera(pixels, places, np.full(len(pixels), 1e-3), nominal_view(*SIZE, 30))
    guess = nominal_view(*SIZE, 30).intrinsics[0, 0]
    assert found is None or abs(np.log(found.intrinsics[0, 0] / guess)) <= np.log(1.15) + 1e-9


def test_the_most_certain_points_are_used() -> None:
    pixels, places = table_points(np.random.default_rng(1))
    wrong = np.arange(len(pixels)) % 2 == 0
    places = np.where(wrong[:, None], places[::-1], places)
    scale = np.where(wrong, 0.05, 0.001)
    meters, degrees, _ = off(find_camera(pixels, places, scale, nominal_view(*SIZE, 45)))
    assert meters < 0.005 and degrees < 0.2


def test_a_measured_camera_position_corrects_biased_points() -> None:
    """All points 6 cm too far, as a network with a wrong tilt predicts them."""
    pixels, places = table_points(np.random.default_rng(5))
    shift = np.array([0.06, 0.0])
    places = places + shift
    eye = inverse(TRUE.camera_from_table)[:3, 3]  # type: ignore[arg-type]
    alone, measured = (
        off(find_camera(pixels, places, np.full(len(pixels), 0.05), nominal_view(*SIZE, 47.2), one))[0]
        for one in (None, eye)
    )
    assert alone > 0.05 and measured < 0.02
    # Exact points outweigh a measurement that is 5 cm off.
    exact, wrong = places - shift, eye + np.array([0.05, 0.0, -0.05])
    found = find_camera(pixels, exact, np.full(len(pixels), 1e-4), nominal_view(*SIZE, 45), wrong)
    meters, degrees, share = off(found)
    assert meters < 0.002 and degrees < 0.1 and share < 2e-3


@pytest.mark.parametrize("place", [[1.0, 2.0], [0.0, 0.0, np.inf]])
def test_a_measured_camera_position_is_three_numbers_beside_a_field_of_view(place: list[float]) -> None:
    check_evaluate(EvaluateConfig(nominal_fov_deg=45.0, nominal_position=[-1.75, 0.0, 0.73]))
    for bad in (
        EvaluateConfig(nominal_fov_deg=45.0, nominal_position=place),
        EvaluateConfig(nominal_position=[0.0] * 3),
    ):
        with pytest.raises(
            ConfigError, match=r"^nominal_position: got .* expected three numbers, beside nominal_fov_deg"
        ):
            check_evaluate(bad)


@pytest.mark.parametrize("config", [EvaluateConfig, PredictConfig])
def test_a_zoom_out_of_range_is_refused(config: Any) -> None:
    check = check_evaluate if config is EvaluateConfig else check_predict
    check(config(zoom=2.0))
    for zoom in (0.0, -1.0, 9.0, np.nan):
        with pytest.raises(ConfigError, match=r"^zoom: got .* expected"):
            check(config(zoom=zoom))


def test_too_few_points_or_points_on_a_line_give_no_camera() -> None:
    pixels, places = table_points(np.random.default_rng(2))
    scale = np.full(len(pixels), 1e-3)
    assert find_camera(pixels[:10], places[:10], scale[:10], nominal_view(*SIZE, 45)) is None
    line = places.copy()
    line[:, 1] = 0.1  # all on a line: the camera may be anywhere around it
    assert find_camera(pixels, line, scale, nominal_view(*SIZE, 45)) is None


def test_the_targets_are_where_the_rays_meet_the_table() -> None:
    pipeline = pipeline_of("renderer=raycast", "scene=kuka_table", "width=160", "height=120")
    cameras = pipeline.sampler.sample(5, range(3)).cameras
    places = cells_on_table(cameras, torch.device("cpu")).double().numpy()
    assert places.shape == (3, 30, 40, 2)
    v, u = np.meshgrid(*(STRIDE * np.arange(n) + (STRIDE - 1) / 2 for n in (30, 40)), indexing="ij")
    pixels = np.stack([u, v], -1).reshape(-1, 2)
    count = 0
    for k in range(3):
        pose = cameras.world_from_camera[k]
        rays = unproject(pixels, cameras.intrinsics[k], cameras.distortion[k]) @ pose[:3, :3].T
        along = -pose[2, 3] / rays[:, 2]
        hits = pose[:2, 3] + along[:, None] * rays[:, :2]
        there = (along > 0) & (along * np.linalg.norm(rays, axis=1) < TABLE_REACH)
        got = places[k].reshape(-1, 2)
        assert np.array_equal(np.isfinite(got).all(1), there)
        np.testing.assert_allclose(got[there], hits[there], atol=2e-4)
        count += int(there.sum())
    assert 0.5 < count / (3 * 1200) <= 1


def test_features_are_summarized_by_a_cosine_transform() -> None:
    features = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    expected = scipy.fft.dctn(features.double().numpy(), type=2, axes=(2, 3))[:, :, :3, :4] / (4 * 6 * 8)
    np.testing.assert_allclose(waves_of(features).numpy(), expected, atol=1e-6)


def test_the_predicted_points_depend_on_cell_and_picture() -> None:
    """Every cell of every picture has its own point, and a larger map of the same picture adds those in between."""
    torch.manual_seed(0)
    head = TableHead(4)
    features = torch.rand(2, 4, 3, 4)
    small, large = head(features, 12, 16), head(features, 36, 48)
    torch.testing.assert_close(large[:, :, 1::3, 1::3], small)
    assert len(torch.unique(small[:, 0].detach())) == small[:, 0].numel()


def test_the_loss_is_zero_at_the_truth_and_ignores_cells_without_one() -> None:
    truth = torch.rand(2, 3, 4, 2)
    truth[0, 0] = torch.nan
    empty = torch.zeros(0)
    table = truth.nan_to_num(7.0).requires_grad_()
    stances = Stances(BlockSet.of_worlds([load_world("tabletop").solids]), apart=False)
    maps = Maps(empty, empty, lambda *_: empty, empty, stances, table, torch.zeros(2, 3, 4))
    assert [float(part.detach()) for part in table_loss(maps, truth)] == [0, 0]
    # 30 cm off along both axes, in units of 0.5 m and linear beyond 10 cm: (0.3 - 0.1 / 2) / 0.5; the scale is 1 m.
    far = table_loss(replace(maps, table=table.detach() + 0.3), truth)[0]
    assert float(far) == pytest.approx(0.5 + 0.1 * 0.3, rel=1e-5)
    moved = (table.detach() + 0.1).requires_grad_()
    loss, distance = table_loss(replace(maps, table=moved), truth)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss > 0.01
    assert float(distance) == pytest.approx(0.1 * 2**0.5, rel=1e-5)
    assert moved.grad is not None and (moved.grad[0, 0] == 0).all()
    assert (moved.grad.flatten(0, 1)[1:] != 0).all()
    right, wrong = (
        table_loss(replace(maps, table=moved.detach(), table_log_scale=torch.full((2, 3, 4), s)), truth)[0]
        for s in (np.log(0.1), np.log(1.0))
    )
    assert right < wrong  # the error is a tenth of a meter
