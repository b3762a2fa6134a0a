"""The ray caster: light and shapes against formulas, and identical bytes for any batch and number of threads."""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import trimesh
import warp as wp
from builders import SMALL, sampler_of
from rays import BARE, PINHOLE, around, drawn, lights, on_table, overhead, same, scene_of

from simgen.distortion import distort, fisheye_lens, padded
from simgen.distortion import undistort as numpy_undistort
from simgen.errors import ConfigError, RenderError
from simgen.render import Frames, make_renderer
from simgen.render.kernels import tracing
from simgen.render.raycast import RaycastRenderer
from simgen.resources import resource_folder
from simgen.scene import take
from simgen.schema import Raycast
from simgen.silhouette import silhouette
from simgen.textures.color import decode, encode
from simgen.textures.images import ImageFolder, open_image_folder
from simgen.textures.procedural import lattice, mix

# ---- energy


@pytest.mark.parametrize("tilt", [0.0, 0.5, 1.2])
def test_a_white_matt_plane_under_a_directional_light_follows_lambert(tilt: float) -> None:
    sun = lights({"direction": [np.sin(tilt), 0, np.cos(tilt)], "color": [1, 0.5, 0.25], "intensity": 0.8})
    scenes = overhead(scene_of(*BARE, *SMALL, lights=sun, ambient=around(0.1)))
    rgb = drawn(scenes).rgb[0]
    wanted = 0.8 * np.cos(tilt) * np.array([1, 0.5, 0.25]) + 0.1
    inside = np.all(np.abs(on_table(scenes)) < [0.59, 0.39], axis=-1)
    assert inside.sum() > 5000
    assert np.abs(rgb[inside] - wanted).max() < 1e-5


def test_point_light_falls_off_with_the_square_of_the_distance() -> None:
    lamp = lights({"kind": "point", "direction": [0.3, 0.1, 0.9], "distance": 0.8, "intensity": 1.5})
    scenes = overhead(scene_of(*BARE, *SMALL, lights=lamp, ambient=around(0)))
    rgb = drawn(scenes).rgb[0, ..., 1]
    place = np.concatenate([on_table(scenes), np.zeros((*rgb.shape, 1))], -1)
    to_lamp = 0.8 * np.array([0.3, 0.1, 0.9]) / np.linalg.norm([0.3, 0.1, 0.9]) - place
    distance = np.linalg.norm(to_lamp, axis=-1)
    wanted = 1.5 * (0.8 / distance) ** 2 * to_lamp[..., 2] / distance
    inside = np.all(np.abs(place[..., :2]) < [0.59, 0.39], axis=-1)
    assert np.abs(rgb - wanted)[inside].max() < 2e-4 * wanted.max()


def test_light_adds_up() -> None:
    """Two lights and ambient are the sum of each alone, shadows included."""
    one = {"kind": "point", "direction": [0.5, 0.2, 1], "distance": 1.2, "intensity": 0.5, "color": [1, 0.2, 0.1]}
    two = {"kind": "area", "direction": [-0.6, 0.2, 0.8], "distance": 1.0, "intensity": 0.7, "size": 0.1}
    base = scene_of("randomize.blocks.count=6", *SMALL)
    both = drawn(replace(base, lights=lights(one, two), ambient=around(0.2))).rgb
    dark = {"intensity": 0.0}
    alone = [
        drawn(replace(base, lights=lights(*pair), ambient=around(level))).rgb
        for pair, level in (((one, {**two, **dark}), 0.0), (({**one, **dark}, two), 0.0), ((one, two), 0.2))
    ]
    nothing = drawn(replace(base, lights=lights({**one, **dark}, {**two, **dark}), ambient=around(0.2))).rgb
    # A background shines by itself, and would be counted three times.
    seen = drawn(base).depth > 0
    assert np.allclose(both[seen], (alone[0] + alone[1] + nothing)[seen], atol=1e-5)
    assert np.array_equal(both, alone[2])


