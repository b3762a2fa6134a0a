"""`python -m simgen capture`: photographs of blocks on their printed outlines become labeled samples of a BOP dataset.

The page's markers give the camera, the outline gives the block's pose. An outline is empty if the marker in
its middle is seen.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from shlex import quote
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.board.files import read_board
from simgen.board.find import error_limit, find_pages, gray_of, why_not
from simgen.board.place import Placed, place_camera
from simgen.board.schema import CaptureConfig
from simgen.board.value import Board, Outline, Page, dictionary_of, marker_cells
from simgen.camera import Camera, bop_lens, fit_camera, read_camera
from simgen.catalogue import World
from simgen.command.progress import Progress
from simgen.config import compose
from simgen.dataset.write import Sample, bop_pose, info_of, truth_of, write_models
from simgen.drawings import Overview, contact_sheet, png_bytes
from simgen.errors import BoardError, ConfigError, DatasetError, PartialError, SimgenError
from simgen.files import write_file, write_json
from simgen.formats.folder import new_folder
from simgen.geometry import Array, inverse, project
from simgen.labels import labels_of
from simgen.pictures import Image, list_pictures, read_picture
from simgen.pipeline import make_pipeline
from simgen.preview import draw_labels
from simgen.render import Renderer, make_renderer
from simgen.scene import Materials, Scenes
from simgen.schema import Render
from simgen.shapes.solids import Solid
from simgen.silhouette import silhouette

SPLIT = "test"
_WORST = 1.0  # px: corners of a page that are farther off on average are not of a flat page and this camera
_HEIGHT, _TILT = 1.0, 0.5  # mm and degrees: the plane must be known to this, by its standard deviations
_EMPTY = 0.5  # correlation of a tag with the picture: above it the outline is empty
_RAYS = 3  # along each side of a cell of a tag
_CELL = 1.5  # px: the least side of a cell of a tag that can be read
_SHOWS = 0.25  # share of a tag that a block must hide, at least, so that it is missed
_LIES = 5e-4  # m: a block whose lowest point is farther from the page has another size than the outline
_HIDDEN = 0.3  # share of a tag that another block may hide
_TILE = 640  # px: the width of a picture on the sheet


@dataclass(frozen=True)
class Shot:
    """A photograph with its labels: `placed` is the camera over the page number `page`, `outlines` are those with
    a block."""

    path: Path
    name: str
    page: int
    placed: Placed
    outlines: tuple[Outline, ...]
    sample: Sample


def capture(config: CaptureConfig) -> None:
    """Writes the dataset. Raises PartialError if some photographs could not be used, DatasetError if none could."""
    out = Path(config.out)
    with new_folder(out) as unfinished:
        used, failures, overview = _write(config, unfinished)
    worst, _, placed = max(used, key=lambda one: one[2].error)
    print(
        f"{out}: {len(used)} photographs, {sum(count for _, count, _ in used)} blocks; RMS reprojection errors up to "
        f"{placed.error:.2f} px ({worst}); standard deviations of the plane's height up to "
        f"{1e3 * max(one.height for _, _, one in used):.1f} mm, of its tilt up to "
        f"{max(one.tilt for _, _, one in used):.2f} degrees"
    )
    print(f"{out / 'overlays.png'} shows {overview}: look at it: every block must lie where it is drawn")
    print(
        f"measure a model on it with: python -m train evaluate checkpoint=FILE {quote(f'data.root={out}')} data.table=true"
    )
    if failures:
        raise PartialError(f"{len(failures)} of {len(failures) + len(used)} photographs could not be used: see above")


def _write(config: CaptureConfig, out: Path) -> tuple[list[tuple[str, int, Placed]], list[SimgenError], Overview]:
    """Writes the dataset into `out`: the name, the number of blocks and the camera of each photograph, why others could
    not be used, and what the sheet of overlays shows."""
    folder = Path(config.photos)
    if not folder.is_dir():
        raise ConfigError(
            f"photos: {folder}: no such folder; expected a folder of photographs of blocks on their outlines"
        )
    paths = list_pictures(folder).pictures
    if not paths:
        raise ConfigError(f"photos: {folder}: no pictures there; expected photographs of blocks on their outlines")
    board = read_board(config.board, config.ruler_mm)
    chosen = _chosen(board, config.blocks)
    camera = read_camera(config.camera)
    scenes = _Scenes(config.scene)
    for outline in (outline for page in board.pages for outline in page.outlines):
        scenes.check(outline)
    noticed: set[str] = set()
    used: list[tuple[str, int, Placed]] = []
    failures: list[SimgenError] = []
    writer = _Writer(out, scenes.world)
    with Progress("looked at", len(paths), "photographs", ending=False) as progress:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            try:
                shot = _shot(path, name, board, chosen, camera, config.camera, scenes, len(used), noticed)
            except SimgenError as error:
                failures.append(error)
                print(f"{name}: not used: {error}", file=sys.stderr)
            else:
                writer.add(shot)
                used.append((name, len(shot.outlines), shot.placed))
            progress.update()
    if not used:
        raise DatasetError(f"photos: {folder}: none of {len(paths)} photographs could be used; {failures[0]}")
    writer.finish()
    return used, failures, writer.overview


class _Scenes:
    """Makes scenes of blocks at given poses, and their labels."""

    def __init__(self, scene: str) -> None:
        source = compose(
            "render", Render, [f"scene={scene}", "randomize=none", "physics=place", "raycast.supersample=1"]
        )
        pipeline = make_pipeline(source)
        self.world: World = pipeline.world
        self._plain = pipeline.sampler.sample(0, range(1))
        self._renderer: Renderer = make_renderer("raycast", pipeline.world)

    def number_of(self, block: str) -> int:
        """The place of `block` among the scene's. Raises ConfigError."""
        names = [solid.name for solid in self.world.solids]
        if block not in names:
            raise ConfigError(
                f"scene: has no block '{block}', of which the board has an outline; it has {', '.join(names)}: give the "
                "scene that the board was made for"
            )
        return names.index(block)

    def solid_of(self, outline: Outline) -> Solid:
        return self.world.solids[self.number_of(outline.block)]

    def check(self, outline: Outline) -> None:
        """Raises ConfigError if the block of `outline` is not in the scene, or has another size there."""
        solid, pose = self.solid_of(outline), outline.page_from_block
        low = float((solid.vertices @ pose[2, :3] + pose[2, 3]).min())
        if abs(low) > _LIES:
            raise ConfigError(
                f"scene: block '{outline.block}' does not lie on its outline {outline.name}, by {1e3 * abs(low):.1f} mm: "
                "its size has changed since the board was made; print the board again"
            )

    def sample(self, picture: Image, camera: Camera, outlines: Sequence[Outline], index: int) -> Sample:
        """The sample number `index`: `picture`, taken by `camera`, with a block on each of `outlines`."""
        assert camera.camera_from_table is not None
        height, width = picture.shape[:2]
        count, plain = len(outlines), self._plain.blocks
        material = Materials(
            **{
                item.name: np.repeat(getattr(plain.material, item.name)[:, :1], count, axis=1)
                for item in fields(Materials)
            }
        )
        poses = np.stack([outline.page_from_block for outline in outlines])[None]
        blocks = replace(
            plain,
            model=np.array([[self.number_of(outline.block) for outline in outlines]]),
            scale=np.ones((1, count)),
            world_from_block=poses,
            material=material,
            present=np.ones((1, count), np.bool_),
            labelled=np.ones((1, count), np.bool_),
        )
        cameras = replace(
            self._plain.cameras,
            intrinsics=camera.intrinsics[None],
            distortion=camera.distortion[None],
            world_from_camera=inverse(camera.camera_from_table)[None],
            width=width,
            height=height,
        )
        # The scene's fixtures are not where the page is.
        fixtures = replace(self._plain.fixtures, present=np.zeros_like(self._plain.fixtures.present))
        scene: Scenes = replace(self._plain, index=np.array([index]), blocks=blocks, cameras=cameras, fixtures=fixtures)
        frames = self._renderer.render(scene)
        (labels,) = labels_of(scene, frames, self.world)
        return Sample(scene, picture, np.asarray(frames.depth)[0], labels)


