"""Figures over seeds: known means and intervals, and nothing where a seed lacks one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from builders import ROOT

from simgen.errors import ConfigError


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_transfer", ROOT / "scripts" / "bench_transfer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_transfer"] = module
    spec.loader.exec_module(module)
    return module


def test_students_interval_by_the_book(bench: ModuleType) -> None:
    """Of 1, 2, 3: mean 2, deviation 1, t of 2 degrees of freedom 4.303."""
    mean, low, high = bench.over_seeds([1.0, 2.0, 3.0])
    assert mean == 2
    assert (high - mean) == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert mean - low == pytest.approx(high - mean)


def test_the_interval_covers_the_truth_at_its_stated_rate(bench: ModuleType) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for values in rng.normal(5, 2, (4000, 3)):
        _, low, high = bench.over_seeds(values)
        held += low <= 5 <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


def test_what_all_seeds_have_is_collected(bench: ModuleType) -> None:
    results = {
        0: {"right": 0.5, "xy_error_cm": {"model": {"mean": {"value": 1.0}}}},
        7: {"right": 0.7, "xy_error_cm": {"model": {"mean": {"value": 2.0}}}, "rotation_deg_median": 3.0},
    }
    found = bench.collect(results)
    assert set(found) == {"mean XY error, cm", "share of right poses"}
    assert found["share of right poses"]["seeds"] == {"0": 0.5, "7": 0.7}
    assert found["mean XY error, cm"]["mean"] == 1.5
    assert bench.collect({0: results[0]})["share of right poses"]["interval"] is None


def test_a_folder_is_of_one_configuration(bench: ModuleType, tmp_path: Path) -> None:
    bench.claim_folder(tmp_path / "out", ["model.lr=1e-3"])
    bench.claim_folder(tmp_path / "out", ["model.lr=1e-3"])
    with pytest.raises(ConfigError, match=r"holds runs of model\.lr=1e-3"):
        bench.claim_folder(tmp_path / "out", ["model.lr=2e-3"])
