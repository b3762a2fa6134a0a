"""`python -m simgen report`: reads a dataset, checks it, and writes the page that shows it."""

import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from simgen.check.command import findings_of
from simgen.check.findings import ERROR, Finding
from simgen.check.schema import CheckConfig
from simgen.dataset import layout
from simgen.dataset.layout import MANIFEST
from simgen.dataset.values import Value
from simgen.dataset.write import DATA_VERSION
from simgen.errors import ConfigError, DatasetError, FileError
from simgen.files import read_json
from simgen.report.again import command_of, settings_again
from simgen.report.page import check_out, json_text, write_page
from simgen.report.predictions import (
    RESULT,
    UNITS,
    XY,
    Evaluation,
    columns_of_errors,
    evaluation_of_run,
    read_evaluation,
)
from simgen.report.samples import BLOCK, PICTURE, Contents, Sample, read_samples, table_of
from simgen.report.schema import ReportConfig
from simgen.report.thumbnails import make_thumbnails

_MOST_FINDINGS = 2000  # rows on the page
_MOST_HASHES = 20  # of the images or meshes in a recipe
_PAGE = 100_000  # bytes of the page without its data, at most
_WORST = 120  # samples with the greatest errors, which have thumbnails in any case
_NUMBERS = (
    "blocks", "not_found", "false_positives", "right", "adds_auc", "translation_cm_median", "rotation_deg_median",
    "mspd_px_median", "within_5_cm_5_deg", "average_precision", "expected_calibration_error",
)  # fmt: skip


def report(config: ReportConfig) -> int:
    """Writes the page that `config` describes; 1 if some split could not be opened, else 0.

    Raises ConfigError and DatasetError if there is nothing to show, and ConfigError for an `out` that is no report.
    """
    out = Path(config.out)
    check_out(out)
    if config.megabytes < 1:
        raise ConfigError(f"megabytes: got {config.megabytes:g}; expected at least 1")
    root, evaluation = _place(config)
    contents = read_samples(root, config)
    findings = findings_of(CheckConfig(dataset=str(root))) if config.check else None
    data = data_of(contents, findings, evaluation, config)
    size = write_page(out, f"{root.resolve().name} - simgen report", data)
    pictures, thumbnails = len(contents.samples), len(data["thumbnails"])
    print(f"{out}: {pictures} samples, {thumbnails} thumbnails, {size / 1e6:.1f} MB; open it in a browser")
    for error in contents.errors:
        print(f"not shown: {error}")
    return int(bool(contents.errors))


def data_of(
    contents: Contents, findings: Sequence[Finding] | None, evaluation: Evaluation | None, config: ReportConfig
) -> dict[str, Any]:
    """All that the page shows, as JSON values. `findings` are those of `check`, None if it was not run."""
    samples, errors = contents.samples, list(contents.errors)
    more: dict[str, dict[str, list[Value | None]]] = {PICTURE: {}, BLOCK: {}}
    if evaluation is not None and samples:
        more |= columns_of_errors(evaluation, samples, contents.root)
    number = {sample.name: k for k, sample in enumerate(samples)}
    rows = [_row(one, number) for one in findings or ()]
    if findings is not None and samples:
        counts = Counter(row["sample"] for row in rows if row["sample"] is not None)
        more[PICTURE]["check.findings"] = [float(counts[k]) for k in range(len(samples))]
    columns = table_of(samples, more, errors)
    for column in columns:
        column.setdefault("unit", UNITS.get(column["key"], ""))
    data: dict[str, Any] = {
        "dataset": {"path": str(contents.root), "name": contents.root.resolve().name, "table": contents.table},
        "samples": [sample.name for sample in samples],
        "blocks": [len(sample.picture.instances) for sample in samples],
        "columns": columns,
        "errors": errors,
        "leftOut": dict(contents.left_out),
        "findings": None if findings is None else _findings(findings, rows),
        "evaluation": None if evaluation is None else _evaluation(evaluation),
        "provenance": _provenance(_manifest(contents.root)),
    }
    first = [*_worst(samples, more), *(row["sample"] for row in rows if row["sample"] is not None)]
    budget = int(1e6 * config.megabytes) - len(json_text(data)) - _PAGE
    if budget < 0 and samples:
        print(
            f"megabytes: the factors of {len(samples)} samples alone take more than {config.megabytes:g} MB: no thumbnails, "
            "and a larger page; raise it, or choose a split",
            file=sys.stderr,
        )
    made = make_thumbnails(samples, dict.fromkeys(first[: 4 * _WORST]), budget, config.seed)
    data["thumbnails"], data["side"] = made.entries, made.side
    return data