def _chosen(board: Board, names: Sequence[str] | None) -> Sequence[str] | None:
    """The names of the outlines with a block; None if the photographs tell. Raises ConfigError."""
    known = [outline.name for page in board.pages for outline in page.outlines]
    if not known:
        raise ConfigError("board: has no outlines; make one with `python -m simgen board`, and blocks")
    for name in names or []:
        if name not in known:
            raise ConfigError(f"blocks: the board has no outline '{name}'; it has {known[0]} to {known[-1]}")
    return names


def _shot(
    path: Path,
    name: str,
    board: Board,
    chosen: Sequence[str] | None,
    camera: Camera,
    camera_name: str,
    scenes: _Scenes,
    index: int,
    noticed: set[str],
) -> Shot:
    picture = read_picture(path)
    fitted = fit_camera(camera, picture.shape[1], picture.shape[0], camera_name)
    fitted.print_notices(camera_name, noticed)
    pages = [page for page in find_pages(picture, board) if board.pages[page.page].outlines]
    if not pages:
        others = find_pages(picture, board)
        if others:
            raise BoardError(f"page {others[0].page + 1} is seen, which has no outlines")
        raise BoardError(why_not(picture, board))
    if len(pages) > 1:
        raise BoardError(
            f"pages {' and '.join(str(page.page + 1) for page in pages)} are seen; show one page at a time"
        )
    page = board.pages[pages[0].page]
    placed = place_camera(fitted, pages[0].points, pages[0].pixels)
    limit = error_limit(_WORST, fitted.width, fitted.height)
    if placed.error > limit:
        raise BoardError(
            f"the page's corners are off by {placed.error:.1f} px, over {limit:g}: it must lie flat, and the camera "
            f"must be that of {camera_name}"
        )
    if 1e3 * placed.height > _HEIGHT or placed.tilt > _TILT:
        raise BoardError(
            f"the page's plane is known to {1e3 * placed.height:.1f} mm and {placed.tilt:.2f} degrees only; show it "
            "larger, and more of its markers"
        )
    # With the page as the table: a pose whose origin is not in the picture is right here, and a doubt in a file.
    over = replace(fitted, camera_from_table=placed.pose, table=_extent(page))
    if chosen is None:
        there = _occupied(gray_of(picture), over, page, scenes)
    else:
        there = tuple(outline for outline in page.outlines if outline.name in chosen)
    if not there:
        raise BoardError(
            f"no block is on an outline of page {pages[0].page + 1}" + ("" if chosen is None else " that blocks= names")
        )
    sample = scenes.sample(picture, over, there, index)
    if chosen is None:
        _check_hidden(sample, over, page, there)
    return Shot(path, name, pages[0].page, placed, there, sample)


