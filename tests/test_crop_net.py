"""The crop network: crops are where their windows are, the table's plane has the scale of a ruler on it, and a distribution
over positions has the density, the mean and the deviation that it was made with."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from simgen.catalogue import load_world
from simgen.distortion import padded
from simgen.geometry import inverse, look_at, project, unproject
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.nets import crop_net
from train.nets.crop_net import (
    CELLS,
    PLANE,
    SIZE,
    CropNet,
    crops_of,
    filled_up,
    log_density,
    planes_of,
    read_places,
    windows_of,
)
from train.nets.layers import normalized

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids])
LENS = np.array([[310.0, 2, 165], [0, 310, 118], [0, 0, 1]])


def ramp(height: int, width: int) -> torch.Tensor:
    """(1, 3, height, width): a picture whose red is u and whose green is v."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([u, v, torch.zeros_like(u)])[None].float()


@pytest.mark.parametrize("side", [7.0, 16.0, 40.0])  # larger than a crop's pixels, as large, smaller
@pytest.mark.parametrize("height", [16, 12])
def test_a_crop_is_where_its_window_is(side: float, height: int) -> None:
    windows = torch.tensor([[50.25, 41.5, side]])
    crop = crops_of(normalized(ramp(90, 120)), torch.tensor([0]), windows, 16, height)[0] * 128 + 127
    u, v = ((torch.arange(n) + 0.5) / 16 - n / 32 for n in (16, height))  # of a crop's pixels, in sides from the middle
    torch.testing.assert_close(crop[0], (50.25 + side * u).expand(height, 16), atol=2e-3, rtol=0)
    torch.testing.assert_close(crop[1], (41.5 + side * v)[:, None].expand(height, 16), atol=2e-3, rtol=0)


def test_a_crop_is_gray_beyond_the_border_and_of_its_own_picture() -> None:
    pictures = torch.cat([torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 255.0)])
    crops = crops_of(normalized(pictures), torch.tensor([1, 0]), torch.tensor([[31.5, 15.5, 16.0]] * 2), 16, 16)
    assert float(crops[0, :, :, :7].min()) == float(crops[0, :, :, :7].max()) == 1
    assert float(crops[1, :, :, :7].min()) == float(crops[1, :, :, :7].max()) == -127 / 128
    assert float(crops[:, :, :, 9:].abs().max()) == 0


def test_a_crop_averages_what_its_pixels_cover() -> None:
    """Stripes finer than its pixels are gray, not a pattern of their own."""
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 254
    crop = crops_of(normalized(stripes), torch.tensor([0]), torch.tensor([[31.5, 31.5, 64.0]]), 16, 16)
    assert float(crop.abs().max()) < 1e-6


def test_a_window_is_around_the_real_keypoints() -> None:
    keypoints = torch.tensor([[[10.0, 20], [30, 26], [500, -500]], [[5, 5], [5, 6], [6, 5]]])
    real = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(windows_of(keypoints, real), torch.tensor([[20.0, 23, 30], [5.5, 5.5, 8]]))
    whole = real.new_ones(1, 3)  # of a photograph of 108 megapixels
    large = windows_of(torch.tensor([[[1000.0, 900], [6000, 900], [6000, 2900]]]), whole)
    torch.testing.assert_close(large, torch.tensor([[3500.0, 1900, 7500]]))


def given(windows: np.ndarray, poses: np.ndarray, lens: np.ndarray | None = None) -> tuple[torch.Tensor, ...]:
    """The arguments of planes_of for one camera matrix."""
    parts = [windows, np.broadcast_to(LENS, (len(windows), 3, 3)), poses]
    parts += [] if lens is None else [np.broadcast_to(padded(lens), (len(windows), 9))]
    return tuple(torch.tensor(part).float() for part in parts)


