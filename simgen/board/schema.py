"""The configurations of `python -m simgen board`, `camera` and `table`."""

from dataclasses import dataclass
from typing import Any

from simgen.command.keys import MISSING, key

PAPERS = {"a4": (0.210, 0.297), "letter": (0.2159, 0.2794), "a3": (0.297, 0.420)}  # m
LENSES = ("standard", "rational", "fisheye")
RULER_MM = 100.0  # the length of the printed ruler
_RULER = "length that the printed ruler of 100 mm has in truth, by which the whole print is scaled"
_FILE = (
    "file of the printed board: the .json that `python -m simgen board` writes, or one of your own, such as "
    '{"columns": 5, "rows": 7, "square": 0.035, "marker": 0.026, "dictionary": "DICT_4X4_50"} in m'
)


@dataclass
class BoardConfig:
    scene: str = key(
        "scene file whose blocks get outlines: a name of scenes/*.yaml, or the path of your own", "tabletop"
    )
    blocks: list[str] | None = key("names of the blocks that get outlines; null: all, []: none", None)
    paper: str = key("format of the paper", "a4", choices=tuple(PAPERS))
    out: str = key("file of the board, .pdf; beside it a .json of the same name describes it", "board.pdf")


@dataclass
class CameraConfig:
    photos: str = key("folder of photographs of the board, from one camera", MISSING)
    board: str = key(_FILE, "board.json")
    ruler_mm: float = key(_RULER, RULER_MM, unit="mm")
    lens: str = key(
        "distortion model: standard (k1, k2, p1, p2), rational (k3 to k6 beside them, for wide lenses) or fisheye",
        "standard",
        choices=LENSES,
    )
    out: str = key("camera file, .json; beside it a .png of the same name shows the corners", "camera.json")


@dataclass
class TableConfig:
    photo: str = key("photograph by the camera in its place", MISSING)
    camera: str = key("calibration of the camera, a file of any known format", "camera.json")
    board: str | None = key(f"{_FILE}, which lies on the table; null: `corners` are used", "board.json")
    ruler_mm: float = key(_RULER, RULER_MM, unit="mm", needs="board!=null")
    corners: Any = key(
        "the four corners of the table's top in the photograph, [[u, v], ...] px, in order around it; or click, to mark "
        "them in a window",
        None,
        needs="board=null",
    )
    size: Any = key(
        "size of the table's top, [length from the first to the second corner, width]; with a board, the table lies around "
        "its middle and parallel to it; null: unknown",
        None,
        unit="m",
    )
    out: str = key("camera file with the table, .json", "table.json")


@dataclass
class SceneConfig:
    camera: str = key("camera file with the table, as `python -m simgen table` writes it", "table.json")
    blocks: str = key("file of your blocks: NAME: {shape, size} or NAME: {mesh, scale} for each", MISSING)
    size: Any = key(
        "size of the table's top, [length, width], around the origin; null: that of the camera's file", None, unit="m"
    )
    place: Any = key(
        "where blocks lie, [[least X, least Y], [greatest X, greatest Y]]; null: where the camera sees the table",
        None,
        unit="m",
    )
    moves_mm: float = key(
        "by how much the point at which the camera looks, and its distance from there, may differ, on each side",
        10.0,
        unit="mm",
    )
    turns_deg: float = key(
        "by how much the direction from there to the camera, and its roll, may differ, on each side; above 60 degrees of "
        "elevation the direction differs less, as a line then says",
        1.0,
        unit="degrees",
    )
    out: str = key("the scene file, .yaml", "scenes/mine.yaml")


@dataclass
class CaptureConfig:
    photos: str = key("folder of photographs of blocks on their outlines", MISSING)
    camera: str = key("calibration of the camera, a file of any known format", "camera.json")
    board: str = key("file of the printed board: the .json that `python -m simgen board` wrote", "board.json")
    ruler_mm: float = key(_RULER, RULER_MM, unit="mm")
    scene: str = key(
        "scene file that the board was made for: a name of scenes/*.yaml, or the path of your own", "tabletop"
    )
    blocks: list[str] | None = key(
        "letters of the outlines that hold a block, [A,C]; null: those in whose middle no marker is seen", None
    )
    out: str = key("folder of the dataset in BOP's format", "data/captured")
