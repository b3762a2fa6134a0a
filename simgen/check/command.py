"""`python -m simgen check`: runs all checks on a dataset, prints the findings and writes them as JSON."""

import json
import math
from collections import Counter
from dataclasses import fields
from pathlib import Path

import cv2

from simgen.check.decode import decode
from simgen.check.factors import check_factors, expected_values, variety_of
from simgen.check.findings import ERROR, BadValue, Finding, Findings
from simgen.check.folder import Folder, parse
from simgen.check.geometry import check_shot
from simgen.check.models import ModelOf, check_models
from simgen.check.pictures import Seen, check_picture, seen_of
from simgen.check.remake import check_remade, pipeline_of
from simgen.check.schema import CheckConfig
from simgen.check.shortcuts import check_shortcuts
from simgen.check.similar import check_repeated
from simgen.check.table import Table
from simgen.check.targets import Labeled, check_targets, labeled_of
from simgen.check.tree import Shot, find_scenes, shots_of
from simgen.command.progress import Progress, announce
from simgen.dataset.values import Value, recipe_values
from simgen.errors import ConfigError, SimgenError
from simgen.files import write_json

_SHOWN = 5  # findings of a kind


def check(config: CheckConfig) -> int:
    """Prints what is wrong with a dataset; 1 if something is, 0 if there are only warnings or nothing."""
    _check_out(config.out)
    found = findings_of(config)
    counts = Counter(one.name for one in found)
    shown: Counter[str] = Counter()
    for one in found:
        shown[one.name] += 1
        if shown[one.name] <= _SHOWN:
            print(one.line)
        elif shown[one.name] == _SHOWN + 1:
            print(f"{one.severity}: {one.name}: and {counts[one.name] - _SHOWN} more")
    errors = sum(one.severity == ERROR for one in found)
    print(f"{config.dataset}: {errors} errors, {len(found) - errors} warnings")
    if config.out is not None:
        content = {
            "dataset": config.dataset,
            "errors": errors,
            "warnings": len(found) - errors,
            "findings": [one.to_json() for one in found],
        }
        write_json(Path(config.out), content, indent=1)
    return int(errors > 0)


def findings_of(config: CheckConfig) -> list[Finding]:
    """All findings of the dataset of `config`, in the order of its files. Raises ConfigError if there is no such folder or a
    limit is negative."""
    _check_limits(config)
    root = Path(config.dataset)
    if not root.is_dir():
        raise ConfigError(f"dataset: {root} is no folder; expected that of a dataset in BOP's format")
    found = Findings()
    folder = Folder(root, found, hashes=config.hashes)
    models = check_models(folder)
    scenes = find_scenes(folder)
    pipeline, reason = pipeline_of(folder.manifest)
    if folder.manifest and pipeline is None:
        announce(f"{root}: its factors are not compared with its configuration: {reason}")
    seen: list[Seen] = []
    table = Table()
    labeled: dict[tuple[str, int, int], Labeled] = {}
    with Progress("checked", sum(len(scene.pictures) for scene in scenes), "pictures", ending=False) as progress:
        for scene in scenes:
            for shot in shots_of(folder, scene):
                labeled[shot.split, shot.scene, shot.image] = labeled_of(shot)
                one = _check(shot, folder, models, config)
                if one is not None:
                    seen.append(one)
                    table.add(shot.name, _values(shot, folder))
                progress.update()
    check_targets(folder, labeled)
    if pipeline is not None and config.improbable > 0:
        try:
            check_factors(table, expected_values(pipeline, len(seen)), config.improbable, found)
        except SimgenError as error:
            announce(f"{root}: its factors are not compared with its configuration: {error}")
    every, places = (True, True) if pipeline is None else variety_of(pipeline.sampler.leaves)
    if every:
        check_repeated(seen, folder.read, config.near if places else 0.0, found)
    check_shortcuts(seen, table, config.shortcut, found)
    if config.remake:
        check_remade(folder, pipeline, reason, config)
    with Progress("compared", len(folder.listed), "files", ending=False) as progress:
        for _ in folder.rest():
            progress.update()
    return found.all(str(root))


def _check(shot: Shot, folder: Folder, models: dict[int, ModelOf], config: CheckConfig) -> Seen | None:
    """Checks one picture and its labels; returns what is kept of it, None if it cannot be decoded."""
    data = folder.read(shot.picture)
    short = "/".join(shot.picture.split("/")[-2:])
    picture = None if data is None else decode(data, short, cv2.IMREAD_GRAYSCALE, shot.name, folder.report)
    if picture is None:
        return None
    gray = picture.astype("uint8", copy=False)
    areas = check_shot(shot, (gray.shape[1], gray.shape[0]), models, folder.read, config, folder.report)
    check_picture(shot, gray, config, folder.report)
    return seen_of(shot, gray, areas)


def _values(shot: Shot, folder: Folder) -> dict[str, Value]:
    """The values of all factors in the recipe of a picture; none if it is of another tool."""
    if shot.record is None or not folder.manifest:
        return {}
    data = folder.read(shot.record)
    content = None if data is None else parse(data, shot.record, folder.report)
    if content is None:
        return {}
    try:
        values = recipe_values(content["recipe"])
        if not all(isinstance(value, str) or math.isfinite(value) for value in values.values()):
            raise ValueError("a number is not finite")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        folder.report(BadValue(shot.record, f"its recipe is damaged ({error!r})"))
        return {}
    return values


def _check_limits(config: CheckConfig) -> None:
    for item in fields(config):
        value = getattr(config, item.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < 1e9:
            raise ConfigError(f"{item.name}: got {value}; expected a number from 0")


def _check_out(out: str | None) -> None:
    """Raises ConfigError before the work is done if findings cannot be written to `out`, or would replace another file."""
    if out is None:
        return
    path = Path(out)
    if path.is_dir():
        raise ConfigError(f"out: {path} is a folder; expected the name of a file, e.g. {path / 'findings.json'}")
    if path.exists():
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            content = None
        if not isinstance(content, dict) or "findings" not in content:
            raise ConfigError(f"out: {path} exists and holds no findings of this command; name another file")
