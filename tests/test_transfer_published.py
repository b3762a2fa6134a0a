"""docs/results.md has the figures of scripts/results/tobin2017_cpu.json."""

import json
from typing import Any

import pytest
from builders import ROOT
from transfer.claims import CONSTANT
from transfer.schema import SCALES, TransferConfig
from transfer.studies import arms_of

from simgen.config import compose

COLUMNS = "simulated", "photographs", "distractors", "kuka_table"
STORED = json.loads((ROOT / "scripts" / "results" / "tobin2017_cpu.json").read_text(encoding="utf-8"))
ARMS: dict[str, Any] = STORED["models"]["tobin_small"]["arms"]


def row_of(arm: str, columns: dict[str, Any]) -> str:
    """The row of a table in docs/results.md: means, and differences from `full` with their intervals, in cm."""
    cells = []
    for name in COLUMNS:
        one = columns[name]
        cells.append(f"{one['value']:.2f}")
        if "difference" in one:
            value, low, high = (one["difference"][key] for key in ("value", "low", "high"))
            cells[-1] += f", {value:+.2f} ({low:+.2f} to {high:+.2f})"
    name = "always the table's center" if arm == CONSTANT else arm
    return f"| {name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("arm", ARMS)
def test_each_row_is_that_of_the_raw_numbers(arm: str) -> None:
    assert row_of(arm, ARMS[arm]) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_study_is_whole() -> None:
    config = compose("transfer", TransferConfig, ["study=tobin2017", "scale=cpu"])
    assert set(ARMS) == {arm.name for arm in arms_of(config) if arm.only is None} | {CONSTANT}
    seeds = {str(seed) for seed in SCALES["cpu"].seeds}
    assert all(set(ARMS[arm][column]["seeds"]) == seeds for arm in ARMS for column in COLUMNS)
    assert STORED["scale"] == json.loads(json.dumps(vars(SCALES["cpu"])))
