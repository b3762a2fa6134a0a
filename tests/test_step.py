"""A training step: the parts of the pictures that the networks see are where they are stated to be, and every weight gets a
finite gradient, whatever is in the batch."""

import math
from dataclasses import replace

import pytest
import torch
from streams import batch_of, numbers

import train.fit.step as step
from train.config import KeypointConfig
from train.data.batch import Batch
from train.data.targets import STRIDE, Targets, visible_boxes
from train.fit.step import Losses, cuts_of, losses_of
from train.fit.training import new_net, numbers_of
from train.nets.crop_net import MARGIN, CropOutput, crops_of, planes_of, read_places
from train.nets.detection_net import PIXELS, KeypointNet, Maps
from train.nets.layers import normalized
from train.nets.truth import truth_of

BATCH, BLOCKS = batch_of("randomize.distractors.count=0")


@pytest.fixture(scope="module")
def net() -> KeypointNet:
    torch.manual_seed(0)
    return new_net(KeypointConfig(), BLOCKS, sides=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detection network's input of 96 x 72 px: a tenth of the time."""
    monkeypatch.setattr(step, "CUT", (96, 72))


def made(count: int, width: int, height: int, seed: int = 0) -> Batch:
    """`count` black pictures with four boxes each: two labeled blocks, a distractor, and a labeled block that is hidden."""
    random = numbers(count, 3, 4, seed=seed) / 2 + 0.5
    left, top = (random[..., k] * (side - 30) for k, side in ((0, width), (1, height)))
    box = torch.stack([left, top, left + 4 + 25 * random[..., 2], top + 4 + 25 * random[..., 3]], -1).round() - 0.5
    box = torch.cat([box, torch.full((count, 1, 4), torch.nan)], 1)
    every = BATCH.targets
    shape = (count, 4)
    targets = Targets(
        present=torch.ones(shape, dtype=torch.bool),
        labelled=torch.tensor([True, True, False, True]).expand(shape),
        model=torch.zeros(shape, dtype=torch.long),
        scale=torch.ones(shape),
        camera_from_block=every.camera_from_block[:1, :1].expand(*shape, 4, 4),
        intrinsics=every.intrinsics[:1].expand(count, 3, 3),
        distortion=every.distortion[:1].expand(count, 9),
        camera_from_world=every.camera_from_world[:1].expand(count, 4, 4),
        box=box,
        seen=torch.tensor([100, 100, 100, 0]).expand(shape),
        share=torch.tensor([1.0, 1, 1, 0]).expand(shape),
    )
    images = torch.zeros(count, 3, height, width, dtype=torch.uint8)
    return Batch(images, targets, torch.zeros(count, 2, 2), numbers(count, 6, seed=seed + 1), numbers(count, 4, 5))


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (300, 200), (64, 480)])
def test_a_cut_is_inside_the_picture_and_shows_the_chosen_block(width: int, height: int) -> None:
    batch = made(200, width, height)
    cuts = cuts_of(batch)
    across, down = step.CUT
    half = torch.stack([cuts[:, 2], cuts[:, 2] * down / across], 1) / 2
    assert (cuts[:, :2] - half >= -0.5 - 1e-3).all()
    assert (cuts[:, :2] + half <= torch.tensor([width, height]) - 0.5 + 1e-3).all()
    # At 0.7 to 1.4 times the scale of a whole picture, unless the picture is too small for that.
    factor = across / cuts[:, 2] / math.sqrt(PIXELS / (width * height))
    least = max(across / width, down / height) / math.sqrt(PIXELS / (width * height))
    assert (factor >= max(0.7, least) - 1e-4).all() and (factor <= max(1.4, least) + 1e-4).all()
    assert factor.min() < max(0.75, 1.001 * least) and factor.max() > min(1.3, 1.3 * least)
    # The first of the two labeled blocks in half of the pictures, the second in the others; never what is hidden.
    boxes = batch.targets.box
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    shown = ((center - cuts[:, None, :2]).abs() <= half[:, None] + 1e-3).all(2)
    first = batch.cut[:, 1] < 0
    assert 60 < first.sum() < 140
    assert shown[first, 0].all() and shown[~first, 1].all()
    if width > 700:
        assert not shown[:, :2].all()  # and not just always everything


