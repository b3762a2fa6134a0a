"""The results of a study: results.json, tables in Markdown, and curves."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from simgen.dataset.write import DATA_VERSION
from simgen.files import write_file, write_json
from transfer.cells import result_of
from transfer.claims import CONSTANT, PAPER, PAPER_COLUMNS, Errors, verdicts
from transfer.columns import Column
from transfer.statistics import Interval, finished, mean_of, rounded
from transfer.studies import Cell

Finished = Sequence[tuple[Cell, Mapping[str, Any]]]  # cells with their results

_CURVES = {"pictures": "pictures", "materials": "distinct materials", "layouts": "distinct layouts"}


def write_tables(out: Path, title: str, cells: Sequence[Cell], columns_of: Mapping[str, Sequence[Column]]) -> str:
    """Writes results.json, results.md and curves.png of the finished cells to `out`; returns the text of results.md.
    `columns_of` has the columns of each model."""
    parts: list[str] = [f"# {title}", ""]
    stored: dict[str, Any] = {}
    every = finished_of(cells, out / "cells")
    for model in dict.fromkeys(cell.model for cell in cells):
        own, columns = [cell for cell in cells if cell.model == model], columns_of[model]
        results = [(cell, result) for cell, result in every if cell.model == model]
        errors = errors_of(results, columns)
        if not errors:
            continue
        parts += [*_tables(model, own, columns, errors), ""]
        stored[model] = _stored(errors, own[0].arm.name, seeds_of(results))
        grown = _grown(results)
        if grown:
            stored[model]["adr"] = grown
            parts += [f"{arm}: at the end {share:.0%} of the way to the widest ranges" for arm, share in grown.items()]
            parts.append("")
        if any(arm == "no_distractors" for arm, _ in errors):
            found = verdicts(errors)
            parts += [*_claims(found), ""]
            stored[model]["claims"] = [
                {
                    "claim": one.claim,
                    "figure": one.figure,
                    "verdict": one.word,
                    **(rounded(one.interval) if one.interval else {}),
                }
                for one in found
            ]
            stored[model]["paper"] = {arm: dict(zip(PAPER_COLUMNS, row, strict=True)) for arm, row in PAPER.items()}
        _draw_curves(out / f"curves-{model}.png", own, columns, errors)
    parts.append(f"{len(every)} of {len(cells)} trainings are finished.")
    text = "\n".join(parts) + "\n"
    about = {"title": title, "data_version": DATA_VERSION, "scale": asdict(cells[0].scale)}
    write_json(out / "results.json", {**about, "models": stored}, indent=1)
    write_file(out / "results.md", text.encode())
    return text


def finished_of(cells: Sequence[Cell], folder: Path) -> Finished:
    """Those of `cells` that have a result in `folder`, with it."""
    results = [(cell, result_of(cell, folder)) for cell in cells]
    return [(cell, result) for cell, result in results if result is not None]


def seeds_of(results: Finished) -> list[int]:
    return sorted({cell.seed for cell, _ in results})


def errors_of(results: Finished, columns: Sequence[Column]) -> Errors:
    """The errors (S, P) of each arm and column, for all seeds and pictures that any arm has: NaN for those that it lacks.
    Also those of the arm CONSTANT."""
    found: dict[tuple[str, str], Any] = {}
    seeds = seeds_of(results)
    for column in columns:
        measured = [(cell, result["columns"].get(column.name, {})) for cell, result in results]
        # Not of other pictures, as where photographs were replaced and a cell was not yet measured anew.
        measured = [(cell, one) for cell, one in measured if one.get("errors") and one["content"] == column.content]
        names = sorted({name for _, one in measured for name in one["errors"]})
        for cell, one in measured:
            values = found.setdefault((cell.arm.name, column.name), np.full((len(seeds), len(names)), np.nan))
            values[seeds.index(cell.seed)] = [one["errors"].get(name, np.nan) for name in names]
        constant = dict(item for _, one in measured for item in one.get("constant", {}).items())
        if constant:
            row = [constant.get(name, np.nan) for name in names]
            found[CONSTANT, column.name] = np.tile(row, (len(seeds), 1))
    return found


def _grown(results: Finished) -> dict[str, float]:
    """Of each arm of randomize=adr how far its ranges have grown at the end, the mean over its seeds."""
    found: dict[str, list[float]] = {}
    for cell, result in results:
        if result.get("adr") is not None:
            found.setdefault(cell.arm.name, []).append(result["adr"])
    return {arm: float(np.mean(values)) for arm, values in found.items()}


def _tables(model: str, cells: Sequence[Cell], columns: Sequence[Column], errors: Errors) -> list[str]:
    """A table for each group of arms: the mean of each column, and below it the difference from the study's first arm."""
    lines = []
    first = cells[0].arm.name
    there = [column for column in columns if any(name == column.name for _, name in errors)]
    for group in dict.fromkeys(cell.arm.group for cell in cells):
        arms = list(dict.fromkeys(cell.arm.name for cell in cells if cell.arm.group == group))
        arms = [arm for arm in arms if any(name == arm for name, _ in errors)]
        if not arms:
            continue
        if arms[0] == first and any(name == CONSTANT for name, _ in errors):
            arms.append(CONSTANT)
        lines += [f"## {model}: {group} (after each mean its difference from {first})", ""]
        counts = [len(next(one for (_, name), one in errors.items() if name == column.name)) for column in there]
        heads = [
            f"{column.name}, {column.unit}, {count} seed{'s' * (count != 1)}"
            for column, count in zip(there, counts, strict=True)
        ]
        heads += [f"paper: {name}, cm" for name in PAPER_COLUMNS] if group == "ablations" else []
        lines += [f"| arm | {' | '.join(heads)} |", f"|---{'|---' * len(heads)}|"]
        for arm in arms:
            shown = [_cell(errors, arm, first, column.name) for column in there]
            if group == "ablations":
                shown += [f"{value:.1f}" for value in PAPER[arm]] if arm in PAPER else ["", "", ""]
            name = "always the table's center" if arm == CONSTANT else arm
            lines.append(f"| {name} | {' | '.join(shown)} |")
        lines.append("")
    return lines


