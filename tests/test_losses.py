"""Targets and losses: least for the truth in each symmetric pose that may be predicted, the same for every label of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from streams import batch_of, numbers

from simgen.geometry import project, transform_points
from train.blocks.stances import Stances
from train.data.targets import STRIDE, Targets
from train.nets.crop_net import CELLS, CropOutput, windows_of
from train.nets.detection_net import Maps, find_peaks, maps_of
from train.nets.losses import Centers, CropLosses, crop_losses, detection_losses
from train.nets.truth import Truth, _upright, candidates, truth_of

TURNS = 12  # rotations that stand for a continuous symmetry

BATCH, BLOCKS = batch_of("randomize.distractors.count=0")
TARGETS = BATCH.targets
SIDES, KINDS = Stances(BLOCKS, True), Stances(BLOCKS, False)


def changed(targets: Targets, turn: torch.Tensor) -> Targets:
    """`targets` with their labels turned by `turn` (B, N, 4, 4) or (4, 4), transforms of the blocks at scale 1."""
    scaled = turn.expand(*targets.model.shape, 4, 4).clone()
    scaled[..., :3, 3] *= targets.scale[..., None]
    return replace(targets, camera_from_block=targets.camera_from_block @ scaled)


def test_candidates_are_the_projections_of_all_symmetric_poses() -> None:
    picture, slot = TARGETS.present.nonzero(as_tuple=True)
    kind = TARGETS.model[picture, slot]
    pixels, _ = candidates(TARGETS, picture, slot, kind, BLOCKS)
    for row in range(len(picture)):
        block = BLOCKS.kinds[int(kind[row])]
        pose = TARGETS.camera_from_block[picture[row], slot[row]].double().numpy()
        lens = TARGETS.intrinsics[picture[row]].double().numpy(), TARGETS.distortion[picture[row]].double().numpy()
        count = len(block.keypoints)
        # A round block is first turned to the camera: only the keypoints on its axis are where they were.
        fixed = np.linalg.norm(block.keypoints[:, :2], axis=1) < (1 if block.axis is None else 1e-9)
        for member, symmetry in enumerate(block.symmetries):
            got = pixels[row, member, :count].double().numpy()
            expected = project(transform_points(pose @ symmetry, block.keypoints), *lens)
            np.testing.assert_allclose(got[fixed], expected[fixed], atol=2e-3)


def test_the_upright_pose() -> None:
    """Right-handed; x to the right; z leans from the line of sight by 45 degrees, towards the camera and up."""
    shift = torch.tensor([[0.0, 0, 1], [0.3, -0.2, 0.8], [-0.4, 0.3, 0.6]]).double()
    turn, half = _upright(shift), 0.5**0.5
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).double().expand(3, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(3).double())
    torch.testing.assert_close(turn[0], torch.tensor([[1, 0, 0], [0, -half, -half], [0, half, -half]]).double())
    away = shift / shift.norm(dim=1, keepdim=True)
    torch.testing.assert_close((turn[:, :, 2] * away).sum(1), torch.full((3,), -half).double())
    assert (turn[:, 1, 2] < 0).all()  # up in the picture
    assert (turn[:, 0, 0] > 0.8).all()


def cube_at(yaw_deg: float) -> Truth:
    """The truth for a cube that stands as `_upright` but for a turn by `yaw_deg` about its z axis."""
    pose, model = TARGETS.camera_from_block.clone(), TARGETS.model.clone()
    angle = math.radians(yaw_deg)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    pose[0, 0] = torch.eye(4)
    pose[0, 0, :3, 3] = torch.tensor([0.05, 0.02, 0.5])
    pose[0, 0, :3, :3] = _upright(pose[:1, 0, :3, 3])[0] @ turn
    model[0, 0] = BLOCKS.names.index("cube")
    seen, share = TARGETS.seen.clone(), TARGETS.share.clone()
    seen[0, 0], share[0, 0] = 1000, 1
    targets = replace(TARGETS, camera_from_block=pose, model=model, seen=seen, share=share)
    truth = truth_of(targets, BLOCKS, KINDS)
    assert (int(truth.picture[0]), int(truth.slot[0])) == (0, 0)
    return truth


@pytest.mark.parametrize(("yaw", "members"), [(0, 1), (20, 1), (37, 1), (38, 2), (45, 2), (52, 2), (53, 1), (90, 1)])
def test_poses_about_as_upright_as_the_most_upright_one_may_be_predicted(yaw: float, members: int) -> None:
    """A cube's next pose is 90 degrees - 2 yaw farther from the upright one: 15 degrees where the yaw is 37.5."""
    truth = cube_at(yaw)
    assert int(truth.members[0].sum()) == members
    allowed = truth.keypoints[0, truth.members[0]]
    around = windows_of(allowed, truth.real[:1].expand(members, -1))
    assert (truth.windows[0] == around).all(1).any()