def _extent(page: Page) -> Array:
    """(2, 2) m: the least and greatest X and Y of the markers of `page`."""
    corners = np.concatenate(list(page.markers.values()))
    return np.stack([corners.min(0), corners.max(0)])


def _occupied(gray: NDArray[np.uint8], camera: Camera, page: Page, scenes: _Scenes) -> tuple[Outline, ...]:
    """The outlines of `page` with a block: of the tag in its middle, what a block there would hide is not seen in `gray`.
    Raises BoardError where that is undecided."""
    assert camera.camera_from_table is not None
    height, width = gray.shape
    found = []
    for outline in page.outlines:
        pixels, white = _tag(camera, page, outline)
        cell = np.linalg.norm(np.diff(pixels[::_RAYS, ::_RAYS], axis=0), axis=-1).min()
        cell = min(float(cell), float(np.linalg.norm(np.diff(pixels[::_RAYS, ::_RAYS], axis=1), axis=-1).min()))
        if not cell >= _CELL:
            raise BoardError(
                f"the marker in outline {outline.name} is too small in the picture to tell whether a block is there; go "
                "nearer, or name the outlines with blocks, such as blocks=[A,C]"
            )
        pose = camera.camera_from_table @ outline.page_from_block
        covered = silhouette(
            scenes.solid_of(outline), 1.0, pose, camera.intrinsics, camera.distortion, width, height
        ).mask(width, height)
        u, v = (np.rint(part).astype(int) for part in np.moveaxis(pixels, -1, 0))
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        hidden = inside & covered[v.clip(0, height - 1), u.clip(0, width - 1)]
        if hidden.mean() < _SHOWS:
            raise BoardError(
                f"outline {outline.name} is cut off, or its block would not hide the marker in it from this side; "
                "photograph it from higher up, or name the outlines with blocks, such as blocks=[A,C]"
            )
        across, down = (np.ascontiguousarray(part, dtype=np.float32) for part in np.moveaxis(pixels, -1, 0))
        values = np.asarray(cv2.remap(gray.astype(np.float32), across, down, cv2.INTER_LINEAR))[hidden]
        likeness = np.corrcoef(values, white[hidden])[0, 1] if values.std() > 1e-6 else 0.0
        if likeness < _EMPTY:
            found.append(outline)
    return tuple(found)