def test_sky_and_ground_light_by_the_height_of_the_normal() -> None:
    """A plane that faces up has the sky's color; a cube's upright sides have the mean of both."""
    dome = around(0.8, (0.2, 0.4, 1.0), (1.0, 0.5, 0.1))
    cube = ("randomize.blocks.material.color=[1,1,1]", "randomize.blocks.material.specular=0")
    scenes = scene_of("randomize=none", *cube, *BARE[2:], *SMALL, lights=lights({"intensity": 0.0}), ambient=dome)
    frames = drawn(scenes)
    rgb = frames.rgb[0]
    sky, ground = np.array([0.2, 0.4, 1.0]), np.array([1.0, 0.5, 0.1])
    sides = np.abs(rgb - 0.8 * (sky + ground) / 2).max(-1) < 1e-5
    tops = np.abs(rgb - 0.8 * sky).max(-1) < 1e-5
    block = frames.slot[0] == 0
    assert (sides & block).sum() > 20
    assert (tops & block).sum() > 20
    assert np.all((sides | tops)[block])


def test_occlusion_darkens_contacts_alone_and_by_its_share() -> None:
    flat = ("randomize=none", *BARE[2:], *SMALL, "randomize.camera.elevation_deg=89")
    dark = lights({"intensity": 0.0})
    free = drawn(scene_of(*flat, lights=dark, ambient=around(1.0)))
    full = drawn(scene_of(*flat, lights=dark, ambient=around(1.0, occlusion=1.0)))
    half = drawn(scene_of(*flat, lights=dark, ambient=around(1.0, occlusion=0.5)))
    scenes = scene_of(*flat)
    place = np.abs(on_table(scenes))
    gap = np.maximum(place - 0.025, 0).max(-1)  # to the cube of 5 cm in the middle
    table = (full.slot[0] == -1) & np.all(place < [0.59, 0.39], axis=-1)
    lost = (free.rgb - full.rgb)[0, ..., 0]
    assert np.abs(lost[table & (gap > 0.13)]).max() == 0
    assert lost[table & (gap < 0.003)].min() > 0.6
    assert np.all(lost[table] >= 0)
    assert np.allclose(free.rgb - half.rgb, (free.rgb - full.rgb) / 2, atol=1e-4)


# ---- shadows


def test_the_shadow_of_a_cube_is_where_it_must_be() -> None:
    """A directional light through the edges of a 5 cm cube: the shadow's end is 5 cm / tan(elevation) away."""
    light = lights({"direction": [1.0, 0, 1.0]})  # 45 degrees: the shadow is 5 cm long, toward -X
    scenes = overhead(scene_of(*BARE[:1], *BARE[2:], "width=320", "height=240", lights=light, ambient=around(0)), 0.5)
    frames = drawn(scenes)
    place, rgb = on_table(scenes), frames.rgb[0, ..., 0]
    table = frames.slot[0] == -1
    x, y = place[..., 0], place[..., 1]
    shadow = (x > -0.075) & (x < -0.025) & (np.abs(y) < 0.025)
    pixel = 0.5 / scenes.cameras.intrinsics[0, 0, 0]
    edge = (np.abs(np.abs(y) - 0.025) < pixel) | (np.abs(x + 0.075) < pixel) | (np.abs(x + 0.025) < pixel)
    assert (shadow & table & ~edge).sum() > 300
    assert np.all(rgb[shadow & table & ~edge] == 0)
    assert np.all(rgb[~shadow & table & ~edge & np.all(np.abs(place) < [0.59, 0.39], axis=-1)] > 0.7)


