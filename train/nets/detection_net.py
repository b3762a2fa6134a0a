"""The network of model=keypoints: pictures in, maps at a quarter of the resolution out, and what a peak in them says.

One pass finds any number of blocks of all kinds (Zhou et al. 2019, "Objects as Points"): a map that peaks at the middle
of what is seen of each block, and beside it, for each cell, the class (kind, and perhaps on which side it lies), where the
block's keypoints are, and how far off that may be.
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
from train.nets.layers import layer, normalised, stages

REACH = 16.0  # px: the unit in which the network gives offsets
TABLE_UNIT = 0.5  # m: that in which it gives places on the table
_AROUND = 3  # cells, across a peak, whose answers are averaged
_AGREE = 3.0  # px: answers farther than this from the peak's own are of another mind
_WAVES = 3, 4  # down and across: what the table's part knows of where in the picture something is
_CAMERA = 128  # numbers in which it says how the camera stands


@dataclass(frozen=True)
class Maps:
    """What the network says for each of h x w cells: heat (B, h, w) logits of a block's middle; stance (B, S, h, w) logits
    of the classes of `stances`; log_scale (B, h, w, K), the logarithm of the expected distance in px between a keypoint's
    coordinate and the truth (the scale of a Laplace distribution). Where the network has learnt it, table (B, h, w, 2) m,
    the place on the table's plane that a cell looks at, and table_log_scale (B, h, w), likewise in m.

    keypoints(stance, picture, row, column) are those of a class at a cell, (..., K, 2) px of the picture that went in: there
    are many, and few are asked for. The four arguments are broadcast.
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
    """The D best peaks of each of B pictures, best first: score (B, D) in [0, 1]; stance (B, D) the likeliest class of the
    likeliest kind, and `share` (B, D) that kind's probability; keypoints (B, D, K, 2) px; scale (B, D, K) px."""

    score: Tensor
    stance: Tensor
    share: Tensor
    keypoints: Tensor
    scale: Tensor

    def of(self, picture: int) -> "Peaks":
        """Those of one picture alone, still with B = 1."""
        return Peaks(*(getattr(self, item.name)[picture : picture + 1] for item in fields(self)))