def _cell(errors: Errors, arm: str, first: str, column: str) -> str:
    if (arm, column) not in errors:
        return "-"
    own = errors[arm, column]
    text, gap = _shown(mean_of(own)), None
    if arm != first and (first, column) in errors:
        gap = own - errors[first, column]
        text += f"; {_shown(mean_of(gap), sign='+')}" if finished(gap).size else "; no seed in common"
    count = len(finished(own if gap is None else gap))
    return text if count in (0, len(own)) else f"{text}, {count} seed{'s' * (count != 1)}"


def _shown(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.2f} ({interval.low:{sign}.2f} to {interval.high:{sign}.2f})"


def _claims(found: Sequence[Any]) -> list[str]:
    lines = ["| claim of the paper | figure | value | here |", "|---|---|---|---|"]
    for one in found:
        value = "" if one.interval is None else _shown(one.interval, "+")
        lines.append(f"| {one.claim} | {one.figure} | {value} | {one.word} |")
    return lines


def _stored(errors: Errors, first: str, seeds: Sequence[int]) -> dict[str, Any]:
    """JSON values: of each arm and column the mean with its interval, its difference from the arm `first`, the mean of each
    seed, and the number of pictures."""
    rows: dict[str, Any] = {}
    for (arm, column), values in errors.items():
        known = finished(values)
        there = [seed for seed, row in zip(seeds, values, strict=True) if np.isfinite(row).any()]
        each = {str(seed): round(float(row.mean()), 4) for seed, row in zip(there, known, strict=True)}
        row = {**rounded(mean_of(values)), "seeds": each, "pictures": known.shape[1]}
        if arm != first and (first, column) in errors:
            gap = values - errors[first, column]
            row["difference"] = {**rounded(mean_of(gap)), "seeds": len(finished(gap))}
        rows.setdefault(arm, {})[column] = row
    return {"arms": rows}


def _draw_curves(path: Path, cells: Sequence[Cell], columns: Sequence[Column], errors: Errors) -> None:
    """The errors against the number of pictures, materials and layouts, with intervals; the last point is no limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = [group for group in _CURVES if any(cell.arm.group == group for cell in cells)]
    if not groups:
        return
    figure, axes = pyplot.subplots(1, len(groups), figsize=(5 * len(groups), 4), squeeze=False, sharey=True)
    highest = 1.0
    for axis, group in zip(axes[0], groups, strict=True):
        arms = list(dict.fromkeys(cell.arm.name for cell in cells if cell.arm.group == group))
        limits = [int(arm.rpartition("_")[2]) for arm in arms]
        points = list(zip(arms, limits, strict=True))
        points += [("full", cell.pictures) for cell in cells if cell.arm.name == "full"][:1]
        for column in (one for one in columns if not one.wrong):
            known = [
                (limit, mean_of(errors[arm, column.name])) for arm, limit in points if (arm, column.name) in errors
            ]
            if len(known) < 2:
                continue
            places, values = [limit for limit, _ in known], np.array([tuple(one) for _, one in known])
            spread = np.abs(values[:, 1:].T - values[:, 0])
            highest = max(highest, float(values[:, 0].max()))
            axis.errorbar(places, values[:, 0], yerr=spread, marker="o", capsize=3, label=column.name)
        axis.set_xscale("log")
        axis.set_xlabel(f"{_CURVES[group]}; the last point: {'all' if group == 'pictures' else 'no limit'}")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("mean XY error, cm")
    # Of three seeds that disagree an interval can be many times as long as all else is high.
    axes[0][0].set_ylim(0, 1.2 * highest)
    axes[0][0].legend()
    figure.tight_layout()
    image = io.BytesIO()
    figure.savefig(image, dpi=110)
    write_file(path, image.getvalue())
    pyplot.close(figure)
