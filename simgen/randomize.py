"""Samples Scenes from the factors of conf/randomize/: `Sampler.sample(seed, index)`, with placement without overlap.

Every factor draws its numbers from its own path, which is its key in the configuration; each slot of blocks is a lane of
this path. So to freeze or change one factor leaves the numbers of all others unchanged. Only placement depends on several
factors: whether a place is free depends on the solids, scales and places of earlier slots. They decide which of its proposed
places a block takes; the proposals do not depend on them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen import exact
from simgen.camera import Camera
from simgen.catalogue import World
from simgen.clutter import Wanted, place_clutter
from simgen.distributions import Constant, Distribution
from simgen.draws import Drawn, Draws
from simgen.errors import ConfigError, PlacementError
from simgen.factors import THINGS, check_factors, leaves_of, may_be
from simgen.geometry import Array
from simgen.places import first_fits
from simgen.scene import (
    CLUTTER,
    SURFACES,
    TEXTURES,
    ZONES,
    Ambient,
    Blocks,
    Bools,
    Cameras,
    Clutter,
    Fixtures,
    Lights,
    Materials,
    Scenes,
    Sensor,
    Surfaces,
)
from simgen.schema import Randomize, SolidLeaves
from simgen.viewpoints import check_cameras, make_cameras, notices_of, open_camera

# The number of places proposed for each block; a sample draws the next number only if the last one was not enough.
ROUNDS = (8, 40, 200)
_DROPPED = "place", "yaw_deg", "face"  # factors that are drawn anew for each drop
_OF_MATERIAL = {item.name for item in fields(SolidLeaves)}
_PHOTOGRAPH = TEXTURES.index("photograph")


@dataclass(frozen=True)
class Sampler:
    """Samples scenes: `sample` is a pure function of its arguments and of this value.

    `leaves` maps a factor's path (its configuration key with slashes) to its distribution.
    """

    world: World
    leaves: Mapping[str, Distribution]
    slots: tuple[int, int]
    lights: int
    clutter: int
    width: int
    height: int
    camera: Camera | None = None  # read from `camera_file`; None if the cameras are random
    camera_file: str = ""
    materials: int = 0  # Randomize.distinct_materials
    layouts: int = 0  # Randomize.distinct_layouts

    @property
    def notices(self) -> tuple[str, ...]:
        """The notices for the user about the camera file, a line each."""
        return () if self.camera is None else notices_of(self.camera, self.camera_file)

    @property
    def draws_photographs(self) -> bool:
        """Whether a surface may show a real photograph, which no training may use."""
        return any(may_be(leaf, _PHOTOGRAPH) for path, leaf in self.leaves.items() if path.endswith("texture"))

    def sample(
        self, seed: int, index: Sequence[int] | NDArray[np.int64], *, attempt: int = 0, trace: list[Drawn] | None = None
    ) -> Scenes:
        """The scenes with these indices, in this order.

        Blocks of scenes that are `settled` overlap until physics.sample_settled has dropped them. `attempt` is the number of
        the drop: only place, yaw and face depend on it. Raises PlacementError if blocks do not fit, ConfigError if a camera
        is inside an object.
        """
        draws = Draws(seed, np.asarray(index, dtype=np.int64).reshape(-1), trace=trace)
        settled = self._one(draws, "settle") > 0.5
        blocks = self._blocks(draws, settled, attempt)
        cameras = make_cameras(
            lambda name: self._draw(draws, f"camera/{name}"), len(draws.index), self.width, self.height, self.camera
        )
        surfaces, fixtures = self._surfaces(draws), self._fixtures(draws)
        check_cameras(cameras, surfaces, fixtures, self.world, draws.seed, draws.index, file=self.camera_file)
        return Scenes(
            index=draws.index,
            settled=settled,
            attempt=np.full(len(draws.index), attempt),
            blocks=blocks,
            surfaces=surfaces,
            fixtures=fixtures,
            clutter=self._clutter(draws, blocks, fixtures, cameras),
            lights=self._lights(draws),
            ambient=self._ambient(draws),
            cameras=cameras,
            sensor=self._sensor(draws),
        )

    def drawn(self, seed: int, index: Sequence[int] | NDArray[np.int64], *, attempt: int = 0) -> dict[str, Array]:
        """The numbers (B, dim) of each factor by path, as `sample` draws them; of a factor that each block, light or object
        has, those of the first."""
        draws = Draws(seed, np.asarray(index, dtype=np.int64).reshape(-1))
        return {path: self._draw(self._source(draws, path, attempt), path) for path in self.leaves}

    def _source(self, draws: Draws, path: str, attempt: int) -> Draws:
        """What the factor at `path` is drawn from."""
        group, _, name = path.rpartition("/")
        if group in THINGS and name in _OF_MATERIAL:
            return self._of_material(draws, group)
        if group in ("blocks", "distractors") or path == "gather":
            return self._of_layout(draws, attempt if name in _DROPPED else 0)
        return draws

    def _of_material(self, draws: Draws, group: str) -> Draws:
        return draws.limited(self.materials, f"{group}/distinct")

    def _of_layout(self, draws: Draws, attempt: int = 0) -> Draws:
        layout = draws.limited(self.layouts, "layouts")
        return layout / f"attempt-{attempt}" if attempt else layout

    def _draw(self, draws: Draws, path: str) -> Array:
        """(B, dim) numbers of the factor at `path`."""
        return self.leaves[path].sample(draws / path)

    def _one(self, draws: Draws, path: str) -> Array:
        return self._draw(draws, path)[:, 0]

    def _whole(self, draws: Draws, path: str) -> NDArray[np.int64]:
        return self._one(draws, path).astype(np.int64)

    def _joined(self, draws: Draws | Sequence[Draws], groups: Sequence[tuple[str, int]], kind: type = float) -> Any:
        """(B, N, dim) numbers, (B, N) if dim is 1, of the factor at each path of `groups`, for that many lanes; 0 for a path
        that has no such factor, as walls have no edges."""
        dims = [self.leaves[path].dim for path, _ in groups if path in self.leaves]
        sources = [draws] * len(groups) if isinstance(draws, Draws) else draws
        batch, dim = len(sources[0].index), dims[0] if dims else 1
        result: NDArray[Any] = np.empty((batch, sum(n for _, n in groups), dim), kind)
        end = 0
        for source, (path, n) in zip(sources, groups, strict=True):
            if path in self.leaves:
                numbers = self._draw(source.lanes(range(n)), path)
                result[:, end : end + n] = numbers.T.reshape(dim, n, batch).T
            else:
                result[:, end : end + n] = 0
            end += n
        return result[..., 0] if dim == 1 else result

    def _materials(self, draws: Draws, groups: Sequence[tuple[str, int]]) -> Materials:
        """(B, S) materials of the factors below each path of `groups`, for that many lanes."""

        sources = [self._of_material(draws, path) for path, _ in groups]

        def joined(name: str, kind: type = float) -> Any:
            return self._joined(sources, [(f"{path}/{name}", n) for path, n in groups], kind)

        return Materials(
            texture=joined("texture", int),
            color=joined("color"),
            color2=joined("color2"),
            cycles=joined("cycles"),
            angle=np.radians(joined("angle_deg")),
            pattern=joined("pattern", int),
            crop=joined("crop"),
            sides=joined("sides") > 0.5,
            edge=joined("edge_mm") / 1000,
            wear=joined("wear"),
            grime=joined("grime"),
            roughness=joined("roughness"),
            metalness=joined("metalness"),
            specular=joined("specular"),
        )

    def _blocks(self, draws: Draws, settled: Bools, attempt: int) -> Blocks:
        groups = [(name, n) for name, n in zip(("blocks", "distractors"), self.slots, strict=True) if n]
        layout, again = self._of_layout(draws), self._of_layout(draws, attempt)

        def joined(source: Draws, name: str, kind: type = float) -> Any:
            return self._joined(source, [(f"{group}/{name}", n) for group, n in groups], kind)

        def propose(rows: Any, number: int) -> list[Array]:
            """For each slot (2, T, R) m: the places proposed in round `number` for the samples `rows`, None for all."""
            tries = range(ROUNDS[number - 1] if number else 0, ROUNDS[number])
            places: list[Array] = []
            for group, n in groups:
                source = (again if rows is None else again.at(rows)) / f"{group}/place"
                numbers = self.leaves[f"{group}/place"].sample(source.lanes(range(n)).tries(tries))
                places += list(numbers.T.reshape(2, n, len(tries), len(source.index)).swapaxes(0, 1))
            return places

        model, scale = joined(layout, "model", int), joined(layout, "scale")
        present = np.concatenate([np.arange(n) < self._draw(layout, f"{group}/count") for group, n in groups], axis=1)
        radius = self.world.radii[model] * scale
        # Blocks that are dropped may be anywhere on the table, whatever else is there.
        place = self._place(propose, np.where(settled[:, None], 0.0, radius), present, draws)
        together = self._one(layout, "gather")[settled]
        place[..., settled] += together * (place[:1, :, settled] - place[..., settled])
        place = np.ascontiguousarray(np.moveaxis(place, 2, 0))
        pose = self._rest(model, scale, joined(again, "face"), np.radians(joined(again, "yaw_deg")), place)
        return Blocks(
            model=model,
            scale=scale,
            world_from_block=pose,
            material=self._materials(draws, [(f"{group}/material", n) for group, n in groups]),
            present=present,
            labelled=np.broadcast_to(np.repeat([True, False], self.slots), model.shape),
        )

    @cached_property
    def _rests(self) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
        """All solids' resting poses (3, 4, R), and each solid's index of the first of its own and their number, (M,)."""
        rests = [solid.rests for solid in self.world.solids]
        number = np.array([len(r) for r in rests])
        return np.moveaxis(np.concatenate(rests)[:, :3], 0, -1).copy(), np.cumsum(number) - number, number

    def _rest(self, model: Any, scale: Array, face: Array, yaw: Array, place: Array) -> Array:
        """world_from_block (B, N, 4, 4) of blocks that lie on the table at `place` (B, N, 2)."""
        rests, first, number = self._rests
        which = first[model] + np.minimum((face * number[model]).astype(np.int64), number[model] - 1)
        lying = np.take(rests, which, axis=2)  # (3, 4, B, N): contiguous in memory for each entry
        lying[:, 3] *= scale
        sine, cosine = exact.sine_cosine(yaw)
        x, y, z = lying
        pose = np.zeros((*model.shape, 4, 4))
        rows = np.moveaxis(pose, (2, 3), (0, 1))
        rows[0], rows[1], rows[2], rows[3, 3] = cosine * x - sine * y, sine * x + cosine * y, z, 1
        rows[:2, 3] += np.moveaxis(place, 2, 0)
        return pose

    def _place(self, propose: Callable[[Any, int], list[Array]], radius: Array, present: Any, draws: Draws) -> Array:
        """(N, 2, B) m: for each slot in turn the first proposed place on the table that is clear of earlier slots.

        Two blocks are clear if their bounding spheres do not overlap. This test does not depend on yaw and resting face, and
        no blocks touch. Blocks that are dropped have a `radius` of 0: any place on the table will do. All slots are placed,
        present or not, so that the number of blocks changes no place. An absent slot without a free place blocks no other.
        """
        names = np.repeat(["blocks", "distractors"], self.slots)
        fixed = np.array([isinstance(self.leaves[f"{name}/place"], Constant) for name in names])
        tries = propose(None, 0)
        place, found = first_fits(tries, radius.T, self.world.table)
        rows = np.arange(len(radius))
        for number in range(1, len(ROUNDS)):
            left = np.any(~found[:, rows] & ~fixed[:, None], axis=0)  # a fixed place has no alternatives
            rows = rows[left]
            if not len(rows):
                break
            more = propose(rows, number)
            tries = [np.concatenate([old[..., left], new], axis=1) for old, new in zip(tries, more, strict=True)]
            place[..., rows], found[:, rows] = first_fits(tries, radius[rows].T, self.world.table)
        for slot, row in np.argwhere(present.T & ~found):
            name, nth = names[slot], slot if slot < self.slots[0] else slot - self.slots[0]
            clear = (
                f", lower scale, randomize.{name}.count and slots (absent blocks keep places), or pile them with "
                "physics=settle"
            )
            raise PlacementError(
                f"randomize.{name}.place: sample {draws.index[row]} of seed {draws.seed}: {name}[{nth}] found "
                f"no free place on the table in {1 if fixed[slot] else ROUNDS[-1]} attempts; move or widen place"
                + (clear if radius[row, slot] else "")
            )
        return place

    def _surfaces(self, draws: Draws) -> Surfaces:
        groups = [(name, 1) for name in SURFACES]
        if self.world.fixtures:
            groups.append(("fixture", len(self.world.fixtures)))
        return Surfaces(material=self._materials(draws, groups), walls=self._one(draws, "walls") > 0.5)

    def _fixtures(self, draws: Draws) -> Fixtures:
        boxes = self.world.loose

        def each(name: str) -> Any:
            return self._joined(draws, [(f"fixture/{name}", len(boxes))])

        return Fixtures(
            shift=each("shift") * np.array([box.moves for box in boxes]).reshape(-1, 3),
            scale=exact.power(1 + np.array([box.grows for box in boxes]), each("growth")),
            present=each("presence") >= np.array([box.missing for box in boxes]),
        )

    def _clutter(self, draws: Draws, blocks: Blocks, fixtures: Fixtures, cameras: Cameras) -> Clutter:
        def each(name: str, kind: type = float) -> Any:
            return self._joined(draws, [(f"clutter/{name}", self.clutter)], kind)

        def propose(slots: range, rows: Any, tries: range) -> Array:
            source = (draws if rows is None else draws.at(rows)) / "clutter/place"
            numbers = self.leaves["clutter/place"].sample(source.lanes(slots).tries(tries))
            return numbers.reshape(len(slots), len(tries), len(source.index), 3)

        wanted = Wanted(
            kind=each("kind", int),
            variant=each("variant", int),
            size=each("size"),
            zone=each("where", int),
            yaw=np.radians(each("yaw_deg")),
            tilt=np.radians(each("tilt_deg")),
        )
        present = np.arange(self.clutter) < self._draw(draws, "clutter/count")
        placed = place_clutter(wanted, propose, blocks, fixtures, cameras, self.world)
        # Seldom an object finds no free place, and is left out. Where most of several find none, the configuration is wrong.
        homeless = present & ~placed.found
        most = np.sum(homeless, axis=1) > np.maximum(np.sum(present, axis=1) / 2, min(1, self.clutter - 1))
        for row, slot in np.argwhere(homeless & most[:, None]):
            what = f"{CLUTTER[wanted.kind[row, slot]]}, {ZONES[wanted.zone[row, slot]]}"
            raise PlacementError(
                f"randomize.clutter.place: sample {draws.index[row]} of seed {draws.seed}: clutter[{slot}] ({what}) found "
                "no free place, not even at a tenth of its size, nor did most others; lower randomize.clutter.size, count "
                "or slots (absent objects keep places), widen place, or set another randomize.clutter.where"
            )
        return Clutter(
            kind=wanted.kind,
            variant=wanted.variant,
            size=placed.size,
            world_from_object=placed.pose,
            material=self._materials(draws, [("clutter/material", self.clutter)]),
            present=present & ~homeless,
        )

    def _lights(self, draws: Draws) -> Lights:
        def each(name: str, kind: type = float) -> Any:
            return self._joined(draws, [(f"light/{name}", self.lights)], kind)

        direction = each("direction")
        return Lights(
            present=np.arange(self.lights) < self._draw(draws, "light/count"),
            kind=each("kind", int),
            direction=_unit(direction),
            distance=each("distance"),
            size=each("size"),
            color=each("color"),
            intensity=each("intensity"),
            specular=each("specular"),
            shadow=each("shadow") > 0.5,
        )

    def _ambient(self, draws: Draws) -> Ambient:
        return Ambient(
            intensity=self._one(draws, "ambient/intensity"),
            sky=self._draw(draws, "ambient/sky"),
            ground=self._draw(draws, "ambient/ground"),
            direction=_unit(self._draw(draws, "ambient/direction")),
            reflection=self._one(draws, "ambient/reflection"),
            occlusion=self._one(draws, "ambient/occlusion"),
        )

    def _sensor(self, draws: Draws) -> Sensor:
        return Sensor(
            defocus=self._one(draws, "sensor/defocus_px"),
            motion=self._one(draws, "sensor/motion_px"),
            motion_angle=np.radians(self._one(draws, "sensor/motion_deg")),
            vignette=self._one(draws, "sensor/vignette"),
            exposure=self._one(draws, "sensor/exposure"),
            shot_noise=self._one(draws, "sensor/shot_noise"),
            read_noise=self._one(draws, "sensor/read_noise"),
            noise_seed=(draws / "sensor/noise_seed").words(1)[:, 0].astype(np.int64),
            white_balance=self._draw(draws, "sensor/white_balance"),
            shoulder=self._one(draws, "sensor/shoulder"),
            gamma=self._one(draws, "sensor/gamma"),
            jpeg_quality=self._whole(draws, "sensor/jpeg_quality"),
        )


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / exact.norm(vectors)[..., None])


def make_sampler(
    randomize: Randomize,
    world: World,
    *,
    width: int | None = None,
    height: int | None = None,
    settle: bool | None = None,
) -> Sampler:
    """The Sampler of a configuration. `settle` replaces randomize.settle, for all scenes.

    Raises ConfigError, with the full key, for an invalid configuration.
    """
    leaves = leaves_of(randomize, world)
    if settle is not None:
        leaves["settle"] = Constant((float(settle),))
    for key, value in (("width", width), ("height", height)):
        if value is not None and not 8 <= value <= 16384:
            raise ConfigError(f"{key}: got {value}; expected 8 to 16384 px")
    check_factors(randomize, leaves)
    camera = open_camera(randomize.camera.file, world, width, height) if randomize.camera.file else None
    if camera is not None:
        width, height = camera.width, camera.height
    return Sampler(
        world,
        leaves,
        (randomize.blocks.slots, randomize.distractors.slots),
        randomize.light.slots,
        randomize.clutter.slots,
        width or world.width,
        height or world.height,
        camera=camera,
        camera_file=randomize.camera.file,
        materials=randomize.distinct_materials,
        layouts=randomize.distinct_layouts,
    )