def test_the_penumbra_of_an_area_light_has_the_width_of_geometry() -> None:
    """A disc of diameter D seen past an edge at height h, from a distance of d: the penumbra is D h / (d - h) wide."""
    height, radius, distance = 0.05, 0.15, 1.0
    lamp = lights({"kind": "area", "size": radius, "distance": distance})
    base = scene_of(*BARE[:1], *BARE[2:], "width=640", "height=480", lights=lamp, ambient=around(0))
    scenes = overhead(base, 0.4, (0.05, 0.0))
    rgb = drawn(scenes, light_samples=64).rgb[0, ..., 0]
    dark = replace(scenes, lights=replace(lamp, shadow=np.array([[False]])))
    visible = rgb / np.maximum(drawn(dark).rgb[0, ..., 0], 1e-9)
    place = on_table(scenes)
    # Along X beside the middle of the cube's side; its upper edge at x = 0.025 parts light from shadow.
    row = np.abs(place[..., 1]) < 0.004
    x, share = place[row][:, 0], visible[row]
    order = np.argsort(x)
    x, share = x[order], share[order]
    outside = x > 0.0255
    # The edge hides the part of the disc that lies beyond the line from the point through it.
    line = 0.025 + (0.025 - x[outside]) * (distance - height) / height  # where that line meets the light's plane
    c = np.clip(line / radius, -1, 1)
    wanted = 1 - (np.arccos(c) - c * np.sqrt(1 - c**2)) / np.pi
    inner, outer = (
        0.025 - (radius - 0.025) * height / (distance - height),
        0.025 + (radius + 0.025) * height / (distance - height),
    )
    assert outer - 0.025 == pytest.approx((radius + 0.025) * 0.05 / 0.95)
    assert inner < 0.025
    # 64 stratified samples: the mean over the 13 rows of one column is within a few percent.
    for left in np.arange(0.0255, outer + 0.01, 0.001):
        column = (x[outside] >= left) & (x[outside] < left + 0.001)
        if column.sum() > 10:
            assert abs(share[outside][column].mean() - (1 - wanted[column].mean())) < 0.03, left
    assert np.all(share[x > outer + 0.001] > 1 - 1e-6)


def test_a_point_light_is_an_area_light_without_extent() -> None:
    base = scene_of("randomize.blocks.count=6", *SMALL)
    point = lights({"kind": "point", "direction": [0.5, 0.2, 1]})
    area = lights({"kind": "area", "direction": [0.5, 0.2, 1], "size": 0.0})
    assert same(drawn(replace(base, lights=point)), drawn(replace(base, lights=area)))


# ---- materials


def test_the_gloss_is_the_microfacet_model() -> None:
    """A highlight against the formulas in float64, written anew for a plane seen from above."""
    sun = {"direction": [0.6, 0.1, 0.8], "intensity": 0.9, "specular": 1.3, "shadow": False}
    gloss = ("randomize.table.roughness=0.4", "randomize.table.metalness=0.3", "randomize.table.specular=0.7")
    color = np.array([0.8, 0.5, 0.2])
    base = ("randomize=none", "randomize.blocks.count=0", "randomize.table.color=[0.8,0.5,0.2]", *gloss, *SMALL)
    scenes = overhead(scene_of(*base, lights=lights(sun), ambient=around(0)))
    rgb = drawn(scenes).rgb[0]
    place = np.concatenate([on_table(scenes), np.zeros((*rgb.shape[:2], 1))], -1)
    v = np.array([0, 0, 1.0]) - place
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    to_light = np.array([0.6, 0.1, 0.8]) / np.linalg.norm([0.6, 0.1, 0.8])
    h = v + to_light
    h /= np.linalg.norm(h, axis=-1, keepdims=True)
    nl, nv, nh, lh = to_light[2], v[..., 2], h[..., 2], (h * to_light).sum(-1)
    a2 = 0.4**4
    d = a2 / (np.pi * (nh**2 * (a2 - 1) + 1) ** 2)
    lambda_l, lambda_v = (np.sqrt(1 + a2 * (1 - c**2) / c**2) / 2 - 0.5 for c in (nl, nv))
    g = 1 / (1 + lambda_l + lambda_v)  # Heitz 2014, equation 99
    albedo = decode(color)
    f0 = 0.7 * 0.08 * 0.7 + 0.3 * albedo
    f = f0 + (1 - f0) * (1 - lh[..., None]) ** 5
    specular = f * (d * g / (4 * nl * nv))[..., None]
    wanted = 0.9 * nl * (albedo * 0.7 * (1 - 0.08 * 0.7) + np.pi * 1.3 * specular)
    inside = np.all(np.abs(place[..., :2]) < [0.59, 0.39], axis=-1)
    assert np.abs(rgb - wanted)[inside].max() < 2e-3


