"""The detection network of model=keypoints: images in, maps at a quarter of the resolution out; and how peaks are read.

One pass detects any number of blocks of all kinds (Zhou et al. 2019, "Objects as Points"). The heat map peaks at the center
of each block's visible part. The other maps give, for each cell, the class (the kind, and with model.stances the side on
which the block lies), the block's keypoints, and their uncertainty as the scale of a Laplace distribution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.blocks.kinds import BlockSet
from train.blocks.stances import Stances
from train.config import KeypointConfig
from train.data.targets import STRIDE
from train.nets.crop_net import CropNet
from train.nets.layers import layer, normalized, stages

REACH = 16.0  # px: the unit of the network's keypoint offsets
TABLE_UNIT = 0.5  # m: the unit of the network's points on the table
_WINDOW = 3  # cells: the side of the square around a peak whose predictions are averaged
_OUTLIER = 3.0  # px: a neighboring cell whose keypoints differ by more than this from the peak's is left out
_COSINES = 3, 4  # terms down and across: the spatial resolution of the features that TableHead gets
_CAMERA = 128  # channels of TableHead's description of the camera


@dataclass(frozen=True)
class Maps:
    """The network's output for h x w cells: heat (B, h, w), logits of a block's center; stance (B, S, h, w), logits of the
    classes of `stances`; log_scale (B, h, w, K), the logarithm of the scale, in px, of a Laplace distribution of each
    keypoint coordinate's error. With a table head, table (B, h, w, 2) m, the point of the table plane that each cell shows,
    and table_log_scale (B, h, w), the logarithm of the scale of its error in m; else None.

    keypoints(stance, picture, row, column) computes the keypoints of a class at a cell, (..., K, 2) px of the input image.
    It is a function because few of all of them are needed. Its four arguments are broadcast.
    """

    heat: Tensor
    stance: Tensor
    keypoints: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    log_scale: Tensor
    stances: Stances
    table: Tensor | None = None
    table_log_scale: Tensor | None = None


@dataclass(frozen=True)
class Peaks:
    """The D best peaks of each of B images, best first: score (B, D) in [0, 1], the heat; stance (B, D), the most probable
    class of the most probable kind; `share` (B, D), that kind's probability; keypoints (B, D, K, 2) px of the input image;
    scale (B, D, K) px, the scale of a Laplace distribution of each coordinate's error."""

    score: Tensor
    stance: Tensor
    share: Tensor
    keypoints: Tensor
    scale: Tensor

    def of(self, picture: int) -> "Peaks":
        """The peaks of image number `picture` alone, with B = 1."""
        return Peaks(*(getattr(self, item.name)[picture : picture + 1] for item in fields(self)))


