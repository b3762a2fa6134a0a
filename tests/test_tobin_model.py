"""train.tobin.model and train.tobin.loss: the soft-argmax against known places, the losses against hand-computed values."""

import math

import pytest
import torch
from torch.nn import functional

from train.config import ModelConfig
from train.tobin.loss import keypoint_loss, position_loss, total_loss
from train.tobin.model import Prediction, cell_centers, make_model, soft_argmax

SMALL = ModelConfig(name="tobin_small", height=48, width=64)
VGG = ModelConfig(name="tobin_vgg", height=32, width=64)


def test_cell_centers_are_symmetric_and_resolution_free() -> None:
    torch.testing.assert_close(cell_centers(4), torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(cell_centers(8).reshape(4, 2).mean(1), cell_centers(4))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (5, 6)])
def test_soft_argmax_of_a_delta_is_its_cell(row: int, column: int) -> None:
    maps = torch.zeros(1, 1, 6, 7)
    maps[0, 0, row, column] = 60.0
    expected = torch.tensor([[[(2 * column + 1) / 7 - 1, (2 * row + 1) / 6 - 1]]])
    torch.testing.assert_close(soft_argmax(maps), expected)


def test_soft_argmax_of_a_gaussian_is_its_mean_between_cells() -> None:
    u, v, sigma = 0.137, -0.291, 0.08  # the softmax of -r^2 / 2 sigma^2 is a Gaussian
    y, x = torch.meshgrid(cell_centers(60), cell_centers(80), indexing="ij")
    maps = (-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))[None, None]
    torch.testing.assert_close(soft_argmax(maps), torch.tensor([[[u, v]]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [SMALL, VGG], ids=lambda config: config.name)
def test_the_contract_of_a_model(config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = make_model(config).eval()
    images = torch.randint(0, 256, (3, 3, config.height, config.width), dtype=torch.uint8)
    with torch.inference_mode():
        prediction = model(images)
        alone = model(images[1:2]).position
        as_float = model(images.float()).position
    assert prediction.position.shape == (3, 3) and prediction.position.dtype == torch.float32
    torch.testing.assert_close(alone, prediction.position[1:2], atol=1e-5, rtol=1e-4)  # independent of the batch
    torch.testing.assert_close(as_float, prediction.position)
    assert not torch.allclose(prediction.position[0], prediction.position[1])  # depends on the image
    assert (prediction.heatmap is None) == (config.name == "tobin_vgg")


def test_training_and_evaluation_mode_agree() -> None:
    torch.manual_seed(0)
    model = make_model(SMALL)
    images = torch.randint(0, 256, (4, 3, 48, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model.train()(images).position, model.eval()(images).position, atol=0, rtol=0)


def test_head_is_the_papers() -> None:
    for config in (SMALL, VGG):
        layers = [layer for layer in make_model(config).head if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in layers] == [256, 64, 3]


def test_normalization_is_of_the_labels_and_stored_in_the_weights() -> None:
    model = make_model(SMALL)
    positions = torch.tensor([[0.0, 0.0, 1.0], [6.0, 8.0, 1.0]])
    model.normalize(positions)
    torch.testing.assert_close(model.mean, torch.tensor([3.0, 4.0, 1.0]))
    torch.testing.assert_close(model.scale, torch.tensor(5.0))  # both are 5 m from the mean
    other = make_model(SMALL)
    other.load_state_dict(model.state_dict())
    assert other.scale.item() == 5.0


def test_position_loss_by_hand() -> None:
    truth = torch.zeros(2, 3)
    positions = torch.tensor([[0.1, 0.0, 0.0], [0.0, 2.0, 0.02]])  # in units of 2 m: 0.05; 1 and 0.01
    expected = (0.5 * 0.05**2 / 0.1 + (1 - 0.05) + 0.5 * 0.01**2 / 0.1) / 2
    assert position_loss(positions, truth, torch.tensor(2.0)).item() == pytest.approx(expected)


def test_keypoint_loss_of_an_even_map_is_the_logarithm_of_its_cells() -> None:
    heatmap = torch.zeros(2, 6, 8)
    keypoints = torch.tensor([[0.1, 0.2], [-0.6, 0.7]])
    assert keypoint_loss(heatmap, keypoints).item() == pytest.approx(math.log(48), rel=1e-6)


@pytest.mark.parametrize(
    "keypoint", [(0.33, -0.21), (-0.93, 0.9), (0.9375, 0.0)]
)  # inside, in a corner, on the last cell
def test_keypoint_loss_is_least_where_the_soft_argmax_is_the_truth(keypoint: tuple[float, float]) -> None:
    heatmap = torch.zeros(1, 12, 16, requires_grad=True)
    keypoint_loss(heatmap, torch.tensor([keypoint])).backward()
    # The gradient of a cross-entropy is the predicted minus the target probability.
    target = (heatmap.softmax(-1) / 12 - heatmap.grad)[0].detach()
    assert target.min() > -1e-6 and int((target > 1e-6).sum()) <= 4
    place = torch.stack([(target.sum(0) * cell_centers(16)).sum(), (target.sum(1) * cell_centers(12)).sum()])
    torch.testing.assert_close(place, torch.tensor(keypoint), atol=1e-5, rtol=0)


def test_keypoint_loss_leaves_out_what_is_not_in_the_picture() -> None:
    heatmap = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
    keypoints = torch.tensor([[0.1, 0.2], [1.3, 0.0], [float("nan"), 0.0]])
    torch.testing.assert_close(keypoint_loss(heatmap, keypoints), keypoint_loss(heatmap[:1], keypoints[:1]))
    assert keypoint_loss(heatmap[1:], keypoints[1:]).item() == 0.0


def test_total_loss_adds_the_weighted_keypoint_loss() -> None:
    heatmap = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    positions, truth, keypoints = torch.rand(2, 3), torch.rand(2, 3), torch.zeros(2, 2)
    scale = torch.tensor(1.0)
    both = total_loss(Prediction(positions, heatmap), truth, keypoints, scale=scale, keypoint_weight=0.3)
    expected = position_loss(positions, truth, scale) + 0.3 * keypoint_loss(heatmap, keypoints)
    torch.testing.assert_close(both, expected)
    alone = total_loss(Prediction(positions, None), truth, keypoints, scale=scale, keypoint_weight=0.3)
    torch.testing.assert_close(alone, position_loss(positions, truth, scale))


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    model = make_model(SMALL)
    images = torch.randint(0, 256, (4, 3, 48, 64), dtype=torch.uint8)
    functional.mse_loss(model(images).position, torch.rand(4, 3)).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []
