"""`python -m simgen convert`: opens a dataset and writes its splits in another format."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from simgen.command.keys import check_choices
from simgen.dataset.layout import own_keys, splits_of
from simgen.dataset.read import BopDataset, open_dataset
from simgen.errors import ConfigError, DatasetError
from simgen.formats.bop import write_bop
from simgen.formats.coco import write_coco
from simgen.formats.folder import new_folder
from simgen.formats.foundationpose import write_foundationpose
from simgen.formats.imagefolder import write_imagefolder
from simgen.formats.schema import ConvertConfig
from simgen.formats.shards import write_shards
from simgen.formats.yolo import write_yolo, write_yolo_pose

Format = Callable[[BopDataset, ConvertConfig], None]

# All but shards, which may go to a URL. Each writes the one split that it is given below config.out, beside the splits that
# were written before.
FORMATS: Mapping[str, Format] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "yolo_pose": write_yolo_pose,
    "foundationpose": write_foundationpose,
    "imagefolder": write_imagefolder,
    "bop": write_bop,
}

_YOLO = ("yolo", "yolo_pose")
_SHARE = 0.1  # of the pictures, for validation, where a format requires it


def convert(config: ConvertConfig) -> None:
    """Writes the dataset of `config` in its format; the folder appears when it is complete. Raises ConfigError and
    DatasetError."""
    check_choices(config)
    if not 0 <= config.min_visible <= 1:
        raise ConfigError(f"min_visible: got {config.min_visible:g}; expected a number from 0 to 1")
    if config.format == "shards":
        _into_shards(config)
        return
    with new_folder(Path(config.out)) as folder:  # an out that exists is refused before the dataset is read
        datasets = splits(config)
        for dataset in datasets:
            FORMATS[config.format](dataset, replace(config, out=str(folder)))
    counts = ", ".join(f"{len(dataset)} pictures of split {dataset.split}" for dataset in datasets)
    print(f"{config.out}: {config.format}, {counts}")


def _into_shards(config: ConvertConfig) -> None:
    """Writes shards, which hold one split: into a folder or to a URL, where an interrupted run is continued."""
    if config.val:
        raise ConfigError(
            f"val: got {config.val:g}, but shards hold one split; divide it by format=bop, then make shards of each split"
        )
    datasets = splits(config)
    if len(datasets) > 1:
        names = ", ".join(dataset.split for dataset in datasets)
        raise ConfigError(f"split: shards hold one split; name one of {names}, and another out= for each")
    index = write_shards(datasets[0], config.out, config.samples_per_shard)
    print(f"{config.out}: shards, {index.samples} pictures of split {index.split} in {len(index.shards)} tar files")


def splits(config: ConvertConfig) -> list[BopDataset]:
    """The splits to convert, each an opened dataset; with `val`, split train in two. Raises ConfigError and DatasetError."""
    root = Path(config.dataset)
    names = splits_of(root) if root.is_dir() else []
    if config.split is not None:
        if names and config.split not in names:
            raise ConfigError(f"split: {root} has no split '{config.split}'; it has {', '.join(names)}")
        names = [config.split]
    try:
        datasets = [open_dataset(root, name) for name in names] or [open_dataset(root)]
    except DatasetError as error:  # in the words of this command's keys
        raise DatasetError(own_keys(str(error), "dataset=")) from error
    for dataset in datasets:
        if dataset.skipped:
            print(f"{root / dataset.split}: {dataset.skipped}", file=sys.stderr)
    share = config.val
    if share is None:
        only_train = len(datasets) == 1 and datasets[0].split.startswith("train")
        only_train = only_train and not any(name.startswith("val") for name in splits_of(root))
        share = _SHARE if config.format in _YOLO and only_train and len(datasets[0]) > 1 else 0.0
    return _divided(datasets, share) if share != 0 else datasets


def _divided(datasets: list[BopDataset], share: float) -> list[BopDataset]:
    """`datasets` with the last pictures of the train split as split val. The last, not some among them: neighbors in a video
    are nearly the same picture."""
    if not 0 < share < 1:
        raise ConfigError(f"val: got {share:g}; expected a number above 0 and below 1, or 0 for no validation")
    names = [dataset.split for dataset in datasets]
    trains = [dataset for dataset in datasets if dataset.split.startswith("train")]
    if len(trains) != 1 or any(name.startswith("val") for name in names):
        raise ConfigError(
            f"val: divides the only train split, where there is no val split; the splits are {', '.join(names)}"
        )
    train = trains[0]
    count = max(1, round(share * len(train)))
    if count >= len(train):
        raise DatasetError(f"{train.root / train.split}: has {len(train)} pictures, too few for val={share:g}")
    divided = [replace(train, pictures=train.pictures[:-count])]
    divided.append(replace(train, pictures=train.pictures[-count:], split="val"))
    return [one for dataset in datasets for one in (divided if dataset is train else [dataset])]