class KeypointNet(nn.Module):
    """A residual network down to a 32nd of the resolution and a feature pyramid back up to a quarter.

    `widths` are the channels at 1/2, 1/4, 1/8, 1/16 and 1/32, `depths` the residual blocks at the last four, `features` the
    channels of the pyramid. `table` adds a TableHead. `crops` is the crop network, the second stage, or None.
    """

    def __init__(
        self,
        stances: Stances,
        widths: list[int],
        depths: list[int],
        features: int,
        *,
        table: bool = False,
        crops: CropNet | None = None,
    ) -> None:
        super().__init__()
        self.stances = stances
        self.stem = layer(3, widths[0], kernel=5, stride=2)
        self.down = stages(widths, depths)
        self.narrow = nn.ModuleList(nn.Conv2d(width, features, 1) for width in widths[1:])
        self.merge = nn.ModuleList(layer(features, features) for _ in range(3))
        self.head = layer(features, 2 * features)
        self.parts = [1, len(stances), 2 * stances.total, stances.rows.shape[1]]
        self.out = nn.Conv2d(2 * features, sum(self.parts), 1)
        bias = torch.zeros(sum(self.parts))
        bias[0] = -4.0  # a low prior, because few cells are a block's center (Lin et al. 2017, section 4.1)
        nn.init.normal_(self.out.weight, std=0.01)
        self.out.bias = nn.Parameter(bias)
        self.table = TableHead(widths[-1]) if table else None
        self.crops = crops

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The raw output, which `maps` decodes: (B, 2 features, h, w) and, with a table head, (B, 3, h, w), else None.

        `images` (B, 3, H, W) are RGB, uint8 or float in [0, 255]; H and W are multiples of STRIDE, h = H / STRIDE.
        """
        x = normalized(images).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        up = self.narrow[3](levels[3])
        for k in (2, 1, 0):
            scaled = functional.interpolate(up, size=levels[k].shape[-2:], mode="nearest")
            up = self.merge[k](self.narrow[k](levels[k]) + scaled)
        features = self.head(up)
        return features, None if self.table is None else self.table(levels[3], *features.shape[-2:])

    def maps(self, outputs: tuple[Tensor, Tensor | None]) -> Maps:
        """The maps that the raw `outputs` of `forward` encode."""
        features, table = outputs
        weight, bias = self._output_weights()
        heat, stance, log_scale = (functional.conv2d(features, weight[k], bias[k]).float() for k in (0, 1, 3))
        weights, biases = weight[2].reshape(-1, 2, features.shape[1]), bias[2].reshape(-1, 2)

        def keypoints(which: Tensor, picture: Tensor, row: Tensor, column: Tensor) -> Tensor:
            at = features.permute(0, 2, 3, 1)[picture, row, column].float()  # (..., 2 features)
            rows = self.stances.rows[which]
            offsets = (weights[rows] @ at[..., None, :, None])[..., 0] + biases[rows]
            cell = torch.stack([_center(column), _center(row)], -1)
            return cell[..., None, :] + REACH * offsets

        return Maps(
            heat[:, 0],
            stance,
            keypoints,
            log_scale.permute(0, 2, 3, 1),
            self.stances,
            None if table is None else TABLE_UNIT * table[:, :2].float().permute(0, 2, 3, 1),
            None if table is None else table[:, 2].float(),
        )

    def all_keypoints(self, features: Tensor) -> Tensor:
        """(B, h, w, T, 2) px: the keypoints of all classes in all cells, from the `features` that `forward` returns first.
        T is `stances.total`."""
        weight, bias = self._output_weights()
        offsets = functional.conv2d(features, weight[2], bias[2]).permute(0, 2, 3, 1)
        v, u = (_center(torch.arange(n, device=features.device)) for n in features.shape[-2:])
        cell = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)
        return cell[:, :, None] + REACH * offsets.reshape(*offsets.shape[:3], -1, 2)

    def _output_weights(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The weights and the biases of the last layer, each split into the four `parts`: heat, stance, keypoints, scale."""
        assert self.out.bias is not None
        return torch.split(self.out.weight, self.parts), torch.split(self.out.bias, self.parts)


def _center(cell: Tensor) -> Tensor:
    """The center, in px of the input image, of each `cell` (row or column number)."""
    return STRIDE * cell + (STRIDE - 1) / 2


