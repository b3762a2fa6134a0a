"""docs/results.md has the figures of the studies in scripts/results/."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from builders import ROOT
from transfer.claims import CONSTANT
from transfer.schema import SCALES, TransferConfig
from transfer.studies import arms_of

from simgen.config import compose

# Of each file the study, and the columns of its tables in docs/results.md.
SHOWN = {
    "tobin2017_cpu": ("tobin2017", ("simulated", "photographs", "distractors", "kuka_table")),
    "presets_cpu": ("presets", ("simulated", "photographs", "alone", "distractors", "kuka_table", "printed_box_1")),
    "renderers_cpu": ("renderers", ("simulated", "photographs", "alone", "distractors", "kuka_table")),
}
STORED = {
    name: json.loads((ROOT / "scripts" / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in SHOWN
}


def row_of(arm: str, columns: dict[str, Any], shown: tuple[str, ...]) -> str:
    """The row of a table in docs/results.md: means, and differences from the first arm with their intervals, in cm."""
    cells = []
    for name in shown:
        one = columns.get(name)
        if one is None:  # of the table's center, where the figure is the share of right poses
            cells.append("")
            continue
        cells.append(f"{one['value']:.2f}")
        if "difference" in one:
            value, low, high = (one["difference"][key] for key in ("value", "low", "high"))
            cells[-1] += f", {value:+.2f} ({low:+.2f} to {high:+.2f})"
    name = "always the table's center" if arm == CONSTANT else arm
    return f"| {name} | {' | '.join(cells)} |"


def rows() -> Iterator[tuple[str, str, str]]:
    for name, stored in STORED.items():
        for model, about in stored["models"].items():
            yield from ((name, model, arm) for arm in about["arms"])


@pytest.mark.parametrize(("name", "model", "arm"), list(rows()))
def test_each_row_is_that_of_the_raw_numbers(name: str, model: str, arm: str) -> None:
    row = row_of(arm, STORED[name]["models"][model]["arms"][arm], SHOWN[name][1])
    assert row in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_papers_study_is_whole() -> None:
    config = compose("transfer", TransferConfig, ["study=tobin2017", "scale=cpu"])
    stored, columns = STORED["tobin2017_cpu"], SHOWN["tobin2017_cpu"][1]
    arms = stored["models"]["tobin_small"]["arms"]
    assert set(arms) == {arm.name for arm in arms_of(config) if arm.only is None} | {CONSTANT}
    seeds = {str(seed) for seed in SCALES["cpu"].seeds}
    assert all(set(arms[arm][column]["seeds"]) == seeds for arm in arms for column in columns)
    assert stored["scale"] == json.loads(json.dumps(vars(SCALES["cpu"])))


@pytest.mark.parametrize("name", sorted(set(SHOWN) - {"tobin2017_cpu"}))
def test_all_arms_have_the_same_seeds(name: str) -> None:
    """And are arms of the study, so that differences are of pairs."""
    study, columns = SHOWN[name]
    known = {arm.name for arm in arms_of(compose("transfer", TransferConfig, [f"study={study}", "scale=cpu"]))}
    for about in STORED[name]["models"].values():
        assert set(about["arms"]) - {CONSTANT} <= known
        seeds = {tuple(one["seeds"]) for arm in about["arms"].values() for one in arm.values()}
        assert len(seeds) == 1 and len(seeds.pop()) > 1
        assert all(set(columns) <= set(arm) for name, arm in about["arms"].items() if name != CONSTANT)