def test_no_surface_sends_back_more_than_arrives() -> None:
    """White furnace: under light of 1 from everywhere no material is brighter than 1, and a matt white one is 1."""
    for roughness in (0.05, 0.5, 1.0):
        for metalness in (0.0, 0.5, 1.0):
            gloss = [
                f"randomize.table.{k}={v}"
                for k, v in (("roughness", roughness), ("metalness", metalness), ("specular", 1))
            ]
            scenes = overhead(scene_of(*BARE[:3], *gloss, *SMALL, lights=lights({"intensity": 0.0}), ambient=around(1)))
            rgb = drawn(scenes).rgb[0]
            inside = np.all(np.abs(on_table(scenes)) < [0.59, 0.39], axis=-1)
            assert rgb[inside].max() <= 1 + 1e-5
            assert rgb[inside].min() > 0.9


@pytest.mark.parametrize("kind", ["gradient", "checker", "stripes", "noise"])
def test_textures_lie_on_the_table_as_they_are_painted(kind: str) -> None:
    pattern = [
        f"randomize.table.{k}={v}" for k, v in (("texture", kind), ("cycles", 3.3), ("angle_deg", 25), ("pattern", 7))
    ]
    colors = ["randomize.table.color=[1,0.1,0.1]", "randomize.table.color2=[0.1,0.2,1]", "randomize.table.specular=0"]
    base = ("randomize=none", "randomize.blocks.count=0", *pattern, *colors, *SMALL)
    scenes = overhead(scene_of(*base, lights=lights({"intensity": 0.0}), ambient=around(1)))
    rgb = drawn(scenes).rgb[0]
    place = on_table(scenes)
    u, v = ((place[..., k] / (1.2, 0.8)[k]).astype(np.float32) for k in range(2))
    angle = np.radians(25)
    turn = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    share = mix(kind, u, v, np.float32(3.3), turn, np.asarray(7), lattice())[..., None]
    start, end = decode(np.array([1, 0.1, 0.1])), decode(np.array([0.1, 0.2, 1]))
    inside = np.all(np.abs(place) < [0.59, 0.39], axis=-1)
    wrong = np.abs(rgb - (start + (end - start) * share)).max(-1)[inside] > 2e-3
    assert wrong.mean() < 0.01  # a pixel whose center is at an edge may fall on either side


def test_a_users_pictures_lie_on_surfaces_and_behind_them(tmp_path: Path) -> None:
    """Four quarters of known colors: on the table as it lies, u along X and v along Y; and filling the frame behind."""
    quarters = np.zeros((64, 64, 3), np.uint8)
    quarters[:32, :32], quarters[:32, 32:] = [250, 20, 20], [20, 250, 20]
    quarters[32:, :32], quarters[32:, 32:] = [20, 20, 250], [250, 250, 20]
    PIL.Image.fromarray(quarters).save(tmp_path / "a.png")
    images = open_image_folder(tmp_path, "randomize.images")
    folder = f"randomize.images={tmp_path}"
    base = ("randomize=none", "randomize.blocks.count=0", folder, *SMALL, "randomize.table.specular=0")
    dark = {"lights": lights({"intensity": 0.0}), "ambient": around(1)}
    scenes = overhead(scene_of(*base, "randomize.table.texture=image", **dark))
    _, world = sampler_of()
    renderer = make_renderer("raycast", world, images)
    x, y = np.moveaxis(on_table(scenes), -1, 0)
    shown = np.asarray(encode(renderer.render(scenes).rgb[0].clip(0, 1)) * 255)
    for right, up, color in (
        (0, 1, [250, 20, 20]),
        (1, 1, [20, 250, 20]),
        (0, 0, [20, 20, 250]),
        (1, 0, [250, 250, 20]),
    ):
        here = ((x > 0.01) if right else (x < -0.01)) & ((y > 0.01) if up else (y < -0.01))
        here &= (np.abs(x) < 0.59) & (np.abs(y) < 0.39)
        assert here.sum() > 1000
        assert np.abs(shown[here] - color).max() < 0.6
    sky = ("randomize.walls=0", "randomize.background.texture=image", "randomize.camera.elevation_deg=3")
    high = ("randomize.camera.tilt_deg=-60", "randomize.camera.distance=0.5")
    frames = renderer.render(scene_of(*base, *sky, *high))
    assert np.all(frames.depth == 0)
    shown, (v, u) = np.asarray(encode(frames.rgb[0])) * 255, np.mgrid[:120, :160]
    for right, up, color in (
        (0, 1, [250, 20, 20]),
        (1, 1, [20, 250, 20]),
        (0, 0, [20, 20, 250]),
        (1, 0, [250, 250, 20]),
    ):
        here = ((u > 82) if right else (u < 78)) & ((v < 58) if up else (v > 62))
        assert np.abs(shown[here] - color).max() < 0.6


