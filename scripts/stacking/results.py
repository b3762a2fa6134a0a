"""The results of stacking as a table and as curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simgen.drawings import png_bytes
from stacking.poses import DETECTOR, LOOKING, NOISE, REFUSING, TRUTH
from train.draw.sheets import drawn

CAUSES = ("seeing", "grasping", "physics")


def table_of(summaries: Sequence[dict[str, Any]]) -> str:
    """A Markdown table with a row for each of `summaries`, as stacking.rows.summary makes them."""
    lines = [
        "| poses | stacked | 95% interval | refused | of the attempted | seeing | grasping | physics |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in summaries:
        share, tried = one["of_all"], one["of_attempted"]
        low, high = share["interval"]
        attempted = "" if not one["refused"] or tried["share"] is None else _attempted(tried)
        causes = " | ".join(str(one["causes"].get(cause, 0)) for cause in CAUSES)
        lines.append(
            f"| {name_of(one)} | {one['stacked']} of {one['trials']} | {low:.0%} to {high:.0%} | {one['refused']} | "
            f"{attempted} | {causes} |"
        )
    return "\n".join(lines)


def name_of(summary: dict[str, Any]) -> str:
    """The source of a summary in words."""
    if summary["name"] == NOISE:
        return " and ".join(
            f"{summary[unit]:g} {short}"
            for unit, short in (("millimeters", "mm"), ("degrees", "degrees"))
            if summary[unit]
        )
    return {REFUSING: "detector, unsure ones refused", LOOKING: "detector, looking again"}.get(
        summary["name"], str(summary["name"])
    )


def curves_of(summaries: Sequence[dict[str, Any]]) -> bytes:
    """A PNG file: success against the noise in mm and in degrees, with Wilson's intervals, beside the detector's."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    for place, (unit, label) in enumerate((("millimeters", "mm along X and Y"), ("degrees", "degrees"))):
        other = "degrees" if unit == "millimeters" else "millimeters"
        axes = figure.add_subplot(1, 2, place + 1)
        noisy = [one for one in summaries if one["name"] in (TRUTH, NOISE) and not one[other]]
        _draw(axes, [(one[unit], one["of_all"]) for one in sorted(noisy, key=lambda one: one[unit])])
        for one in summaries:
            if one["name"] == DETECTOR:
                axes.axhline(100 * one["of_all"]["share"], color="tab:orange", label="detector")
                axes.axhspan(*(100 * end for end in one["of_all"]["interval"]), color="tab:orange", alpha=0.15)
        axes.set(xlabel=f"standard deviation of the poses, {label}", ylabel="stacked, %", ylim=(0, 102))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    return png_bytes(drawn(figure))


def _draw(axes: Axes, points: Sequence[tuple[float, dict[str, Any]]]) -> None:
    at = [place for place, _ in points]
    middle = 100 * np.array([share["share"] for _, share in points])
    ends = 100 * np.array([share["interval"] for _, share in points]).T
    axes.errorbar(at, middle, np.abs(ends - middle), marker="o", capsize=3, label="truth with noise")


def _attempted(share: dict[str, Any]) -> str:
    low, high = share["interval"]
    return f"{share['share']:.0%} ({low:.0%} to {high:.0%})"
