"""Measures what makes a model that learned in simulation alone work on photographs: studies with paired arms.

    python scripts/bench_transfer.py study=tobin2017 scale=smoke
    python scripts/bench_transfer.py study=tobin2017 kuka_table=data/kuka_real part=1/2
    python scripts/bench_transfer.py study=seeds 'train=[experiment=kuka]' 'seeds=[0,1,2]' kuka_table=data/kuka_real

Each arm is trained with each seed, and measured on rendered pictures and on the given photographs, which choose nothing. A
finished training is not repeated; the same command goes on where it was interrupted. `--help` explains the keys.
"""

import sys
from pathlib import Path

from transfer.cells import missing_of, result_of, run_cell
from transfer.columns import columns_of, render_columns
from transfer.schema import SCALES, TransferConfig
from transfer.studies import Cell, cells_of
from transfer.tables import write_tables

from simgen.config import Command
from simgen.config import main as command
from simgen.workers import parse_part


def bench(config: TransferConfig) -> None:
    """Computes the cells of a study, or a part of them, and writes its tables. Raises SimgenError."""
    cells = cells_of(config)
    mine = part_of(cells, config.part)
    out = Path(config.out)
    columns = columns_of(config, out)
    out.mkdir(parents=True, exist_ok=True)
    render_columns(columns, SCALES[config.scale])
    todo = [cell for cell in mine if missing_of(cell, columns, result_of(cell, out / "cells"))]
    print(f"study={config.study} scale={config.scale}: {len(todo)} of {len(mine)} trainings in {out}", flush=True)
    options = {"train": tuple(config.train), "keep": config.keep}
    if config.executor == "ray":
        _on_ray(todo, columns, out.resolve() / "cells", options)
    else:
        for number, cell in enumerate(todo, 1):
            print(f"training {number} of {len(todo)}: {cell.name}", flush=True)
            run_cell(cell, columns, out / "cells", **options)
    title = f"study={config.study} scale={config.scale}"
    if config.scale == "smoke":
        title += " (shows that the study works; its models have learned nothing, so its figures tell nothing)"
    print(write_tables(out, title, cells, columns))
    print(f"wrote results.json and results.md in {out}")


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


def _on_ray(cells: list[Cell], columns: list, folder: Path, options: dict) -> None:
    """Runs each cell as a task of a Ray cluster; those that need the times of others when these are finished."""
    from simgen.executors import cluster

    with cluster() as ray:
        task = ray.remote(num_cpus=2, max_retries=2)(run_cell)
        for waits in (False, True):
            ray.get([task.remote(cell, columns, folder, **options) for cell in cells if cell.arm.equal_time == waits])


if __name__ == "__main__":
    about = "measure what makes a model that learned in simulation alone work on photographs"
    sys.exit(
        command(
            "scripts/bench_transfer.py", {"transfer": Command(about, TransferConfig, bench, resumes=True)}, "transfer"
        )
    )
