"""Checks one sample before it is stored: `python -m simgen render check=true`."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from simgen.check.decode import decode
from simgen.check.findings import ERROR, Finding
from simgen.check.folder import Folder
from simgen.check.geometry import check_shot
from simgen.check.models import ModelOf, check_models
from simgen.check.pictures import check_picture
from simgen.check.schema import CheckConfig
from simgen.check.tree import Shot
from simgen.dataset.write import write_models
from simgen.errors import DatasetError
from simgen.shapes.solids import Solid

_SHOWN = 3  # findings in the message


class SampleCheck:
    """Checks encoded samples with labels of `solids`: the bytes that are stored, not what they were made of."""

    def __init__(self, solids: Sequence[Solid]) -> None:
        self._limits = CheckConfig(dataset="")
        with tempfile.TemporaryDirectory() as root:
            write_models(Path(root) / "models", solids)
            self._models: Mapping[int, ModelOf] = check_models(Folder(Path(root), self._fail, hashes=False))

    def __call__(self, index: int, files: Mapping[str, bytes], record: bytes) -> None:
        """Raises DatasetError that names the sample `index` if `files`, its files by name, and its `record` disagree or its
        picture shows nothing. Prints warnings on stderr."""
        found: list[Finding] = []
        shot = _shot_of(index, files, json.loads(record))
        picture = decode(files[shot.picture], shot.picture, cv2.IMREAD_GRAYSCALE, shot.name, found.append)
        if picture is not None:
            gray = picture.astype("uint8", copy=False)
            size = gray.shape[1], gray.shape[0]
            check_shot(shot, size, self._models, files.get, self._limits, found.append)
            check_picture(shot, gray, self._limits, found.append)
        for one in found:
            if one.severity != ERROR:
                print(one.line, file=sys.stderr)
        errors = [f"{one.name}: {one.where}: {one.what}" for one in found if one.severity == ERROR]
        if errors:
            more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
            raise DatasetError(
                f"check: sample {index}: {'; '.join(errors[:_SHOWN])}{more}; it is not stored, finished samples are kept: "
                f"look at it with `python -m simgen preview start={index} num=1` and the same settings"
            )

    @staticmethod
    def _fail(one: Finding) -> None:
        raise DatasetError(f"check: {one.name}: {one.where}: {one.what}; {one.remedy}")


def _shot_of(index: int, files: Mapping[str, bytes], record: Mapping[str, object]) -> Shot:
    """The picture whose labels are those of `record`, with the names in `files`."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(files):
        kinds.setdefault(name.split("/")[-2], []).append(name)
    truths = record["gt"]
    return Shot(
        name=f"sample {index}",
        split="",
        scene=0,
        image=index,
        picture=kinds["rgb"][0],
        camera=record["camera"],  # type: ignore[arg-type]
        truths=truths,  # type: ignore[arg-type]
        infos=record["gt_info"],  # type: ignore[arg-type]
        keypoints=record["keypoints"],  # type: ignore[arg-type]
        masks=[*kinds.get("mask", [])],
        visible=[*kinds.get("mask_visib", [])],
        depth=kinds["depth"][0],
    )
