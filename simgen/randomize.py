"""From conf/randomize/ to Scenes: `sample(seed, index)`, and placement without overlap.

Every leaf draws from the path that is its key in the configuration. A slot of blocks is a lane of that path. So freezing
or changing one leaf leaves every other leaf's numbers as they were. The one place where factors meet is overlap: whether
a place is free depends on the solids, scales and places of earlier slots, so those can make a block take its second
proposal where it took its first; the proposals themselves stay the same.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgen.catalogue import World
from simgen.distributions import Choice, Constant, Distribution, Integer, parse, parse_words
from simgen.draws import Draws
from simgen.errors import ConfigError, PlacementError
from simgen.geometry import NEAR, Array, distort, intrinsics, lens_reach, look_at, rigid, rotation_about, unproject
from simgen.scene import (
    LIGHTS,
    MOST_LIGHTS,
    SURFACES,
    TEXTURES,
    Ambient,
    Blocks,
    Cameras,
    Lights,
    Materials,
    Scenes,
    Sensor,
    Surfaces,
)
from simgen.schema import Randomize

ATTEMPTS = 200  # proposals for one block's place before giving up

_INF = math.inf
# Leaves that are not one free number: how many numbers, and the bounds of their support.
_SHAPES: dict[str, tuple[int, float, float]] = {
    "color": (3, 0, 1),
    "color2": (3, 0, 1),
    "cycles": (1, 0.01, 64),
    "pattern": (1, 0, 2**31),
    "count": (1, 0, _INF),
    "scale": (1, 1e-6, _INF),
    "place": (2, -_INF, _INF),
    "face": (1, 0, 1),
    "walls": (1, 0, 1),
    "direction": (3, -_INF, _INF),
    "light.distance": (1, 1e-6, _INF),
    "light.size": (1, 0, _INF),
    "light.specular": (1, 0, _INF),
    "intensity": (1, 0, _INF),
    "shadow": (1, 0, 1),
    "sky": (3, 0, _INF),
    "ground": (3, 0, _INF),
    "occlusion": (1, 0, 1),
    "roughness": (1, 0, 1),
    "metalness": (1, 0, 1),
    "specular": (1, 0, 1),
    "aim": (3, -_INF, _INF),
    "camera.distance": (1, 1e-6, _INF),
    "elevation_deg": (1, -90, 90),
    "offset": (3, -_INF, _INF),
    "fov_deg": (1, 1, 170),
    "fov_scale": (1, 0.5, 1.05),
    "principal_point": (2, -1, 1),
    "distortion": (5, -_INF, _INF),
    "white_balance": (3, 0, _INF),
    "gamma": (1, 1e-3, _INF),
    "exposure": (1, -16, 16),
    "vignette": (1, 0, 1),
    "shoulder": (1, 0, 1),
    "shot_noise": (1, 0, 255),
    "read_noise": (1, 0, 255),
    "defocus_px": (1, 0, 30),
    "motion_px": (1, 0, 60),
    "jpeg_quality": (1, 0, 100),
}
_WHOLE = ("count", "pattern", "walls", "shadow", "jpeg_quality")


@dataclass(frozen=True)
class Sampler:
    """Draws scenes: `sample` is a pure function of its arguments and of this value.

    `leaves` maps a factor's path (its configuration key with slashes) to its distribution. `settle` leaves room for
    physics: blocks are proposed with overlap, those that overlap one above the other, to be dropped.
    """

    world: World
    leaves: Mapping[str, Distribution]
    slots: tuple[int, int]
    lights: int
    width: int
    height: int
    settle: bool = False

    def sample(
        self, seed: int, index: Sequence[int] | NDArray[np.int64], *, attempt: int = 0, trace: list[str] | None = None
    ) -> Scenes:
        """The scenes with these indices, in this order.

        `attempt` numbers a drop in `settle` mode: only place, yaw and face depend on it. Raises PlacementError where
        blocks do not fit, ConfigError where a camera stands inside something.
        """
        draws = Draws(seed, np.asarray(index, dtype=np.int64).reshape(-1), trace=trace)
        blocks = self._blocks(draws, attempt)
        cameras = self._cameras(draws)
        surfaces = self._surfaces(draws)
        _check_cameras(cameras, surfaces, self.world, seed, draws.index)
        return Scenes(
            index=draws.index,
            attempt=np.full(len(draws.index), attempt),
            blocks=blocks,
            surfaces=surfaces,
            lights=self._lights(draws),
            ambient=self._ambient(draws),
            cameras=cameras,
            sensor=self._sensor(draws),
        )

    def _draw(self, draws: Draws, path: str) -> Array:
        """(B, dim) numbers of the leaf at `path`."""
        return self.leaves[path].sample(draws / path)

    def _one(self, draws: Draws, path: str) -> Array:
        return self._draw(draws, path)[:, 0]

    def _whole(self, draws: Draws, path: str) -> NDArray[np.int64]:
        return self._one(draws, path).astype(np.int64)

    def _materials(self, draws: Draws, path: str) -> Materials:
        return Materials(
            texture=self._whole(draws, f"{path}/texture"),
            color=self._draw(draws, f"{path}/color"),
            color2=self._draw(draws, f"{path}/color2"),
            cycles=self._one(draws, f"{path}/cycles"),
            angle=np.radians(self._one(draws, f"{path}/angle_deg")),
            pattern=self._whole(draws, f"{path}/pattern"),
            roughness=self._one(draws, f"{path}/roughness"),
            metalness=self._one(draws, f"{path}/metalness"),
            specular=self._one(draws, f"{path}/specular"),
        )

    def _blocks(self, draws: Draws, attempt: int) -> Blocks:
        batch = len(draws.index)
        parts: dict[str, list[Any]] = {name: [] for name in ("model", "scale", "face", "yaw", "material", "present")}
        groups = [(name, n) for name, n in zip(("blocks", "distractors"), self.slots, strict=True) if n]
        for name, n in groups:
            lanes = draws.lanes(n)
            again = lanes / f"attempt-{attempt}" if attempt else lanes
            count = self._one(draws, f"{name}/count")
            parts["present"].append(np.arange(n) < count[:, None])
            parts["model"].append(self._one(lanes, f"{name}/model").reshape(batch, n).astype(np.int64))
            parts["scale"].append(self._one(lanes, f"{name}/scale").reshape(batch, n))
            parts["face"].append(self._one(again, f"{name}/face").reshape(batch, n))
            parts["yaw"].append(np.radians(self._one(again, f"{name}/yaw_deg")).reshape(batch, n))
            parts["material"].append(_reshape(self._materials(lanes, f"{name}/material"), batch, n))
        model, scale = np.concatenate(parts["model"], 1), np.concatenate(parts["scale"], 1)
        face, yaw = np.concatenate(parts["face"], 1), np.concatenate(parts["yaw"], 1)
        present = np.concatenate(parts["present"], 1)

        def propose(k: int) -> Array:
            places = []
            for name, n in groups:
                lanes = draws.lanes(n) / f"attempt-{attempt}" if attempt else draws.lanes(n)
                places.append(self.leaves[f"{name}/place"].sample(lanes / f"{name}/place" / k).reshape(batch, n, 2))
            return np.concatenate(places, 1)

        radius = np.array([solid.radius for solid in self.world.solids])[model] * scale
        place = propose(0) if self.settle else self._place(propose, radius, present, draws)
        pose = self._rest(model, scale, face, yaw, place)
        if self.settle:
            pose[..., 2, 3] = np.maximum(pose[..., 2, 3], self._stack(place, radius, present))
        return Blocks(
            model=model,
            scale=scale,
            world_from_block=pose,
            material=_concatenate(parts["material"]),
            present=present,
            labelled=np.broadcast_to(np.repeat([True, False], self.slots), model.shape),
        )

    def _rest(self, model: Any, scale: Array, face: Array, yaw: Array, place: Array) -> Array:
        """world_from_block (B, N, 4, 4) of blocks that lie on the table at `place` (B, N, 2)."""
        rests = [solid.rests for solid in self.world.solids]
        table = np.stack([np.concatenate([r, np.repeat(r[:1], max(map(len, rests)) - len(r), 0)]) for r in rests])
        number = np.array([len(r) for r in rests])[model]
        rest = table[model, np.minimum(np.floor(face * number).astype(np.int64), number - 1)].copy()
        rest[..., :3, 3] *= scale[..., None]
        turn = rigid(rotation_about(2, yaw), np.concatenate([place, np.zeros((*place.shape[:2], 1))], -1))
        return np.asarray(turn @ rest)

    def _place(self, propose: Callable[[int], Array], radius: Array, present: Any, draws: Draws) -> Array:
        """(B, N, 2) m: for each slot in turn its first proposal that lies over the table and clear of earlier slots.

        Two blocks are clear if their bounding spheres are. That is independent of yaw and resting face, and it leaves no
        pair in contact; for contact there is `physics=settle`. All slots are placed, present or not, so that the number
        of blocks moves none; an absent slot that finds no place stands in nobody's way.
        """
        batch, slots = radius.shape
        place = np.full((batch, slots, 2), np.inf)
        proposals: list[Array] = []
        middle, half = self.world.table.center[:2], self.world.table.size[:2] / 2
        for slot in range(slots):
            name, number = ("blocks", slot) if slot < self.slots[0] else ("distractors", slot - self.slots[0])
            attempts = 1 if isinstance(self.leaves[f"{name}/place"], Constant) else ATTEMPTS
            open_rows = np.arange(batch)
            for k in range(attempts):
                if k == len(proposals):
                    proposals.append(propose(k))
                spot = proposals[k][open_rows, slot]
                clear = np.all(np.abs(spot - middle) <= half + 1e-9, axis=1)
                gap = np.linalg.norm(place[open_rows, :slot] - spot[:, None], axis=2)
                clear &= np.all(gap >= radius[open_rows, :slot] + radius[open_rows, slot, None], axis=1)
                place[open_rows[clear], slot] = spot[clear]
                open_rows = open_rows[~clear]
                if not len(open_rows):
                    break
            lost = open_rows[present[open_rows, slot]]
            if len(lost):
                raise PlacementError(
                    f"randomize.{name}.place: sample {draws.index[lost[0]]} of seed {draws.seed}: {name}[{number}] found "
                    f"no free place on the table in {attempts} attempts; move or widen place, lower scale, "
                    f"randomize.{name}.count and slots (absent blocks keep places), or pile them with physics=settle"
                )
        return np.where(np.isfinite(place), place, proposals[0])

    def _stack(self, place: Array, radius: Array, present: Any) -> Array:
        """(B, N) m: heights at which each block is clear of all earlier present ones, to fall from."""
        height = radius.copy()
        for slot in range(1, radius.shape[1]):
            reach = radius[:, :slot] + radius[:, slot, None]
            across = np.linalg.norm(place[:, :slot] - place[:, slot, None], axis=2)
            meets = (across < reach) & present[:, :slot]
            above = np.max(np.where(meets, height[:, :slot] + reach, 0), axis=1)
            height[:, slot] = np.maximum(height[:, slot], above)
        return height

    def _surfaces(self, draws: Draws) -> Surfaces:
        parts = [_reshape(self._materials(draws, name), len(draws.index), 1) for name in SURFACES]
        if n := len(self.world.fixtures):
            parts.append(_reshape(self._materials(draws.lanes(n), "fixture"), len(draws.index), n))
        return Surfaces(material=_concatenate(parts), walls=self._one(draws, "walls") > 0.5)

    def _lights(self, draws: Draws) -> Lights:
        batch, n = len(draws.index), self.lights
        lanes = draws.lanes(n)
        direction = self._draw(lanes, "light/direction").reshape(batch, n, 3)
        return Lights(
            present=np.arange(n) < self._draw(draws, "light/count"),
            kind=self._whole(lanes, "light/kind").reshape(batch, n),
            direction=direction / np.linalg.norm(direction, axis=2, keepdims=True),
            distance=self._one(lanes, "light/distance").reshape(batch, n),
            size=self._one(lanes, "light/size").reshape(batch, n),
            color=self._draw(lanes, "light/color").reshape(batch, n, 3),
            intensity=self._one(lanes, "light/intensity").reshape(batch, n),
            specular=self._one(lanes, "light/specular").reshape(batch, n),
            shadow=self._one(lanes, "light/shadow").reshape(batch, n) > 0.5,
        )

    def _ambient(self, draws: Draws) -> Ambient:
        return Ambient(
            intensity=self._one(draws, "ambient/intensity"),
            sky=self._draw(draws, "ambient/sky"),
            ground=self._draw(draws, "ambient/ground"),
            occlusion=self._one(draws, "ambient/occlusion"),
        )

    def _cameras(self, draws: Draws) -> Cameras:
        def angle(name: str) -> Array:
            return np.radians(self._one(draws, f"camera/{name}_deg"))

        azimuth, elevation = angle("azimuth"), angle("elevation")
        aim = self._draw(draws, "camera/aim")
        away = np.stack(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
        )
        position = aim + self._draw(draws, "camera/distance") * away + self._draw(draws, "camera/offset")
        turn = rotation_about(1, angle("pan")) @ rotation_about(0, -angle("tilt")) @ rotation_about(2, angle("roll"))
        pose = look_at(position, aim) @ rigid(turn, np.zeros(3))
        focal = self.height / 2 / np.tan(angle("fov") * self._one(draws, "camera/fov_scale") / 2)
        shift = self._draw(draws, "camera/principal_point") * self.height
        return Cameras(
            intrinsics=intrinsics(focal, (self.width - 1) / 2 + shift[:, 0], (self.height - 1) / 2 + shift[:, 1]),
            distortion=self._draw(draws, "camera/distortion"),
            world_from_camera=pose,
            width=self.width,
            height=self.height,
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


def make_sampler(
    randomize: Randomize, world: World, *, width: int | None = None, height: int | None = None, settle: bool = False
) -> Sampler:
    """The Sampler of a configuration. Raises ConfigError with the full key for whatever is wrong with it."""
    leaves: dict[str, Distribution] = {}
    _collect(randomize, "randomize", world, leaves)
    for word, tree in (("nominal", world.nominal), ("varied", world.varied)):
        for path in _paths(tree):
            if path not in leaves:
                raise ConfigError(
                    f"scene: {world.name}: {word}.{path.replace('/', '.')}: no such leaf in conf/randomize/"
                )
    for key, value in (("width", width), ("height", height)):
        if value is not None and not 8 <= value <= 16384:
            raise ConfigError(f"{key}: got {value}; expected 8 to 16384 px")
    slots = (randomize.blocks.slots, randomize.distractors.slots)
    rooms = (("blocks", slots[0], 1000), ("distractors", slots[1], 1000), ("light", randomize.light.slots, MOST_LIGHTS))
    for name, n, greatest in rooms:
        if not 0 <= n <= greatest:
            raise ConfigError(f"randomize.{name}.slots: got {n}; expected 0 to {greatest}")
        most = leaves[f"{name}/count"].support()[1][0]
        if most > n:
            raise ConfigError(
                f"randomize.{name}.count: up to {most:g}, but randomize.{name}.slots={n}; raise the slots or lower the count"
            )
    if not any(slots):
        raise ConfigError("randomize.blocks.slots: got 0 and no distractors either; expected room for a block")
    if any(isinstance(option, Constant) and not any(option.value) for option in _options(leaves["light/direction"])):
        raise ConfigError("randomize.light.direction: got [0, 0, 0]; expected a direction towards the light")
    for surface in (*SURFACES, "fixture", "blocks/material", "distractors/material"):
        path = f"{surface}/texture"
        kinds = {int(option.support()[0][0]) for option in _options(leaves[path])}
        if not randomize.images and TEXTURES.index("image") in kinds:
            key = path.replace("/", ".")
            raise ConfigError(f"randomize.{key}: 'image' needs a folder of pictures; set randomize.images=FOLDER")
    return Sampler(
        world, leaves, slots, randomize.light.slots, width or world.width, height or world.height, settle=settle
    )


def _options(distribution: Distribution) -> list[Distribution]:
    """The distributions that a choice, or a choice of choices, chooses from; any other is its own only option."""
    if isinstance(distribution, Choice):
        return [inner for option in distribution.options for inner in _options(option)]
    return [distribution]


def _collect(node: Any, key: str, world: World, leaves: dict[str, Distribution]) -> None:
    for item in fields(node):
        leaf, path = getattr(node, item.name), f"{key}.{item.name}"
        if is_dataclass(leaf):
            _collect(leaf, path, world, leaves)
        elif item.name not in ("slots", "images"):
            leaves[path.removeprefix("randomize.").replace(".", "/")] = _leaf(leaf, path, world)


def _paths(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{above}{key}/")
        else:
            yield f"{above}{key}"


def _leaf(leaf: Any, path: str, world: World) -> Distribution:
    if leaf in ("nominal", "varied"):
        keys = path.split(".")[1:]
        value: Any = world.nominal if leaf == "nominal" else world.varied
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            raise ConfigError(
                f"{path}: '{leaf}' needs the leaf {leaf}.{'.'.join(keys)} in scene '{world.name}'; add it"
            )
        leaf = value
    name = path.rsplit(".", 1)[1]
    if name in ("texture", "kind"):
        return parse_words(leaf, path, TEXTURES if name == "texture" else LIGHTS)
    if name == "model":
        names = [solid.name for solid in world.solids]
        return parse_words(["choice", *names] if leaf == "any" else leaf, path, names)
    qualified = ".".join(path.split(".")[-2:])
    dim, low, high = _SHAPES.get(qualified, _SHAPES.get(name, (1, -_INF, _INF)))
    distribution = parse(leaf, path, dim)
    least, greatest = distribution.support()
    if np.any(least < low) or np.any(greatest > high):
        bounds = f"at least {low:g}" if high == _INF else f"within [{low:g}, {high:g}]"
        raise ConfigError(f"{path}: got {leaf}, which reaches {least.min():g} to {greatest.max():g}; expected {bounds}")
    if name in _WHOLE and not _is_whole(distribution):
        raise ConfigError(f"{path}: got {leaf}; expected a whole number, [integer, low, high] or [choice, ...] of them")
    return distribution


def _is_whole(distribution: Distribution) -> bool:
    return all(
        isinstance(option, Integer)
        or (isinstance(option, Constant) and all(value == int(value) for value in option.value))
        for option in _options(distribution)
    )


def _check_cameras(cameras: Cameras, surfaces: Surfaces, world: World, seed: int, index: NDArray[np.int64]) -> None:
    position = cameras.world_from_camera[:, :3, 3]
    boxes = [("the table", world.table), *(("a fixture", box) for group in world.fixtures for box in group)]
    for what, box in boxes:
        inside = np.all(np.abs(position - box.center) <= box.size / 2 + NEAR, axis=1)
        _raise_where(inside, position, what, seed, index)
    _raise_where(position[:, 2] <= world.room.floor + NEAR, position, "the floor", seed, index)
    beyond = np.any((position[:, :2] <= world.room.low + NEAR) | (position[:, :2] >= world.room.high - NEAR), axis=1)
    _raise_where(beyond & surfaces.walls, position, "a wall", seed, index)
    _check_lenses(cameras, seed, index)


def _check_lenses(cameras: Cameras, seed: int, index: NDArray[np.int64]) -> None:
    """Every pixel must be where some ray falls: the picture's corners within the lens's reach."""
    for row in np.flatnonzero(np.any(cameras.distortion != 0, axis=1)):
        camera, lens = cameras.intrinsics[row], cameras.distortion[row]
        ends = [[u, v] for u in (0.0, cameras.width - 1) for v in (0.0, cameras.height - 1)]
        plane = unproject(np.array(ends), camera)[:, :2]
        reach = min(lens_reach(lens), 1e3)
        edge = np.linalg.norm(distort(np.array([[reach, 0.0]]), np.array([*lens[:2], 0, 0, lens[4]])))
        if np.linalg.norm(plane, axis=1).max() >= 0.98 * edge:
            raise ConfigError(
                f"randomize.camera.distortion: sample {index[row]} of seed {seed} has the lens {lens.tolist()}, which shows "
                "nothing in the picture's corners; lower its first number's size or randomize.camera.fov_deg"
            )


def _raise_where(inside: Any, position: Array, what: str, seed: int, index: NDArray[np.int64]) -> None:
    if np.any(inside):
        row = int(np.argmax(inside))
        place = ", ".join(f"{value:.3f}" for value in position[row])
        raise ConfigError(
            f"randomize.camera: sample {index[row]} of seed {seed} has its camera at ({place}) m, inside or behind {what}, "
            f"or within {NEAR} m of it; change randomize.camera.elevation_deg, distance or offset"
        )


def _reshape(materials: Materials, *shape: int) -> Materials:
    parts = {item.name: getattr(materials, item.name) for item in fields(Materials)}
    return Materials(**{name: value.reshape(*shape, *value.shape[1:]) for name, value in parts.items()})


def _concatenate(parts: Sequence[Materials]) -> Materials:
    return Materials(
        **{item.name: np.concatenate([getattr(part, item.name) for part in parts], 1) for item in fields(Materials)}
    )
