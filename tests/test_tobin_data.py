"""train.tobin.data: which pictures are used, which are left out; order and jitter are functions of (seed, epoch, row)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_dataset import HEIGHT, WIDTH, random_positions, write_dataset

from simgen.dataset.read import read_rgb
from simgen.errors import ConfigError, DatasetError
from train.config import SourceConfig
from train.data.images import EpochOrder, jitter, split
from train.tobin.data import ResizedPictures, find_examples, loader_of


def test_positions_are_the_blocks_place_in_the_world(tmp_path: Path) -> None:
    positions = random_positions(5)
    examples = find_examples(SourceConfig(str(write_dataset(tmp_path / "d", positions))))
    np.testing.assert_allclose(examples.positions, positions, atol=1e-9)


def test_keypoints_are_where_the_square_is_drawn(tmp_path: Path) -> None:
    examples = find_examples(SourceConfig(str(write_dataset(tmp_path / "d", random_positions(5)))))
    for picture, (u, v) in zip(examples.pictures, examples.keypoints, strict=True):
        rows, columns = np.nonzero(read_rgb(picture.path).min(2) > 150)
        assert abs(columns.mean() - u) < 0.6 and abs(rows.mean() - v) < 0.6


def test_normalized_keypoints_read_the_same_at_any_size(tmp_path: Path) -> None:
    examples = find_examples(SourceConfig(str(write_dataset(tmp_path / "d", random_positions(4)))))
    for height, width in ((HEIGHT, WIDTH), (24, 64), (96, 128)):
        batch = ResizedPictures(examples, np.arange(4), height=height, width=width, cache_gb=1, workers=0).__getitems__(
            [0, 1, 2, 3]
        )
        assert batch["images"].shape == (4, 3, height, width) and batch["images"].dtype == torch.uint8
        expected = (examples.keypoints + 0.5) / [WIDTH, HEIGHT] * 2 - 1
        np.testing.assert_allclose(batch["keypoints"], expected, atol=1e-6)
        # The square's brightness is centered on the keypoint of the resized picture too.
        bright = (batch["images"][0].float().mean(0) - 130).clamp(min=0)
        u = (bright.sum(0) * (2 * torch.arange(width) + 1) / width).sum() / bright.sum() - 1
        assert abs(float(u) - expected[0, 0]) < 1.5 / 64


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    objects = [[1], [1], [1], [1, 1], [2], [], [1, 2]]
    visible = [1.0, 0.05, 0.0, 1.0, 1.0, 1.0, 1.0]
    root = write_dataset(tmp_path / "d", random_positions(7), names=("box", "cone"), objects=objects, visible=visible)
    examples = find_examples(SourceConfig(str(root), target="box", min_visible=0.1))
    assert [picture.image_id for picture in examples.pictures] == [0, 6]
    assert examples.left_out == {
        "there is no box": 2,
        "there is more than one box": 1,
        "box is outside the picture or hidden": 1,
        "less than 0.1 of box is visible": 1,
    }
    assert "2 pictures of box; left out" in str(examples)


def test_auto_takes_the_block_with_most_examples(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", random_positions(5), names=("box", "cone"), objects=[[1], [2], [2], [2], [1]])
    assert find_examples(SourceConfig(str(root))).target == "cone"
    assert find_examples(SourceConfig(str(root)), prefer="box").target == "box"
    assert find_examples(SourceConfig(str(root), target="cone"), prefer="box").target == "cone"


def test_a_preferred_block_that_is_not_there(tmp_path: Path) -> None:
    one = write_dataset(tmp_path / "one", random_positions(2))
    assert find_examples(SourceConfig(str(one)), prefer="cylinder").target == "box"
    listed = write_dataset(tmp_path / "listed", random_positions(2), names=("box", "cone"), objects=[[2], [2]])
    assert find_examples(SourceConfig(str(listed)), prefer="cylinder").target == "cone"  # box is in no picture
    two = write_dataset(tmp_path / "two", random_positions(2), names=("box", "cone"), objects=[[1], [2]])
    with pytest.raises(ConfigError, match=r"^data\.target: .*no 'cylinder'.*box, cone"):
        find_examples(SourceConfig(str(two)), prefer="cylinder")


def test_errors_name_the_key_or_the_folder(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", random_positions(2), visible=[0.0, 0.0])
    with pytest.raises(ConfigError, match=r"^data\.target: got 'cub'; expected auto or one of box$"):
        find_examples(SourceConfig(str(root), target="cub"))
    with pytest.raises(DatasetError, match=r"no usable picture.*2 where box is outside the picture"):
        find_examples(SourceConfig(str(root)))
    with pytest.raises(DatasetError, match="no such folder"):
        find_examples(SourceConfig(str(tmp_path / "nowhere")))


def test_a_missing_or_truncated_picture_is_named(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", random_positions(2))
    examples = find_examples(SourceConfig(str(root)))
    path = examples.pictures[1].path
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=path.name):
        ResizedPictures(examples, np.arange(2), height=HEIGHT, width=WIDTH, cache_gb=1, workers=2)


def test_split_parts_all_rows_and_depends_on_the_seed_only() -> None:
    training, validation = split(50, 0.1, 3)
    assert len(validation) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(50))
    np.testing.assert_array_equal(split(50, 0.1, 3)[1], validation)
    assert not np.array_equal(split(50, 0.1, 4)[1], validation)
    assert [len(rows) for rows in split(2, 0.01, 0)] == [1, 1] == [len(rows) for rows in split(2, 0.99, 0)]
    with pytest.raises(DatasetError, match="only 1 usable picture"):
        split(1, 0.5, 0)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochOrder(40, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(order(0, 0)) == list(range(40))
    walked = EpochOrder(40, 0)
    for epoch in range(4):
        walked.set_epoch(epoch)
        assert list(walked) == list(walked) == order(0, epoch)  # no state is used up
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_cache_and_workers_change_nothing(tmp_path: Path) -> None:
    examples = find_examples(SourceConfig(str(write_dataset(tmp_path / "d", random_positions(9)))))
    rows = np.array([8, 1, 2, 7, 5])

    def all_batches(cache_gb: float, workers: int) -> list[dict[str, torch.Tensor]]:
        pictures = ResizedPictures(examples, rows, height=24, width=32, cache_gb=cache_gb, workers=workers)
        assert pictures.cached == (cache_gb > 0)
        return list(loader_of(pictures, 2, order=EpochOrder(5, 1), workers=workers))

    first = all_batches(1, 2)
    assert [len(batch["rows"]) for batch in first] == [2, 2]  # the incomplete one is left out
    for other in (all_batches(0, 0), all_batches(0, 2)):
        for a, b in zip(first, other, strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)
    whole = list(loader_of(ResizedPictures(examples, rows, height=24, width=32, cache_gb=1, workers=0), 2))
    assert torch.cat([batch["rows"] for batch in whole]).tolist() == rows.tolist()  # each once, in sequence


def test_jitter_is_a_function_of_seed_epoch_and_row() -> None:
    images = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([4, 0, 9, 2])
    base = jitter(images, rows, strength=0.3, seed=1, epoch=2)
    assert torch.equal(jitter(images[2:3], rows[2:3], strength=0.3, seed=1, epoch=2), base[2:3])
    assert not torch.equal(jitter(images, rows, strength=0.3, seed=1, epoch=3), base)
    assert not torch.equal(jitter(images, rows, strength=0.3, seed=2, epoch=2), base)
    same = images[:1].expand(4, -1, -1, -1)
    assert len(torch.unique(jitter(same, rows, strength=0.3, seed=1, epoch=2), dim=0)) == 4
    torch.testing.assert_close(jitter(images, rows, strength=0.0, seed=1, epoch=2), images.float(), atol=1e-4, rtol=0)


def test_jitter_is_a_gain_and_a_gamma_within_its_bounds() -> None:
    images = torch.tensor([64, 128, 191], dtype=torch.uint8).reshape(1, 1, 1, 3).expand(200, 3, 1, 3)
    jittered = jitter(images, torch.arange(200), strength=0.1, seed=0, epoch=0)[:, :, 0] / 255
    # log(out) = log(gain) + gamma * log(in): two points give both, the third must agree
    x, y = torch.log(torch.tensor([64, 128, 191]) / 255), torch.log(jittered)
    gamma = (y[..., 1] - y[..., 0]) / (x[1] - x[0])
    gain = torch.exp(y[..., 0] - gamma * x[0])
    torch.testing.assert_close(gain * torch.exp(gamma * x[2]), jittered[..., 2], atol=1e-4, rtol=0)
    for amount in (gain, gamma):
        logarithm = amount.log().abs()
        assert float(logarithm.max()) <= 0.1 + 1e-4 and float(logarithm.max()) > 0.07
