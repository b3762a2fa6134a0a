"""Measures what makes a model that learned in simulation alone work on photographs: studies with paired arms.

    python scripts/bench_transfer.py study=tobin2017 scale=smoke
    python scripts/bench_transfer.py study=tobin2017 kuka_table=data/kuka_real part=1/2
    python scripts/bench_transfer.py study=seeds 'train=[experiment=kuka]' 'seeds=[0,1,2]' kuka_table=data/kuka_real

Each arm is trained with each seed, and measured on rendered pictures and on the given photographs, which choose nothing. A
finished training is not repeated; the same command goes on where it was interrupted. `--help` explains the keys.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transfer.cells import attempt_cell, missing_of, result_of
from transfer.columns import Column, columns_of, render_columns
from transfer.schema import SCALES, TransferConfig
from transfer.studies import Cell, arms_of, cells_of
from transfer.tables import write_tables

from simgen.config import Command
from simgen.config import main as command
from simgen.errors import PartialError
from simgen.workers import parse_part


def bench(config: TransferConfig) -> None:
    """Computes the cells of a study, or a part of them, and writes its tables. Raises SimgenError."""
    cells = cells_of(config)
    mine = part_of(cells, config.part)
    out = Path(config.out)
    columns = {model: columns_of(config, out, model) for model in dict.fromkeys(cell.model for cell in cells)}
    out.mkdir(parents=True, exist_ok=True)
    for model, own in columns.items():
        render_columns(own, model, SCALES[config.scale])
    todo = [cell for cell in mine if missing_of(cell, columns[cell.model], result_of(cell, out / "cells"))]
    print(f"study={config.study} scale={config.scale}: {len(todo)} of {len(mine)} trainings in {out}", flush=True)
    had = {cell.arm.name for cell in cells}
    without = [arm.name for arm in arms_of(config) if arm.name not in had]
    if config.arms is None and without:
        print(
            f"without {', '.join(without)}: none of {', '.join(columns)} has them; choose others with models=",
            flush=True,
        )
    options = {"train": tuple(config.train), "keep": config.keep}
    failed: dict[str, str] = {}
    attempts = _on_ray if config.executor == "ray" else _one_by_one
    for cell, reason in attempts(todo, columns, out.resolve() / "cells", options):
        if reason is not None:
            failed[cell.name] = reason
            print(f"{cell.name} failed: {reason}", file=sys.stderr, flush=True)
    title = f"study={config.study} scale={config.scale}"
    if config.scale == "smoke":
        title += " (shows that the study works; its models have learned nothing, so its figures tell nothing)"
    print(write_tables(out, title, cells, columns))
    print(f"wrote results.json and results.md in {out}")
    if failed:
        raise PartialError(
            f"{len(failed)} of {len(todo)} trainings failed: {'; '.join(failed)}; their reasons are above; the same command "
            "tries them again"
        )


def part_of(cells: list[Cell], part: str) -> list[Cell]:
    """The `part` K/N of `cells`: every N-th, from the K-th on; arms that need each other's times are together. Raises
    ConfigError."""
    k, n = parse_part(part)
    timed = {cell.arm.group for cell in cells if cell.arm.equal_time}
    together = list(dict.fromkeys(_unit(cell, timed) for cell in cells))
    chosen = set(together[k - 1 :: n])
    return [cell for cell in cells if _unit(cell, timed) in chosen]


def _unit(cell: Cell, timed: set[str]) -> str:
    return f"{cell.arm.group}-{cell.model}-{cell.seed}" if cell.arm.group in timed else cell.name


Columns = Mapping[str, list[Column]]  # of each model
Attempts = Iterator[tuple[Cell, str | None]]  # each cell, and the reason why it failed


def _one_by_one(cells: list[Cell], columns: Columns, folder: Path, options: Mapping[str, Any]) -> Attempts:
    for number, cell in enumerate(cells, 1):
        print(f"training {number} of {len(cells)}: {cell.name}", flush=True)
        yield cell, attempt_cell(cell, columns[cell.model], folder, **options)


def _on_ray(cells: list[Cell], columns: Columns, folder: Path, options: Mapping[str, Any]) -> Attempts:
    """Each cell is a task of a Ray cluster, with a GPU of its own at scale=gpu; those that need the times of others begin
    when these are finished."""
    from simgen.executors import cluster, summary_of

    with cluster() as ray:
        remote = ray.remote(max_retries=2)(attempt_cell)
        for waits in (False, True):
            tasks = {}
            for cell in (one for one in cells if one.arm.equal_time == waits):
                task = remote.options(num_cpus=cell.scale.workers, num_gpus=cell.scale.gpus)
                tasks[task.remote(cell, columns[cell.model], folder, **options)] = cell
            while tasks:
                (done,), _ = ray.wait(list(tasks))
                cell = tasks.pop(done)
                try:
                    yield cell, ray.get(done)
                except ray.exceptions.RayError as error:
                    yield cell, summary_of(error)


if __name__ == "__main__":
    about = "measure what makes a model that learned in simulation alone work on photographs"
    sys.exit(
        command(
            "scripts/bench_transfer.py", {"transfer": Command(about, TransferConfig, bench, resumes=True)}, "transfer"
        )
    )
