"""The configuration of `python -m simgen convert`."""

from dataclasses import dataclass

from simgen.command.keys import MISSING, key

FORMATS = ("coco", "yolo", "yolo_pose", "foundationpose", "imagefolder", "bop", "shards")
_BOXES = "format=coco|yolo|yolo_pose|imagefolder"


@dataclass
class ConvertConfig:
    dataset: str = key("folder of a dataset in BOP's format", MISSING)
    format: str = key("format to write", MISSING, choices=FORMATS)
    out: str = key(
        "folder to write, which must be new or empty; of format=shards also a URL such as s3://bucket/set", MISSING
    )
    split: str | None = key("the split to convert; null: all", None)
    val: float | None = key(
        "part of the pictures of the train split, its last ones, that becomes split val; null: 0.1 for a YOLO format if the "
        "dataset has a train split alone, else 0",
        None,
        unit="0 to 1",
    )
    pictures: str = key(
        "how a picture whose bytes stay is placed: copy; link, a hard link, which shares the file with the dataset; symlink",
        "copy",
        choices=("copy", "link", "symlink"),
        needs="format!=shards",
    )
    boxes: str = key(
        "boxes around the visible part of an object, or around all of it; YOLO's end at the picture's border",
        "visible",
        choices=("visible", "whole"),
        needs=_BOXES,
    )
    min_visible: float = key(
        "objects with a smaller visible fraction are left out; 0: those alone that show no pixel",
        0.0,
        unit="0 to 1",
        needs="format=coco|yolo|yolo_pose|foundationpose|imagefolder",
    )
    sequence: bool = key(
        "a folder for each object and scene, whose pictures are frames of one camera, instead of one for each picture",
        False,
        needs="format=foundationpose",
    )
    targets: bool = key("write test_targets_bop19.json, for bop_toolkit's evaluation", False, needs="format=bop")
    samples_per_shard: int = key("pictures in a tar file", 1000, needs="format=shards")


@dataclass
class LabelConfig:
    photos: str = key("folder of the photographs", MISSING)
    poses: str = key("table of the poses, .csv: photo,block,x,y,z,qw,qx,qy,qz, in m, a line for each block", MISSING)
    blocks: str = key("file of your blocks: NAME: {shape, size} or NAME: {mesh, scale} for each", MISSING)
    camera: str = key("calibration of the camera, a file of any known format", "camera.json")
    frame: str = key(
        "frame that the poses are in: the camera's (OpenCV axes), or the table's, where the camera's file states "
        "camera_from_table",
        "camera",
        choices=("camera", "table"),
    )
    origin: str = key(
        "origin that the poses are of: that of the mesh file, or the middle of the block's bounding box",
        "mesh",
        choices=("mesh", "block"),
    )
    out: str = key("folder of the dataset in BOP's format, which must be new or empty", "data/labeled")
