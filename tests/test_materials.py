"""What surfaces look like: pictures, grime, wear, rounded edges, windows, tilted ambient light and reflection, against
formulas in float64; and the same bytes whatever is drawn beside a scene."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import warp as wp
from builders import SMALL, sampler_of
from rays import around, drawn, lights, normals_of, on_table, overhead, same, scene_of
from scipy.ndimage import map_coordinates

from simgen.catalogue import World
from simgen.geometry import look_at, rigid
from simgen.render import Frames, make_renderer
from simgen.render.kernels import device, lighting, occlusion, tracing
from simgen.scene import SURFACES, Scenes, take
from simgen.shapes.bodies import POLYTOPE, Body, make_body
from simgen.textures.color import decode
from simgen.textures.families import picture_of
from simgen.textures.grime import UNCHANGED, grime_of
from simgen.textures.images import ImageFolder, open_image_folder
from simgen.textures.pool import SIDE, VARIANTS
from simgen.textures.procedural import lattice, mix

TABLE = SURFACES.index("table")
DARK = {"lights": lights({"intensity": 0.0}), "ambient": around(1.0)}
MATTE = ("randomize=none", "randomize.blocks.count=0", "randomize.table.specular=0", *SMALL)
CUBE = (
    *("randomize=none", "randomize.blocks.material.color=[1,1,1]", "randomize.blocks.material.specular=0"),
    *("randomize.blocks.yaw_deg=12", "randomize.camera.distance=0.22", *SMALL),
)


def folder_of(tmp_path: Path, picture: np.ndarray) -> tuple[str, ImageFolder]:
    """A folder with one picture: as an override, and open."""
    PIL.Image.fromarray(picture).save(tmp_path / "a.png")
    return f"randomize.images={tmp_path}", open_image_folder(tmp_path, "randomize.images")


def noise(seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)), np.uint8)


def with_table(scenes: Scenes, **values: Any) -> Scenes:
    """A scene for each of the values of the table's material."""
    count = max(len(value) for value in values.values())
    scenes = take(scenes, [0] * count)
    changed = {name: getattr(scenes.surfaces.material, name).copy() for name in values}
    for name, value in values.items():
        changed[name][:, TABLE] = value
    material = replace(scenes.surfaces.material, **changed)
    return replace(scenes, surfaces=replace(scenes.surfaces, material=material))


def inside_of(place: np.ndarray) -> np.ndarray:
    return np.all(np.abs(place) < [0.59, 0.39], axis=-1)


