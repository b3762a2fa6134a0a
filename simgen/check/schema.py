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
    fraction: float = key("greatest error of visib_fract", 0.01)
    depth: float = key("greatest median error of an object's depth, as a part of its diameter", 0.02)
    dark: float = key("mean brightness below which a picture is dark", 8.0, unit="of 255")
    hashes: bool = key("compare the files with the SHA-256 in manifest.json, if there is one", True)
    out: str | None = key("file of the findings as JSON; null: none", None)
