"""`python -m simgen check`: runs all checks on a dataset, prints the findings and writes them as JSON."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simgen.check.findings import ERROR, ChangedFile, Finding, MissingFile, Report, UnreadableFile
from simgen.check.geometry import check_shot
from simgen.check.models import check_models
from simgen.check.pictures import check_picture
from simgen.check.schema import CheckConfig
from simgen.check.tree import read_json, shots_of
from simgen.command.progress import Progress
from simgen.errors import ConfigError
from simgen.files import sha256_of, write_json

_SHOWN = 5  # findings of a kind


def check(config: CheckConfig) -> int:
    """Prints what is wrong with a dataset; 1 if something is, 0 if there are only warnings or nothing."""
    found = findings_of(config)
    counts = Counter(one.name for one in found)
    shown: Counter[str] = Counter()
    for one in found:
        shown[one.name] += 1
        if shown[one.name] <= _SHOWN:
            print(f"{one.severity}: {one.name}: {one.where}: {one.what}; {one.remedy}")
        elif shown[one.name] == _SHOWN + 1:
            print(f"{one.severity}: {one.name}: and {counts[one.name] - _SHOWN} more")
    errors = sum(one.severity == ERROR for one in found)
    print(f"{config.dataset}: {errors} errors, {len(found) - errors} warnings")
    if config.out is not None:
        write_json(
            Path(config.out), {"dataset": config.dataset, "findings": [one.to_json() for one in found]}, indent=1
        )
    return int(errors > 0)


def findings_of(config: CheckConfig) -> list[Finding]:
    """All findings of the dataset of `config`, in the order of its files. Raises ConfigError if there is no such folder."""
    root = Path(config.dataset)
    if not root.is_dir():
        raise ConfigError(f"dataset: {root} is no folder; expected that of a dataset in BOP's format")
    found: list[Finding] = []
    report = found.append
    if config.hashes and (root / "manifest.json").exists():
        _check_hashes(root, read_json(root / "manifest.json", report), report)
    models = check_models(root, report)
    shots = shots_of(root, report)
    progress = Progress("checked", len(shots), "pictures")
    first: dict[str, str] = {}
    for shot in shots:
        picture = cv2.imread(str(shot.picture), cv2.IMREAD_COLOR)
        if picture is None:
            report(UnreadableFile(shot.name, f"{shot.picture.name} cannot be decoded"))
        else:
            check_shot(shot, (picture.shape[1], picture.shape[0]), models, config, report)
            check_picture(shot, np.asarray(picture, dtype=np.uint8), first, config, report)
        progress.update()
    return found


def _check_hashes(root: Path, manifest: Any, report: Report) -> None:
    files = manifest.get("files") if isinstance(manifest, Mapping) else None
    for name, wanted in (files or {}).items():
        if not (root / name).is_file():
            report(MissingFile(name, "is in manifest.json, and there is no such file"))
        elif sha256_of(root / name) != wanted:
            report(ChangedFile(name, "has other bytes than manifest.json states"))