# ---- shapes


@pytest.mark.parametrize("shape", ["cone", "cylinder"])
def test_round_sides_are_round(shape: str) -> None:
    """The points seen lie on the cone or cylinder to a hundredth of a millimeter: a 64-gon would be off by 0.03 mm."""
    scenes = scene_of(
        "randomize=none", f"randomize.blocks.model={shape}", "width=640", "height=480", "randomize.camera.distance=0.25"
    )
    frames = drawn(scenes)
    v, u = np.nonzero(frames.slot[0] == 0)
    k, pose = scenes.cameras.intrinsics[0], scenes.cameras.world_from_camera[0]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(len(u))], -1)
    points = (rays * frames.depth[0][v, u, None]) @ pose[:3, :3].T + pose[:3, 3]
    block = scenes.blocks.world_from_block[0, 0]
    local = (points - block[:3, 3]) @ block[:3, :3]
    _, world = sampler_of()
    size = world.solids[int(scenes.blocks.model[0, 0])].size
    reach = np.hypot(local[:, 0], local[:, 1])
    radius = size[0] / 2 if shape == "cylinder" else size[0] / 2 * (0.5 - local[:, 2] / size[2])
    off = np.minimum(np.abs(reach - radius), np.abs(np.abs(local[:, 2]) - size[2] / 2))
    assert len(u) > 10000
    assert off.max() < 1e-5


def test_amodal_masks_are_the_exact_silhouettes() -> None:
    """Masks equal the exact coverage of pixel centers, hidden or not; round ones' are a 64-gon's but for a few edges."""
    crowd = ("randomize.blocks.count=6", "randomize.distractors.count=10", "randomize.camera.elevation_deg=15")
    sampler, world = sampler_of(*crowd, "width=320", "height=240")
    scenes = sampler.sample(3, range(4))
    frames = drawn(scenes)
    assert frames.amodal is not None
    hidden = total = wrong = 0
    for row in range(4):
        cameras, blocks = scenes.cameras, scenes.blocks
        camera_from_world = np.linalg.inv(cameras.world_from_camera[row])
        for slot in range(blocks.model.shape[1]):
            mask = frames.amodal[row, slot]
            if not blocks.present[row, slot]:
                assert not mask.any()
                continue
            solid = world.solids[blocks.model[row, slot]]
            pose = camera_from_world @ blocks.world_from_block[row, slot]
            lens = cameras.intrinsics[row], cameras.distortion[row]
            exact = silhouette(solid, float(blocks.scale[row, slot]), pose, *lens, 320, 240).mask(320, 240)
            wrong, total = wrong + int((mask ^ exact).sum()), total + int(exact.sum())
            seen = frames.slot[row] == slot
            assert not np.any(seen & ~mask)
            hidden += int((mask & ~seen).sum())
    assert hidden > 50
    assert wrong <= 0.002 * total


@pytest.mark.parametrize("lens", ["brown", "rational", "fisheye"])
def test_lens_rays_are_those_of_geometry(lens: str) -> None:
    """At the nodes of the grid to single precision, and in the middle between them within 0.1 px of a small picture."""
    cameras = sampler_of("width=200", "height=150")[0].sample(0, range(4)).cameras
    assert np.all(np.any(cameras.distortion != 0, axis=1))
    distortion = padded(cameras.distortion)
    if lens == "rational":
        distortion[:, 5:8] = [0.02, -0.01, 0.003]
    if lens == "fisheye":
        distortion = np.repeat(fisheye_lens([-0.03, 0.01, -0.002, 0.001])[None], 4, 0)
    k = cameras.intrinsics
    optics = np.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], 1)
    nodes = wp.zeros((4, 39, 51), dtype=wp.vec2, device="cpu")
    inputs = [wp.array(optics, dtype=wp.float64), wp.array(distortion, dtype=wp.float64), 39, 51, 0.25, -0.25]
    wp.launch(tracing.lens, dim=nodes.shape, inputs=inputs, outputs=[nodes], device="cpu")
    plane = nodes.numpy()
    v, u = np.mgrid[:150, :200]
    for row in range(4):
        pixels = np.stack([u + 0.25, v - 0.25], -1).astype(float)
        flat = numpy_undistort((pixels - k[row, :2, 2]) / k[row, 0, 0], distortion[row][None])
        assert np.abs(plane[row, :38, :50] - flat[::4, ::4]).max() < 1e-7
        a, b, c, d = plane[row, :-1, :-1], plane[row, :-1, 1:], plane[row, 1:, :-1], plane[row, 1:, 1:]
        middle = (a + b + c + d)[:37, :49] / 4
        shown = distort(middle.astype(float), distortion[row][None]) * k[row, 0, 0] + k[row, :2, 2]
        assert np.abs(shown - pixels[2::4, 2::4][:37, :49]).max() < 0.1