def _tag(camera: Camera, page: Page, outline: Outline) -> tuple[Array, NDArray[np.bool_]]:
    """Points (R, C, 2) px in all cells of the tag of `outline`, and which of them are white."""
    cells = marker_cells(dictionary_of(page.dictionary), outline.tag)
    count = _RAYS * len(cells)
    share = (np.arange(count) + 0.5) / count
    corners = page.tags[outline.tag]
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    points = corners[0] + share[None, :, None] * right + share[:, None, None] * down
    pose = camera.camera_from_table
    assert pose is not None
    points = np.pad(points, ((0, 0), (0, 0), (0, 1))) @ pose[:3, :3].T + pose[:3, 3]
    return project(points, camera.intrinsics, camera.distortion), np.kron(cells, np.ones((_RAYS, _RAYS), np.bool_))


def _check_hidden(sample: Sample, camera: Camera, page: Page, there: Sequence[Outline]) -> None:
    """Raises BoardError if a block hides the tag of another outline, so that it is unknown whether a block is there."""
    for number, outline in enumerate(there):
        pixels, _ = _tag(camera, page, outline)
        u, v = np.rint(np.nan_to_num(pixels.reshape(-1, 2), nan=-1)).astype(int).T
        height, width = sample.rgb.shape[:2]
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        if inside.mean() < 1 - _HIDDEN:
            raise BoardError(
                f"outline {outline.name} is beyond the picture's border; show the whole page, or name blocks=[...]"
            )
        for label in sample.labels:
            other = there[label.slot]
            if label.slot != number and label.visible[v[inside], u[inside]].mean() > _HIDDEN:
                raise BoardError(
                    f"the block on outline {other.name} hides outline {outline.name}, which may be empty; photograph it "
                    "from another side, or name the outlines with blocks, such as blocks=[A,C]"
                )


class _Writer:
    """Writes the dataset into `folder`, photograph by photograph, because a few from a phone fill the memory."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder, self._world = folder, world
        self._parts: dict[str, dict[str, Any]] = {"camera": {}, "gt": {}, "gt_info": {}}
        self._records: list[dict[str, Any]] = []
        self.overview = Overview()
        write_models(self._folder / "models", world.solids)

    def add(self, shot: Shot) -> None:
        sample, folder = shot.sample, self._folder / SPLIT / "000000"
        index = int(sample.scene.index[0])
        write_file(folder / "rgb" / f"{index:06d}.png", png_bytes(sample.rgb))
        cameras = sample.scene.cameras
        entry: dict[str, Any] = {"cam_K": cameras.intrinsics[0].ravel().tolist(), "depth_scale": 1.0}
        if np.any(cameras.distortion[0]):
            entry.update(bop_lens(cameras.distortion[0]))
        entry.update(bop_pose(shot.placed.pose, "cam_R_w2c", "cam_t_w2c"))
        nothing = np.zeros(sample.depth.shape, np.bool_)  # a photograph has no depth
        self._parts["camera"][str(index)] = entry
        self._parts["gt"][str(index)] = [truth_of(label) for label in sample.labels]
        self._parts["gt_info"][str(index)] = [info_of(label, nothing) for label in sample.labels]
        for k, label in enumerate(sample.labels):
            for kind, mask in (("mask", label.amodal), ("mask_visib", label.visible)):
                write_file(folder / kind / f"{index:06d}_{k:06d}.png", png_bytes(mask.astype(np.uint8) * 255))
        self._records.append(_record(shot))
        self.overview.add(_tile(shot, self._world))

    def finish(self) -> None:
        for part, content in self._parts.items():
            write_json(self._folder / SPLIT / "000000" / f"scene_{part}.json", content, indent=1)
        write_json(self._folder / "capture.json", self._records, indent=1)
        write_file(self._folder / "overlays.png", png_bytes(contact_sheet(self.overview.tiles)))


def _record(shot: Shot) -> dict[str, Any]:
    """What capture.json says of a photograph."""
    return {
        "image": int(shot.sample.scene.index[0]),
        "photograph": shot.name,
        "page": shot.page + 1,
        "outlines": {outline.name: outline.block for outline in shot.outlines},
        "corners_off_px": round(shot.placed.error, 4),
        "plane_sigma": {"height_mm": round(1e3 * shot.placed.height, 4), "tilt_deg": round(shot.placed.tilt, 4)},
    }


def _tile(shot: Shot, world: World) -> Image:
    drawn = draw_labels(shot.sample, world)
    height = round(drawn.shape[0] * _TILE / drawn.shape[1])
    return np.asarray(cv2.resize(drawn, (_TILE, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