def _place(config: ReportConfig) -> tuple[Path, Evaluation | None]:
    """The folder of the dataset, and the evaluation that is asked for."""
    root = Path(config.dataset)
    if not root.is_dir():
        raise DatasetError(
            f"dataset: {root} is no folder; expected a dataset in BOP's format, or an evaluation's folder"
        )
    evaluation = None if config.predictions is None else read_evaluation(Path(config.predictions))
    if evaluation is None and not layout.splits_of(root):
        evaluation = evaluation_of_run(root)
        if evaluation is not None:
            root = evaluation.dataset
            if not root.is_dir():
                raise DatasetError(
                    f"dataset: {evaluation.path} was made on {root}, and there is no such folder here; name it: "
                    f"dataset=FOLDER predictions={evaluation.path.parent}"
                )
    return root, evaluation


def _row(one: Finding, number: Mapping[str, int]) -> dict[str, Any]:
    """A finding, and the number of its sample, None if it is of no sample that is shown."""
    return {**one.to_json(), "sample": number.get(one.where.rpartition(" object ")[0] or one.where)}


def _findings(findings: Sequence[Finding], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {}
    for one in findings:
        kind = kinds.setdefault(
            one.name, {"name": one.name, "severity": one.severity, "remedy": one.remedy, "count": 0}
        )
        kind["count"] += 1
    errors = sum(one.severity == ERROR for one in findings)
    shown = [
        {key: row[key] for key in ("name", "severity", "where", "what", "sample")} for row in rows[:_MOST_FINDINGS]
    ]
    return {"errors": errors, "warnings": len(findings) - errors, "kinds": list(kinds.values()), "rows": shown}


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    content = evaluation.content
    numbers = {key: content[key] for key in _NUMBERS if _is_number(content.get(key))}
    mean = (content.get("xy_error_cm") or {}).get("model", {}).get("mean", {}).get("value")
    if _is_number(mean):
        numbers["xy_error_cm_mean"] = mean
    return {
        "path": str(evaluation.path),
        "checkpoint": str(content.get("checkpoint", "")),
        "sha256": str(content.get("checkpoint_sha256", "")),
        "numbers": numbers,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _worst(samples: Sequence[Sample], more: Mapping[str, Mapping[str, Sequence[Value | None]]]) -> list[int]:
    """The numbers of the samples with the greatest errors; a missed block is the greatest."""
    errors = np.full(len(samples), -1.0)
    if RESULT in more[BLOCK]:
        owner = np.repeat(np.arange(len(samples)), [len(sample.picture.instances) for sample in samples])
        for k, result, adds in zip(owner, more[BLOCK][RESULT], more[BLOCK]["prediction.adds_cm"], strict=True):
            if result != "not evaluated":
                errors[k] = max(errors[k], np.inf if adds is None else float(adds))
    if XY in more[PICTURE]:
        errors = np.array([-1.0 if one is None else float(one) for one in more[PICTURE][XY]])
    order = np.argsort(-errors, kind="stable")
    return [int(k) for k in order[:_WORST] if errors[k] >= 0]


def _manifest(root: Path) -> Mapping[str, Any]:
    """The dataset's manifest; empty if there is none that can be read, of which `check` has a finding."""
    try:
        content = read_json(root / MANIFEST)
    except FileError:
        return {}
    return _finite(content) if isinstance(content, Mapping) else {}


def _finite(value: Any) -> Any:
    """JSON values with texts in place of NaN and infinity, which a file may hold and JSON does not."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of how the dataset was made."""
    recipe = manifest.get("recipe")
    recipe = dict(recipe) if isinstance(recipe, Mapping) else {}
    for key in ("images", "meshes"):
        hashes = recipe.get(key)
        if isinstance(hashes, Mapping) and len(hashes) > _MOST_HASHES:
            kept = dict(list(hashes.items())[:_MOST_HASHES])
            recipe[key] = {**kept, "...": f"and {len(hashes) - _MOST_HASHES} more"}
    listed = manifest.get("files")
    rest = {key: value for key, value in manifest.items() if key not in ("recipe", "files")}
    try:
        by = version("simgen")
    except PackageNotFoundError:
        by = "from a source checkout"
    settings = settings_again(manifest)
    one = [] if settings is None else [setting for setting in settings if not setting.startswith(("num=", "start="))]
    return {
        "command": None if settings is None else command_of([*settings, "out=again"]),
        "one": None if settings is None else command_of([*one, "out=one", "num=1"]),
        "manifest": rest,
        "recipe": recipe,
        "files": len(listed) if isinstance(listed, Mapping) else None,
        "written": {"simgen": by, "python": platform.python_version(), "data_version": DATA_VERSION},
    }
