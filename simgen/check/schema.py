"""The configuration of `python -m simgen check`."""

from dataclasses import dataclass

from simgen.command.keys import MISSING, key


@dataclass
class CheckConfig:
    dataset: str = key("folder of a dataset in BOP's format", MISSING)
    border_px: int = key(
        "distance from its border up to which a mask may differ from the projected model", 2, unit="px"
    )
    box_px: int = key("greatest error of a side of a box", 1, unit="px")
    keypoint_px: float = key("greatest error of a keypoint", 1.0, unit="px")
    fraction: float = key("greatest error of visib_fract", 0.01)
    depth: float = key("greatest median error of an object's depth, as a part of its diameter", 0.02)
    dark: float = key("mean brightness below which a picture is dark", 8.0, unit="of 255")
    near: float = key(
        "greatest difference of two pictures that count as nearly the same, at 32 x 24 pixels; 0: do not compare them",
        6.0,
        unit="of 255",
    )
    improbable: float = key(
        "expected number, by the configuration, below which a factor that stays the same, or a hole in its values, is "
        "reported; 0: do not compare factors",
        1e-6,
    )
    shortcut: float = key(
        "how well one number (brightness, area, a factor) may predict the kind of object: 0 is chance, 1 always; "
        "cross-validated",
        0.5,
    )
    hashes: bool = key("compare the files with the SHA-256 in manifest.json, if there is one", True)
    remake: int = key(
        "number of samples of a dataset of simgen that are made again from its recipe and compared, file by file", 0
    )
    seed: int = key("seed of the choice of the samples that are made again", 0, needs="remake!=0")
    out: str | None = key("file of the findings as JSON; null: none", None)