def test_without_a_labeled_block_a_cut_shows_another_and_without_any_the_middle() -> None:
    batch = made(100, 1280, 720)
    labelled, present = torch.zeros(100, 4, dtype=torch.bool), batch.targets.present.clone()
    present[50:] = False
    cuts = cuts_of(replace(batch, targets=replace(batch.targets, labelled=labelled, present=present)))
    center = (batch.targets.box[..., :2] + batch.targets.box[..., 2:]) / 2
    half = torch.stack([cuts[:, 2], cuts[:, 2] * step.CUT[1] / step.CUT[0]], 1) / 2
    shown = ((center - cuts[:, None, :2]).abs() <= half[:, None]).all(2)
    chosen = ((batch.cut[:, 1] + 1) / 2 * 3).floor().long()  # one of the three that are visible
    assert shown[torch.arange(50), chosen[:50]].all()
    offset = (cuts[50:, :2] - torch.tensor([1279, 719]) / 2) / (2 * half[50:])
    free = ((cuts[50:, :2] - torch.tensor([1279, 719]) / 2).abs() < torch.tensor([640, 360]) - half[50:] - 1e-3).all(1)
    assert free.sum() > 10
    torch.testing.assert_close(offset[free], 0.35 * batch.cut[50:, 2:4][free], rtol=0, atol=1e-4)


