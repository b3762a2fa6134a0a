"""The configuration of `python -m simgen report`."""

from dataclasses import dataclass
from typing import Any

from simgen.command.keys import MISSING, key


@dataclass
class ReportConfig:
    dataset: str = key("folder of a dataset in BOP's format, or one that `python -m train evaluate` wrote", MISSING)
    out: str = key("file of the page, .html; an earlier report is replaced, nothing else is", "report.html")
    predictions: str | None = key(
        "folder or metrics.json that `python -m train evaluate` wrote for this dataset: errors are shown, too; null: none",
        None,
    )
    split: str | None = key("one split of the dataset; null: all", None)
    names: Any = key(
        "names of objects by obj_id, quoted for the shell: 'names={1:cube,2:cone}'; null: the dataset's", None
    )
    table: bool | None = key(
        "whether the world's plane z = 0 is the top of a table; null: if manifest.json states a table", None
    )
    check: bool = key("run `python -m simgen check`, and show its findings", True)
    megabytes: float = key(
        "greatest size of the page; thumbnails become smaller, and fewer, until it is kept", 18.0, unit="10^6 bytes"
    )
    seed: int = key("chooses the samples with thumbnails, if there is no space for all", 0)
