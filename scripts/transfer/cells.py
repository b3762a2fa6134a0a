"""One cell of a study: renders, trains, measures. Its result is written whole, after each column, so what was interrupted
goes on."""

import json
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from simgen.config import compose
from simgen.dataset.write import DATA_VERSION
from simgen.errors import ConfigError, DamagedCheckpointError, FileError, SimgenError
from simgen.files import read_json, write_file, write_json
from simgen.schema import Render
from simgen.workers import render
from train.__main__ import COMMANDS
from train.adr.growth import STATES
from train.config import EvaluateConfig, TrainConfig
from train.data.stream import VERSION as STREAM
from train.runs.folder import FREE
from transfer.columns import Column, constant_errors_in, errors_in
from transfer.studies import BOX_SCENE, SCENE, TARGET, Cell, preset_of

RESULT, METRICS, RENDERING = "cell.json", "metrics.json", "rendering.json"
_EPOCHS = 20  # of the detector, between which the ranges of randomize=adr grow
_IDENTITY = "identity.json"


def identity_of(cell: Cell) -> dict[str, Any]:
    """What determines the result of a cell: another value is another cell."""
    # Keys of speed alone, as the number of processes, do not change its result; another dataset does.
    kept = tuple(key for key in cell.arm.train if key.partition("=")[0] not in set(FREE) - {"data.root"})
    arm = asdict(replace(cell.arm, train=kept))
    about = {"arm": arm, "model": cell.model, "seed": cell.seed, "data_version": DATA_VERSION}
    numbers = {name: getattr(cell.scale, name) for name in ("width", "height", "network", "epochs", "steps", "tests")}
    drawn = {"stream": STREAM} if cell.detector or cell.arm.group == "seeds" else {}
    return dict(json.loads(json.dumps({**about, "pictures": cell.pictures, "scale": numbers, **drawn})))


def result_of(cell: Cell, cells: Path) -> dict[str, Any] | None:
    """The result of a finished cell in the folder `cells`; None if it is not there or cannot be read, as where a disk was
    full: then it is made anew. Raises ConfigError for the result of another cell of that name."""
    folder = cells / cell.name
    if not (folder / _IDENTITY).exists():
        # Another process may just be writing _IDENTITY.
        if folder.exists() and any(not path.name.startswith(f".{_IDENTITY}.") for path in folder.iterdir()):
            raise ConfigError(f"{folder}: is not a cell of this study; name another folder with out=")
        return None
    if _read(folder / _IDENTITY) not in (None, identity_of(cell)):
        raise ConfigError(
            f"{folder}: holds another cell, of other keys or of another version; name another folder with out="
        )
    result = _read(folder / RESULT)
    return result if result is not None and "columns" in result else None


def attempt_cell(cell: Cell, columns: list[Column], cells: Path, keep: bool = False) -> str | None:
    """`run_cell`, but of an error its message, and of one that is not simgen's a traceback on stderr: a training whose loss
    is not finite, or for which a GPU's memory is too small, is no reason to leave out those after it."""
    try:
        run_cell(cell, columns, cells, keep=keep)
    except SimgenError as error:
        return str(error)
    except Exception as error:  # of torch, of the file system
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None


def run_cell(cell: Cell, columns: list[Column], cells: Path, *, keep: bool = False) -> None:
    """Computes what is missing of `cell` in the folder `cells`: the result is RESULT in its folder."""
    folder = cells / cell.name
    result = result_of(cell, cells) or {"columns": {}}
    if not missing_of(cell, columns, result):
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _IDENTITY, identity_of(cell))
    measured = dict(result["columns"])
    for column in missing_of(cell, columns, result):
        metrics = _measure(cell, column, folder, cells)
        errors, constant = errors_in(column, metrics), constant_errors_in(column, metrics)
        measured[column.name] = {"content": column.content, "errors": errors, "constant": constant}
        # After each, so that one that fails does not cost those before it.
        about = {"rendering": _read(folder / RENDERING), "adr": _grown(folder / "run")}
        write_json(folder / RESULT, {"columns": measured, **about}, indent=1)
    if not keep:
        shutil.rmtree(folder / "data", ignore_errors=True)


def _measure(cell: Cell, column: Column, folder: Path, cells: Path) -> Mapping[str, Any]:
    """The metrics of the model of `cell` on a column. It is trained if it is not yet, and again if its checkpoint is
    damaged, as by a full disk."""
    try:
        return _train_and_evaluate(cell, column, folder, cells)
    except DamagedCheckpointError as error:
        print(f"{error}; it is trained again", file=sys.stderr, flush=True)
    for part in ("run", "data"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / RENDERING).unlink(missing_ok=True)
    return _train_and_evaluate(cell, column, folder, cells)


