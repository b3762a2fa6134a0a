"""Bodies, and the rays that meet them, against convex functions and triangles in float64."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trimesh
from builders import sampler_of
from rays import around, drawn, lights, normals_of, overhead, scene_of

from simgen.catalogue import World
from simgen.geometry import look_at, rigid
from simgen.render import Frames, buffers, make_renderer
from simgen.scene import Scenes, take
from simgen.shapes.bodies import (
    CAPSULE,
    MESH,
    POLYTOPE,
    QUADRIC,
    Body,
    body_of,
    make_body,
    make_capsule,
    make_polytope,
)
from simgen.shapes.clutter import KINDS, object_of
from simgen.shapes.parts import mapped, tapered
from simgen.shapes.solids import SHAPES, Solid

Object = Sequence[Body]
PLAIN = tuple(
    f"randomize.{thing}.texture=flat"
    for thing in ("table", "floor", "wall", "background", "blocks.material", "distractors.material", "clutter.material")
)
NARROW = (
    "width=36",
    "height=28",
    "randomize.clutter.slots=1",
    "randomize.clutter.count=1",
    "randomize.walls=0",
    "randomize.clutter.place=[0.1,0.9,0]",
)
WHITE = [
    f"randomize.{thing}.{key}" for thing in ("table", "clutter.material") for key in ("color=[1,1,1]", "specular=0")
]


def turn(k: int) -> np.ndarray:
    """Any rotation (3, 3)."""
    return np.asarray(trimesh.transformations.random_rotation_matrix(np.random.default_rng(k).random(3))[:3, :3])


def hollow() -> Solid:
    """A ring of triangles, 0.6 wide, 0.2 high, with a hole of 0.3."""
    ring = trimesh.creation.annulus(0.15, 0.3, 0.2, sections=24)
    return Solid("ring", "mesh", np.asarray(ring.vertices), np.asarray(ring.faces, np.int64), None, False)


def primitives() -> dict[str, Body]:
    """Bodies of all kinds; their longest edges are about 0.6."""
    sizes = np.array([0.6, 0.35, 0.45])
    points = np.random.default_rng(4).normal(size=(14, 3))
    squeeze = np.diag([1.0, 0.5, 0.8]) @ turn(9)
    ends = np.array([-0.2, 0.1, 0.0]), np.array([0.15, -0.1, 0.2])
    return {
        **{shape: make_body(shape, sizes) for shape in ("box", *SHAPES)},
        **{f"turned {s}": make_body(s, sizes, rigid(turn(k), np.array([0.02, -0.04, 0.03]))) for k, s in enumerate(SHAPES)},
        "box of 12 triangles": make_polytope(make_body("box", sizes).vertices @ turn(7).T),
        "polytope": make_polytope(0.3 * points / np.linalg.norm(points, axis=1, keepdims=True)),
        "frustum": mapped(tapered(0.5, 0.2, 0.5, (0, 0, -0.2)), turn(3)),
        "frustum upside down": tapered(0.2, 0.5, 0.5, (0, 0, -0.2)),
        "squeezed cylinder": mapped(make_body("cylinder", sizes), squeeze),
        "squeezed cone": mapped(make_body("cone", sizes), squeeze),
        "squeezed ellipsoid": mapped(make_body("sphere", sizes), squeeze),
        "capsule": make_capsule(*ends, 0.12),
        "short capsule": make_capsule(ends[0] / 50, ends[1] / 50, 0.25),
        "capsule of one point": make_capsule(np.full(3, 0.1), np.full(3, 0.1), 0.2),
        "hollow mesh": body_of(hollow(), rigid(turn(5), np.array([0.0, 0.03, 0.02]))),
    }  # fmt: skip


def beyond(body: Body, p: np.ndarray) -> np.ndarray:
    """A convex function of the point `p` (..., 3), positive outside the body, negative inside, by the definition of Body."""
    values = [p @ body.planes[:, :3].T - body.planes[:, 3]]
    if body.kind == QUADRIC:
        x, y, z = np.moveaxis(p @ body.frame[:, :3].T + body.frame[:, 3], -1, 0)
        a, b, c = body.curve
        values.append((np.sqrt(x * x + y * y + c * z * z) - (a + b * z))[..., None])
    if body.kind == CAPSULE:
        a, b = body.frame[:2, :3]
        length = max(float((b - a) @ (b - a)), 1e-30)
        along = np.clip((p - a) @ (b - a) / length, 0, 1)
        values.append((np.linalg.norm(p - a - along[..., None] * (b - a), axis=-1) - body.curve[0])[..., None])
    return np.concatenate(values, axis=-1).max(axis=-1)


def entry(body: Body, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For rays (R, 3): where each enters the body, inf if it does not; and how deep inside it comes, below 0 outside. The
    least value of the convex function along the ray is found first, then its zero before that."""
    t, depth = np.full(len(d), np.inf), np.full(len(d), -1.0)
    if body.kind == MESH:
        return _first_triangle(body.mesh.corners, o, d), np.where(True, np.inf, depth)
    speed = np.linalg.norm(d, axis=1)
    nearest = np.einsum("ij,ij->i", body.center - o, d) / speed**2
    reach = 1.01 * body.radius
    rows = np.linalg.norm(o + nearest[:, None] * d - body.center, axis=1) < reach
    rows &= nearest + reach / speed > 0
    o, d, nearest, speed = o[rows], d[rows], nearest[rows], speed[rows]
    low, high = np.maximum(nearest - reach / speed, 0), nearest + reach / speed

    def value(at: np.ndarray) -> np.ndarray:
        return beyond(body, o + at[:, None] * d)

    first, ratio = low, (np.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = value(a), value(b)
    for _ in range(32):
        left = fa < fb
        high, low = np.where(left, b, high), np.where(left, low, a)
        new = np.where(left, high - ratio * (high - low), low + ratio * (high - low))
        f = value(new)
        a, b, fa, fb = (np.where(left, *pair) for pair in ((new, b), (a, new), (f, fb), (fa, f)))
    lowest = np.where(fa < fb, a, b)
    depth[rows] = -np.minimum(fa, fb)
    outside, inside = first, lowest
    for _ in range(32):
        middle = (outside + inside) / 2
        within = value(middle) <= 0
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    t[rows] = np.where(depth[rows] > 0, inside, np.inf)
    return t, depth


def _first_triangle(corners: np.ndarray, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(R,) where rays first meet triangles (T, 3, 3) that face them (Moeller and Trumbore 1997)."""
    a, e, f = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    h = np.cross(d[:, None], f)
    det = np.einsum("rti,ti->rt", h, e)
    s = o[:, None] - a
    u, q = np.einsum("rti,rti->rt", s, h), np.cross(s, e)
    v, t = np.einsum("rti,ri->rt", q, d), np.einsum("rti,ti->rt", q, f)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v, t = u / det, v / det, t / det
    return np.where((det > 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf).min(axis=1)


def staged(monkeypatch: pytest.MonkeyPatch, objects: Sequence[Object], *overrides: str, at: Any, size: float) -> Scenes:
    """A scene for each object, turned in any way, with its middle at `at` and scaled by `size`."""
    monkeypatch.setattr(World, "clutter_of", lambda self, kind, variant: objects[variant])
    base = scene_of("randomize=none", "randomize.blocks.count=0", *NARROW, *WHITE, *overrides)
    scenes = take(base, [0] * len(objects))
    poses = np.stack([rigid(turn(100 + k), np.array(at)) for k in range(len(objects))])[:, None]
    clutter = replace(
        scenes.clutter,
        kind=np.zeros_like(scenes.clutter.kind),
        variant=np.arange(len(objects))[:, None],
        size=np.full((len(objects), 1), size),
        world_from_object=poses,
        present=np.ones((len(objects), 1), bool),
    )
    return replace(scenes, clutter=clutter)


def in_the_air(monkeypatch: pytest.MonkeyPatch, objects: Sequence[Object], *overrides: str) -> Scenes:
    """A scene for each object, seen against nothing from 1 m away."""
    scenes = staged(monkeypatch, objects, *overrides, at=(0, 0, 1.2), size=1.0)
    pose = look_at(np.array([-1.0, 0, 1.0]), np.array([0, 0, 1.2]))
    return replace(scenes, cameras=replace(scenes.cameras, world_from_camera=np.repeat(pose[None], len(scenes), 0)))


def rays_of(scenes: Scenes) -> np.ndarray:
    """(H, W, 3): the rays of the first scene's camera in the world, 1 along the optical axis."""
    cameras = scenes.cameras
    v, u = np.mgrid[: cameras.height, : cameras.width]
    k = cameras.intrinsics[0]
    flat = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1)
    return flat @ cameras.world_from_camera[0, :3, :3].T


def in_object(scenes: Scenes, row: int, points: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pose, size = scenes.clutter.world_from_object[row, 0], scenes.clutter.size[row, 0]
    return (points - pose[:3, 3]) @ pose[:3, :3] / size, directions @ pose[:3, :3] / size


def first_of(bodies: Object, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays first enter an object; and whether one of its bodies is met so narrowly that rounding decides."""
    o = np.broadcast_to(o, d.shape)
    results = [entry(body, o, d) for body in bodies]
    t = np.min([t for t, _ in results], axis=0)
    return t, np.any([np.abs(depth) < 2e-5 for _, depth in results], axis=0)


def every_object(*variants: int) -> list[Object]:
    return [(body,) for body in primitives().values()] + [object_of(kind, k) for kind in KINDS for k in variants]


# ---- what a body is


def test_a_body_is_what_its_mesh_box_and_sphere_state() -> None:
    """Meshes are closed and face outward, their corners lie on the surface, and nothing of it is outside box or sphere."""
    bodies = [
        *primitives().values(),
        *(body for kind in KINDS for k in range(0, 64, 17) for body in object_of(kind, k)),
    ]
    assert {body.kind for body in bodies} == {POLYTOPE, QUADRIC, CAPSULE, MESH}
    for body in bodies:
        size = float((body.high - body.low).max())
        corners = body.mesh.corners
        points, index = np.unique(np.round(corners.reshape(-1, 3) / size, 7), axis=0, return_inverse=True)
        mesh = trimesh.Trimesh(points, index.reshape(-1, 3), process=False)
        mesh.update_faces(mesh.nondegenerate_faces(1e-9))
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert mesh.volume > 0
        outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert np.all(np.einsum("ij,ij->i", outward, body.mesh.normals) >= 0)
        surface = np.concatenate([corners.reshape(-1, 3), _round_points(body)])
        assert np.linalg.norm(surface - body.center, axis=1).max() <= body.radius * (1 + 1e-9)
        if body.kind != MESH:
            assert np.abs(beyond(body, surface)).max() < 1e-6
            assert np.allclose(np.linalg.norm(body.planes[:, :3], axis=1), 1)
            apart = np.abs(body.planes[:, None] - body.planes[None]).max(-1) + np.eye(len(body.planes))
            assert apart.min(initial=1.0) > 1e-6, "the same plane twice"
        # A round side's box is that of the exact surface, or that of its 64-gon.
        assert np.all(surface >= body.low - 2e-3 * size)
        assert np.all(surface <= body.high + 2e-3 * size)
        assert np.all(corners.reshape(-1, 3).min(axis=0) <= body.low + 0.02 * size)


def _round_points(body: Body) -> np.ndarray:
    """Points of the exact round surface of a cylinder, frustum or ellipsoid."""
    if body.kind != QUADRIC:
        return np.zeros((0, 3))
    angle, z = (axis.ravel() for axis in np.meshgrid(np.arange(0, 6.28, 0.05), np.linspace(-0.5, 0.5, 21)))
    a, b, c = body.curve
    radius = np.sqrt(np.maximum((a + b * z) ** 2 - c * z * z, 0))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)
    return (points - body.frame[:, 3]) @ np.linalg.inv(body.frame[:, :3]).T


# ---- rays and bodies


def test_rays_meet_every_body_where_its_definition_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks exactly, depth to 10 micrometers, and clutter in no mask of a block."""
    objects = every_object(1, 30)
    scenes = in_the_air(monkeypatch, objects)
    frames = drawn(scenes)
    assert np.all(frames.slot == -1)
    assert not frames.amodal.any()
    rays = rays_of(scenes).reshape(-1, 3)
    eye = scenes.cameras.world_from_camera[0, :3, 3]
    for row, bodies in enumerate(objects):
        wanted, narrow = first_of(bodies, *in_object(scenes, row, eye, rays))
        depth = frames.depth[row].ravel()
        clear = ~narrow
        assert narrow.mean() < 0.02
        assert np.array_equal(depth[clear] > 0, np.isfinite(wanted[clear])), row
        seen = clear & np.isfinite(wanted)
        assert seen.sum() > 15
        assert np.abs(depth - wanted)[seen].max() < 1e-4, row
        assert np.median(np.abs(depth - wanted)[seen]) < 1e-5, row


def test_normals_are_the_gradients_of_the_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ambient light from one axis alone shows 0.5 + 0.5 n of a white matte surface."""
    objects = [(body,) for body in primitives().values()]
    base = in_the_air(monkeypatch, objects)
    shown = normals_of(base)
    depth = drawn(base).depth
    rays = rays_of(base).reshape(-1, 3)
    eye = base.cameras.world_from_camera[0, :3, 3]
    for row, (body,) in enumerate(objects):
        if body.kind == MESH:
            continue
        far = depth[row].ravel()
        local, _ = in_object(base, row, eye + rays * far[:, None], rays)
        steps = 1e-6 * np.eye(3)
        slope = np.stack([beyond(body, local + s) - beyond(body, local - s) for s in steps], -1)
        slope /= np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-12)
        wanted = slope @ base.clutter.world_from_object[row, 0, :3, :3].T
        off = np.linalg.norm(shown[row].reshape(-1, 3) - wanted, axis=-1)[far > 0]
        assert np.quantile(off, 0.97) < 2e-4, row  # at an edge, rounding decides


def test_every_body_casts_its_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Onto the table, in the light of a directional light: where the way to the light meets the body."""
    objects = every_object(20)
    scenes = overhead(staged(monkeypatch, objects, at=(0.1, 0.05, 0.25), size=0.4), 1.2)
    toward = np.array([0.5, 0.3, 0.8]) / np.linalg.norm([0.5, 0.3, 0.8])
    sun = lights({"direction": toward}, batch=len(objects))
    scenes = replace(scenes, lights=sun, ambient=take(around(0.0), [0] * len(objects)))
    frames = drawn(scenes)
    rays = rays_of(scenes).reshape(-1, 3)
    points = scenes.cameras.world_from_camera[0, :3, 3] + rays * 1.2
    on_top = np.all(np.abs(points[:, :2]) < [0.59, 0.39], axis=1)
    for row, bodies in enumerate(objects):
        table = on_top & (np.abs(frames.depth[row].ravel() - 1.2) < 1e-5)
        light = frames.rgb[row, ..., 0].ravel()[table]
        o, d = in_object(scenes, row, points[table], np.broadcast_to(toward, points[table].shape))
        t, narrow = first_of(bodies, o, d)
        dark = np.isfinite(t)
        assert dark.sum() > 2
        assert narrow.mean() < 0.02
        assert np.all(light[dark & ~narrow] == 0), row
        assert np.allclose(light[~dark & ~narrow], toward[2], atol=1e-5), row


def test_a_wide_light_is_hidden_by_as_much_of_it_as_a_ball_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disc of 0.4 m radius, 0.45 m above the table: where the ball hides only its border, too."""
    ball = (make_body("sphere", (1, 1, 1)),)
    scenes = overhead(staged(monkeypatch, [ball], "width=64", "height=48", at=(0.18, 0, 0.1), size=0.1), 0.6)
    lamp = {"kind": "area", "direction": [0.0, 0.0, 1.0], "distance": 0.45, "size": 0.4}
    open_sky, shaded = (
        drawn(replace(scenes, lights=lights({**lamp, "shadow": shadow}), ambient=around(0.0)), light_samples=64)
        for shadow in (False, True)
    )
    points = (scenes.cameras.world_from_camera[0, :3, 3] + rays_of(scenes) * 0.6).reshape(-1, 3)
    table = np.all(np.abs(points[:, :2]) < [0.59, 0.39], axis=1) & (np.abs(shaded.depth[0].ravel() - 0.6) < 1e-5)
    hidden = 1 - (shaded.rgb[0, ..., 0] / np.maximum(open_sky.rgb[0, ..., 0], 1e-9)).ravel()[table]
    k = np.arange(400)  # places of equal weight on the disc
    radius, angle = 0.4 * np.sqrt((k + 0.5) / len(k)), k * np.pi * (3 - np.sqrt(5))
    places = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(len(k), 0.45)], 1)
    away, toward = [0.18, 0, 0.1] - points[table][:, None], places - points[table][:, None]
    along = (away * toward).sum(-1) / (toward * toward).sum(-1)
    wanted = (np.linalg.norm(away - along[..., None] * toward, axis=-1) < 0.05).mean(1)
    border = (wanted > 0.0005) & (wanted < 0.03)
    assert border.sum() > 60
    assert hidden[border].sum() == pytest.approx(wanted[border].sum(), rel=0.15)
    assert np.abs(hidden - wanted).max() < 0.08
    assert np.all(hidden[wanted == 0] < 1 / 64 + 1e-6)


def test_every_point_of_a_crowded_scene_is_lit_or_not_as_rays_have_it() -> None:
    """Blocks, clutter and the table under a low directional light."""
    matte = [
        f"randomize.{thing}.{value}"
        for thing in ("blocks.material", "distractors.material", "clutter.material", "table", "fixture")
        for value in ("specular=0", "metalness=0", "color=[1,1,1]", "color2=[1,1,1]", "grime=0", "edge_mm=0", "wear=0")
    ]
    crowd = ("randomize.blocks.count=6", "randomize.distractors.count=8", "randomize.clutter.count=14", *PLAIN, *matte)
    sampler, world = sampler_of(*crowd, "randomize.camera.distortion=[0,0,0,0,0]", "width=60", "height=45")
    toward = np.array([0.8, -0.3, 0.45]) / np.linalg.norm([0.8, -0.3, 0.45])
    scenes = sampler.sample(5, [2])
    scenes = replace(scenes, lights=lights({"direction": toward}), ambient=around(0.0))
    frames = drawn(scenes)
    depth = frames.depth[0].ravel()
    points = scenes.cameras.world_from_camera[0, :3, 3] + rays_of(scenes).reshape(-1, 3) * depth[:, None]
    place, size, present = world.standing(scenes.fixtures)
    blocks, clutter = scenes.blocks, scenes.clutter
    things: list[tuple[Body, np.ndarray, float]] = [
        *((make_body("box", size[0, n]), rigid(np.eye(3), place[0, n]), 1.0) for n in np.flatnonzero(present[0])),
        *(
            (body_of(world.solids[blocks.model[0, n]]), blocks.world_from_block[0, n], float(blocks.scale[0, n]))
            for n in np.flatnonzero(blocks.present[0])
        ),
        *(
            (body, clutter.world_from_object[0, n], float(clutter.size[0, n]))
            for n in np.flatnonzero(clutter.present[0])
            for body in world.clutter_of(int(clutter.kind[0, n]), int(clutter.variant[0, n]))
        ),
    ]
    assert len(things) > 30
    dark, unsure, cosine = (np.zeros(len(points)) for _ in range(3))
    owned = np.zeros(len(points), int)
    for body, pose, scale in things:
        local, way = (points - pose[:3, 3]) @ pose[:3, :3] / scale, toward @ pose[:3, :3] / scale
        own = np.abs(beyond(body, local)) * scale < 2e-5
        steps = 1e-6 * np.eye(3)
        slope = np.stack([beyond(body, local + s) - beyond(body, local - s) for s in steps], -1)
        slope /= np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-12)
        cosine = np.where(own, slope @ pose[:3, :3].T @ toward, cosine)
        owned += own
        t, inside = entry(body, local, np.broadcast_to(way, local.shape))
        dark = np.where(own, dark, np.maximum(dark, np.isfinite(t)))
        unsure = np.where(own, unsure, np.maximum(unsure, np.abs(inside) < 1e-3))
    clear = (depth > 0) & (owned == 1) & (unsure == 0) & (cosine > 0.02)
    lit = frames.rgb[0, ..., 0].ravel()
    assert (clear & (dark > 0)).sum() > 50
    assert (clear & (dark == 0)).sum() > 500
    assert np.all(lit[clear & (dark > 0)] == 0)
    assert np.abs(lit - cosine)[clear & (dark == 0)].max() < 1e-3


# ---- labels


def test_amodal_masks_know_no_occluder_and_clutter_is_in_no_mask() -> None:
    """Each block's mask is that of the block alone; clutter hides it in `slot` and changes nothing else."""
    crowd = ("randomize.blocks.count=5", "randomize.distractors.count=4", "randomize.clutter.count=25")
    sampler, _ = sampler_of(*crowd, "width=80", "height=60", "randomize.camera.elevation_deg=20", *PLAIN)
    hidden = covered = 0
    for index in (3, 8):
        scenes = sampler.sample(2, [index])
        frames = drawn(scenes)
        slots = scenes.blocks.present.shape[1]
        bare = replace(scenes, clutter=replace(scenes.clutter, present=np.zeros_like(scenes.clutter.present)))
        alone = replace(
            take(bare, [0] * slots), blocks=replace(take(scenes.blocks, [0] * slots), present=np.eye(slots, dtype=bool))
        )
        single = drawn(alone).amodal
        for slot in range(slots):
            if scenes.blocks.present[0, slot]:
                assert np.array_equal(frames.amodal[0, slot], single[slot, slot])
                seen = frames.slot[0] == slot
                assert not np.any(seen & ~frames.amodal[0, slot])
                hidden += int((frames.amodal[0, slot] & ~seen).sum())
            else:
                assert not frames.amodal[0, slot].any()
        without = drawn(bare)
        assert np.array_equal(frames.amodal, without.amodal)
        clutter = frames.depth != without.depth
        covered += int((clutter & (without.slot >= 0)).sum())
        assert np.all(frames.slot[clutter] == -1)
        assert np.array_equal(frames.slot[~clutter], without.slot[~clutter])
    assert hidden > 20
    assert covered > 20


# ---- one box, three ways


@pytest.mark.parametrize("way", ["polytope", "mesh"])
def test_a_box_a_polytope_and_a_mesh_of_the_same_shape_look_the_same(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes have formulas of their own. A mesh has neither rounded edges nor occlusion."""
    wear = [] if way == "mesh" else ["edge_mm=3", "wear=1", "grime=0.7"]
    looks = [*wear, "texture=faces", "color=[0.9,0.2,0.1]", "color2=[0.1,0.3,0.9]", "pattern=11"]
    overrides = [f"randomize.blocks.material.{look}" for look in looks]
    sampler, world = sampler_of(
        "randomize=none", "randomize.blocks.count=4", "randomize.blocks.place=[uniform,[-0.1,-0.1],[0.1,0.1]]",
        "randomize.blocks.yaw_deg=[uniform,0,360]", "randomize.blocks.model=[choice,cube,rectangular_prism]", *overrides,
        "randomize.camera.distance=0.4", "width=160", "height=120", f"randomize.ambient.occlusion={int(way != 'mesh')}",
        "randomize.light.kind=area",
    )  # fmt: skip
    scenes = sampler.sample(1, [0])
    as_boxes = make_renderer("raycast", world, threads=1).render(scenes)
    if way == "mesh":
        world = replace(world, solids=tuple(replace(solid, convex=False) for solid in world.solids))
    else:
        sides = buffers._box_sides
        monkeypatch.setattr(buffers, "_box_sides", lambda body: sides(body) if np.all(body.high == 0.5) else None)
    renderer = make_renderer("raycast", world, threads=1)
    other = renderer.render(scenes)
    kinds = set(renderer._shapes.rows["kind"][: len(world.solids)].tolist())
    assert kinds <= ({MESH} if way == "mesh" else {POLYTOPE, QUADRIC})
    assert np.mean(as_boxes.slot >= 0) > 0.1
    agree(as_boxes, other)


def agree(a: Frames, b: Frames) -> None:
    """The same pictures but for rounding: where a ray meets an edge, it decides which face is seen."""
    assert np.mean(a.slot != b.slot) < 1e-3
    assert np.mean(np.abs(a.depth - b.depth) > 1e-5) < 1e-3
    assert np.mean(np.abs(a.rgb - b.rgb).max(-1) > 1e-5) < 3e-3


def test_a_picture_is_the_left_part_of_a_wider_one() -> None:
    """Which parts a tile's rays may meet changes nothing, also in tiles that reach beyond the picture's border."""
    sampler, _ = sampler_of("randomize.clutter.count=12", "width=160", "height=120", *PLAIN)
    wide = sampler.sample(4, range(3))
    narrow = replace(wide, cameras=replace(wide.cameras, width=141, height=107))
    a, b = drawn(wide), drawn(narrow)
    for part in ("depth", "slot", "amodal"):
        assert np.array_equal(getattr(a, part)[..., :107, :141], getattr(b, part)), part
