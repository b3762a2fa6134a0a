"""Contact sheets: the right number of tiles, labels drawn where the blocks are."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import SMALL, pipeline_of

from simgen.__main__ import COMMANDS
from simgen.config import compose, main
from simgen.drawings import Overview, contact_sheet
from simgen.live.drawing import Drawer
from simgen.live.schema import Live
from simgen.pipeline import notices_of
from simgen.preview import COLORS, draw_labels
from simgen.render import make_renderer


def preview(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["simgen", "preview", *arguments])
    return main("simgen", COMMANDS)


def test_vary_changes_its_group_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vary=light: the same outlines in every tile, other brightness; vary=blocks: other outlines."""
    sheets = {}
    for group in ("light", "blocks"):
        out = tmp_path / f"{group}.png"
        assert preview([f"vary={group}", "num=4", f"out={out}", *SMALL], monkeypatch) == 0
        sheets[group] = cv2.imread(str(out))
        assert sheets[group].shape == (240, 320, 3)
    tiles = {name: [s[:110, :160], s[:110, 160:], s[120:230, :160], s[120:230, 160:]] for name, s in sheets.items()}
    for tile in tiles["light"][1:]:
        assert not np.array_equal(tile, tiles["light"][0])

    def lines(tile: np.ndarray) -> np.ndarray:
        return np.all(tile == COLORS[0][::-1], axis=-1)

    assert all(np.array_equal(lines(tile), lines(tiles["light"][0])) for tile in tiles["light"])
    assert any(not np.array_equal(lines(tile), lines(tiles["blocks"][0])) for tile in tiles["blocks"])


def test_whoever_draws_reports_what_the_renderer_cannot_vary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["renderer=tiny", "physics=place", "width=48", "height=36"]
    size = ["randomize.light.kind=area", "randomize.light.size=0.3"]
    pipeline = pipeline_of("randomize=none", *settings, *size)
    (line,) = notices_of(pipeline, make_renderer("tiny", pipeline.world))
    assert line.startswith("renderer=tiny cannot vary light.count, light.kind, light.size, ambient.sky, ")
    for command, *others in (
        ("render", "num=1", "workers=1", f"out={tmp_path / 'set'}"),
        ("preview", "num=1", f"out={tmp_path / 'sheet.png'}"),
        ("explain", "light.shadow", "values=[0,1]", "index=0", f"out={tmp_path / 'strip.png'}"),
    ):
        monkeypatch.setattr(sys, "argv", ["simgen", command, "randomize=none", *settings, *size, *others])
        assert main("simgen", COMMANDS) == 0
        assert capsys.readouterr().err.splitlines().count(line) == 1, command
    of = compose("live", Live, ["randomize=none", *settings, *size])
    assert Drawer(of).notices == (line,)


def test_a_picture_of_the_users_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    assert cv2.imwrite(str(photo), np.zeros((4, 4), np.uint8))
    before = photo.read_bytes()
    assert preview([f"out={photo}", "num=1", *SMALL], monkeypatch) == 2
    assert "photo.png exists, and preview did not draw it; name another file" in capsys.readouterr().err
    assert photo.read_bytes() == before
    for _ in range(2):  # its own sheet is replaced
        assert preview([f"out={tmp_path / 'sheet.png'}", "num=1", *SMALL], monkeypatch) == 0


def test_outlines_follow_the_visible_mask() -> None:
    pipeline = pipeline_of("randomize=none", "width=320", "height=240")
    sample = next(iter(pipeline.samples(make_renderer("tiny", pipeline.world), [0])))
    drawn = np.all(draw_labels(sample, pipeline.world) == COLORS[0], axis=-1)
    visible = sample.labels[0].visible
    edge = visible & ~cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    # Keypoints and axes may cover some of it.
    assert np.count_nonzero(drawn & edge) > 0.6 * np.count_nonzero(edge)


def test_contact_sheet_keeps_order() -> None:
    tiles = [np.full((2, 3, 3), k, np.uint8) for k in range(5)]
    sheet = contact_sheet(tiles)
    assert sheet.shape == (4, 9, 3)
    assert [sheet[0, 0, 0], sheet[0, 3, 0], sheet[0, 6, 0], sheet[2, 0, 0], sheet[2, 3, 0], sheet[2, 6, 0]] == [
        0,
        1,
        2,
        3,
        4,
        0,
    ]


@pytest.mark.parametrize(
    ("override", "words"),
    [("vary=nothing", "nothing"), ("num=0", "num"), ("out=sheet.bmp", "out"), ("renderer=x", "renderer")],
)
def test_bad_input(
    override: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert preview([override], monkeypatch) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1 and words in stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 200, 201, 5000])
def test_an_overview_shows_evenly_chosen_pictures(count: int) -> None:
    """So that thousands of photographs do not fill the memory."""
    overview = Overview()
    for number in range(count):
        overview.add(np.full((1, 1, 3), number % 251, np.uint8))
        assert len(overview.tiles) <= 200
    shown = len(overview.tiles)
    step = -(-count // shown)
    assert [int(tile[0, 0, 0]) for tile in overview.tiles] == [number % 251 for number in range(0, count, step)]
    assert shown == count if count <= 200 else 100 <= shown <= 200
    assert str(overview) == ("all photographs" if count <= 200 else f"{shown} of {count} photographs")