def _train_and_evaluate(cell: Cell, column: Column, folder: Path, cells: Path) -> Mapping[str, Any]:
    run = folder / "run"
    if not (run / METRICS).exists():
        _train(cell, folder, cells)
    return _evaluate(cell, column, run)


def missing_of(cell: Cell, columns: list[Column], result: dict[str, Any] | None) -> list[Column]:
    """The columns that `result`, that of the cell or None, lacks, or has of other pictures."""
    known = {} if result is None else result["columns"]
    return [column for column in columns if known.get(column.name, {}).get("content") != column.content]


def _grown(run: Path) -> float | None:
    """Of randomize=adr the mean fraction of the way to the widest ranges at the end of a training; else None."""
    states = _read(run / STATES)
    return None if states is None else sum(states[-1].values()) / len(states[-1])


def _train(cell: Cell, folder: Path, cells: Path) -> None:
    """Trains the model of `cell` in folder/run. The time of rendering its pictures is in folder/RENDERING."""
    write_file(folder / "arm.yaml", yaml.safe_dump(preset_of(cell.arm), sort_keys=False).encode())
    pictures, common = cell.pictures, [f"seed={cell.seed}", f"out={folder / 'run'}"]
    if cell.arm.group == "seeds":
        _train_with([*cell.arm.train, *common])
        return
    if cell.detector:
        epochs = min(_EPOCHS, cell.scale.steps)
        drawn = [
            f"data.scenes=[{SCENE},{BOX_SCENE}]",
            f"randomize={folder / 'arm.yaml'}",
            f"data.epoch={cell.scale.steps // epochs}",
            "data.validation=64",
            "data.physics=place",  # as in the columns
            f"trainer.epochs={epochs}",
            # Only new pictures tell randomize=adr how to grow.
            *(["data.passes=1"] if cell.arm.group == "presets" else []),
        ]
        _train_with([*drawn, *cell.arm.train, *common])
        return
    if cell.arm.equal_time:
        pictures = _as_many(cell, cells)
    data = folder / "data"
    size = [f"{name}={getattr(cell.scale, name)}" for name in ("width", "height", "workers")]
    drawing = [f"scene={SCENE}", f"randomize={folder / 'arm.yaml'}", f"renderer={cell.arm.renderer}", "physics=place"]
    if not (folder / RENDERING).exists():
        if cell.arm.group == "renderers":  # of an interrupted rendering the time is not known
            shutil.rmtree(data, ignore_errors=True)
        begin = time.perf_counter()
        render(compose("render", Render, [*drawing, *size, f"num={pictures}", f"seed={cell.seed}", f"out={data}"]))
        write_json(folder / RENDERING, {"seconds": time.perf_counter() - begin, "pictures": pictures})
    width, height = cell.scale.network
    model = [f"model={cell.model}", f"model.width={width}", f"model.height={height}"]
    # As many steps with fewer pictures, so that what differs is their variety.
    epochs = max(1, round(cell.scale.epochs * cell.scale.pictures / pictures))
    _train_with([*model, f"data.root={data}", f"trainer.epochs={epochs}", *cell.arm.train, *common])


def _as_many(cell: Cell, cells: Path) -> int:
    """The number of pictures that the renderer of `cell` draws in the time in which that of the first arm draws its own."""
    found = {}
    for name in ("raycast", cell.arm.renderer):
        other = _read(cells / cell.arm.group / name / f"{cell.model}-{cell.seed}" / RENDERING)
        if other is None:
            raise ConfigError(
                f"arms: {cell.arm.name} needs the time of the arm {name} of seed {cell.seed}: compute it first"
            )
        found[name] = other
    rate = found[cell.arm.renderer]["pictures"] / found[cell.arm.renderer]["seconds"]
    return max(2, round(found["raycast"]["seconds"] * rate))


def _train_with(keys: list[str]) -> None:
    COMMANDS["train"].run(compose("train", TrainConfig, keys))


def _evaluate(cell: Cell, column: Column, run: Path) -> Mapping[str, Any]:
    """The metrics of the best checkpoint in the folder `run` on a column. It is chosen by simulated pictures alone."""
    out = run.parent / "columns" / column.name
    shutil.rmtree(out, ignore_errors=True)  # results on other pictures that had this name
    target = [f"data.target={column.target}"] if cell.detector or column.target == TARGET else []
    keys = [f"checkpoint={run / 'best.ckpt'}", f"data.root={column.root}", f"out={out}", *target, *column.keys]
    COMMANDS["evaluate"].run(compose("evaluate", EvaluateConfig, keys))
    return dict(read_json(out / METRICS))


def _read(path: Path) -> Any:
    """The JSON value of a file; None if it is not there or is half-written."""
    try:
        return read_json(path)
    except FileError:
        return None
