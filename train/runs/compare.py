"""`python -m train compare`: what differed between two runs, in configuration and then in results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.errors import ConfigError
from simgen.files import differences, read_json
from train.config import CompareConfig
from train.runs.folder import CONFIG, FREE, METRICS

_KEPT = {"history", "per_block", "per_picture", "by_factor"}  # lists and tables, too long to lay side by side


@dataclass(frozen=True)
class Change:
    """A leaf that is not the same in two runs: `key`, and what it is in each, None where it is not there."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """What differs in `configuration`, in the `code` and its libraries, and in `results`, those of the training and those of
    each evaluation that both runs have; `missing` names results that only one has."""

    configuration: list[Change]
    code: list[Change]
    results: list[Change]
    missing: list[str]


def compare(config: CompareConfig) -> Comparison:
    """Prints and returns what differs between the runs in the folders `first` and `second`.

    Raises ConfigError for a folder that holds no run, DatasetError for a file that cannot be read.
    """
    first, second = Path(config.first), Path(config.second)
    found = compare_runs(first, second)
    print(f"{first} | {second}")
    _print("configuration", found.configuration)
    _print("code", found.code)
    if not found.configuration and not found.code:
        print("WARNING: nothing was changed: what differs in results is what chance or the machine does")
    elif len(found.configuration) + bool(found.code) > 1:
        print(
            f"WARNING: more than one thing was changed ({len(found.configuration)} in configuration"
            f"{', and the code' if found.code else ''}): no difference in results can be put down to one of them"
        )
    _print("results", found.results)
    for name in found.missing:
        print(f"only one of the runs has {name}")
    return found


def compare_runs(first: Path, second: Path) -> Comparison:
    """What differs between the runs in two folders; raises as `compare`."""
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
