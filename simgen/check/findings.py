"""What `check` can find: a class for each kind of finding, with its severity and what to do."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

ERROR, WARNING = "error", "warning"
_MOST = 10_000  # findings of a kind that are kept


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

    @property
    def line(self) -> str:
        """The finding as one line of text. Characters that a terminal would not print as they are (line ends, escapes and
        broken Unicode in names of files or objects) are escaped."""
        text = f"{self.severity}: {self.name}: {self.where}: {self.what}; {self.remedy}"
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "severity": self.severity,
            "where": self.where,
            "what": self.what,
            "remedy": self.remedy,
        }


Report = Callable[[Finding], None]


class Findings:
    """Collects findings: an instance is a `Report`. Of each kind `_MOST` are kept and the rest is counted, so that a broken
    file with a million entries does not fill the memory."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: Counter[type[Finding]] = Counter()

    def __call__(self, one: Finding) -> None:
        self._counts[type(one)] += 1
        if self._counts[type(one)] <= _MOST:
            self._kept.append(one)

    def all(self, root: str) -> list[Finding]:
        """The findings in their order, then one for each kind of which more than `_MOST` were found in the folder `root`."""
        more = [(kind, count - _MOST) for kind, count in self._counts.items() if count > _MOST]
        return [*self._kept, *(kind(root, f"{count} more of this kind, not listed") for kind, count in more)]


# ---- files


class NoPictures(Finding):
    remedy = "name the folder that holds models/ and the splits"


class Unfinished(Finding):
    remedy = "run the command that began it again, which resumes it"


class NewerVersion(Finding):
    remedy = "update simgen: pip install -U simgen"


class UnreadableFile(Finding):
    remedy = "restore it, or render the dataset again"


class MissingFile(Finding):
    remedy = "restore it, or render the dataset again"


class ChangedFile(Finding):
    remedy = "restore it: the manifest has the SHA-256 of the file as it was written"


class LinkOutside(Finding):
    remedy = "replace the link by a copy: a dataset must hold its own files. It was not followed"


class UnlistedPicture(Finding):
    remedy = "add it to scene_camera.json and scene_gt.json, or remove it"


class BadValue(Finding):
    remedy = "see https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md"


class UnknownObject(Finding):
    remedy = "add its model to models/ and models_info.json, or remove its labels"


class UnequalCounts(Finding):
    remedy = "give each object of scene_gt.json one entry in scene_gt_info.json and in scene_keypoints.json"


class TargetUnlikeTruth(Finding):
    remedy = "compute the targets again from scene_gt.json and scene_gt_info.json"


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
    remedy = "pose, depth_scale or depth is wrong, or something unlabeled is in front of the object"


class KeypointUnlikePose(Finding):
    remedy = "pose, cam_K, the keypoints in models_info.json or scene_keypoints.json is wrong"


# ---- pictures


class BlankPicture(Finding):
    remedy = "render it again; see its recipe for what covers the camera"


class DarkPicture(Finding):
    severity = WARNING
    remedy = "raise randomize.light or randomize.ambient.intensity"


class SamePicture(Finding):
    remedy = "remove one; across splits, an evaluation on a picture of the training measures nothing"


class NearPicture(Finding):
    severity = WARNING
    remedy = "remove one: it is the other one compressed, scaled or lit differently, or the next frame of a video"


class NearPictureInOtherSplit(Finding):
    remedy = "remove one: an evaluation on a picture of the training measures nothing"


# ---- distributions


class StuckTexture(Finding):
    remedy = "render these pictures again: the configuration states that it varies"


class StuckFactor(Finding):
    remedy = "render these pictures again: the configuration states that it varies"


class HoleInDistribution(Finding):
    severity = WARNING
    remedy = "render the pictures that are missing: the configuration states that such values occur"


class Shortcut(Finding):
    severity = WARNING
    remedy = "vary it independently of the kind of object: a network may learn it in place of the object"


# ---- samples of simgen, made again


class NotReproduced(Finding):
    remedy = "render the dataset again if its recipe is to be trusted"


class NotReproducedHere(Finding):
    severity = WARNING
    remedy = "repeat remake= on a machine like the one that rendered it; the files themselves passed all other checks"


class NotRemade(Finding):
    severity = WARNING
    remedy = "correct this to compare samples with their recipe, or leave out remake="