class KeypointNet(nn.Module):
    """Torchvision's residual blocks down to a 32nd of the resolution and back up to a quarter.

    `widths` are the channels at 1/2, 1/4, 1/8, 1/16 and 1/32, `depths` the residual blocks at the last four.
    `crops` takes the second look, where there is one.
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
        bias[0] = -4.0  # most cells are no block's middle (Lin et al. 2017, section 4.1)
        nn.init.normal_(self.out.weight, std=0.01)
        self.out.bias = nn.Parameter(bias)
        self.table = TableHead(widths[-1]) if table else None
        self.crops = crops

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `maps` makes maps of, for `images` (B, 3, H, W), RGB, uint8 or float in [0, 255], H and W multiples of
        STRIDE: (B, 2 features, h, w), and with a table's part (B, 3, h, w)."""
        x = normalised(images).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        up = self.narrow[3](levels[3])
        for k in (2, 1, 0):
            grown = functional.interpolate(up, size=levels[k].shape[-2:], mode="nearest")
            up = self.merge[k](self.narrow[k](levels[k]) + grown)
        features = self.head(up)
        return features, None if self.table is None else self.table(levels[3], *features.shape[-2:])

    def maps(self, told: tuple[Tensor, Tensor | None]) -> Maps:
        """What `forward` gave, read."""
        features, table = told
        weight, bias = self._last()
        heat, stance, log_scale = (functional.conv2d(features, weight[k], bias[k]).float() for k in (0, 1, 3))
        ways, rests = weight[2].reshape(-1, 2, features.shape[1]), bias[2].reshape(-1, 2)

        def keypoints(which: Tensor, picture: Tensor, row: Tensor, column: Tensor) -> Tensor:
            at = features.permute(0, 2, 3, 1)[picture, row, column].float()  # (..., 2 features)
            rows = self.stances.rows[which]
            offsets = (ways[rows] @ at[..., None, :, None])[..., 0] + rests[rows]
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
        """(B, h, w, T, 2) px: the keypoints of all classes in all cells, for the `features` that `forward` gave."""
        weight, bias = self._last()
        offsets = functional.conv2d(features, weight[2], bias[2]).permute(0, 2, 3, 1)
        v, u = (_center(torch.arange(n, device=features.device)) for n in features.shape[-2:])
        cell = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)
        return cell[:, :, None] + REACH * offsets.reshape(*offsets.shape[:3], -1, 2)

    def _last(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The last layer's weights and biases, one for each of `parts`."""
        assert self.out.bias is not None
        return torch.split(self.out.weight, self.parts), torch.split(self.out.bias, self.parts)


def _center(cell: Tensor) -> Tensor:
    """px"""
    return STRIDE * cell + (STRIDE - 1) / 2


class TableHead(nn.Module):
    """Where on the table each cell looks: how the camera stands, which follows from the whole picture, and then the
    cell's own place in the picture tell it. A convolution sees neither.

    What of the features, `channels` of them, is where in the picture is told by their mean products with a few cosines
    across and down (as of a discrete cosine transform), whatever the picture's size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.camera = nn.Sequential(nn.Linear(channels * _WAVES[0] * _WAVES[1], _CAMERA), nn.ReLU(inplace=True))
        self.first = nn.Linear(_CAMERA, _CAMERA // 2)
        self.place = nn.Conv2d(2, _CAMERA // 2, 1, bias=False)
        self.rest = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(_CAMERA // 2, _CAMERA // 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_CAMERA // 2, 3, 1),
        )

    def forward(self, features: Tensor, height: int, width: int) -> Tensor:
        """(B, 3, height, width) raw numbers of the table's place and its scale, for `features` (B, channels, h, w)."""
        v, u = (2 * _middles(n, features.device) - 1 for n in (height, width))
        cell = torch.stack(torch.meshgrid(u, v, indexing="xy"))[None]
        return torch.as_tensor(
            self.rest(self.first(self.camera(waves_of(features).flatten(1)))[..., None, None] + self.place(cell))
        )


def waves_of(features: Tensor) -> Tensor:
    """(B, channels, waves down, waves across): the means of `features` (B, channels, h, w) times cosines of 0, 1, 2, ...
    half waves down and across, the first terms of a discrete cosine transform."""
    down, across = (
        torch.cos(torch.pi * torch.arange(waves, device=features.device)[:, None] * _middles(n, features.device))
        for waves, n in zip(_WAVES, features.shape[-2:], strict=True)
    )
    return torch.einsum("bchw,ih,jw->bcij", features, down, across) / features[0, 0].numel()


def _middles(count: int, device: torch.device) -> Tensor:
    """(count,) the middles of as many equal parts of 0 to 1."""
    return (torch.arange(count, device=device) + 0.5) / count


def make_net(config: KeypointConfig, blocks: BlockSet) -> KeypointNet:
    """The network of `config` for the kinds of `blocks`, with weights drawn from torch's own generator."""
    stances = Stances(blocks, config.stances)
    widths = config.crop_widths or config.widths[:4]
    crops = CropNet(stances, config.crop, widths, config.depths[:3]) if config.crop else None
    net = KeypointNet(
        stances, config.widths, config.depths, config.features, table=config.table_weight > 0, crops=crops
    )
    return net.to(memory_format=torch.channels_last)


def find_peaks(maps: Maps, most: int) -> Peaks:
    """The `most` best peaks of each picture: cells that are the best of the 3 x 3 around them."""
    heat = maps.heat.sigmoid()
    best = functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
    score, place = heat.where(heat == best, 0).flatten(1).topk(most, 1)
    width = heat.shape[2]
    return _read(maps, heat, score, place // width, place % width)


def _read(maps: Maps, heat: Tensor, score: Tensor, row: Tensor, column: Tensor) -> Peaks:
    """Averages what the cells around each peak say, weighted by their heat, where they agree with the peak."""
    batch, height, width = heat.shape
    step = torch.arange(_AROUND, device=heat.device) - _AROUND // 2
    rows = (row[..., None, None] + step[:, None]).expand(*row.shape, _AROUND, _AROUND).flatten(2)
    columns = (column[..., None, None] + step).expand(*row.shape, _AROUND, _AROUND).flatten(2)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    picture = torch.arange(batch, device=heat.device)[:, None, None]
    weight = heat[picture, rows, columns] * inside
    chance = maps.stance.permute(0, 2, 3, 1)[picture, rows, columns].softmax(-1)
    stance, _ = maps.stances.likeliest(_shares(chance, weight))
    own = maps.stances.kind == maps.stances.kind[stance][..., None]  # (B, D, S)

    keypoints = maps.keypoints(stance[..., None], picture, rows, columns)
    log_scale = maps.log_scale[picture, rows, columns]
    peak = maps.keypoints(stance, picture[..., 0], row, column)
    agree = (keypoints - peak[:, :, None]).norm(dim=-1).mean(-1) < _AGREE
    weight = weight * agree
    return Peaks(
        score=score,
        stance=stance,
        share=(_shares(chance, weight) * own).sum(2),
        keypoints=_shares(keypoints.flatten(3), weight).reshape(peak.shape),
        scale=_shares(log_scale, weight).exp(),
    )


def _shares(values: Tensor, weight: Tensor) -> Tensor:
    """(B, D, n): the means of `values` (B, D, cells, n) by `weight` (B, D, cells)."""
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-12)
    return (weight[..., None] * values).sum(2)
