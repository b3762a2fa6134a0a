"""The report of a sweep: report.json, report.md, history.png and slices.png."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simgen.command.swept import Choice, Swept
from simgen.files import write_file, write_json
from train.draw.sheets import Image, drawn, write_png
from train.sweep.space import Plan, Values, overrides_of
from train.sweep.trial import objective_of

if TYPE_CHECKING:
    from train.sweep.study import Trial

_COLUMNS = 3  # of plots side by side
_BLUE, _RED, _GREY = "tab:blue", "tab:red", "0.6"


def write_report(folder: Path, plan: Plan, trials: Sequence["Trial"], importances: Mapping[str, float] | None) -> None:
    """Writes the report of `trials`, at least one, into `folder`, over that of fewer trials."""
    ranked = sorted(trials, key=lambda trial: (math.inf if trial.loss is None else trial.loss, trial.number))
    _, name = objective_of(plan.config)
    if ranked[0].loss is not None:
        write_png(folder / "history.png", draw_history(trials, name))
        write_png(folder / "slices.png", draw_slices(trials, plan.space, name))
    rows = [
        {
            "trial": trial.number,
            "loss": trial.loss,
            "epoch": trial.epoch,
            "failed": trial.reason,
            "values": dict(trial.values),
        }
        for trial in ranked
    ]
    write_json(
        folder / "report.json",
        {
            "objective": name,
            "settings": list(plan.settings),
            "space": {path: swept.text for path, swept in plan.space.items()},
            "trials": rows,
            "importances": None if importances is None else dict(importances),
            "command": _command(plan, ranked[0].values) if ranked[0].loss is not None else None,
        },
        indent=1,
    )
    write_file(folder / "report.md", ("\n".join(_page(plan, ranked, importances, name)) + "\n").encode())


def shown_values(values: Values) -> str:
    """`values` in one line, to four digits."""
    return " ".join(f"{path}={_shown(value)}" for path, value in values.items())


def draw_history(trials: Sequence["Trial"], name: str) -> Image:
    """A figure of the loss of each trial and of the least loss so far, with the failed trials at the bottom."""
    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    done = [(trial.number, trial.loss) for trial in trials if trial.loss is not None]
    least = [min(loss for _, loss in done[: k + 1]) for k in range(len(done))]
    numbers = [number for number, _ in done]
    axes.plot(numbers, [loss for _, loss in done], "o", color=_BLUE, label="trial")
    axes.plot(
        [*numbers, len(trials) - 1], [*least, least[-1]], drawstyle="steps-post", color=_BLUE, label="least so far"
    )
    failed = [trial.number for trial in trials if trial.loss is None]
    if failed:
        axes.plot(failed, [0.02] * len(failed), "x", color=_RED, transform=axes.get_xaxis_transform(), label="failed")
    _scale(axes, [loss for _, loss in done])
    axes.set(xlabel="trial (0: the defaults)", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn(figure)


def draw_slices(trials: Sequence["Trial"], space: Mapping[str, Swept], name: str) -> Image:
    """A figure of the loss against each swept key, later trials darker, the best one ringed in red."""
    columns = min(_COLUMNS, len(space))
    rows = math.ceil(len(space) / columns)
    figure = Figure(figsize=(4 * columns, 3.4 * rows), dpi=100, layout="constrained")
    done = [trial for trial in trials if trial.loss is not None]
    losses = [trial.loss for trial in done if trial.loss is not None]
    best = losses.index(min(losses))
    for place, (path, swept) in enumerate(space.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        values: list[Any] = [trial.values[path] for trial in done]
        if isinstance(swept, Choice):
            values = [swept.values.index(value) for value in values]
            axes.set_xticks(range(len(swept.values)), swept.values)
            axes.set_xlim(-0.5, len(swept.values) - 0.5)
        elif swept.log:
            axes.set_xscale("log")
        numbers = [trial.number for trial in done]
        axes.scatter(values, losses, c=numbers, cmap="Blues", vmin=-len(trials) / 2, edgecolors=_GREY, linewidths=0.5)
        axes.scatter(values[best], losses[best], s=120, facecolors="none", edgecolors=_RED)
        _scale(axes, losses)
        axes.set(xlabel=path, ylabel=name if place % columns == 0 else "")
        axes.grid(alpha=0.3)
    return drawn(figure)


def _scale(axes: Axes, losses: Sequence[float]) -> None:
    """A logarithmic scale for losses of several orders of magnitude, of which else only the greatest would be seen."""
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        axes.set_yscale("log")


def _page(plan: Plan, ranked: Sequence["Trial"], importances: Mapping[str, float] | None, name: str) -> list[str]:
    done = sum(trial.loss is not None for trial in ranked)
    lines = ["# Sweep", "", f"{len(ranked)} trials, {len(ranked) - done} of them failed. Trial 0 has the defaults.", ""]
    lines += [f"| key | values |{' importance |' if importances else ''}", f"|---|---|{'---:|' if importances else ''}"]
    paths = plan.space if importances is None else sorted(plan.space, key=lambda path: -importances.get(path, 0.0))
    for path in paths:
        share = f" {100 * importances.get(path, 0.0):.0f}% |" if importances else ""
        lines.append(f"| `{path}` | `{plan.space[path].text}` |{share}")
    lines.append("")
    if importances:
        lines += [f"Importance: share of the variance of the loss over these values, by fANOVA from {done} trials.", ""]
    else:
        lines += ["No importances: they need two trials with different losses.", ""]
    lines += [f"| trial | {name} | epoch | {' | '.join(f'`{path}`' for path in plan.space)} |"]
    lines += ["|---:|---:|---:|" + "---:|" * len(plan.space)]
    for trial in ranked:
        loss = "failed" if trial.loss is None else f"{trial.loss:.4f}"
        values = " | ".join(_shown(trial.values[path]) for path in plan.space)
        lines.append(f"| {trial.number} | {loss} | {trial.epoch or ''} | {values} |")
    failed = [trial for trial in ranked if trial.loss is None]
    lines += ["", *(f"- trial {trial.number} failed: {trial.reason}" for trial in failed), *([""] if failed else [])]
    if done:
        lines += ["Training with the best values:", "", "```bash", _command(plan, ranked[0].values), "```", ""]
        lines += ["![loss of each trial](history.png)", "", "![loss against each key](slices.png)"]
    return lines


def _command(plan: Plan, values: Values) -> str:
    return shlex.join(["python", "-m", "train", *plan.settings, *overrides_of(values), "out=runs/best"])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
