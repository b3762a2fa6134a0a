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

from transfer.cells import attempt_cell, missing_of, result_of
from transfer.columns import Column, columns_of, render_columns
from transfer.schema import SCALES, TransferConfig
from transfer.studies import Cell, arms_of, cells_of
from transfer.tables import write_tables

from simgen.config import Command
from simgen.config import main as command
from simgen.errors import ConfigError, PartialError
from simgen.files import read_json, write_json
from simgen.workers import parse_part


def bench(config: TransferConfig) -> None:
    """Computes the cells of a study, or a part of them, and writes its tables. Raises SimgenError."""
    cells = cells_of(config)
    mine = part_of(cells, config.part)
    out = Path(config.out)
    columns = {model: columns_of(config, out, model) for model in dict.fromkeys(cell.model for cell in cells)}
    # Of all cells, also those of other parts: a cell of other keys is an error of now, not of the end.
    results = {cell.name: result_of(cell, out / "cells") for cell in cells}
    claim_folder(out, {"study": config.study, "scale": config.scale})
    for model, own in columns.items():
        render_columns(own, model, SCALES[config.scale])
    todo = [cell for cell in mine if missing_of(cell, columns[cell.model], results[cell.name])]
    print(f"study={config.study} scale={config.scale}: {len(todo)} of {len(mine)} trainings in {out}", flush=True)
    had = {cell.arm.name for cell in cells}
    without = [arm.name for arm in arms_of(config) if arm.name not in had]
    if config.arms is None and without:
        print(
            f"without {', '.join(without)}: none of {', '.join(columns)} has them; choose others with models=",
            flush=True,
        )
    failed: dict[str, str] = {}
    attempts = _on_ray if config.executor == "ray" else _one_by_one
    for cell, reason in attempts(todo, columns, out.resolve() / "cells", config.keep):
        if reason is not None:
            failed[cell.name] = reason
            print(f"{cell.name} failed: {reason}", file=sys.stderr, flush=True)
    title = f"study={config.study} scale={config.scale}"
    if config.scale == "smoke" and config.study != "seeds":
        title += " (shows that the study works; its models have learned nothing, so its figures tell nothing)"
    print(write_tables(out, title, cells, columns))
    print(f"wrote results.json and results.md in {out}")
    if failed:
        raise PartialError(
            f"{len(failed)} of {len(todo)} trainings failed: {'; '.join(failed)}; their reasons are above; the same command "
            "tries them again"
        )


def claim_folder(out: Path, study: Mapping[str, str]) -> None:
    """Makes `out` the folder of `study`. Raises ConfigError if it holds anything else, which would be overwritten."""
    path = out / "study.json"
    # Older versions, and other processes that begin now, have made more of a study than its name.
    ours = ("cells", "columns", "results.", "curves-", path.name, f".{path.name}.")
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(not each.name.startswith(ours) for each in out.iterdir())):
            raise ConfigError(f"out: {out} exists and is not the folder of a study; name another folder")
        write_json(path, study)
    before = read_json(path)
    if before != study:
        raise ConfigError(
            f"out: {out} holds study={before.get('study')} scale={before.get('scale')}; name another folder for "
            f"study={study['study']} scale={study['scale']}"
        )


def part_of(cells: list[Cell], part: str) -> list[Cell]:
    """The `part` K/N of `cells`: every N-th of `_together`, from the K-th on. Raises ConfigError."""
    k, n = parse_part(part)
    chosen = {cell.name for together in _together(cells)[k - 1 :: n] for cell in together}
    return [cell for cell in cells if cell.name in chosen]


def _together(cells: list[Cell]) -> list[list[Cell]]:
    """`cells`, each alone but for those whose times are compared: they are computed on one machine, one after another."""
    timed = {cell.arm.group for cell in cells if cell.arm.equal_time}
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        unit = f"{cell.arm.group}-{cell.model}-{cell.seed}" if cell.arm.group in timed else cell.name
        found.setdefault(unit, []).append(cell)
    return list(found.values())


Columns = Mapping[str, list[Column]]  # of each model
Attempts = Iterator[tuple[Cell, str | None]]  # each cell, and the reason why it failed


def _one_by_one(cells: list[Cell], columns: Columns, folder: Path, keep: bool) -> Attempts:
    for number, cell in enumerate(cells, 1):
        print(f"training {number} of {len(cells)}: {cell.name}", flush=True)
        yield cell, attempt_cell(cell, columns[cell.model], folder, keep)


def _on_ray(cells: list[Cell], columns: Columns, folder: Path, keep: bool) -> Attempts:
    """Each cell is a task of a Ray cluster, with a GPU of its own at scale=gpu; those of `_together` are one task."""
    from simgen.executors import cluster, summary_of

    with cluster() as ray:
        remote, tasks = ray.remote(max_retries=2)(_attempt_all), {}
        for scale in dict.fromkeys(cell.scale for cell in cells):
            there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if not any(one.get("CPU", 0) >= scale.workers and one.get("GPU", 0) >= scale.gpus for one in there):
                print(
                    f"note: no node of the cluster has the {scale.workers} CPUs and {scale.gpus} GPUs of a training, which "
                    "waits for one; Ctrl+C ends it",
                    file=sys.stderr,
                    flush=True,
                )
        for together in _together(cells):
            scale = together[0].scale
            task = remote.options(num_cpus=scale.workers, num_gpus=scale.gpus)
            tasks[task.remote(together, [columns[cell.model] for cell in together], folder, keep)] = together
        while tasks:
            (done,), _ = ray.wait(list(tasks))
            together = tasks.pop(done)
            try:
                reasons = ray.get(done)
            except ray.exceptions.RayError as error:
                reasons = [
                    summary_of(error) if missing_of(cell, columns[cell.model], result_of(cell, folder)) else None
                    for cell in together
                ]
            yield from zip(together, reasons, strict=True)


def _attempt_all(cells: list[Cell], columns: list[list[Column]], folder: Path, keep: bool) -> list[str | None]:
    return [attempt_cell(cell, own, folder, keep) for cell, own in zip(cells, columns, strict=True)]


if __name__ == "__main__":
    about = "measure what makes a model that learned in simulation alone work on photographs"
    sys.exit(
        command(
            "scripts/bench_transfer.py", {"transfer": Command(about, TransferConfig, bench, resumes=True)}, "transfer"
        )
    )
