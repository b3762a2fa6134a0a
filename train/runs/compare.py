"""`python -m train compare`: prints the differences between two runs in configuration, code and results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.errors import ConfigError
from simgen.files import differences, read_json
from train.config import CompareConfig
from train.runs.folder import CONFIG, FREE, METRICS

_KEPT = {"history", "per_block", "per_picture", "by_factor"}  # lists and tables, too long to print


@dataclass(frozen=True)
class Change:
    """A value that differs between two runs: its `key`, and its value in each run, None if it is missing."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """The differences in `configuration`, in `code` and library versions, and in `results`, which are those of the training
    and of each evaluation that both runs have; `missing` names results that only one run has."""

    configuration: list[Change]
    code: list[Change]
    results: list[Change]
    missing: list[str]


def compare(config: CompareConfig) -> Comparison:
    """Prints and returns the differences between the runs in the folders `first` and `second`.

    Raises ConfigError for a folder without a run, DatasetError for a file that cannot be read.
    """
    first, second = Path(config.first), Path(config.second)
    found = compare_runs(first, second)
    print(f"{first} | {second}")
    _print("configuration", found.configuration)
    _print("code", found.code)
    if not found.configuration and not found.code:
        print("WARNING: nothing was changed: differences in results come from chance or the machine")
    elif len(found.configuration) + bool(found.code) > 1:
        print(
            f"WARNING: several things were changed ({len(found.configuration)} in configuration"
            f"{', and the code' if found.code else ''}): a difference in results cannot be attributed to one of them"
        )
    _print("results", found.results)
    for name in found.missing:
        print(f"only one of the runs has {name}")
    return found


def compare_runs(first: Path, second: Path) -> Comparison:
    """The differences between the runs in two folders. Raises the same errors as `compare`."""
    for folder in (first, second):
        if not (folder / CONFIG).exists():
            raise ConfigError(f"{folder}: holds no {CONFIG}; expected the folder of a run of `python -m train`")
    before, after = (read_json(folder / CONFIG) for folder in (first, second))
    changes = [Change(*row) for row in differences(before, after) if row[0] not in FREE]
    results, missing = [], []
    there, here = (dict(_results(folder)) for folder in (first, second))
    for name in sorted({*there, *here}):
        if name not in there or name not in here:
            missing.append(name)
            continue
        rows = differences(_plain(there[name]), _plain(here[name]), name)
        results += [Change(*row) for row in rows if not row[0].endswith((".checkpoint", ".checkpoint_sha256"))]
    return Comparison(
        [change for change in changes if not change.key.startswith("code.")],
        [change for change in changes if change.key.startswith("code.")],
        results,
        missing,
    )


def _results(folder: Path) -> Iterator[tuple[str, Any]]:
    """The training's metrics and those of each evaluation in `folder`, by name."""
    for path in sorted(folder.glob(f"**/{METRICS}")):
        place = path.parent.relative_to(folder)
        yield "training" if place == Path() else str(place), read_json(path)


def _plain(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in _KEPT}


def _print(title: str, changes: list[Change]) -> None:
    print(f"{title}: {'no difference' if not changes else ''}")
    width = max((len(change.key) for change in changes), default=0)
    for change in changes:
        gain = ""
        numbers = [value for value in (change.first, change.second) if isinstance(value, int | float)]
        if len(numbers) == 2 and title == "results":
            gain = f"   {numbers[1] - numbers[0]:+.4g}"
        print(f"  {change.key:{width}}  {_shown(change.first)} | {_shown(change.second)}{gain}")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
