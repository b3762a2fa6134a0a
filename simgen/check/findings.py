"""What `check` can find: a class for each kind of finding, with its severity and what to do."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """`what` is wrong `where`: a file, or a picture and a number in its scene_gt.json."""

    where: str
    what: str
    severity: ClassVar[str] = ERROR
    remedy: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The kind of finding, as in NotARotation: not_a_rotation."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "severity": self.severity,
            "where": self.where,
            "what": self.what,
            "remedy": self.remedy,
        }


Report = Callable[[Finding], None]

# ---- files


class NoPictures(Finding):
    remedy = "name the folder that holds models/ and the splits"


class UnreadableFile(Finding):
    remedy = "restore it, or render the dataset again"


class MissingFile(Finding):
    remedy = "restore it, or render the dataset again"


class ChangedFile(Finding):
    remedy = "restore it: the manifest has the SHA-256 of the file as it was written"


class UnlistedPicture(Finding):
    remedy = "add it to scene_camera.json and scene_gt.json, or remove it"


class BadValue(Finding):
    remedy = "see https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md"


class UnknownObject(Finding):
    remedy = "add its model to models/ and models_info.json, or remove its labels"


class UnequalCounts(Finding):
    remedy = "give each object of scene_gt.json one entry in scene_gt_info.json"


# ---- geometry


class NotARotation(Finding):
    remedy = "write orthonormal matrices with determinant 1; a scale belongs into the model"


class BehindCamera(Finding):
    remedy = "BOP's camera looks along +Z with Y down; of OpenGL's poses negate rows 2 and 3"


class WrongUnit(Finding):
    remedy = "BOP's lengths are millimeters"


class CameraUnlikePicture(Finding):
    remedy = "cam_K is in pixels of this picture; scale it with the picture"


class MeshUnlikeModelsInfo(Finding):
    remedy = "compute models_info.json again, with bop_toolkit's calc_model_info.py"


class SymmetryUnlikeMesh(Finding):
    remedy = "correct symmetries_discrete or symmetries_continuous: they are in the model's frame, in millimeters"


class MaskSize(Finding):
    remedy = "masks have the size of their picture"


class MaskUnlikePose(Finding):
    remedy = "pose, cam_K, model or mask is wrong; look at the picture with both drawn over it"


class VisibleBeyondMask(Finding):
    remedy = "mask_visib/ is the part of mask/ that is seen"


class VisibleTwice(Finding):
    remedy = "each pixel shows one object; order the objects by their depth"


class BoxUnlikeMask(Finding):
    remedy = "compute scene_gt_info.json again, with bop_toolkit's calc_gt_info.py"


class CountUnlikeMask(Finding):
    remedy = "compute scene_gt_info.json again, with bop_toolkit's calc_gt_info.py"


class DepthUnlikePose(Finding):
    remedy = "pose, depth_scale or depth is wrong, or something unlabeled is before the object"


# ---- pictures


class BlankPicture(Finding):
    remedy = "render it again; see its recipe for what covers the camera"


class DarkPicture(Finding):
    severity = WARNING
    remedy = "raise randomize.light or randomize.ambient.intensity"


class SamePicture(Finding):
    remedy = "remove one; across splits, evaluation on a picture of the training says nothing"