def test_the_tables_plane_is_that_of_a_ruler_on_it() -> None:
    """The corners of a window, unprojected: on the plane parallel to the image through the point on the table they are as
    far apart as the plane's description states. The normal is in the axes of a camera turned towards the window."""
    rng = np.random.default_rng(0)
    eyes = rng.uniform([-0.5, -0.5, 0.4], [0.5, 0.5, 1.2], (50, 3))
    poses = np.stack([inverse(look_at(eye, rng.uniform(-0.1, 0.1, 3) * [1, 1, 0], 0.3)) for eye in eyes])
    windows = np.concatenate([rng.uniform([60, 60], [260, 180], (50, 2)), rng.uniform(8, 90, (50, 1))], 1)
    planes = planes_of(*given(windows, poses)).double().numpy()
    assert planes.shape == (50, PLANE) and (planes[:, 4] == 1).all()
    for (u, v, side), pose, one in zip(windows, poses, planes, strict=True):
        ray, *ends = unproject(np.array([[u, v], [u - side / 2, v], [u + side / 2, v]]), LENS)
        table, eye = inverse(pose), inverse(pose)[:3, 3]
        depth = -eye[2] / (table[:3, :3] @ ray)[2]  # z = 0 of the table
        np.testing.assert_allclose((table[:3, :3] @ ray * depth + eye)[2], 0, atol=1e-12)
        meters = np.linalg.norm(depth * (ends[1] - ends[0]))
        assert 0.1 * np.exp(one[3]) == pytest.approx(meters, rel=1e-4)  # far better than a centimeter
        axis = np.cross(ray, [0, 0, 1])
        angle = np.arctan2(np.linalg.norm(axis), ray[2])
        straight = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
        np.testing.assert_allclose(straight.apply(ray)[:2], 0, atol=1e-9)
        np.testing.assert_allclose(one[:3], straight.apply(pose[:3, 2]), atol=1e-5)


def test_the_window_of_a_block_on_the_table_has_its_size_whatever_the_camera() -> None:
    """A bar of 8 cm across the view: its window is 12 cm wide, to a centimeter; if twice the training's size, 6."""
    for distance, elevation in ((0.5, 80), (0.9, 45), (1.4, 30)):
        angle = np.radians(elevation)
        pose = inverse(look_at(distance * np.array([0, -np.cos(angle), np.sin(angle)]), np.zeros(3)))
        ends = project(np.array([[-0.04, 0, 0], [0.04, 0, 0]]) @ pose[:3, :3].T + pose[:3, 3], LENS)
        window = windows_of(torch.tensor(ends)[None], torch.ones(1, 2, dtype=torch.bool))
        arguments = given(window.numpy(), pose[None])
        assert 0.1 * math.exp(float(planes_of(*arguments)[0, 3])) == pytest.approx(0.12, abs=0.002)
        double = planes_of(*arguments, size=torch.tensor([2.0]))
        assert 0.1 * math.exp(float(double[0, 3])) == pytest.approx(0.06, abs=0.001)
        torch.testing.assert_close(double[:, :3], planes_of(*arguments)[:, :3])


def test_the_plane_is_zero_where_it_is_unknown_or_above_the_horizon() -> None:
    down = np.diag([1.0, -1, -1, 1])  # the camera looks straight down
    down[2, 3] = 0.62
    level = inverse(look_at(np.array([0, -1, 0.3]), np.array([0, 0, 0.3])))  # horizontally: the horizon is at v = 118
    poses = np.stack([np.full((4, 4), np.nan), down, level, level, level])
    windows = np.array([[165.0, 118, 20]] * 2 + [[165, 60, 20], [165, 118, 20], [165, 160, 20]])
    planes = planes_of(*given(windows, poses))
    side = math.log(20 * 0.62 / 310 / 0.1)
    torch.testing.assert_close(planes[:2], torch.tensor([[0.0, 0, 0, 0, 0], [0, 0, -1, side, 1]]))
    assert (planes[2:4] == 0).all() and planes[4, 4] == 1
    assert planes_of(*(part[:0] for part in given(windows, poses))).shape == (0, PLANE)


def test_of_lenses_only_a_fisheyes_changes_the_plane() -> None:
    pose = inverse(look_at(np.array([0, -0.5, 0.5]), np.zeros(3)))[None]
    window = np.array([[40.0, 200, 30]])
    plain = planes_of(*given(window, pose))
    torch.testing.assert_close(planes_of(*given(window, pose, np.array([0.1, 0.02, 0, 0, 0]))), plain)


