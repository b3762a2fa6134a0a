"""The XY errors of an evaluation as text, and the default folder of its results."""

from pathlib import Path
from typing import Any

from train.metrics import STATISTICS

WORST = "worst.png"


def default_folder(checkpoint: str, root: Path) -> Path:
    """The folder of the results if `out` is not given: beside the checkpoint; the current folder for a bundled model."""
    path = Path(checkpoint)
    return path.parent / f"evaluate-{path.stem}-{root.resolve().name}"


def table(result: dict[str, Any]) -> str:
    """The XY errors in the `result` of `evaluate` as text: a row for each statistic, the model and the baseline side by
    side."""
    model, baseline = result["xy_error_cm"]["model"], result["xy_error_cm"]["baseline"]
    lines = [f"{'XY error':18}{'model':>9}  {'95% interval':<18}{'always ' + result['baseline']}"]
    for name in STATISTICS:
        share = name.startswith("share")
        factor, unit = (100, "%") if share else (1, "cm")
        row = model[name]
        interval = f"{factor * row['low']:.2f} to {factor * row['high']:.2f}"
        value, other = factor * row["value"], factor * baseline[name]["value"]
        lines.append(f"{name.replace('_', ' '):18}{value:>6.2f} {unit:2}  {interval:<18}{other:.2f} {unit}")
    return "\n".join(lines)