# ---- the same bytes


def test_the_same_bytes_in_any_batch_and_number_of_threads() -> None:
    sampler, _ = sampler_of("width=100", "height=70")
    scenes = sampler.sample(5, range(9))
    whole = drawn(scenes)
    for threads in (2, 3):
        assert same(drawn(scenes, threads=threads), whole), threads
    for row in (0, 4, 8):
        part = [getattr(whole, name)[[row]] for name in ("rgb", "depth", "slot", "amodal")]
        assert same(drawn(take(scenes, [row]), threads=2), Frames(*part))
    assert same(
        drawn(take(scenes, [8, 0, 3])), Frames(*(getattr(whole, n)[[8, 0, 3]] for n in whole.__dataclass_fields__))
    )


def test_a_thread_may_follow_any_number_of_rays() -> None:
    """Those of a GPU follow one, those of a CPU eight. The width is a multiple of neither's tiles."""
    sampler, world = sampler_of("width=100", "height=70")
    scenes = sampler.sample(5, range(4))
    one, eight = (RaycastRenderer(world, ImageFolder(), Raycast(), rays=rays).render(scenes) for rays in (1, 8))
    assert same(one, eight)


def test_a_renderer_that_has_drawn_other_scenes_gives_the_same_bytes() -> None:
    """Buffers are used again, and pictures of the pool take the places of others."""
    _, world = sampler_of()
    renderer = make_renderer("raycast", world, None, Raycast(), threads=1)
    sampler, _ = sampler_of("width=100", "height=70")
    scenes = sampler.sample(5, range(3))
    first = renderer.render(scenes)
    kept = Frames(*(part.copy() for part in vars(first).values()))
    renderer.render(sampler.sample(6, range(7)))
    assert same(first, kept)
    assert same(renderer.render(scenes), kept)


def test_supersampling_smooths_edges_and_leaves_labels_alone() -> None:
    sampler, _ = sampler_of("width=96", "height=72", PINHOLE)
    scenes = sampler.sample(1, range(2))
    once, twice, thrice = (drawn(scenes, supersample=n, light_samples=1) for n in (1, 2, 3))
    for more in (twice, thrice):
        for part in ("depth", "slot", "amodal"):
            assert np.array_equal(getattr(more, part), getattr(once, part))
        assert 0 < np.abs(more.rgb - once.rgb).mean() < 0.05
    # Of a picture of 3 x 3 as many pixels, the mean over each 3 x 3 is what 3 x 3 samples see.
    fine_sampler, _ = sampler_of("width=288", "height=216", PINHOLE)
    fine = fine_sampler.sample(1, range(2))
    hard = replace(scenes, lights=replace(scenes.lights, kind=np.zeros_like(scenes.lights.kind)))
    fine = replace(fine, lights=hard.lights)
    mean = drawn(fine).rgb.reshape(2, 72, 3, 96, 3, 3).mean((2, 4))
    differs = np.abs(drawn(hard, supersample=3).rgb - mean).max(-1) > 2e-3
    assert differs.mean() < 0.002  # a ray along an edge may fall on either side


