"""The configuration of `python -m simgen explain`."""

from dataclasses import dataclass
from typing import Any

from simgen.command.keys import key
from simgen.schema import Source


@dataclass
class ExplainConfig(Source):
    factor: str | None = key(
        "factor, such as camera.distance, or a group of factors, such as camera; null: a table of all",
        None,
        names_keys=True,
    )
    out: str = key("file of the strip of pictures, .png", "explain.png")
    num: int = key("pictures along a number, 2 to 12", 7, needs="values=null")
    index: int | None = key("sample that the pictures show; null: the first in which the factor is visible", None)
    values: Any = key("values of the pictures, [value, value, ...]; null: over the range of the presets", None)
