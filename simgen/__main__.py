"""`python -m simgen COMMAND key=value ...`: the command table."""

import sys
from typing import Any

from simgen.board.schema import BoardConfig, CameraConfig, CaptureConfig, SceneConfig, TableConfig
from simgen.check.schema import CheckConfig
from simgen.config import Command, main
from simgen.diff.schema import DiffConfig
from simgen.explain.schema import ExplainConfig
from simgen.formats.schema import ConvertConfig, LabelConfig
from simgen.live.schema import Live
from simgen.report.schema import ReportConfig
from simgen.schema import Merge, Preview, Render


def _notes(composed: Any) -> list[str]:
    from simgen.catalogue import without_fixtures

    return without_fixtures([composed.value.scene], composed.given)


def _render(config: Any) -> None:
    from simgen.workers import render

    render(config)


def _merge(config: Any) -> None:
    from simgen.merge import merge

    merge(config)


def _preview(config: Any) -> None:
    from simgen.preview import preview

    preview(config)


def _live(composed: Any) -> None:
    from simgen.live.command import live

    live(composed)


def _check(config: Any) -> int:
    from simgen.check.command import check

    return check(config)


def _convert(config: Any) -> None:
    from simgen.formats.command import convert

    convert(config)


def _label(config: Any) -> None:
    from simgen.formats.posed import label

    label(config)


def _report(config: Any) -> int:
    from simgen.report.command import report

    return report(config)


def _explain(composed: Any) -> None:
    from simgen.explain.command import explain

    explain(composed.value, composed.given)


def _diff(composed: Any) -> int:
    from simgen.diff.command import diff

    return diff(composed.value, composed.given)


def _board(config: Any) -> None:
    from simgen.board.commands import board

    board(config)


def _camera(config: Any) -> None:
    from simgen.board.commands import camera

    camera(config)


def _table(config: Any) -> None:
    from simgen.board.commands import table

    table(config)


def _scene(config: Any) -> None:
    from simgen.board.cell import scene

    scene(config)


def _capture(config: Any) -> None:
    from simgen.board.capture import capture

    capture(config)


COMMANDS = {
    "render": Command("write a dataset of labeled images", Render, _render, resumes=True, notes=_notes),
    "merge": Command("make one dataset of parts that several machines rendered", Merge, _merge, ("out",), resumes=True),
    "preview": Command("draw a contact sheet of samples with their labels", Preview, _preview, notes=_notes),
    "live": Command(
        "show a scene in the browser, with a control for every factor", Live, _live, composed=True, notes=_notes
    ),
    "check": Command("find what is wrong with a dataset", CheckConfig, _check),
    "explain": Command(
        "explain a factor, with pictures along it", ExplainConfig, _explain, words=("factor",), composed=True
    ),
    "report": Command("write a page that shows a dataset, for a browser", ReportConfig, _report, words=("dataset",)),
    "diff": Command(
        "find what differs between two datasets or configurations", DiffConfig, _diff, words=("a", "b"), composed=True
    ),
    "convert": Command(
        "write a dataset in another format: COCO, YOLO, FoundationPose and others", ConvertConfig, _convert
    ),
    "label": Command("turn photographs and a table of poses into a dataset", LabelConfig, _label),
    "board": Command("draw a board to print, and the outlines of blocks", BoardConfig, _board),
    "camera": Command("calibrate a camera from photographs of a board", CameraConfig, _camera),
    "table": Command("find the camera's pose over the table from one photograph", TableConfig, _table),
    "scene": Command("write the scene file of a calibrated camera over a table", SceneConfig, _scene),
    "capture": Command("turn photographs of blocks on their outlines into a dataset", CaptureConfig, _capture),
}

if __name__ == "__main__":
    sys.exit(main("simgen", COMMANDS))