class TableHead(nn.Module):
    """Predicts the point of the table plane that each cell shows, from two inputs that a convolution lacks: the camera's
    pose, which depends on the whole image, and the cell's position in the image.

    The whole image is summarized by the first terms of a discrete cosine transform of its `channels` feature maps. Their
    number does not depend on the image's size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.camera = nn.Sequential(nn.Linear(channels * _COSINES[0] * _COSINES[1], _CAMERA), nn.ReLU(inplace=True))
        self.first = nn.Linear(_CAMERA, _CAMERA // 2)
        self.place = nn.Conv2d(2, _CAMERA // 2, 1, bias=False)
        self.rest = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(_CAMERA // 2, _CAMERA // 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_CAMERA // 2, 3, 1),
        )

    def forward(self, features: Tensor, height: int, width: int) -> Tensor:
        """(B, 3, height, width): X and Y on the table in TABLE_UNIT, and the logarithm of the scale of their error in m.
        `features` are (B, channels, h, w)."""
        v, u = (2 * _cell_centers(n, features.device) - 1 for n in (height, width))
        cell = torch.stack(torch.meshgrid(u, v, indexing="xy"))[None]
        return torch.as_tensor(
            self.rest(self.first(self.camera(waves_of(features).flatten(1)))[..., None, None] + self.place(cell))
        )


def waves_of(features: Tensor) -> Tensor:
    """(B, channels, terms down, terms across): the first terms of the discrete cosine transform of `features`
    (B, channels, h, w), that is their means after multiplication with cosines of 0, 1, 2, ... half waves."""
    down, across = (
        torch.cos(torch.pi * torch.arange(waves, device=features.device)[:, None] * _cell_centers(n, features.device))
        for waves, n in zip(_COSINES, features.shape[-2:], strict=True)
    )
    return torch.einsum("bchw,ih,jw->bcij", features, down, across) / features[0, 0].numel()


def _cell_centers(count: int, device: torch.device) -> Tensor:
    """(count,) the centers of `count` equal cells between 0 and 1."""
    return (torch.arange(count, device=device) + 0.5) / count


def make_net(config: KeypointConfig, blocks: BlockSet) -> KeypointNet:
    """The network of `config` for the kinds of `blocks`, with random weights from torch's global generator."""
    stances = Stances(blocks, config.stances)
    widths = config.crop_widths or config.widths[:4]
    crops = CropNet(stances, config.crop, widths, config.depths[:3]) if config.crop else None
    net = KeypointNet(
        stances, config.widths, config.depths, config.features, table=config.table_weight > 0, crops=crops
    )
    return net.to(memory_format=torch.channels_last)


def find_peaks(maps: Maps, most: int) -> Peaks:
    """The `most` best peaks of each image. A peak is a cell with the greatest heat of the 3 x 3 cells around it."""
    heat = maps.heat.sigmoid()
    best = functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
    score, place = heat.where(heat == best, 0).flatten(1).topk(most, 1)
    width = heat.shape[2]
    return _average(maps, heat, score, place // width, place % width)


def _average(maps: Maps, heat: Tensor, score: Tensor, row: Tensor, column: Tensor) -> Peaks:
    """The peaks at (`row`, `column`) (B, D), each with the mean prediction of the cells around it, weighted by heat and
    without outliers."""
    batch, height, width = heat.shape
    step = torch.arange(_WINDOW, device=heat.device) - _WINDOW // 2
    rows = (row[..., None, None] + step[:, None]).expand(*row.shape, _WINDOW, _WINDOW).flatten(2)
    columns = (column[..., None, None] + step).expand(*row.shape, _WINDOW, _WINDOW).flatten(2)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    picture = torch.arange(batch, device=heat.device)[:, None, None]
    weight = heat[picture, rows, columns] * inside
    probability = maps.stance.permute(0, 2, 3, 1)[picture, rows, columns].softmax(-1)
    stance, _ = maps.stances.likeliest(_weighted_means(probability, weight))
    same_kind = maps.stances.kind == maps.stances.kind[stance][..., None]  # (B, D, S)

    keypoints = maps.keypoints(stance[..., None], picture, rows, columns)
    log_scale = maps.log_scale[picture, rows, columns]
    peak = maps.keypoints(stance, picture[..., 0], row, column)
    agrees = (keypoints - peak[:, :, None]).norm(dim=-1).mean(-1) < _OUTLIER
    weight = weight * agrees
    return Peaks(
        score=score,
        stance=stance,
        share=(_weighted_means(probability, weight) * same_kind).sum(2),
        keypoints=_weighted_means(keypoints.flatten(3), weight).reshape(peak.shape),
        scale=_weighted_means(log_scale, weight).exp(),
    )


def _weighted_means(values: Tensor, weight: Tensor) -> Tensor:
    """(B, D, n): the means over cells of `values` (B, D, cells, n), weighted by `weight` (B, D, cells)."""
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-12)
    return (weight[..., None] * values).sum(2)