def test_every_symmetric_label_of_a_block_is_one_truth() -> None:
    """Its windows, its classes and the set of keypoints that may be predicted do not depend on which one was labeled."""
    expected = truth_of(TARGETS, BLOCKS, SIDES)
    assert len(expected) > 5
    for number in range(1, 24, 5):
        symmetry = BLOCKS.group[TARGETS.model, number % BLOCKS.members.sum(1)[TARGETS.model]]
        got = truth_of(changed(TARGETS, symmetry), BLOCKS, SIDES)
        assert torch.equal(got.stance, expected.stance) and torch.equal(got.members.sum(1), expected.members.sum(1))
        for row in range(len(got)):
            mine, theirs = (one.keypoints[row, one.members[row]][:, one.real[row]] for one in (got, expected))
            assert float(torch.cdist(mine.flatten(1), theirs.flatten(1)).amin(1).max()) < 0.1  # px, of all keypoints
        one = expected.members.sum(1) == 1  # else two poses are about as upright, and the windows are those of either
        assert one.sum() > 5
        torch.testing.assert_close(got.windows[one], expected.windows[one], rtol=0, atol=0.1)


def test_rotating_a_round_block_about_its_axis_changes_no_target() -> None:
    kind = torch.full_like(TARGETS.model, BLOCKS.names.index("cylinder"))
    targets, angle = replace(TARGETS, model=kind), 0.7
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    before, after = (truth_of(one, BLOCKS, SIDES) for one in (targets, changed(targets, turn)))
    assert torch.equal(before.members, after.members) and torch.equal(before.stance, after.stance)
    torch.testing.assert_close(before.keypoints, after.keypoints, rtol=0, atol=2e-2)
    torch.testing.assert_close(before.windows, after.windows, rtol=0, atol=4e-2)


def test_what_is_a_target() -> None:
    """Blocks of a known kind of which a tenth and 16 pixels are visible; without their kind's size if it is another."""
    shape = TARGETS.model.shape
    everything = replace(
        TARGETS,
        present=torch.ones(shape, dtype=torch.bool),
        model=torch.zeros(shape, dtype=torch.long),
        seen=torch.full(shape, 100),
        share=torch.ones(shape),
        scale=torch.ones(shape),
    )
    assert len(truth_of(everything, BLOCKS, SIDES)) == shape[0] * shape[1]
    for name, value in (("present", False), ("model", -1), ("seen", 15), ("share", 0.099)):
        part = getattr(everything, name).clone()
        part[0, 0] = value
        truth = truth_of(replace(everything, **{name: part}), BLOCKS, SIDES)
        assert len(truth) == shape[0] * shape[1] - 1 and (truth.picture + truth.slot > 0).all(), name
    scale = everything.scale.clone()
    scale[0, :4] = torch.tensor([0.8, 0.95, 1.05, 1.2])
    assert truth_of(replace(everything, scale=scale), BLOCKS, SIDES).sized[:5].tolist() == [0, 1, 1, 0, 1]


def sharp(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probabilities (P, K, CELLS, CELLS) that are all in the cell nearest to `at` (P, K, 2), in sides, and the logarithm
    (P, K) of the greatest density that any distribution has there."""
    place = (at + 0.5) * CELLS - 0.5
    cell = place.round().long().clamp(0, CELLS - 1)
    logits = torch.full((*at.shape[:2], CELLS**2), -60.0)
    logits.scatter_(-1, (cell[..., 1] * CELLS + cell[..., 0])[..., None], 0.0)
    places = torch.log_softmax(logits, -1).reshape(*at.shape[:2], CELLS, CELLS)
    return places, (1 - (place - cell).abs()).clamp_min(1e-9).log().sum(-1)


def losses_at(truth: Truth, predicted: torch.Tensor, windows: torch.Tensor) -> tuple[CropLosses, float]:
    """The losses of a network that is sure of the true classes and of the keypoints `predicted` (P, K, 2) px, and the
    keypoints' loss, for each coordinate, if these are the true ones."""
    count, classes = len(truth), len(SIDES) + 1
    stance = 40.0 * torch.nn.functional.one_hot(torch.cat([truth.stance, torch.tensor([classes - 1])]), classes)
    output = CropOutput(stance, 40 * (2 * torch.cat([truth.sized, torch.zeros(1)]) - 1), torch.zeros(count + 1, 1))
    places, best = sharp((predicted - windows[:, None, :2]) / windows[:, None, 2:])
    best = (best * truth.real).sum(1) / (2 * truth.real.sum(1))
    return crop_losses(output, places, windows, truth, count), -float(best.mean())


@pytest.mark.parametrize("number", range(4))
def test_the_loss_is_least_for_each_symmetric_pose_that_may_be_predicted(number: int) -> None:
    truth = truth_of(TARGETS, BLOCKS, SIDES)
    windows = truth.windows * torch.tensor([1, 1, 1.2]) + torch.tensor([0.5, -0.3, 0])
    rows = torch.arange(len(truth))

    def at(allowed: torch.Tensor) -> torch.Tensor:
        """The keypoints (P, K, 2) of one of the `allowed` (P, G) poses of each block."""
        order = allowed.cumsum(1) - 1
        chosen = (allowed & (order == number % allowed.sum(1, keepdim=True).clamp_min(1))).int().argmax(1)
        return truth.keypoints[rows, chosen]

    losses, least = losses_at(truth, at(truth.members), windows)
    step = 1 / CELLS
    assert float(losses.stance) < 1e-6 and float(losses.sized) < 1e-6 and float(losses.right) == 1
    assert float(losses.miss) < step
    assert float(losses.keypoints) == pytest.approx(least, abs=1e-3)
    # Another symmetric pose: right, but not the one that the network learns to predict.
    others = BLOCKS.members[truth.kind] & ~truth.members
    picked = torch.where(others.any(1)[:, None, None], at(others), truth.keypoints[rows, truth.members.int().argmax(1)])
    wrong, _ = losses_at(truth, picked, windows)
    assert others.any(1).sum() > 3
    assert float(wrong.keypoints) > least + 1 and float(wrong.miss) > 2 * float(losses.miss)
    # Keypoints that are off by a known distance, of which no pose is nearer than the true one.
    far, _ = losses_at(truth, at(truth.members) + 0.1 * windows[:, None, 2:] * torch.tensor([0.6, 0.8]), windows)
    assert 0.1 - step < float(far.miss) <= 0.1 + step
    assert float(far.keypoints) > least + 1


def _places(logits: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits.flatten(2), 2).reshape(logits.shape)


def random_output(count: int, seed: int = 0) -> tuple[CropOutput, torch.Tensor]:
    """The output of an untrained network for `count` crops, and its log probabilities of positions."""
    output = CropOutput(numbers(count, len(SIDES) + 1, seed=seed), numbers(count, seed=seed + 1), torch.zeros(count, 1))
    return output, _places(3 * numbers(count, SIDES.most, CELLS, CELLS, seed=seed + 2))


def test_the_loss_is_the_same_for_every_symmetric_label() -> None:
    """Of cubes and prisms, and of cylinders and cones turned about their axes; with windows that are given."""
    expected = truth_of(TARGETS, BLOCKS, SIDES)
    output, places = random_output(len(expected) + 2)
    wanted = crop_losses(output, places[:-2], expected.windows, expected, len(expected))
    for number in (1, 7, 17):
        symmetry = torch.stack(
            [
                torch.tensor(
                    BLOCKS.kinds[kind].group_of(TURNS)[number % len(BLOCKS.kinds[kind].group_of(TURNS))]
                ).float()
                for kind in TARGETS.model.flatten().tolist()
            ]
        ).reshape(*TARGETS.model.shape, 4, 4)
        truth = truth_of(changed(TARGETS, symmetry), BLOCKS, SIDES)
        losses = crop_losses(output, places[:-2], expected.windows, truth, len(truth))
        for name, value in vars(wanted).items():
            if name == "solved":
                assert torch.equal(losses.solved, value)
            else:
                assert float(getattr(losses, name)) == pytest.approx(float(value), rel=2e-3), (number, name)


def test_the_gradients_are_finite_even_where_the_network_is_sure_and_wrong() -> None:
    truth = truth_of(TARGETS, BLOCKS, SIDES)
    for factor in (0.0, 1.0, 1e3):
        stance, sized, logits = (
            (factor * numbers(*shape)).requires_grad_()
            for shape in ((len(truth) + 1, len(SIDES) + 1), (len(truth) + 1,), (len(truth), SIDES.most, CELLS, CELLS))
        )
        places = _places(logits)
        output = CropOutput(stance, sized, torch.zeros(len(truth) + 1, 1))
        crop_losses(output, places, truth.windows, truth, len(truth)).total.backward()  # type: ignore[no-untyped-call]
        for leaf in (stance, sized, logits):
            assert leaf.grad is not None and torch.isfinite(leaf.grad).all() and leaf.grad.any()
        assert not sized.grad[len(truth) :].any()  # of what is no block there is no size
        padding = logits.grad * ~truth.real[:, :, None, None]
        assert not padding.any()


def test_without_blocks_only_no_block_is_learned() -> None:
    """And of nothing at all the losses are 0, with gradients of 0."""
    none = truth_of(replace(TARGETS, present=torch.zeros_like(TARGETS.present)), BLOCKS, SIDES)
    for count in (3, 0):
        output, places = random_output(count)
        stance = output.stance.requires_grad_()
        losses = crop_losses(replace(output, stance=stance), places[:0], none.windows, none, 0)
        losses.total.backward()  # type: ignore[no-untyped-call]
        assert (float(losses.sized), float(losses.keypoints), float(losses.miss)) == (0, 0, 0)
        expected = -stance.log_softmax(1)[:, -1].mean() if count else torch.tensor(0.0)
        torch.testing.assert_close(losses.stance, expected)
        assert stance.grad is not None and torch.isfinite(stance.grad).all()


# Two images of 10 x 8 cells. A block in the first; in the second one that counts and one that is ignored.
CENTERS = Centers(
    center=torch.tensor([[[4.2, 3.4], [-1e3, -1e3]], [[8.6, 0.1], [2, 5]]]),
    detected=torch.tensor([[True, False], [True, False]]),
    corners=torch.tensor([[[2.0, 2, 7, 6], [torch.nan] * 4], [[7, 0, 10, 2], [1, 4, 4, 7]]]),
    ignored=torch.tensor([[False, False], [False, True]]),
)
PICTURE, SLOT = torch.tensor([0, 1]), torch.tensor([0, 0])
WINDOWS = torch.tensor([[18.0, 14, 25], [36, 2, 14]])


def perfect() -> Maps:
    heat = torch.full((2, 8, 10), -20.0)
    heat[0, 3, 4] = heat[1, 0, 9] = 20
    windows = torch.zeros(2, 8, 10, 3) + torch.tensor([0, 0, 1.0])
    windows[0, 2:5, 3:6], windows[1, :2, 8:] = WINDOWS
    return Maps(heat, windows)


def detection_loss(maps: Maps) -> tuple[float, float]:
    losses = detection_losses(maps, CENTERS, PICTURE, SLOT, WINDOWS)
    assert float(losses.total) == pytest.approx(float(losses.heat) + float(losses.window))
    return float(losses.heat), float(losses.window)


def test_a_perfect_detection_network_has_no_loss() -> None:
    heat, window = detection_loss(perfect())
    assert heat < 1e-6 and window == 0
    peaks = find_peaks(perfect(), 5)
    assert (peaks.score > 0.5).sum(1).tolist() == [1, 1]
    torch.testing.assert_close(peaks.windows[:, 0], WINDOWS, rtol=0, atol=0)


def test_the_windows_error_is_in_sides_and_each_block_counts_the_same() -> None:
    """0.2 sides in u: 0.2 - 0.05 beyond where the loss is quadratic; twice the side: log 2 - 0.05; 0.05: 0.05^2 / 0.2."""
    for move, expected in (
        ((0.2, 0, 1), 0.15),
        ((0.2, -0.3, 1), 0.4),
        ((0, 0, 2), math.log(2) - 0.05),
        ((0.05, 0, 1), 0.0125),
    ):
        maps = perfect()
        for rows, columns, picture in ((slice(2, 5), slice(3, 6), 0), (slice(0, 2), slice(8, 10), 1)):
            side = WINDOWS[picture, 2]
            maps.windows[picture, rows, columns, :2] += side * torch.tensor(move[:2])
            maps.windows[picture, rows, columns, 2] *= move[2]
        assert detection_loss(maps)[1] == pytest.approx(expected, rel=1e-4)
        # What the other cells predict does not count, nor what is predicted for the ignored block.
        maps.windows[1, 4:7, 1:4] = 1e3
        assert detection_loss(maps)[1] == pytest.approx(expected, rel=1e-4)


def test_heat_counts_everywhere_but_in_ignored_boxes() -> None:
    cold, hot, ignored, near = (perfect() for _ in range(4))
    cold.heat[0, 3, 4] = -20
    hot.heat[0, 7, 9] = 20
    ignored.heat[1, 4:7, 1:4] = 20
    near.heat[0, 3, 5] = 20  # a cell from the center
    assert detection_loss(cold)[0] == pytest.approx(20 / 2, rel=1e-3)
    assert detection_loss(hot)[0] == pytest.approx(20 / 2, rel=1e-3)
    assert detection_loss(ignored)[0] < 1e-6
    assert detection_loss(near)[0] == pytest.approx((1 - math.exp(-0.5)) ** 4 * 20 / 2, rel=1e-3)


def test_images_without_blocks_have_no_window_and_a_finite_heat() -> None:
    nothing = replace(CENTERS, detected=torch.zeros(2, 2, dtype=torch.bool))
    output = numbers(2, 4, 8, 10).requires_grad_()
    for picture in (PICTURE, PICTURE[:0]):  # blocks whose centers are outside, and no block
        count = len(picture)
        losses = detection_losses(maps_of(output), nothing, picture, SLOT[:count], WINDOWS[:count])
        assert float(losses.window.detach()) == 0 and 0 < float(losses.heat.detach()) < 1e3
        (gradient,) = torch.autograd.grad(losses.total, output)
        assert torch.isfinite(gradient).all() and gradient.any()


def test_the_maps_that_an_output_encodes() -> None:
    """A cell's window is relative to its center, in units of 32 px, and its side a power of e of them."""
    output = torch.zeros(1, 4, 2, 3)
    output[0, :, 1, 2] = torch.tensor([0.5, 1, -0.5, math.log(2)])
    maps = maps_of(output)
    assert float(maps.heat[0, 1, 2]) == 0.5
    middle = (STRIDE - 1) / 2
    expected = torch.tensor([2 * STRIDE + middle + 32, STRIDE + middle - 16, 64])
    torch.testing.assert_close(maps.windows[0, 1, 2], expected)
    torch.testing.assert_close(maps.windows[0, 0, 0], torch.tensor([middle, middle, 32]))


def test_peaks_keep_their_order_and_lose_near_duplicates() -> None:
    """Heat of 0.9, 0.8, 0.7, 0.6; the second's window is the first's, the fourth's the third's. What only the removed second
    is near to stays."""
    heat = torch.full((2, 5, 20), -9.0)
    windows = torch.zeros(2, 5, 20, 3) + torch.tensor([500.0, 0, 1])
    rows = [(0.9, 100.0), (0.8, 104.0), (0.7, 109.0), (0.6, 150.0), (0.5, 152.0)]
    for number, (score, u) in enumerate(rows):
        heat[0, 2, 4 * number] = math.log(score / (1 - score))
        windows[0, 2, 4 * number] = torch.tensor([u, 50, 20])
    heat[1, 1, 1] = 2.0
    peaks = find_peaks(Maps(heat, windows), 6)
    assert peaks.score.shape == (2, 6) and peaks.windows.shape == (2, 6, 3)
    assert peaks.score[0, :3].tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert peaks.windows[0, :3, 0].tolist() == [100, 109, 150]
    assert (peaks.score[0, 3:] < 0.01).all() and (peaks.score.diff(dim=1) <= 0).all()
    assert float(peaks.score[1, 0]) == pytest.approx(1 / (1 + math.exp(-2)))
    # A cell beside a better one is no peak, however far its window is.
    heat[0, 3, 1] = math.log(0.85 / 0.15)
    windows[0, 3, 1] = torch.tensor([300.0, 50, 20])
    assert find_peaks(Maps(heat, windows), 6).score[0, :3].tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert find_peaks(Maps(heat, windows), 1000).score.shape == (2, 100)  # more than there are cells


def test_the_kinds_alone_have_the_same_truth_but_for_its_classes() -> None:
    apart, kinds = (truth_of(TARGETS, BLOCKS, one) for one in (SIDES, KINDS))
    assert torch.equal(kinds.stance, kinds.kind) and torch.equal(SIDES.kind[apart.stance], apart.kind)
    blind = replace(TARGETS, camera_from_world=torch.full_like(TARGETS.camera_from_world, torch.nan))
    unknown = truth_of(blind, BLOCKS, KINDS)
    for name, value in vars(kinds).items():
        assert torch.equal(getattr(unknown, name), value), name
