"""`python -m simgen board`, `camera` and `table`: from a print to a camera whose table is known."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simgen.board.calibrate import Calibration, View, calibrate
from simgen.board.figures import calibration_figure, clicked_corners
from simgen.board.files import read_board
from simgen.board.find import find_pages, why_not
from simgen.board.layout import board_for
from simgen.board.pdf import board_pdf
from simgen.board.place import Placed, corners_of_table, place_camera, place_over
from simgen.board.schema import BoardConfig, CameraConfig, TableConfig
from simgen.board.value import Board
from simgen.camera import fit_camera, read_camera
from simgen.catalogue import load_world
from simgen.command.progress import Progress
from simgen.errors import BoardError, ConfigError, PictureError
from simgen.files import write_file, write_json
from simgen.geometry import Array
from simgen.pictures import list_pictures, read_picture


def board(config: BoardConfig) -> None:
    """Writes the PDF of a board and the file that describes it."""
    world = load_world(config.scene)
    known = {solid.name: solid for solid in world.solids}
    names = list(known) if config.blocks is None else config.blocks
    for name in names:
        if name not in known:
            raise ConfigError(f"blocks: the scene has no block '{name}'; it has {', '.join(known)}")
    made = board_for(config.paper, [known[name] for name in names])
    out = _new(config.out, ".pdf")
    text = _text(made.to_json()).encode()
    files = {out: board_pdf(made, known), out.with_suffix(".json"): text}
    for path, data in files.items():
        if path.exists() and path.read_bytes() != data:
            raise ConfigError(f"out: {path} exists, and is not this board; name another file or move it")
    for path, data in files.items():
        write_file(path, data)
    outlines = sum(len(page.outlines) for page in made.pages)
    print(f"{out}: {len(made.pages)} pages: a board to calibrate with, and {outlines} outlines of {len(names)} blocks")
    print(f"{out.with_suffix('.json')}: describes it for board=; print the PDF in its true size and measure the ruler")


def camera(config: CameraConfig) -> None:
    """Calibrates a camera from the photographs in a folder."""
    printed = read_board(config.board, config.ruler_mm)
    out = _absent(_new(config.out, ".json"))
    figure = _absent(out.with_suffix(".png"))
    views, size = _views(Path(config.photos), printed)
    try:
        found = calibrate(views, *size, config.lens)
    except BoardError as error:
        raise BoardError(f"photos: {config.photos}: {error}") from error
    write_file(figure, calibration_figure(found))
    try:
        write_json(out, {**found.camera.to_json(), "calibration": _record(found)}, indent=1)
    except BaseException:
        figure.unlink(missing_ok=True)  # else the same command would refuse it
        raise
    _report(found, out)


def table(config: TableConfig) -> None:
    """Finds the camera's pose over the table, from a board that lies on it or from the table's corners."""
    out = _absent(_new(config.out, ".json"))
    picture = read_picture(Path(config.photo))
    height, width = picture.shape[:2]
    seen_by = fit_camera(read_camera(config.camera), width, height, config.camera)
    seen_by.print_notices(config.camera, set())
    size = None if config.size is None else _numbers(config.size, (2,), "size", "[length, width] in m")
    if size is not None and (size.min() <= 0 or size.max() > 20):
        raise ConfigError(f"size: got {config.size}; expected the length and the width in m")
    try:
        if config.board is not None:
            printed = read_board(config.board, config.ruler_mm)
            sightings = find_pages(picture, printed)
            if not sightings:
                raise BoardError(why_not(picture, printed))
            placed = place_over(seen_by, sightings)
            what = f"page {min(sighting.page for sighting in sightings) + 1} of {config.board}"
        else:
            if size is None:
                raise ConfigError(
                    "size: missing; with corners it is [length from the first to the second corner, width] in m"
                )
            if config.corners is None:
                raise ConfigError(
                    "corners: missing; write board=FILE, corners=[[u,v],[u,v],[u,v],[u,v]] or corners=click"
                )
            given = clicked_corners(picture) if config.corners == "click" else config.corners
            pixels = _numbers(given, (4, 2), "corners", "[[u, v], ...] px of four corners, or click")
            points, pixels = corners_of_table(pixels, (float(size[0]), float(size[1])))
            placed = place_camera(seen_by, points, pixels)
            what = "the table's middle"
    except BoardError as error:
        raise BoardError(f"photo: {config.photo}: {error}") from error
    half = None if size is None else np.stack([-size, size]) / 2
    try:
        content = replace(seen_by, camera_from_table=placed.pose, table=half).to_json()
    except ConfigError as error:
        raise BoardError(
            f"photo: {config.photo}: {error}; photograph {what} whole, in the middle of the picture"
        ) from error
    write_json(out, {**content, **_calibration_in(Path(config.camera), width)}, indent=1)
    print(f"{out}: the origin is {what}; {_placed(placed)}")


def _views(folder: Path, printed: Board) -> tuple[list[View], tuple[int, int]]:
    """The photographs in `folder` that show the board, and their size; the others are reported."""
    if not folder.is_dir():
        raise ConfigError(f"photos: {folder}: no such folder; expected a folder of photographs of the board")
    paths = list_pictures(folder).pictures
    if not paths:
        raise ConfigError(f"photos: {folder}: no pictures there; expected photographs of the board")
    views, sizes, without = [], {}, []
    layouts = set()
    with Progress("looked at", len(paths), "photographs", ending=False) as progress:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            try:
                picture = read_picture(path)
            except PictureError as error:
                without.append((name, str(error)))
                progress.update()
                continue
            sizes[name] = (picture.shape[1], picture.shape[0])
            pages = find_pages(picture, printed)
            layouts |= {page.legacy for page in pages}
            if pages:
                views.append(View(name, tuple(pages)))
            else:
                without.append((name, why_not(picture, printed)))
            progress.update()
    for name, reason in without:
        print(f"{name}: not used: {reason}", file=sys.stderr)
    if not views:
        raise BoardError(f"photos: {folder}: the board is in none of {len(paths)} pictures; {without[0][1]}")
    counts = Counter(sizes[view.name] for view in views)
    if len(counts) > 1:
        (width, height), _ = counts.most_common(1)[0]
        odd = next(name for view in views if sizes[name := view.name] != (width, height))
        turned = (
            " (a phone that was turned takes another picture: hold it one way)" if sizes[odd] == (height, width) else ""
        )
        raise PictureError(
            f"{folder / odd}: is of {sizes[odd][0]} x {sizes[odd][1]} px, most are of {width} x {height}{turned}; "
            "calibrate with pictures of one camera, size and zoom"
        )
    if True in layouts and any(
        page.grid and page.grid.rows % 2 == 0 and not page.grid.legacy for page in printed.pages
    ):
        print('the board is of the layout of OpenCV before 4.6: write "legacy": true into its file', file=sys.stderr)
    return views, counts.most_common(1)[0][0]


def _record(found: Calibration) -> Mapping[str, Any]:
    """What a camera file says of its calibration."""
    return {
        "error_px": round(found.error, 4),
        "photographs": {
            view.name: round(float(error), 4) for view, error in zip(found.views, found.errors, strict=True)
        },
        "deviations_px": dict(zip(("fx", "fy", "cx", "cy"), found.deviations.round(4).tolist(), strict=True)),
        "corners_left_out": int(found.left_out.sum()),
        "covered": round(float(found.covered.mean()), 3),
    }


def _calibration_in(path: Path, width: int) -> dict[str, Any]:
    """What the camera file `path` states of its calibration, if `python -m simgen camera` wrote it, for pictures of `width`
    px."""
    try:
        content = json.loads(path.read_bytes())
        stated = content["calibration"]
        scale = width / content["width"]
        deviations = {name: round(scale * value, 4) for name, value in stated["deviations_px"].items()}
        return {"calibration": {**stated, "deviations_px": deviations}}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # a file of another tool
        return {}


def _report(found: Calibration, out: Path) -> None:
    worst = int(found.errors.argmax())
    focal = found.camera.intrinsics[0, 0]
    print(
        f"{out}: {len(found.views)} photographs, RMS reprojection error {found.error:.3f} px (largest in "
        f"{found.views[worst].name}: {found.errors[worst]:.3f} px); focal length {focal:.1f} px +- "
        f"{100 * found.deviations[0] / focal:.2f}%; corners in {100 * found.covered.mean():.0f}% of the picture"
    )
    if found.left_out.any():
        most = int(found.left_out.argmax())
        print(
            f"{found.left_out.sum()} corners are far off beside the others and were left out, {found.left_out[most]} of "
            f"them in {found.views[most].name}: is the paper flat there, and all of it sharp?",
            file=sys.stderr,
        )
    print(f"{out.with_suffix('.png')}: where the corners are and how far they are off")


def _placed(placed: Placed) -> str:
    return (
        f"the camera is {np.linalg.norm(placed.pose[:3, 3]):.3f} m from the origin and "
        f"{-placed.pose[:3, 2] @ placed.pose[:3, 3]:.3f} m above the table; RMS reprojection error {placed.error:.2f} "
        f"px; the plane's height and tilt have standard deviations of {1e3 * placed.height:.1f} mm and {placed.tilt:.2f} "
        "degrees"
    )


def _numbers(value: Any, shape: tuple[int, ...], key: str, expected: str) -> Array:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        raise ConfigError(f"{key}: got {value}; expected {expected}")
    return array


def _text(value: Any) -> str:
    return json.dumps(value) + "\n"


def _new(out: str, suffix: str) -> Path:
    if Path(out).suffix.lower() != suffix:
        raise ConfigError(f"out: got {out}; expected the name of a {suffix} file")
    return Path(out)


def _absent(path: Path) -> Path:
    if path.exists():
        raise ConfigError(f"out: {path} exists; name another file or move it")
    return path
