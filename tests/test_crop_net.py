"""The crop network: crops lie where their windows are, the loss allows every symmetric pose, and a network learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import OLD_TABLETOP, pipeline_of
from scipy.spatial.transform import Rotation

from simgen.catalogue import load_world
from simgen.render import make_renderer
from simgen.sensor import sense
from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.config import KeypointConfig
from train.data.batch import views_of
from train.data.targets import Targets, targets_of
from train.detect.detector import Detector
from train.nets.crop_net import CropNet, crops_of, jittered, table_normals, windows_of
from train.nets.detection_net import Peaks, make_net
from train.nets.losses import SECOND_PASS, Weights, _up, candidates, crop_losses, detectable

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids])
WIDTHS, DEPTHS = [8, 16, 16, 32, 32], [1, 1, 1, 1]


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, Targets]:
    """Four pictures (4, 3, 120, 160) of blocks, and their targets."""
    size = ("width=160", "height=120")
    pipeline = pipeline_of(*OLD_TABLETOP, "renderer=raycast", *size, "randomize.distractors.count=0")
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    scenes = pipeline.sampler.sample(0, range(4))
    frames = renderer.render(scenes)
    return torch.as_tensor(sense(frames.rgb, scenes.sensor)).permute(0, 3, 1, 2).contiguous(), targets_of(
        scenes, frames
    )


def ramp(height: int, width: int) -> torch.Tensor:
    """(1, 3, height, width): a picture whose red is u and whose green is v."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([u, v, torch.zeros_like(u)])[None].float()


@pytest.mark.parametrize("side", [7.0, 16.0, 40.0])  # larger than a crop's pixels, as large, smaller
def test_a_crop_is_where_its_window_is(side: float) -> None:
    windows = torch.tensor([[50.25, 41.5, side]])
    crop = crops_of(ramp(90, 120), torch.tensor([0]), windows, 16)[0] * 63.75 + 127.5
    place = (torch.arange(16) + 0.5) / 16 - 0.5  # of a crop's pixels, in sides from the middle
    torch.testing.assert_close(crop[0], (50.25 + side * place).expand(16, 16), atol=1e-3, rtol=0)
    torch.testing.assert_close(crop[1], (41.5 + side * place)[:, None].expand(16, 16), atol=1e-3, rtol=0)


def test_a_crop_is_gray_beyond_the_border_and_of_its_own_picture() -> None:
    pictures = torch.cat([torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 255.0)])
    crops = crops_of(pictures, torch.tensor([1, 0]), torch.tensor([[31.5, 15.5, 16.0]] * 2), 16)
    assert float(crops[0, :, :, :7].min()) == float(crops[0, :, :, :7].max()) == 2
    assert float(crops[1, :, :, :7].min()) == float(crops[1, :, :, :7].max()) == -2
    assert float(crops[:, :, :, 9:].abs().max()) == 0


def test_a_window_is_around_the_real_keypoints() -> None:
    keypoints = torch.tensor([[[10.0, 20], [30, 26], [500, -500]], [[5, 5], [5, 6], [6, 5]]])
    real = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(windows_of(keypoints, real), torch.tensor([[20.0, 23, 30], [5.5, 5.5, 8]]))
    torch.testing.assert_close(
        jittered(torch.tensor([[20.0, 23, 30]]), torch.tensor([[1.0, -1, 1, 0.3]])),
        torch.tensor([[20 + 4.5, 23 - 4.5, 30 * float(np.exp(0.25))]]),
    )


def test_the_tables_normal_is_in_the_axes_of_a_camera_turned_towards_the_window() -> None:
    rng = np.random.default_rng(0)
    turns = Rotation.random(50, random_state=1).as_matrix()
    lens = np.array([[310.0, 2, 165], [0, 290, 118], [0, 0, 1]])
    pixels = rng.uniform([0, 0], [320, 240], (50, 2))
    poses = np.zeros((50, 4, 4))
    poses[:, :3, :3] = turns
    windows = np.concatenate([pixels, np.full((50, 1), 30.0)], 1)
    given = (torch.tensor(values).float() for values in (windows, np.broadcast_to(lens, (50, 3, 3)), poses))
    upward = table_normals(*given).numpy()
    for (u, v), turn, one in zip(pixels, turns, upward, strict=True):
        ray = np.linalg.inv(lens) @ [u, v, 1]
        axis = np.cross(ray, [0, 0, 1])
        angle = np.arctan2(np.linalg.norm(axis), ray[2])
        straight = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
        np.testing.assert_allclose(straight.apply(ray)[:2], 0, atol=1e-9)
        np.testing.assert_allclose(one, straight.apply(turn[:, 2]), atol=1e-5)