def shown_at(picture: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The picture at (s, t) of its width and height, interpolated, mirrored beyond its borders: sRGB in [0, 255]."""
    side = picture.shape[0]
    at = np.stack([t * side - 0.5, s * side - 0.5])
    return np.stack(
        [map_coordinates(picture[..., k].astype(float), at, order=1, mode="reflect") for k in range(picture.shape[2])],
        -1,
    )


def placed(
    place: np.ndarray, *, pattern: int, crop: float, angle: float, free: float, face: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where on a picture the table's points (..., 2) m lie. `free` is how far the crop may be moved, `face` the number of a
    face with a crop of its own."""
    x, y = np.moveaxis(place, -1, 0) / 1.2
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mixed = pattern * 2654435761 + 12345
    shift = np.array([(mixed >> 3) % 4096 / 4096 - 0.5, (mixed >> 17) % 4096 / 4096 - 0.5]) * free
    if face is not None:
        bits = (((mixed % 65536) + 7919 * (face + 1)) * 1103 + 12345) % 65536
        if bits & 1:
            x, y = y, -x
        if bits & 2:
            x = -x
        crop = crop * (0.6 + 0.8 * (bits // 4 % 16) / 15)
        shift = shift + np.array([bits // 64 % 32, bits // 2048 % 32]) / 16
    return x * crop + shift[0] + 0.5, 0.5 - y * crop - shift[1]


# ---- pictures


@pytest.mark.parametrize("sides", [False, True])
def test_every_point_shows_its_place_on_the_picture(sides: bool, tmp_path: Path) -> None:
    """Crops that are turned, moved and repeated mirrored, of a picture in which every texel has its own color."""
    picture = noise()
    override, images = folder_of(tmp_path, picture)
    base = overhead(scene_of(*MATTE, override, "randomize.table.texture=image", **DARK), 0.2, (0.4, 0.2))
    crop, angle, pattern = np.array([1, 0.4, 0.4, 2.4]), np.radians([0, 0, 33, 251]), np.array([0, 5, 77, 123456])
    scenes = with_table(base, crop=crop, angle=angle, pattern=pattern, sides=np.full(4, sides))
    _, world = sampler_of()
    rgb = make_renderer("raycast", world, images, threads=1).render(scenes).rgb
    place = on_table(base)
    inside = inside_of(place)
    box = make_body("box", (1, 1, 1))
    top = int(box.face[np.argmax(box.planes[:, 2])])
    for row in range(4):
        free = max(1 - crop[row], 0)
        face = top if sides else None
        s, t = placed(place, pattern=int(pattern[row]), crop=crop[row], angle=angle[row], free=free, face=face)
        wanted = decode(shown_at(picture, s, t) / 255)
        assert np.abs(rgb[row] - wanted)[inside].max() < 4e-3, row
    assert inside.sum() > 10000


def test_sides_have_crops_of_their_own(tmp_path: Path) -> None:
    """Without `sides` the two upright faces of a cube that are seen show the same picture; with it, others."""
    override, images = folder_of(tmp_path, noise(3))
    look = ("randomize.blocks.material.texture=image", "randomize.blocks.material.crop=0.2", override)
    _, world = sampler_of()
    seen = []
    for sides in (0, 1):
        scenes = scene_of(*CUBE, *look, f"randomize.blocks.material.sides={sides}", **DARK)
        turn = scenes.blocks.world_from_block[0, 0]
        renderer = make_renderer("raycast", world, images, threads=1)
        pictures = []
        for k in range(2):  # straight at each of two neighboring faces
            pose = look_at(turn[:3, 3] + 0.12 * turn[:3, k], turn[:3, 3])
            cameras = replace(scenes.cameras, world_from_camera=pose[None])
            frames = renderer.render(replace(scenes, cameras=cameras))
            assert np.mean(frames.slot == 0) > 0.25
            pictures.append(frames.rgb[0, 40:80, 60:100])
        # The faces +X and +Y are mirror images of each other: their u runs along +Y and +X.
        seen.append(np.abs(pictures[0] - pictures[1][:, ::-1])[:, 1:].mean())
    assert seen[0] < 0.02
    assert seen[1] > 0.1


def test_a_checker_of_texels_is_gray_from_afar(tmp_path: Path) -> None:
    """The mean of the displayed values, as mip levels have it, without moire; and no darker or lighter at any distance."""
    checker = np.repeat((255 * (np.indices((SIDE, SIDE)).sum(0) % 2))[..., None], 3, 2).astype(np.uint8)
    override, images = folder_of(tmp_path, checker)
    base = overhead(scene_of(*MATTE, override, "randomize.table.texture=image", **DARK), 0.9)
    scenes = with_table(base, crop=np.array([2.0, 4.1, 7.3, 16.0]), angle=np.radians([0, 10, 45, 77]))
    _, world = sampler_of()
    rgb = make_renderer("raycast", world, images, threads=1).render(scenes).rgb
    inside = inside_of(on_table(base))
    assert np.abs(rgb[:, inside] - decode(np.array(128 / 255))).max() < 1e-5


def test_half_of_the_generated_pictures_have_other_colors() -> None:
    """Codes 1 to 11 exchange and invert the channels of the same picture; 0 and 12 to 23 leave it alone."""
    orders = {0: [0, 1, 2], 1: [1, 2, 0], 2: [2, 0, 1], 3: [0, 2, 1], 4: [2, 1, 0], 5: [1, 0, 2]}
    codes = np.array([0, 1, 2, 3, 4, 5, 6, 11, 12, 23])
    base = overhead(scene_of(*MATTE, "randomize.table.texture=collage", **DARK), 0.3)
    rgb = drawn(with_table(base, pattern=7 + VARIANTS * codes)).rgb
    place, picture = on_table(base), picture_of("collage", 7, SIDE)
    inside = inside_of(place)
    for row, code in enumerate(codes):
        own = picture[..., orders[code % 6]] if code < 12 else picture
        own = 255 - own if 6 <= code < 12 else own
        s, t = placed(place, pattern=int(7 + VARIANTS * code), crop=1.0, angle=0.0, free=1.0)
        assert np.abs(rgb[row] - decode(shown_at(own, s, t) / 255))[inside].max() < 4e-3, code


# ---- grime and wear


def test_grime_darkens_and_lightens_by_its_picture() -> None:
    color = decode(np.array([0.7, 0.5, 0.3]))
    base = overhead(scene_of(*MATTE, "randomize.table.color=[0.7,0.5,0.3]", "randomize.table.crop=0.4", **DARK), 0.3)
    pattern = np.array([3, 3, 40])
    rgb = drawn(with_table(base, pattern=pattern, grime=np.array([0.0, 1.0, 0.4]))).rgb
    place = on_table(base)
    inside = inside_of(place)
    assert np.abs(rgb[0][inside] - color).max() < 1e-6
    for row, strength in ((1, 1.0), (2, 0.4)):
        mixed = int(pattern[row]) * 2654435761 + 12345
        x, y = np.moveaxis(place, -1, 0) / 1.2
        shift = 0.6 * ((mixed >> 3) % 4096 / 4096 - 0.5), 0.6 * ((mixed >> 17) % 4096 / 4096 - 0.5)
        dirt = shown_at(grime_of(int(pattern[row]), SIDE)[..., None], x + shift[1] + 0.5, 0.5 - y - shift[0])
        change = (dirt - UNCHANGED) / 127 * strength
        wanted = np.where(change < 0, color * np.maximum(1 + change, 0), color + (1 - color) * np.minimum(change, 1))
        assert np.abs(rgb[row] - wanted)[inside].max() < 2e-3, row
    change = np.array([np.mean(grime_of(k, 64).astype(float) - UNCHANGED) for k in range(32)]) / 127
    assert abs(change.mean()) < 0.06
    assert np.abs(change).max() < 0.4


def clutter_scene(monkeypatch: pytest.MonkeyPatch, bodies: tuple[Body, ...], *looks: str) -> Scenes:
    """An object 0.2 m wide in the middle of the table."""
    monkeypatch.setattr(World, "clutter_of", lambda self, kind, variant: bodies)
    own = [f"randomize.clutter.material.{look}" for look in ("specular=0", *looks)]
    slots = ("randomize.clutter.slots=1", "randomize.clutter.count=1", "randomize.clutter.place=[0.1,0.9,0]")
    scenes = scene_of("randomize=none", "randomize.blocks.count=0", *slots, *own, *SMALL, **DARK)
    pose = rigid(np.eye(3), np.array([0.0, 0.0, 0.1]))[None, None]
    return replace(scenes, clutter=replace(scenes.clutter, size=np.array([[0.2]]), world_from_object=pose))


@pytest.mark.parametrize("tone", [None, 0.0, 0.3, 1.0])
def test_grime_is_on_every_part_of_an_object(tone: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on parts with one tone of the material's colors."""
    box = (make_body("box", (1, 1, 1), tone=tone),)
    clean, dirty = (drawn(clutter_scene(monkeypatch, box, "pattern=3", f"grime={k}")) for k in (0, 1))
    block = clean.depth != drawn(scene_of(*MATTE)).depth
    assert block.sum() > 1000
    assert np.mean(np.abs(clean.rgb - dirty.rgb).max(-1)[block] > 0.003) > 0.3
    assert np.array_equal(clean.rgb[~block], dirty.rgb[~block])


def test_wear_is_near_edges_alone_and_shows_what_is_below() -> None:
    scenes = scene_of(*CUBE, "randomize.blocks.material.color=[1,0,0]", **DARK)
    clean, worn = (drawn(scene) for scene in (scenes, edged(scenes, wear=1.0)))
    for part in ("depth", "slot", "amodal"):
        assert np.array_equal(getattr(worn, part), getattr(clean, part))
    changed = np.any(clean.rgb != worn.rgb, axis=-1)[0]
    points = local_points(scenes, clean)
    # Of a point on a face of the cube of 5 cm, the second-least distance to a face is that to the nearest edge.
    gap = np.sort(0.025 - np.abs(points), axis=-1)[..., 1]
    cube = clean.slot[0] == 0
    assert not np.any(changed & ~cube)
    assert not np.any(changed & (gap > 0.004))
    assert 0.2 < changed[cube & (gap < 0.003)].mean() < 0.9
    below = 0.2 * np.array([1.0, 0, 0]) + 0.8 * np.array([0.55, 0.5, 0.45])
    assert np.abs(worn.rgb[0][changed] - below).max() < 1e-6


def test_a_plane_that_is_stated_twice_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each point then lies on an edge, some by rounding beyond it."""
    box = make_body("box", (1, 0.8, 0.6), rigid(np.asarray(look_at(np.ones(3), np.zeros(3))[:3, :3]), np.zeros(3)))
    twice = replace(box, planes=np.repeat(box.planes, 2, axis=0), face=np.repeat(box.face, 2))
    assert twice.kind == POLYTOPE
    assert np.all(np.isfinite(drawn(clutter_scene(monkeypatch, (twice,), "wear=1")).rgb))


# ---- rounded edges


def edged(scenes: Scenes, **values: float) -> Scenes:
    """The scenes with other values of the blocks' material."""
    shape = scenes.blocks.material.edge.shape
    material = replace(scenes.blocks.material, **{name: np.full(shape, value) for name, value in values.items()})
    return replace(scenes, blocks=replace(scenes.blocks, material=material))


def local_points(scenes: Scenes, frames: Frames) -> np.ndarray:
    """(H, W, 3): what each pixel sees, in the frame of the first block."""
    cameras, block = scenes.cameras, scenes.blocks.world_from_block[0, 0]
    v, u = np.mgrid[: cameras.height, : cameras.width]
    k, pose = cameras.intrinsics[0], cameras.world_from_camera[0]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1) @ pose[:3, :3].T
    points = pose[:3, 3] + rays * frames.depth[0, ..., None]
    return np.asarray((points - block[:3, 3]) @ block[:3, :3])


def test_normals_bend_toward_the_next_face_near_an_edge_alone() -> None:
    """Halfway at the edge, also where the next face is turned away from the camera; labels stay as they are."""
    edge = 0.006
    scenes = scene_of(*CUBE)
    sharp, soft = normals_of(scenes)[0], normals_of(edged(scenes, edge=edge))[0]
    frames = drawn(scenes)
    for part in ("depth", "slot", "amodal"):
        assert np.array_equal(getattr(drawn(edged(scenes, edge=edge)), part), getattr(frames, part))
    turn = scenes.blocks.world_from_block[0, 0, :3, :3]
    points, cube = local_points(scenes, frames), frames.slot[0] == 0
    gap = 0.025 - np.abs(points)
    own = np.abs(sharp @ turn) > 0.9
    bent = np.where(own, 1.0, np.maximum(1 - np.maximum(gap, 0) / edge, 0) ** 2) * np.sign(points)
    wanted = bent / np.linalg.norm(bent, axis=-1, keepdims=True)
    clear = cube & (np.sort(gap, axis=-1)[..., 0] < 1e-5) & (np.sort(gap, axis=-1)[..., 1] > 2e-5)
    assert clear.sum() > 1500
    assert np.abs(np.abs(sharp @ turn).max(-1) - 1)[clear].max() < 1e-5
    assert np.abs(soft @ turn - wanted)[clear].max() < 2e-3
    far = cube & (np.sort(gap, axis=-1)[..., 1] > edge)
    assert far.sum() > 1000
    assert np.array_equal(soft[far], sharp[far])
    near = clear & (np.sort(gap, axis=-1)[..., 1] < 2e-4) & (np.sort(gap, axis=-1)[..., 2] > edge)
    assert near.sum() > 5
    bisecting = np.sort(np.abs(soft @ turn)[near], axis=-1)
    assert np.abs(bisecting - [0, np.sqrt(0.5), np.sqrt(0.5)]).max() < 0.06
    away = np.einsum("hwi,hwi->hw", soft, rays_toward(scenes)) < 0
    assert (away & clear).sum() > 20


@pytest.mark.parametrize("model", ["cylinder", "cone"])
def test_the_rims_of_round_blocks_are_rounded_and_worn(model: str) -> None:
    """Between the round side and the flat ends, and at a cone's tip."""
    edge = 0.006
    scenes = scene_of(*CUBE, f"randomize.blocks.model={model}", "randomize.camera.elevation_deg=50")
    soft, frames = normals_of(edged(scenes, edge=edge))[0], drawn(scenes)
    local, block = local_points(scenes, frames), frames.slot[0] == 0
    _, world = sampler_of()
    size = world.solids[int(scenes.blocks.model[0, 0])].size
    away, z = np.hypot(local[..., 0], local[..., 1]), local[..., 2]
    out = local * [1, 1, 0] / np.maximum(away, 1e-12)[..., None]
    slant = size[0] / 2 / size[2] if model == "cone" else 0.0
    lean = np.sqrt(1 + slant**2)
    side = (out + slant * np.array([0.0, 0, 1])) / lean
    radius = size[0] / 2 * (0.5 - z / size[2] if model == "cone" else np.ones_like(z))
    gaps = np.stack([(radius - away) / lean, size[2] / 2 - z, z + size[2] / 2], -1)
    normals = np.stack([side, *(np.broadcast_to([0.0, 0, sign], local.shape) for sign in (1, -1))], -2)
    share = np.maximum(1 - np.maximum(gaps, 0) / edge, 0) ** 2
    bent = (share[..., None] * normals).sum(-2)
    wanted = bent / np.maximum(np.linalg.norm(bent, axis=-1, keepdims=True), 1e-12)
    turn = scenes.blocks.world_from_block[0, 0, :3, :3]
    clear = block & (away > 1e-4)
    assert clear.sum() > 800
    assert np.abs(soft @ turn - wanted)[clear].max() < 5e-3
    rim = np.sort(gaps, axis=-1)[..., 1]
    worn = np.any(drawn(edged(replace(scenes, **DARK), wear=1.0)).rgb != drawn(replace(scenes, **DARK)).rgb, axis=-1)[0]
    assert 0.2 < worn[clear & (rim < 0.003)].mean() < 0.9
    assert not np.any(worn & (rim > 0.004))


def rays_toward(scenes: Scenes) -> np.ndarray:
    """(H, W, 3): the directions toward the camera, not of length 1."""
    cameras = scenes.cameras
    v, u = np.mgrid[: cameras.height, : cameras.width]
    k = cameras.intrinsics[0]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1)
    return np.asarray(-rays @ cameras.world_from_camera[0, :3, :3].T)


# ---- ambient light


def test_light_comes_from_where_the_ambient_light_points() -> None:
    """The cube's faces mix sky and ground by the cosine of their normal to a tilted direction."""
    toward = np.array([0.48, -0.6, 0.64])
    sky, ground = np.array([0.9, 0.6, 0.3]), np.array([0.1, 0.2, 0.4])
    ambient = replace(around(0.7, tuple(sky), tuple(ground)), direction=toward[None])
    scenes = scene_of(*CUBE)
    frames = drawn(replace(scenes, lights=DARK["lights"], ambient=ambient))
    cosine = normals_of(scenes)[0] @ toward
    wanted = 0.7 * (ground + (sky - ground) * (0.5 + 0.5 * cosine[..., None]))
    cube = frames.slot[0] == 0
    assert np.ptp(cosine[cube]) > 0.3
    assert np.abs(frames.rgb[0] - wanted)[cube].max() < 1e-5


def mirror(**ambient: float) -> Scenes:
    """A table of polished metal under a background of stripes, from black to white; the ambient light is 1."""
    metal = [f"randomize.table.{value}" for value in ("metalness=1", "roughness=0.2", "color=[1,1,1]")]
    back = [f"randomize.background.{value}" for value in ("texture=gradient", "angle_deg=30", "color=[0,0,0]")]
    white = ("randomize.background.color2=[1,1,1]", "randomize.blocks.count=0")
    values = {name: np.array([value]) for name, value in ambient.items()}
    base = scene_of("randomize=none", *white, *metal, *back, *SMALL, lights=DARK["lights"])
    return overhead(replace(base, ambient=replace(around(1.0), **values)), 0.6)


def test_glossy_surfaces_mirror_the_background() -> None:
    """An octahedral map of all directions; `reflection` is its share, and without it no background counts."""
    scenes = mirror(reflection=1.0)
    rays = -rays_toward(scenes)
    up = rays * [1, 1, -1]
    place = 0.5 * up[..., :2] / np.abs(up).sum(-1, keepdims=True)
    turn = np.float32(np.cos(np.radians(30))), np.float32(np.sin(np.radians(30)))
    u, v = (place[..., k].astype(np.float32) for k in range(2))
    share = mix("gradient", u, v, np.float32(2), turn, np.asarray(0), lattice())
    inside = inside_of(on_table(scenes))
    assert np.ptp(share[inside]) > 0.2
    for reflection in (0.0, 0.4, 1.0):
        rgb = drawn(mirror(reflection=reflection)).rgb[0, ..., 1]
        assert np.abs(rgb - (1 - reflection + reflection * share))[inside].max() < 2e-5


def test_no_surface_is_brighter_than_its_surroundings() -> None:
    """Under ambient light 1 and a white background, whatever is mirrored, rounded, worn or dirty."""
    for metal, rough, reflection in ((0.0, 0.05, 1.0), (0.5, 0.4, 0.5), (1.0, 0.05, 1.0), (1.0, 1.0, 0.2)):
        gloss = (f"metalness={metal}", f"roughness={rough}", "specular=1")
        look = [f"randomize.blocks.material.{k}" for k in (*gloss, "edge_mm=4", "wear=1", "grime=1", "pattern=5")]
        back = ("randomize.background.color=[1,1,1]", "randomize.table.color=[1,1,1]")
        scenes = scene_of(*CUBE, *look, *back, "width=96", "height=72", lights=DARK["lights"])
        ambient = replace(around(1.0), reflection=np.array([reflection]))
        rgb = drawn(replace(scenes, ambient=ambient)).rgb
        assert rgb.max() <= 1 + 1e-5
        assert rgb.min() >= 0


# ---- windows


WINDOW = {"kind": "window", "direction": [0.8, 0.2, 0.5], "distance": 1.4, "size": 0.2, "intensity": 0.5}
TOWARD = np.array([0.8, 0.2, 0.5]) / np.linalg.norm([0.8, 0.2, 0.5])


def looking(scenes: Scenes, eye: np.ndarray, target: np.ndarray) -> Scenes:
    pose = look_at(eye, target)[None]
    return replace(scenes, cameras=replace(scenes.cameras, world_from_camera=pose))


def test_a_window_is_a_bright_square_with_depth_0() -> None:
    """Where geometry has it, behind what is before it, and from the table's side alone."""
    middle = 1.4 * TOWARD
    small = ("randomize=none", "randomize.camera.fov_deg=25", *SMALL)
    base = scene_of(*small, lights=lights(WINDOW), ambient=around(0.1))
    scenes = looking(base, np.array([-0.4, 0.1, 0.3]), middle)
    frames = drawn(scenes)
    eye, rays = scenes.cameras.world_from_camera[0, :3, 3], -rays_toward(scenes)
    t = ((middle - eye) @ TOWARD) / (rays @ TOWARD)
    across = np.cross(TOWARD, [0, 0, 1.0])
    across /= np.linalg.norm(across)
    p = eye + rays * t[..., None] - middle
    a, b = np.abs(p @ across), np.abs(p @ np.cross(across, TOWARD))
    square = (a < 0.2) & (b < 0.2)
    edge = (np.abs(a - 0.2) < 1e-5) | (np.abs(b - 0.2) < 1e-5)
    bright = np.pi * 0.5 * 1.4**2 / 0.4**2
    assert square.sum() > 300
    assert np.allclose(frames.rgb[0][square & ~edge], bright, rtol=1e-5)
    assert np.all(frames.depth[0][square & ~edge] == 0)
    assert np.all(frames.depth[0][~square & ~edge] > 0)
    assert frames.rgb[0][~square & ~edge].max() < bright / 2
    assert np.all(frames.slot[0][square] == -1)

    poses = scenes.blocks.world_from_block.copy()
    poses[0, 0, :3, 3] = eye + 0.5 * (middle - eye)
    before = drawn(replace(scenes, blocks=replace(scenes.blocks, world_from_block=poses)))
    block = before.slot[0] == 0
    assert (block & square).sum() > 50
    assert np.array_equal(before.amodal[0, 0], block)
    assert np.all(before.depth[0][block] > 0.3)
    assert np.all(before.rgb[0][block] < bright / 2)
    assert np.array_equal(before.rgb[0][square & ~block], frames.rgb[0][square & ~block])

    behind = drawn(looking(base, middle + 0.3 * TOWARD, np.zeros(3)))
    assert np.all(behind.depth > 0)
    point = lights({**WINDOW, "kind": "point"})
    dark = drawn(looking(replace(base, lights=point), middle + 0.3 * TOWARD, np.zeros(3)))
    assert same(replace(behind, rgb=dark.rgb), dark)
    assert behind.rgb.max() < bright / 2
    assert (behind.slot == 0).sum() > 10


def test_the_light_of_a_window_is_that_of_a_disc_of_its_area() -> None:
    """Also in penumbras; on the table it brings its intensity, and it is none without extent."""
    disc = {**WINDOW, "kind": "area", "size": 0.4 / np.sqrt(np.pi)}
    base = overhead(
        scene_of("randomize=none", "randomize.table.color=[1,1,1]", "randomize.table.specular=0", *SMALL), 0.7
    )
    base = replace(base, ambient=around(0.0))
    window, area = (drawn(replace(base, lights=lights(one)), light_samples=64).rgb[0, ..., 0] for one in (WINDOW, disc))
    inside = inside_of(on_table(base))
    free = drawn(replace(base, lights=lights({**WINDOW, "shadow": False}))).rgb[0, ..., 0]
    half = inside & (window > 0.1 * free) & (window < 0.9 * free)
    assert half.sum() > 50
    assert np.abs(window - area)[inside].mean() < 1e-3
    assert np.abs(window - area)[half].mean() < 0.05
    assert abs(window[half].mean() - area[half].mean()) < 0.02
    empty = replace(base, blocks=replace(base.blocks, present=np.zeros_like(base.blocks.present)))
    rgb = drawn(replace(empty, lights=lights(WINDOW))).rgb[0]
    assert rgb[60, 80, 0] == pytest.approx(0.5 * TOWARD[2], abs=2e-3)
    point = {**WINDOW, "kind": "point"}
    assert same(
        drawn(replace(base, lights=lights({**WINDOW, "size": 0.0}))), drawn(replace(base, lights=lights(point)))
    )


# ---- the same bytes


def everything(count: int, width: int = 50, height: int = 37) -> Scenes:
    """Scenes with clutter, pictures, dirt, reflections and windows."""
    few = [
        f"randomize.{thing}.{value}"
        for thing in (
            "blocks.material",
            "distractors.material",
            "clutter.material",
            "table",
            "floor",
            "wall",
            "background",
        )
        for value in ("texture=[choice,flat,checker,noise,wood,collage]", "pattern=[choice,3,130]")
    ]
    more = ("randomize.clutter.count=[integer,3,12]", "randomize.ambient.reflection=[uniform,0,1]", *few)
    kinds = ("randomize.light.kind=[choice,directional,point,area,window]", "randomize.light.count=3")
    return sampler_of(*more, *kinds, f"width={width}", f"height={height}")[0].sample(11, range(count))


@pytest.mark.parametrize("supersample", [1, 2])
def test_bytes_depend_on_neither_threads_nor_neighbors(supersample: int) -> None:
    scenes = everything(4)
    whole = drawn(scenes, supersample=supersample)
    assert np.all(np.isfinite(whole.rgb))
    for threads in (2, 3)[supersample - 1 :]:
        assert same(drawn(scenes, threads=threads, supersample=supersample), whole), threads
    for rows in ([1], [3, 0]):
        part = Frames(*(getattr(whole, name)[rows] for name in ("rgb", "depth", "slot", "amodal")))
        assert same(drawn(take(scenes, rows), threads=2, supersample=supersample), part), rows


def test_supersampling_is_the_mean_of_a_finer_picture_in_a_scene_with_everything() -> None:
    """A picture of 2 x 2 as many pixels, without soft shadows; rays along an edge may fall on either side."""
    hard = {"kind": "directional"}
    scenes, fine = (
        replace(everything(1, 48 * k, 36 * k), lights=lights(hard, {**WINDOW, "shadow": False})) for k in (1, 2)
    )
    for part in (scenes, fine):
        part.cameras.distortion[:] = 0
    once, twice = drawn(scenes), drawn(scenes, supersample=2)
    for name in ("depth", "slot", "amodal"):
        assert np.array_equal(getattr(once, name), getattr(twice, name))
    behind = once.depth == 0  # the background is a picture that fills the frame: it has no rays
    mean = drawn(fine).rgb.reshape(1, 36, 2, 48, 2, 3).mean((2, 4))
    assert np.mean((np.abs(twice.rgb - mean).max(-1) > 2e-3) & ~behind) < 0.004


def test_compiled_kernels_have_no_fused_multiplications_and_no_avx512() -> None:
    """But for those of Warp's exact difference of two products, which it writes as such, where a ray meets a triangle."""
    assert device.OPTIONS["fuse_fp"] is False
    assert device.OPTIONS["fast_math"] is False
    assert "-ffp-contract=off" in device.FLAGS.split()
    for module in (lighting, occlusion, tracing):
        options = wp.get_module_options(module)
        assert {key: options[key] for key in device.OPTIONS} == device.OPTIONS
    drawn(scene_of(*MATTE))
    objects = sorted(
        max(
            Path(wp.config.kernel_cache_dir).glob(f"wp_simgen.render.kernels.{name}_*/*.o"),
            key=lambda path: path.stat().st_atime,
        )
        for name in ("lighting", "occlusion", "tracing")
    )
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("no objdump")
    for path in objects:
        code = subprocess.run(
            [objdump, "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
        ).stdout
        assert len(re.findall(r"\tv?mulss|\tv?mulps", code)) > 100
        assert len(re.findall(r"\tv?fn?m(?:add|sub)", code)) <= 12
        assert not re.findall(r"%zmm\d|%k[1-7]\b", code)[:3]