def of_normal(mean: torch.Tensor, deviation: float) -> torch.Tensor:
    """(P, K, CELLS, CELLS) log probabilities of a normal distribution around `mean` (P, K, 2), in sides."""
    place = (torch.arange(CELLS) + 0.5) / CELLS - 0.5
    off = (place - mean[..., None]) ** 2 / (2 * deviation**2)
    logits = -off[..., 1, :, None] - off[..., 0, None, :]
    return torch.log_softmax(logits.flatten(2), 2).reshape(*mean.shape[:2], CELLS, CELLS)


def test_the_density_integrates_to_one_and_peaks_at_the_most_probable_cell() -> None:
    """Per cell; bilinear between the cells' centers. Of a distribution that is 0 at the border nothing is beyond it."""
    logits = 3 * torch.randn(1, 2, CELLS, CELLS)
    logits[..., [0, -1], :] = logits[..., [0, -1]] = -60
    places = torch.log_softmax(logits.flatten(2), 2).reshape(1, 2, CELLS, CELLS)
    fine = ((torch.arange(CELLS * 8) + 0.5) / 8 - 0.5 + 0.5) / CELLS - 0.5  # eight points to a cell
    v, u = torch.meshgrid(fine, fine, indexing="ij")
    at = torch.stack([u, v], -1).reshape(1, -1, 1, 2).expand(-1, -1, 2, -1)
    density = log_density(places, at)[0].double().exp()
    torch.testing.assert_close(density.mean(0) * CELLS**2, torch.ones(2).double(), rtol=1e-3, atol=0)
    best = places.flatten(2).argmax(2)[0]
    cell = torch.stack([best % CELLS, best // CELLS], -1)
    there = log_density(places, ((cell + 0.5) / CELLS - 0.5)[None, None])[0, 0]
    torch.testing.assert_close(there, places.flatten(2).amax(2)[0], rtol=0, atol=1e-3)
    assert (density.amax(0).log() <= there + 1e-6).all()


def test_the_density_has_finite_gradients_everywhere() -> None:
    logits = (30 * torch.randn(1, 3, CELLS, CELLS)).requires_grad_()
    at = torch.tensor([[[[-2.0, 0.1], [0.5, -0.5], [0, 2.0]]]])
    places = torch.log_softmax(logits.flatten(2), 2).reshape(logits.shape)
    log_density(places, at).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_a_keypoint_is_read_from_the_distribution_that_was_made_of_it() -> None:
    windows = torch.tensor([[100.0, 80, 60], [20, 30, 12]])
    keypoints = windows[:, None, :2] + windows[:, None, 2:] * 0.8 * (torch.rand(2, 9, 2) - 0.5)
    mean = (keypoints - windows[:, None, :2]) / windows[:, None, 2:]
    deviation = 0.6 / CELLS  # sides
    pixels, sigma = read_places(of_normal(mean, deviation), windows)
    torch.testing.assert_close(pixels, keypoints, rtol=0, atol=0.05)
    torch.testing.assert_close(sigma, (deviation * windows[:, 2:]).expand(-1, 9), rtol=0.05, atol=0)
    # Of two peaks the higher one is read, not a place between them.
    other = of_normal(-mean.sign() * 0.4, deviation) + math.log(0.1)
    two = torch.logaddexp(of_normal(mean, deviation) + math.log(0.9), other)
    far = ((mean + mean.sign() * 0.4).abs() > 6 / CELLS).all(-1)
    torch.testing.assert_close(read_places(two, windows)[0][far], keypoints[far], rtol=0, atol=0.1)


def test_a_network_can_learn_from_the_tables_plane_alone() -> None:
    net = CropNet(Stances(BLOCKS, True), pretrained=True)
    for weights in net.backbone.parameters():
        weights.requires_grad_(False)
    crops = torch.zeros(2, 3, SIZE, SIZE)  # alike
    plane = torch.tensor([[0.0, -0.6, -0.8, -0.2, 1], [0, -0.6, -0.8, 0.2, 1]])  # two scales
    with torch.no_grad():
        before = net(crops, plane)[0]
        assert float((before[0] - before[1]).abs().max()) < 1e-2  # at first the plane has hardly any effect
    optimizer = torch.optim.AdamW([weights for weights in net.parameters() if weights.requires_grad], 3e-3)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(net(crops, plane)[0], torch.tensor([3, 5]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss.detach()) < 0.05  # by the crops alone 0.69


def test_crops_that_fill_up_a_multiple_change_no_prediction_and_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert filled_up(5, 4).tolist() == [0, 1, 2, 3, 4, 4, 4, 4] and filled_up(4, 4).tolist() == [0, 1, 2, 3]
    assert filled_up(0, 64).tolist() == [] and filled_up(3, 1).tolist() == [0, 1, 2]
    net = CropNet(Stances(BLOCKS, True), pretrained=True)
    image, windows = normalized(ramp(50, 60)), torch.tensor([[30.0, 20, 30], [20, 25, 20], [40, 30, 25]])
    results = []
    for together in (1, 8):
        monkeypatch.setattr(crop_net, "_TOGETHER", {"cpu": together})
        net.zero_grad()
        output = net.predict(image, torch.zeros(3, dtype=torch.long), windows, torch.zeros(3, PLANE))
        assert len(output.stance) == len(output.sized) == len(output.features) == 3
        (output.stance.square().sum() + output.sized.sum() + output.features.square().mean()).backward()
        gradients = [weights.grad for weights in net.parameters() if weights.grad is not None]
        results.append([output.stance.detach(), output.features.detach(), *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max()) + 1e-7)


def test_keypoints_depend_on_the_class_and_none_is_an_empty_batch() -> None:
    stances = Stances(BLOCKS, True)
    net = CropNet(stances, pretrained=True)
    with torch.no_grad():
        image = normalized(ramp(50, 60))
        output = net.predict(image, torch.tensor([0]), torch.tensor([[30.0, 20, 30]]), torch.zeros(1, PLANE))
        every = net.places(output.features.expand(len(stances), -1, -1, -1), torch.arange(len(stances)))
        none = net.predict(image, torch.tensor([0])[:0], torch.zeros(0, 3), torch.zeros(0, PLANE))
        assert net.places(none.features, torch.zeros(0, dtype=torch.long)).shape == (0, stances.most, CELLS, CELLS)
    assert output.stance.shape == (1, len(stances) + 1) and output.sized.shape == (1,)
    assert every.shape == (len(stances), stances.most, CELLS, CELLS)
    torch.testing.assert_close(every.exp().sum((2, 3)), torch.ones(every.shape[:2]))
    assert float((every[1:] - every[:1]).abs().amax((1, 2, 3)).min()) > 0.01


def test_a_mirrored_prediction_is_that_of_the_mirrored_picture() -> None:
    torch.manual_seed(0)
    net = CropNet(Stances(BLOCKS, True), pretrained=True).eval()
    torch.nn.init.normal_(net.film.weight, std=0.1)
    image = normalized(torch.randint(0, 256, (1, 3, 50, 60)).float())
    windows = torch.tensor([[30.0, 20, 30], [20, 25, 20], [46, 30, 25]])
    pose = torch.tensor(inverse(look_at(np.array([0.3, -0.6, 0.5]), np.zeros(3), 0.2))).float()
    flip = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    mirrored_lens = torch.tensor([[40.0, -2, 59 - 33], [0, 41, 22], [0, 0, 1]])
    cameras = (torch.tensor([[40.0, 2, 33], [0, 41, 22], [0, 0, 1]]), pose), (mirrored_lens, flip @ pose @ flip)
    others = windows * torch.tensor([-1.0, 1, 1]) + torch.tensor([59.0, 0, 0])
    plane, other = (
        planes_of(seen, *(part.expand(3, *part.shape) for part in camera))
        for seen, camera in zip((windows, others), cameras, strict=True)
    )
    with torch.no_grad():
        first = torch.zeros(3, dtype=torch.long)
        stance, sized = net.predict_mirrored(image, first, windows, plane)
        expected = net.predict(image.flip(3), first, others, other)
        straight = net.predict(image, first, windows, plane)
    torch.testing.assert_close(stance, expected.stance, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sized, expected.sized, rtol=1e-3, atol=1e-3)
    assert float((stance - straight.stance).abs().max()) > 0.05