def test_the_tables_normal_is_zero_without_a_camera_and_points_at_a_camera_straight_above() -> None:
    down = torch.diag(torch.tensor([1.0, -1, -1, 1]))  # the camera looks straight down
    poses = torch.stack([torch.full((4, 4), torch.nan), down])
    lens = torch.tensor([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]).expand(2, 3, 3)
    upward = table_normals(torch.tensor([[160.0, 120, 20]]).expand(2, 3), lens, poses)
    torch.testing.assert_close(upward, torch.tensor([[0.0, 0, 0], [0, 0, -1]]))


def test_a_network_can_learn_from_the_tables_normal_alone() -> None:
    torch.manual_seed(0)
    net = CropNet(Stances(BLOCKS, True), 16, WIDTHS[:4], DEPTHS[:3])
    crops = torch.zeros(2, 3, 16, 16)  # alike
    upward = torch.tensor([[0.0, -0.6, -0.8], [0, -0.8, -0.6]])
    with torch.no_grad():
        before = net(crops, upward)[0]
        torch.testing.assert_close(before[0], before[1], rtol=0, atol=0)  # at first the normal has no effect
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(net(crops, upward)[0], torch.tensor([3, 5]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss.detach()) < 0.05  # by the crops alone 0.69


class Given(CropNet):
    """Predicts given values: for each crop `keypoints` (P, K, 2) px of class `stance` (P,)."""

    def __init__(self, stances: Stances, keypoints: torch.Tensor, stance: torch.Tensor, windows: torch.Tensor) -> None:
        super().__init__(stances, 16, WIDTHS[:4], DEPTHS[:3])
        self.stances, self.given, self.stance, self.windows = stances, keypoints, stance, windows

    def forward(self, crops: torch.Tensor, upward: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.upward = upward
        keypoints = torch.zeros(len(crops), self.stances.total, 2)
        relative = (self.given - self.windows[:, None, :2]) / self.windows[:, None, 2:]
        for one, rows in enumerate(self.stances.rows[self.stance].tolist()):
            for row, place in zip(reversed(rows), reversed(relative[one]), strict=True):  # a real one comes last
                keypoints[one, row] = place
        named = torch.nn.functional.one_hot(self.stance, len(self.stances)) * 40.0
        return named, keypoints, torch.full((len(crops), self.given.shape[1]), -8.0)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("member", [0, 1, 5])
def test_the_loss_of_the_truth_is_zero_in_any_symmetric_pose(
    drawn: tuple[torch.Tensor, Targets], member: int, apart: bool
) -> None:
    images, targets = drawn
    stances = Stances(BLOCKS, apart)
    picture, slot = detectable(targets).nonzero(as_tuple=True)
    kind = targets.model[picture, slot]
    truth, _ = candidates(targets, picture, slot, kind, BLOCKS)
    jitter = torch.rand(*targets.model.shape, 2, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # The first window is moved as far as the first stage's may be off, the second as far as those of the second pass.
    shifts = (jitter[picture, slot] * torch.tensor([1, SECOND_PASS])[:, None]).flatten(0, 1)
    windows = jittered(windows_of(truth[:, 0], BLOCKS.real[kind]).repeat_interleave(2, 0), shifts)
    predicted = truth[torch.arange(len(kind)), member % BLOCKS.members[kind].sum(1)].repeat_interleave(2, 0)
    stance = stances.of(kind, _up(targets, picture, slot)).repeat_interleave(2)
    perfect = Given(stances, predicted, stance, windows)
    losses = crop_losses(perfect, stances, images, jitter, targets, BLOCKS, Weights())
    assert len(kind) > 5
    # A tenth of the windows, selected by the last number of their jitter, are without the table's normal.
    both = picture.repeat_interleave(2)
    upward = table_normals(windows, targets.intrinsics[both], targets.camera_from_world[both])
    withheld = jitter[picture, slot].flatten(0, 1)[:, 3] < -0.8
    assert 0 < withheld.sum() < len(withheld) / 3
    torch.testing.assert_close(perfect.upward, upward.masked_fill(withheld[:, None], 0))
    assert float(losses.miss_px) < 1e-3
    assert float(losses.kind) < 1e-6
    off = Given(stances, predicted + torch.tensor([0.3, 0.4]), stance, windows)
    wrong = crop_losses(off, stances, images, jitter, targets, BLOCKS, Weights())
    assert float(wrong.miss_px) == pytest.approx(0.5, abs=1e-3)
    assert float(wrong.keypoints) > 100 * float(losses.keypoints)


def test_the_average_over_shifted_windows_leaves_outliers_out(drawn: tuple[torch.Tensor, Targets]) -> None:
    images, _ = drawn
    net = CropNet(Stances(BLOCKS, True), 16, WIDTHS[:4], DEPTHS[:3])
    with torch.no_grad():
        net.out.weight.mul_(1e-3)
        net.out.bias.mul_(1e-3)
        net.film.weight.normal_()
    windows = torch.tensor([[60.0, 50, 20], [90, 70, 40]])
    picture = torch.tensor([0, 2])
    upward = torch.tensor([[0.0, -0.6, -0.8], [0, 0, 0]])
    stances, keypoints = [], []
    for shift in ((0, 0), (0.045, 0.045), (-0.045, 0.045), (0.045, -0.045), (-0.045, -0.045)):
        shifted = windows.clone()
        shifted[:, :2] += torch.tensor(shift) * windows[:, 2:]
        one = net.predict(images, picture, shifted, upward)
        stances.append(one.stance.log_softmax(1))
        keypoints.append(one.keypoints)
    averaged = net.predict_averaged(images, picture, windows, upward)
    torch.testing.assert_close(averaged.stance, torch.stack(stances).mean(0))
    # This network predicts all keypoints near the window's center, and the centers are less than 8% apart.
    torch.testing.assert_close(averaged.keypoints, torch.stack(keypoints).mean(0), rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        net.out.weight.mul_(1e7)
    wild = net.predict_averaged(images, picture, windows, upward)
    first = net.predict(images, picture, windows, upward)
    assert float(((wild.keypoints - first.keypoints).detach().norm(dim=-1) / windows[:, 2:]).max()) < 0.08


def test_pictures_without_blocks_have_no_loss_and_no_gradient(drawn: tuple[torch.Tensor, Targets]) -> None:
    images, targets = drawn
    net = CropNet(Stances(BLOCKS, True), 16, WIDTHS[:4], DEPTHS[:3])
    none = replace(targets, present=torch.zeros_like(targets.present))
    jitter = torch.zeros(*targets.model.shape, 1, 4)
    losses = crop_losses(net, Stances(BLOCKS, True), images, jitter, none, BLOCKS, Weights())
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert float(losses.total.detach()) == 0
    assert all(float(weight.grad.abs().max()) == 0 for weight in net.parameters() if weight.grad is not None)


def test_the_crop_network_overfits_one_batch_and_the_detector_returns_its_output(
    drawn: tuple[torch.Tensor, Targets],
) -> None:
    """The first stage gives the blocks' places only; kinds and keypoints are the crop network's."""
    images, targets = drawn
    torch.manual_seed(0)
    config = KeypointConfig(widths=WIDTHS, depths=DEPTHS, features=8, stances=True, crop=32)
    net = make_net(config, BLOCKS)
    assert net.crops is not None
    optimizer = torch.optim.AdamW(net.crops.parameters(), 3e-3)
    jitter = torch.zeros(*targets.model.shape, 1, 4)
    for _ in range(250):
        losses = crop_losses(net.crops, net.stances, images, jitter, targets, BLOCKS, Weights(kind=6.0))
        optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(losses.kind.detach()) < 0.05
    assert float(losses.miss_px) < 1.0

    # A first stage with the right places and always the same class.
    picture, slot = detectable(targets).nonzero(as_tuple=True)
    kind = targets.model[picture, slot]
    truth, _ = candidates(targets, picture, slot, kind, BLOCKS)
    stance = net.stances.of(kind, _up(targets, picture, slot))
    detector, views = Detector(net.eval(), BLOCKS, 160, 120), views_of(targets)
    # Arrays with negative strides, such as BGR reversed to RGB, give the same detections.
    rgb = np.ascontiguousarray(images[0].permute(1, 2, 0))
    reversed_view = np.ascontiguousarray(rgb[..., ::-1])[..., ::-1]
    for found, same in zip(*detector.find([rgb, reversed_view], [views[0], views[0]]), strict=True):
        assert np.array_equal(found.pose.camera_from_block, same.pose.camera_from_block)
    for one in range(len(images)):
        mine = picture == one
        count = int(mine.sum())
        box = windows_of(truth[mine, 0], BLOCKS.real[kind[mine]])
        corners = torch.tensor([[-1.0, -1], [1, 1]]) / 3  # a window is 1.5 times its box
        places = (box[:, None, :2] + box[:, None, 2:] * corners)[:, torch.arange(truth.shape[2]) % 2]
        nothing = torch.zeros(1, count)
        peaks = Peaks(nothing + 1, nothing.long(), nothing, places[None], torch.zeros(1, *places.shape[:2]))
        for times in (1, 2):  # the picture may be larger than the first stage's input
            image = np.asarray(images[one].permute(1, 2, 0)).repeat(times, 0).repeat(times, 1)
            proposals = detector._proposals(image, peaks, (160, 120), views[one].resized(times, times))
            assert proposals.stance.tolist() == stance[mine].tolist()
            assert proposals.share.min() > 0.9
            wanted = (truth[mine] + 0.5) * times - 0.5
            miss = (wanted - torch.from_numpy(proposals.keypoints)[:, None]).norm(dim=-1)
            real = BLOCKS.real[kind[mine]][:, None]
            miss = ((miss * real).sum(2) / real.sum(2)).masked_fill(~BLOCKS.members[kind[mine]], torch.inf).amin(1)
            assert float(miss.max()) < 3 * times