def test_windows_of_cuts_and_of_pictures_are_inverse_to_each_other() -> None:
    cuts = cuts_of(made(40, 640, 480))
    windows = torch.rand(40, 3) * torch.tensor([640.0, 480, 100]) + torch.tensor([0, 0, 5])
    inside = step._in_cuts(windows, cuts)
    torch.testing.assert_close(step._from_cuts(inside, cuts), windows, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(inside[:, 2] / windows[:, 2], step.CUT[0] / cuts[:, 2])
    # The middle of a cut is the middle of its pixels.
    middle = torch.tensor([(step.CUT[0] - 1) / 2, (step.CUT[1] - 1) / 2])
    torch.testing.assert_close(step._in_cuts(cuts, cuts)[:, :2], middle.expand(40, 2))


def test_what_a_picture_shows_is_in_its_cut_where_the_mapping_puts_it() -> None:
    """A bright square: its center of gravity in the cut, the window around it, and the cell of the heat's peak."""
    batch = made(12, 640, 480)
    slot = torch.full((12, 480, 640), -1, dtype=torch.int16)
    for row in range(12):
        left, top, right, bottom = (batch.targets.box[row, int(batch.cut[row, 1] >= 0)] + 0.5).int().tolist()
        slot[row, top:bottom, left:right] = 0
    box, seen = visible_boxes(slot, 1)
    images = 255 * (slot == 0).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    targets = replace(
        batch.targets,
        box=torch.cat([box, torch.full((12, 3, 4), torch.nan)], 1),
        present=torch.tensor([True, False, False, False]).expand(12, 4),
        seen=torch.cat([seen, torch.zeros(12, 3, dtype=torch.long)], 1),
    )
    batch = replace(batch, images=images, targets=targets)
    cuts = cuts_of(batch)
    shown = crops_of(normalized(batch.images), torch.arange(12), cuts, *step.CUT)[:, 0] * 128 + 127
    assert shown.shape == (12, 240, 320)
    middle = (box[:, 0, :2] + box[:, 0, 2:]) / 2
    windows = torch.cat([middle, (box[:, 0, 2:] - box[:, 0, :2]).amax(1, keepdim=True)], 1)
    mapped = step._in_cuts(windows, cuts)
    centers = step._centers(targets, cuts, torch.arange(len(cuts)))
    assert centers.detected[:, 0].sum() > 8
    whole = 0
    for row in range(12):
        left, top, right, bottom = centers.corners[row, 0].tolist()
        if min(left, top) < 0 or right > 80 or bottom > 60:
            continue
        whole += 1
        v, u = torch.meshgrid(torch.arange(240.0), torch.arange(320.0), indexing="ij")
        weight = shown[row] / shown[row].sum()
        gravity = torch.stack([(weight * u).sum(), (weight * v).sum()])
        torch.testing.assert_close(gravity, mapped[row, :2], rtol=0, atol=0.05)
        area = float(shown[row].sum() / 255)
        extent = (box[row, 0, 2:] - box[row, 0, :2]).prod() * (step.CUT[0] / cuts[row, 2]) ** 2
        assert area == pytest.approx(float(extent), rel=0.02)
        # A cell's center is (STRIDE - 1) / 2 px beyond its first pixel: that of train.nets.detection_net.maps_of.
        torch.testing.assert_close(STRIDE * centers.center[row, 0] + 1.5, mapped[row, :2], rtol=0, atol=1e-3)
        assert STRIDE * max(right - left, bottom - top) == pytest.approx(float(mapped[row, 2]), abs=1e-3)
    assert whole > 6


def test_only_detectable_blocks_inside_a_cut_are_detected_and_others_are_ignored() -> None:
    """A block outside the cut, one of which too little is visible, a hidden one, and an object that is no block."""
    batch = made(1, 640, 480)
    box = torch.tensor([[[300.0, 200, 340, 240], [5, 5, 25, 25], [100, 100, 130, 130], [torch.nan] * 4]]) - 0.5
    cuts = torch.tensor([[319.5, 239.5, 320]])  # at the picture's scale: from 159.5 to 479.5 and from 119.5 to 359.5
    targets = replace(batch.targets, box=box)
    centers = step._centers(targets, cuts, torch.arange(len(cuts)))
    assert centers.detected.tolist() == [[True, False, False, False]]
    assert centers.ignored.tolist() == [[False, True, True, False]]  # their boxes are outside the map
    assert centers.corners[0, 0].tolist() == [35, 20, 45, 30]
    assert centers.center[0, 0].tolist() == [39.5, 24.5]
    hidden = replace(targets, share=torch.full((1, 4), 0.05))
    assert step._centers(hidden, cuts, torch.arange(1)).ignored.tolist() == [[True, True, True, False]]
    foreign = replace(targets, model=torch.full((1, 4), -1))
    nothing = step._centers(foreign, cuts, torch.arange(1))
    assert not nothing.detected.any() and not nothing.ignored.any()
    assert len(truth_of(foreign, BLOCKS, new_net(KeypointConfig(), BLOCKS, sides=True).stances)) == 0


def test_moves_are_as_far_as_the_first_stage_is_off() -> None:
    moved = step._moved(torch.tensor([[20.0, 23, 30]]), torch.tensor([[1.0, -1, 1, 0.3, 0.5]]))
    torch.testing.assert_close(moved, torch.tensor([[20 + 0.12 * 30, 23 - 0.12 * 30, 30 * math.exp(0.22)]]))


def test_every_second_window_is_the_one_that_the_network_states(
    net: KeypointNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a picture: from the crop of a first pass, without a gradient. It is where the best cells of the most probable
    class are, whatever the true one is. A window that is far off is not used, unless there is no block."""
    monkeypatch.setattr(step, "_LOST_SHIFT", 0.1)
    jitter = BATCH.jitter.clone()
    jitter[..., 4] = numbers(*jitter.shape[:2], seed=3) + 0.3
    truth, batch = truth_of(BATCH.targets, BLOCKS, net.stances), replace(BATCH, jitter=jitter)
    count = len(truth)
    false = torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([[30.0, 40, 20], [50, 60, 25]])
    images = normalized(BATCH.images)
    with torch.no_grad():
        picture, windows, plane = step._crops_seen(net, images, batch, truth, false, BLOCKS)
    assert torch.equal(picture, torch.cat([truth.picture, false[0]]))
    first = torch.cat([step._moved(truth.windows, jitter[truth.picture, truth.slot]), false[2]])
    again = jitter[picture, torch.cat([truth.slot, false[1]]), 4] >= 0
    assert 2 < int(again[:count].sum()) < count - 2
    assert torch.equal(windows[~again], first[~again])
    cameras = BATCH.targets.intrinsics, BATCH.targets.camera_from_world, BATCH.targets.distortion
    known = jitter[picture, torch.cat([truth.slot, false[1]]), 3] >= -0.7
    planes = [planes_of(one, *(part[picture] for part in cameras)) * known[:, None] for one in (first, windows)]
    torch.testing.assert_close(plane, planes[1])
    off = []
    for k in again.nonzero()[:, 0].tolist():
        with torch.no_grad():
            output = net.crops.predict(images, picture[k : k + 1], first[k : k + 1], planes[0][k : k + 1])
            kinds = net.stances.of_kinds(output.stance.softmax(1)[:, :-1])[0]
            best = [s for s in range(len(net.stances)) if net.stances.kind[s] == kinds.argmax()]
            stance = torch.tensor([max(best, key=lambda s: float(output.stance[0, s]))])
            points, _ = read_places(net.crops.places(output.features, stance), first[k : k + 1])
        points = points[0, BLOCKS.real[net.stances.kind[stance][0]]]
        low, high = points.amin(0), points.amax(0)
        expected = torch.cat([(low + high) / 2, (MARGIN * (high - low).amax()).clamp_min(8)[None]])
        if k < count:
            true = truth.windows[k]
            ratio = abs(math.log(float(expected[2] / true[2])))
            off.append(float((expected[:2] - true[:2]).abs().amax() / true[2]) > 0.1 or ratio > 0.5)
            expected = first[k] if off[-1] else expected
        torch.testing.assert_close(windows[k], expected, rtol=1e-3, atol=0.05)
    assert 0 < sum(off) < len(off)


def test_networks_that_have_diverged_give_a_loss_that_is_no_number(small: None) -> None:
    """And no error of an index: the training then says at which step, and what to change."""
    torch.manual_seed(0)
    net = new_net(KeypointConfig(), BLOCKS, sides=True)
    for weights in net.crops.keypoints.parameters():
        weights.data.fill_(torch.nan)
    jitter = numbers(*BATCH.jitter.shape)
    jitter[..., 4] = 1  # every window is one of the second pass
    assert math.isnan(float(losses_of(net, replace(BATCH, jitter=jitter), BLOCKS).total.detach()))


def test_windows_are_lost_beyond_a_quarter_of_a_side_or_another_size() -> None:
    true = torch.tensor([[20.0, 30, 40]]).expand(5, 3)
    given = torch.tensor(
        [[29.9, 20.1, 40], [30.1, 30, 40], [20, 19.9, 40], [20, 30, 40 * math.exp(0.51)], [20, 30, 24.3]]
    )
    assert step._lost(given, true).tolist() == [False, True, True, True, False]


def test_false_positives_are_peaks_far_from_all_blocks() -> None:
    """Peaks on a block, between, on an object that is no block, and too faint; windows are in pixels of the picture."""
    batch = made(1, 640, 480)
    box = torch.tensor([[[300.0, 200, 340, 240], [torch.nan] * 4, [200, 300, 220, 320], [torch.nan] * 4]]) - 0.5
    model = torch.tensor([[0, 0, -1, 0]])
    targets = replace(batch.targets, box=box, model=model)
    cuts = torch.tensor([[319.5, 239.5, 480]])
    heat, windows = torch.full((1, 60, 80), -9.0), torch.zeros(1, 60, 80, 3)

    def peak(u: float, v: float, side: float, score: float) -> torch.Tensor:
        window = torch.tensor([[u, v, side]]).float()
        inside = step._in_cuts(window, cuts)[0]
        column, row = ((inside[:2] - 1.5) / STRIDE).round().int().tolist()
        heat[0, row, column], windows[0, row, column] = math.log(score / (1 - score)), inside
        return window

    near = peak(322, 215, 60, 0.9)
    object_, far = peak(210, 310, 30, 0.8), peak(420, 260, 40, 0.7)
    picture, number, found = step._false_positives(Maps(heat, windows), cuts, targets, torch.arange(1))
    assert picture.tolist() == [0, 0] and number.tolist() == [1, 2]
    torch.testing.assert_close(found, torch.cat([object_, far]), rtol=0, atol=1e-3)
    # Half a side away it is no block's any more; below the least heat there is nothing.
    peak(float(near[0, 0]), float(near[0, 1]), 60, 0.01)
    peak(319.5 + 31, 219.5, 60, 0.95)
    assert step._false_positives(Maps(heat, windows), cuts, targets, torch.arange(1))[1].tolist() == [0, 1, 2]
    faint = replace(batch, targets=targets)
    assert len(step._false_positives(Maps(heat - 9, windows), cuts, faint.targets, torch.arange(1))[0]) == 0


def finite(net: KeypointNet, losses: Losses, *, every: bool = True) -> None:
    """Every weight gets a gradient, which is finite, and with `every` not 0."""
    net.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]
    for name, weight in net.named_parameters():
        if not weight.requires_grad:  # the first stages of ImageNet's weights
            continue
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert weight.grad.any() or not every, name


def test_every_weight_learns(net: KeypointNet, small: None) -> None:
    losses = losses_of(net, BATCH, BLOCKS)
    finite(net, losses)
    values = {name: float(value) for name, value in numbers_of(losses).items()}
    parts = sum(values[name] for name in ("heat", "window", "stance", "sized", "keypoints"))
    assert values["loss"] == pytest.approx(parts, rel=1e-5)
    assert 0 < values["miss"] < 1 and 0 <= values["right"] <= 1
    # A step is a function of its batch and the weights.
    assert float(losses_of(net, BATCH, BLOCKS).total.detach()) == values["loss"]
    other = replace(BATCH, cut=-BATCH.cut, jitter=-BATCH.jitter)
    assert float(losses_of(net, other, BLOCKS).total.detach()) != values["loss"]


def test_a_batch_without_blocks_or_without_anything_is_learned_from(net: KeypointNet, small: None) -> None:
    """Also so that each process of a training on several devices has a gradient for every weight."""
    empty = replace(BATCH, targets=replace(BATCH.targets, present=torch.zeros_like(BATCH.targets.present)))
    foreign = replace(BATCH, targets=replace(BATCH.targets, model=torch.full_like(BATCH.targets.model, -1)))
    for batch in (empty, foreign):
        for bias, peaks in ((-9.0, False), (0.0, True)):
            with torch.no_grad():
                net.detection.out.bias[0] = bias
            losses = losses_of(net, batch, BLOCKS)
            finite(net, losses, every=False)
            assert float(losses.detection.window.detach()) == float(losses.crops.miss) == 0
            assert (float(losses.crops.stance.detach()) > 0) == peaks
            assert net.crops.out.weight.grad is not None and bool(net.crops.out.weight.grad.any()) == peaks
    with torch.no_grad():
        net.detection.out.bias[0] = -4.0


def test_the_table_is_withheld_of_a_fraction_of_blocks_and_of_false_positives(
    net: KeypointNet, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, ...]] = []

    def predict(*given: torch.Tensor) -> CropOutput:
        seen.append(given)
        return type(net.crops).predict(net.crops, *given)

    monkeypatch.setattr(net.crops, "predict", predict)
    with torch.no_grad():
        net.detection.out.bias[0] = 0.0
    withheld = [0, 0]
    for seed in range(6):
        batch = replace(BATCH, jitter=numbers(*BATCH.jitter.shape, seed=seed))
        with torch.no_grad():
            losses_of(net, batch, BLOCKS)
        _, picture, windows, plane = seen[-1]
        truth = truth_of(batch.targets, BLOCKS, net.stances)
        moves = batch.jitter[truth.picture, truth.slot]
        once = moves[:, 4] < 0
        torch.testing.assert_close(windows[: len(truth)][once], step._moved(truth.windows, moves)[once])
        targets = batch.targets
        whole = planes_of(
            windows, *(part[picture] for part in (targets.intrinsics, targets.camera_from_world, targets.distortion))
        )
        unknown = (plane == 0).all(1)
        torch.testing.assert_close(plane[~unknown], whole[~unknown], rtol=0, atol=0)
        assert torch.equal(unknown[: len(truth)], (moves[:, 3] < -0.7) | (whole[: len(truth)] == 0).all(1))
        hidden = unknown & (whole != 0).any(1)
        assert len(windows) > len(truth)
        for k, part in enumerate((hidden[: len(truth)], hidden[len(truth) :])):
            withheld[k] += int(part.sum())
    assert min(withheld) > 0
    with torch.no_grad():
        net.detection.out.bias[0] = -4.0


def test_pictures_without_a_known_table_are_learned_from(small: None) -> None:
    targets = BATCH.targets
    blind = replace(
        BATCH, targets=replace(targets, camera_from_world=torch.full_like(targets.camera_from_world, torch.nan))
    )
    net = new_net(KeypointConfig(), BLOCKS, sides=False)
    finite(net, losses_of(net, blind, BLOCKS), every=False)
    dead = [name for name, weight in net.named_parameters() if weight.requires_grad and not weight.grad.any()]  # type: ignore[union-attr]
    assert dead == ["crops.plane.0.weight"]  # its input is 0


def test_a_network_from_scratch_learns(small: None) -> None:
    net = new_net(KeypointConfig(backbone="scratch"), BLOCKS, sides=True)
    finite(net, losses_of(net, BATCH, BLOCKS))
    before = {name: value.clone() for name, value in net.named_buffers() if name.endswith("running_mean")}
    losses_of(net, BATCH, BLOCKS)
    assert before and not any(torch.equal(value, dict(net.named_buffers())[name]) for name, value in before.items())


def test_distractors_of_another_size_are_blocks_without_their_size() -> None:
    batch, blocks = batch_of(
        "randomize.distractors.count=3", "randomize.distractors.scale=[choice,0.7,1.3]", "randomize.blocks.count=1"
    )
    truth = truth_of(batch.targets, blocks, new_net(KeypointConfig(), blocks, sides=True).stances)
    labelled = batch.targets.labelled[truth.picture, truth.slot]
    assert 0 < labelled.sum() < len(labelled)
    assert torch.equal(truth.sized, labelled.float())
    # Their keypoints are those of their own size: the window is around them.
    picture, slot = truth.picture, truth.slot
    box = batch.targets.box[picture, slot]
    inside = ((box > 0) & (box < torch.tensor([159.0, 119]).repeat(2))).all(1)
    whole = inside & (batch.targets.share[picture, slot] == 1)
    extent = (box[:, 2:] - box[:, :2]).amax(1)
    assert (whole & ~labelled).sum() > 2
    ratio = truth.windows[whole, 2] / MARGIN / extent[whole]
    assert (ratio < 1.15).all() and (ratio > 0.6).all()


def test_labels_stay_in_single_precision_where_the_networks_do_not(net: KeypointNet, small: None) -> None:
    """As in a training with trainer.precision=bf16-mixed."""
    expected, losses = truth_of(BATCH.targets, BLOCKS, net.stances), losses_of(net, BATCH, BLOCKS)
    with torch.autocast("cpu", torch.bfloat16):
        labels, mixed = truth_of(BATCH.targets, BLOCKS, net.stances), losses_of(net, BATCH, BLOCKS)
    for name, value in vars(expected).items():
        assert torch.equal(getattr(labels, name), value), name
    assert mixed.total.dtype == torch.float32
    for part, other in ((losses.detection, mixed.detection), (losses.crops, mixed.crops)):
        torch.testing.assert_close(other.total, part.total, rtol=0.05, atol=0)