@pytest.mark.skipif(not wp.is_cuda_available(), reason="no CUDA device")
def test_cpu_and_cuda_agree() -> None:
    """Within 2/255 as displayed, and exactly in which block is seen, away from edges."""
    sampler, _ = sampler_of("width=320", "height=240")
    scenes = sampler.sample(9, range(8))
    here, there = drawn(scenes), drawn(scenes, device="cuda")
    box = np.ones((3, 3), np.uint8)
    edge = np.stack([cv2.dilate(slot, box) != cv2.erode(slot, box) for slot in here.slot])
    assert np.array_equal(here.slot[~edge], there.slot[~edge])
    shown = [encode(frames.rgb.clip(0, 1)) for frames in (here, there)]
    differs = np.abs(shown[0] - shown[1]).max(-1) > 2 / 255
    # Where a shadow or a texture has its edge, a ray may fall on either side.
    assert differs[~edge].mean() < 2e-3
    assert same(there, drawn(scenes, device="cuda"))


# ---- what cannot work


def test_cuda_that_is_not_there() -> None:
    _, world = sampler_of()
    with pytest.raises(RenderError, match=r"raycast\.device: 'cuda:99' asked for, .*use raycast\.device=cpu"):
        make_renderer("raycast", world, None, Raycast(device="cuda:99"))
    for name in ("gpu", "mps"):
        with pytest.raises(ConfigError, match=rf"raycast\.device: got '{name}'; expected cpu, cuda or cuda:K"):
            make_renderer("raycast", world, None, Raycast(device=name))


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _, world = sampler_of()
    renderer = make_renderer("raycast", world, None, Raycast())

    def full(*_: object) -> None:
        raise RuntimeError("Failed to allocate 123456789 bytes on device 'cuda:0'")

    monkeypatch.setattr(type(renderer), "_draw", full)
    with pytest.raises(
        RenderError, match=r"1 pictures of 160 x 120 px do not fit into the memory .* draw fewer at once"
    ):
        renderer.render(sampler_of(*SMALL)[0].sample(0, [0]))


def test_without_warp_the_message_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "warp", None)
    for name in [name for name in sys.modules if name.startswith("simgen.render.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        RenderError, match=r"renderer: raycast needs NVIDIA Warp, .*pip install warp-lang.*renderer=tiny"
    ):
        make_renderer("raycast", sampler_of()[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"light_samples": 5}, r"raycast\.light_samples: got 5; expected a square number"),
        ({"supersample": 0}, r"raycast\.supersample: got 0; expected 1 to 64"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        drawn(sampler_of(*SMALL)[0].sample(0, [0]), **settings)


def test_a_block_with_hollows_shows_what_is_behind_its_hole(tmp_path: Path) -> None:
    """A ring seen from above: its mask is the annulus, the table shows through the hole and is 2 cm farther away."""
    ring = trimesh.creation.annulus(0.01, 0.03, 0.02, sections=64)
    ring.export(tmp_path / "ring.obj")
    (tmp_path / "set.yaml").write_text("ring: {mesh: ring.obj}\n")
    text = (resource_folder("scenes") / "tabletop.yaml").read_text().replace("blocks/tobin.yaml", "set.yaml")
    (tmp_path / "own.yaml").write_text(text.replace("model: cube", "model: ring"))
    sampler, world = sampler_of(f"scene={tmp_path / 'own.yaml'}", "randomize=none", "width=320", "height=240")
    light = lights({"direction": [1.0, 0, 1.0]})
    scenes = overhead(replace(sampler.sample(0, [0]), lights=light, ambient=around(0.1)), 0.3)
    frames = make_renderer("raycast", world).render(scenes)
    place = on_table(scenes)
    away = np.hypot(*np.moveaxis(place, -1, 0))
    at_top = away * (0.3 - 0.02) / 0.3  # where the ray crosses the ring's upper side
    mask, depth = frames.slot[0] == 0, frames.depth[0]
    solid = (at_top > 0.0105) & (at_top < 0.0295)
    hole = away < 0.0095
    assert solid.sum() > 2000
    assert hole.sum() > 200
    assert np.all(mask[solid])
    assert not np.any(mask[hole])
    assert np.abs(depth[solid] - 0.28).max() < 1e-5
    assert np.abs(depth[hole] - 0.3).max() < 1e-5
    # The light comes from +X at 45 degrees: the hole, 2 cm deep and as wide, is in shadow, all but its far edge.
    assert np.mean(frames.rgb[0, ..., 0][hole] < 0.2) > 0.9
    assert np.all(frames.rgb[0, ..., 0][mask & solid] > 0.2)
