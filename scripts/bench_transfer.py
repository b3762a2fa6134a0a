"""Measures the transfer of a configuration to real photographs: the mean over several seeds, not the best one.

    python scripts/bench_transfer.py DATASET OUT --seeds 0 1 2 -- model=keypoints data=stream data.scenes=[kuka_table] ...

Trains the configuration after `--` once for each seed in OUT/seed-K, evaluates each run's best checkpoint, chosen on
simulated validation data only, on the photographs in DATASET, and prints each figure's mean over the seeds with Student's
95% interval. An interrupted run is resumed; a finished one is not repeated. `--evaluate KEY=VALUE` is passed to
`python -m train evaluate`. The results are in OUT/transfer.json.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from simgen.dataset.read import open_dataset
from simgen.errors import ConfigError, SimgenError
from simgen.files import read_json, write_json
from train.runs.folder import METRICS

FIGURES = {
    "mean XY error, cm": ("xy_error_cm", "model", "mean", "value"),
    "median XY error, cm": ("xy_error_cm", "model", "median", "value"),
    "share under 5 cm": ("xy_error_cm", "model", "share_under_5_cm", "value"),
    "mean XY error of whole blocks, cm": ("xy_error_cm_whole", "model", "mean", "value"),
    "share of right poses": ("right",),
    "expected calibration error": ("expected_calibration_error",),
    "median rotation error, degrees": ("rotation_deg_median",),
    "median translation error, cm": ("translation_cm_median",),
}


def run_seed(
    seed: int, dataset: Path, out: Path, overrides: Sequence[str], evaluate: Sequence[str]
) -> Mapping[str, Any]:
    """Trains and evaluates one seed; returns the metrics of the evaluation. Raises SimgenError if a step fails."""
    folder = out / f"seed-{seed}"
    if not (folder / METRICS).exists():
        _call(*overrides, f"seed={seed}", f"out={folder}")
    result = folder / "real"
    _call("evaluate", f"checkpoint={folder / 'best.ckpt'}", f"data.root={dataset}", f"out={result}", *evaluate)
    return dict(read_json(result / METRICS))


def claim_folder(out: Path, overrides: Sequence[str]) -> None:
    """Records the configuration in `out`. Raises ConfigError if `out` holds results of another one."""
    kept = out / "overrides.json"
    if kept.exists() and read_json(kept) != list(overrides):
        raise ConfigError(f"{out}: holds runs of {' '.join(read_json(kept))}; name another folder, or repeat that")
    out.mkdir(parents=True, exist_ok=True)
    write_json(kept, list(overrides), indent=1)


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and low and high of Student's 95% interval (1908) of the mean; infinite for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def collect(results: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each of FIGURES that all `results` have: its value for each seed, mean and interval (null for a single seed)."""
    found = {}
    for name, keys in FIGURES.items():
        values = []
        for result in results.values():
            value: Any = result
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            values.append(value)
        if all(value is not None for value in values):
            mean, low, high = over_seeds(values)
            ends = [low, high] if np.isfinite(low) else None
            found[name] = {"seeds": dict(zip(map(str, results), values, strict=True)), "mean": mean, "interval": ends}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--evaluate", nargs="*", default=[], metavar="KEY=VALUE")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, overrides = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    open_dataset(options.dataset)  # checked before the training, which takes long
    claim_folder(options.out, overrides)
    results = {
        seed: run_seed(seed, options.dataset, options.out, overrides, options.evaluate) for seed in options.seeds
    }
    found = collect(results)
    write_json(
        options.out / "transfer.json",
        {"overrides": overrides, "dataset": str(options.dataset), "figures": found},
        indent=1,
    )
    for name, row in found.items():
        each = ", ".join(f"{value:.3g}" for value in row["seeds"].values())
        ends = f"   95% interval {row['interval'][0]:.3g} to {row['interval'][1]:.3g}" if row["interval"] else ""
        print(f"{name:36}{row['mean']:8.3g}{ends}   seeds: {each}")


def _call(*arguments: str) -> None:
    print("+ python -m train", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "train", *arguments])
    if done.returncode:
        raise SimgenError(f"python -m train {arguments[0]} ended with status {done.returncode}")


if __name__ == "__main__":
    try:
        main()
    except SimgenError as error:
        sys.exit(f"bench_transfer: error: {error}")
