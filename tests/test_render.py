"""Tests that every renderer must pass."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from builders import SMALL, sampler_of

from simgen.catalogue import Box
from simgen.errors import ConfigError
from simgen.geometry import inverse, transform_points, unproject
from simgen.render import Renderer, make_renderer
from simgen.render.pinhole import nearest_depth
from simgen.scene import LIGHTS, Fixtures, Scenes, take
from simgen.silhouette import silhouette
from simgen.textures.color import decode, encode
from simgen.textures.procedural import lattice, of_face

BACKENDS = ["tiny", "raycast"]


@dataclass
class Drawn:
    """Frames as numpy arrays, rgb as displayed."""

    rgb: np.ndarray
    depth: np.ndarray
    slot: np.ndarray


def draw(renderer: Renderer, scenes: Scenes) -> Drawn:
    frames = renderer.render(scenes).cpu()
    shown = (encode(frames.rgb.clip(0, 1)) * 255 + 0.5).astype(np.uint8)
    return Drawn(shown, frames.depth, frames.slot)


@pytest.fixture(scope="module", params=BACKENDS)
def renderer(request: pytest.FixtureRequest) -> Iterator[Renderer]:
    _, world = sampler_of()
    made = make_renderer(request.param, world)
    yield made
    made.close()


def outline_of(scenes: Scenes, row: int, slot: int) -> np.ndarray:
    _, world = sampler_of()
    cameras, blocks = scenes.cameras, scenes.blocks
    pose = inverse(cameras.world_from_camera[row]) @ blocks.world_from_block[row, slot]
    outline = silhouette(
        world.solids[blocks.model[row, slot]],
        float(blocks.scale[row, slot]),
        pose,
        cameras.intrinsics[row],
        cameras.distortion[row],
        cameras.width,
        cameras.height,
    )
    return outline.mask(cameras.width, cameras.height)


def beyond_one_pixel(mask: np.ndarray, truth: np.ndarray) -> int:
    """How many pixels of `mask` are wrong though no neighbor of theirs lies across the edge of `truth`."""
    kernel = np.ones((3, 3), np.uint8)
    inner, outer = cv2.erode(truth.astype(np.uint8), kernel), cv2.dilate(truth.astype(np.uint8), kernel)
    return int(np.sum((mask & (outer == 0)) | (~mask & (inner == 1))))


PINHOLE = "randomize.camera.distortion=[0,0,0,0,0]"


@pytest.mark.parametrize("lens", [PINHOLE, "randomize.camera.distortion=[-0.1,0.02,0.001,-0.002,0]"])
def test_masks_are_the_projected_solids(renderer: Renderer, lens: str) -> None:
    """Each backend's masks against exact coverage of pixel centers by the projected hulls: a second, independent way."""
    sampler, _ = sampler_of("randomize.blocks.count=6", "randomize.clutter.count=0", "width=320", "height=240", lens)
    scenes = sampler.sample(3, range(6))
    frames = draw(renderer, scenes)
    wrong = far = total = 0
    for row in range(len(scenes)):
        truth = np.zeros(frames.slot.shape[1:], bool)
        for slot in np.flatnonzero(scenes.blocks.present[row]):
            truth |= outline_of(scenes, row, slot)
        drawn = frames.slot[row] >= 0
        wrong, total = wrong + int(np.sum(drawn ^ truth)), total + int(truth.sum())
        far += beyond_one_pixel(drawn, truth)
    assert total > 5000
    # PyBullet's picture through a lens is looked up from a pinhole's, to the nearest pixel: an edge may jump by one.
    looked_up = lens != PINHOLE and renderer.name != "raycast"
    assert far <= (2 if looked_up else 0)
    assert wrong <= (0.05 if looked_up else 0.005) * total


def test_depth_is_that_of_the_planes_seen(renderer: Renderer) -> None:
    """Table and floor: the depth of each pixel equals that of its ray's meeting with the plane, within 1 mm."""
    sampler, world = sampler_of("randomize=camera", "randomize.walls=0", "width=320", "height=240")
    scenes = sampler.sample(0, range(3))
    frames = draw(renderer, scenes)
    height, width = frames.depth.shape[1:]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2).astype(float)
    for row in range(3):
        pose = scenes.cameras.world_from_camera[row]
        rays = unproject(pixels, scenes.cameras.intrinsics[row], scenes.cameras.distortion[row]) @ pose[:3, :3].T
        seen = frames.depth[row].reshape(-1)
        checked = 0
        for plane, low, high in (
            (0.0, world.table.center[:2] - world.table.size[:2] / 2, world.table.center[:2] + world.table.size[:2] / 2),
            (world.room.floor, world.room.low, world.room.high),
        ):
            depth = (plane - pose[2, 3]) / rays[:, 2]  # rays have z = 1 in the camera, so this is depth
            place = pose[:2, 3] + depth[:, None] * rays[:, :2]
            # Well inside the plane, away from the block, its edges and (for the floor) the table above it.
            inside = (depth > 0) & np.all((place > low + 0.02) & (place < high - 0.02), axis=1)
            inside &= (np.abs(seen - depth) < 0.03) & (frames.slot[row].reshape(-1) == -1)
            assert np.all(np.abs(seen[inside] - depth[inside]) < 1e-3)
            checked += int(inside.sum())
        assert checked > 0.5 * len(pixels)


def test_depth_puts_every_pixel_of_a_block_on_its_surface(renderer: Renderer) -> None:
    sampler, world = sampler_of("randomize.blocks.count=6", "width=320", "height=240", PINHOLE)
    scenes = sampler.sample(11, range(3))
    frames = draw(renderer, scenes)
    for row in range(3):
        cameras = scenes.cameras
        for slot in np.flatnonzero(scenes.blocks.present[row]):
            v, u = np.nonzero(cv2.erode((frames.slot[row] == slot).astype(np.uint8), np.ones((3, 3), np.uint8)))
            rays = unproject(np.stack([u, v], -1).astype(float), cameras.intrinsics[row])
            points = rays * frames.depth[row, v, u, None]
            block_from_camera = inverse(scenes.blocks.world_from_block[row, slot]) @ cameras.world_from_camera[row]
            local = transform_points(block_from_camera, points) / scenes.blocks.scale[row, slot]
            planes = world.solids[scenes.blocks.model[row, slot]].planes
            outside = np.max(local @ planes[:, :3].T - planes[:, 3], axis=1)
            assert np.all(np.abs(outside) < 1e-3)


def same(a: Drawn, b: Drawn) -> bool:
    return all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("rgb", "depth", "slot"))


def test_a_picture_does_not_depend_on_what_was_drawn_before(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch, alone, reversed, across a renewed connection, and where textures make room for others: the same bytes."""
    monkeypatch.setattr("simgen.render.bullet.SCENES_PER_CONNECTION", 7)
    monkeypatch.setattr("simgen.textures.pool.MOST", 24)
    sampler, world = sampler_of(*SMALL)
    scenes = sampler.sample(0, range(10))
    whole = draw(renderer, scenes)
    fresh = make_renderer(renderer.name, world)
    for row in (9, 5, 1, 0, 0):
        alone = draw(fresh, take(scenes, [row]))
        assert same(alone, Drawn(whole.rgb[[row]], whole.depth[[row]], whole.slot[[row]])), row
    fresh.close()


def test_forty_textures_give_forty_pictures_of_the_right_color(renderer: Renderer) -> None:
    """The trap of stuck textures: every block must show its own color, in every scene."""
    matt = "randomize.blocks.material.specular=0"
    sampler, _ = sampler_of("randomize=none", "randomize.blocks.count=6", "randomize.blocks.place=varied", matt, *SMALL)
    scenes = take(sampler.sample(0, [0]), [0] * 40)
    rng = np.random.default_rng(0)
    colors = rng.uniform(0.2, 1, (40, scenes.blocks.model.shape[1], 3))
    material = replace(scenes.blocks.material, color=colors)
    scenes = replace(scenes, blocks=replace(scenes.blocks, material=material))
    frames = draw(renderer, scenes)
    assert len({frame.tobytes() for frame in frames.rgb}) == 40
    for row in range(40):
        for slot in np.flatnonzero(scenes.blocks.present[row]):
            pixels = frames.rgb[row][frames.slot[row] == slot].astype(float)
            # Shading changes the brightness and not the ratio of the channels: PyBullet's of those displayed, raycast's
            # of light.
            lit = pixels[pixels.max(axis=1) < 250] / 255
            if len(lit) < 20:
                continue
            got, wanted = np.median(lit, axis=0), colors[row, slot]
            if renderer.name == "raycast":
                got, wanted = decode(got), decode(wanted)
            assert np.allclose(got / got.sum(), wanted / wanted.sum(), atol=0.02), (row, slot)


def test_every_texture_kind_looks_as_painted(renderer: Renderer) -> None:
    """A checker table shows its two colors in equal parts, a flat one a single one; images come from the folder."""
    sampler, _ = sampler_of("randomize=none", "randomize.blocks.count=0", "randomize.table.texture=checker", *SMALL)
    scenes = sampler.sample(0, [0])
    two = np.array([[1.0, 0.2, 0.2], [0.2, 0.2, 1.0]])
    material = scenes.surfaces.material
    color, color2 = material.color.copy(), material.color2.copy()
    color[0, 0], color2[0, 0] = two
    scenes = replace(scenes, surfaces=replace(scenes.surfaces, material=replace(material, color=color, color2=color2)))
    picture = draw(renderer, scenes).rgb[0].astype(int)
    red = picture[..., 0] > picture[..., 2] + 60
    blue = picture[..., 2] > picture[..., 0] + 60
    assert 0.4 < red.sum() / (red.sum() + blue.sum()) < 0.6
    assert (red | blue).sum() > 0.3 * red.size


@pytest.mark.parametrize("model", ["cube", "triangular_prism", "hexagonal_prism", "tetrahedron"])
def test_each_face_has_its_own_share_of_the_two_colors(renderer: Renderer, model: str) -> None:
    """By geometry: which face a pixel shows follows from its depth alone. Light that is white scales both colors alike."""
    sampler, world = sampler_of(
        "randomize=none",
        f"randomize.blocks.model={model}",
        "randomize.blocks.yaw_deg=25",
        "randomize.blocks.material={texture: faces, color: [1, 0, 0.2], color2: [0.2, 0, 1], pattern: 766, specular: 0}",
        "randomize.light.specular=0",
        "randomize.ambient.intensity=0.7",
        "randomize.camera.distance=0.3",
        "width=320",
        "height=240",
    )
    scenes = sampler.sample(0, [0])
    frames, cameras, blocks = draw(renderer, scenes), scenes.cameras, scenes.blocks
    mask = cv2.erode((frames.slot[0] == 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    v, u = np.nonzero(mask)
    rays = unproject(np.stack([u, v], -1).astype(float), cameras.intrinsics[0], cameras.distortion[0])
    block_from_camera = inverse(blocks.world_from_block[0, 0]) @ cameras.world_from_camera[0]
    place = transform_points(block_from_camera, rays * frames.depth[0][mask][:, None])
    slabs = world.solids[blocks.model[0, 0]].slabs
    along = place @ slabs[:, :3].T
    gaps = np.abs(np.stack([along - slabs[:, 3], along - slabs[:, 4]], -1)).reshape(len(place), -1)
    nearest = np.sort(gaps, axis=1)
    clear = nearest[:, 1] - nearest[:, 0] > 0.004  # not at an edge
    number = gaps.argmin(1)
    share = of_face(np.arange(2 * len(slabs)), np.asarray(766), lattice())
    start, end = decode(np.array([1, 0, 0.2])), decode(np.array([0.2, 0, 1]))
    light = start + (end - start) * share[:, None]
    # PyBullet multiplies what is displayed, raycast the light itself.
    ray = renderer.name == "raycast"
    wanted, shown = (light, decode(frames.rgb[0][mask] / 255)) if ray else (encode(light), frames.rgb[0][mask] / 255)
    ratio = shown[:, 0] / (shown[:, 0] + shown[:, 2])
    expected = (wanted[:, 0] / (wanted[:, 0] + wanted[:, 2]))[number]
    assert np.abs(ratio - expected)[clear].max() < 0.03
    assert clear.mean() > 0.6
    faces = np.unique(number[clear])
    assert len(faces) >= 2
    assert np.diff(np.sort(share[faces])).min() > 0.03  # they differ visibly


def test_each_light_factor_is_seen_or_declared_as_ignored(renderer: Renderer) -> None:
    """A backend must list each factor that it cannot draw, and draw all others."""
    sampler, _ = sampler_of("randomize=none", "randomize.light.count=2", "randomize.light.kind=area", *SMALL)
    scenes = sampler.sample(0, [0])
    direction = scenes.lights.direction.copy()
    direction[0, 1] = [-0.6, 0, 0.8]
    scenes = replace(scenes, lights=replace(scenes.lights, direction=direction))
    base = draw(renderer, scenes).rgb
    lights, ambient = scenes.lights, scenes.ambient
    turned, dimmer = direction.copy(), lights.intensity.copy()
    turned[0, 0] = [-0.8, 0.1, 0.6]
    dimmer[0, 0] = 0.7
    changes = {
        "light.count": {"present": lights.present & (np.arange(4) < 1)},
        "light.direction": {"direction": turned},
        "light.distance": {"distance": np.full((1, 4), 0.7)},
        "light.kind": {"kind": np.full((1, 4), LIGHTS.index("directional"))},
        "light.size": {"size": np.full((1, 4), 0.3)},
        "light.color": {"color": np.full((1, 4, 3), [1.0, 0.3, 0.3])},
        "light.intensity": {"intensity": dimmer},
        "light.specular": {"specular": np.full((1, 4), 5.0)},
        "light.shadow": {"shadow": np.zeros((1, 4), bool)},
        "ambient.intensity": {"intensity": np.array([0.1])},
        "ambient.sky": {"sky": np.array([[1.0, 0.5, 0.5]])},
        "ambient.ground": {"ground": np.array([[1.0, 0.5, 0.5]])},
        "ambient.occlusion": {"occlusion": np.array([0.0])},
    }
    for name, value in changes.items():
        if name.startswith("light"):
            changed = replace(scenes, lights=replace(lights, **value))
        else:
            changed = replace(scenes, ambient=replace(ambient, **value))
        if name == "light.count" and name in renderer.ignored:
            continue  # PyBullet's one light is as bright as all
        seen = not np.array_equal(draw(renderer, changed).rgb, base)
        assert seen == (name not in renderer.ignored), name


def test_each_gloss_factor_is_seen_or_declared_as_ignored(renderer: Renderer) -> None:
    sampler, _ = sampler_of("randomize=none", *SMALL)
    scenes = sampler.sample(0, [0])
    base = draw(renderer, scenes).rgb
    surfaces = scenes.surfaces
    for name, value in (("roughness", 0.2), ("metalness", 1.0), ("specular", 0.0)):
        material = replace(surfaces.material, **{name: np.full_like(surfaces.material.roughness, value)})
        changed = draw(renderer, replace(scenes, surfaces=replace(surfaces, material=material))).rgb
        assert (not np.array_equal(changed, base)) == (f"material.{name}" not in renderer.ignored), name


def test_tiny_and_raycast_agree_in_shading() -> None:
    """One light, no shadow, matt blocks: the displayed pictures agree within 8 of 255 inside faces.

    PyBullet is linear in displayed values between surfaces in full light and in none, which nature is not: between them
    6 of 255 are its own error at an ambient of 0.4.
    """
    matt = [f"randomize.{name}.specular=0" for name in ("blocks.material", "table", "floor", "wall")]
    sampler, world = sampler_of(
        "randomize=none",
        "randomize.blocks.count=6",
        "randomize.blocks.model=any",
        "randomize.blocks.place=varied",
        "randomize.blocks.yaw_deg=varied",
        "randomize.blocks.material.color=[uniform,[0.2,0.2,0.2],[1,1,1]]",
        "randomize.light.shadow=0",
        "randomize.light.specular=0",
        "randomize.ambient.occlusion=0",
        *matt,
        "width=320",
        "height=240",
    )
    scenes = sampler.sample(4, range(3))
    pictures = []
    for name in ("tiny", "raycast"):
        made = make_renderer(name, world)
        pictures.append(draw(made, scenes))
        made.close()
    tiny, cast = pictures
    for row in range(3):
        # Inside faces: where both see the same block and raycast's color does not change.
        flat = cv2.morphologyEx(cast.rgb[row], cv2.MORPH_GRADIENT, np.ones((3, 3))).max(-1) <= 4
        inside = flat & (cast.slot[row] >= 0) & (tiny.slot[row] == cast.slot[row])
        assert inside.sum() > 300
        difference = np.abs(tiny.rgb[row].astype(int) - cast.rgb[row].astype(int)).max(-1)
        assert difference[inside].max() <= 8
        assert np.mean(difference[flat]) < 4


def test_absent_blocks_and_walls_leave_no_trace(renderer: Renderer) -> None:
    sampler, _ = sampler_of("randomize=none", "randomize.blocks.count=0", *SMALL)
    frames = draw(renderer, sampler.sample(0, [0]))
    assert np.all(frames.slot == -1)
    open_sampler, _ = sampler_of(
        "randomize=none",
        "randomize.walls=0",
        "randomize.background.color=[1,0,1]",
        *SMALL,
        "randomize.camera.elevation_deg=20",
    )
    frames = draw(renderer, open_sampler.sample(0, [0]))
    nothing = frames.depth[0] == 0
    assert nothing.any() and not nothing.all()
    assert np.all(frames.rgb[0][nothing] == [255, 0, 255])


@pytest.mark.parametrize("name", BACKENDS)
def test_fixtures_that_vary_look_as_if_the_scene_file_had_them_so(name: str) -> None:
    """The same bytes as of a world whose boxes have that place and size, and that has no others."""
    sampler, world = sampler_of("scene=kuka_table", "randomize=full", *SMALL)
    many = sampler.sample(4, range(20))
    ends = np.cumsum([0, *map(len, world.fixtures)])
    some = [many.fixtures.present[:, a:b].any(1) for a, b in pairwise(ends)]
    row = int(np.flatnonzero(np.all(some, axis=0))[0])  # a world has no empty group
    scenes = take(many, [row])
    shift, scale, present = scenes.fixtures.shift[0], scenes.fixtures.scale[0], scenes.fixtures.present[0]
    assert not present.all()
    boxes = [Box(box.center + shift[k], box.size * scale[k]) for k, box in enumerate(world.loose)]
    groups = tuple(tuple(boxes[k] for k in range(a, b) if present[k]) for a, b in pairwise(ends))
    count = int(present.sum())
    still = Fixtures(np.zeros((1, count, 3)), np.ones((1, count)), np.ones((1, count), bool))
    pictures = []
    for shown, where in (
        (scenes, world),
        (replace(scenes, fixtures=still), replace(world, fixtures=groups)),
        (scenes, replace(world, fixtures=tuple(tuple(boxes[a:b]) for a, b in pairwise(ends)))),
    ):
        made = make_renderer(name, where)
        pictures.append(draw(made, shown))
        made.close()
    ours, theirs, other = pictures
    for part in ("rgb", "depth", "slot"):
        assert np.array_equal(getattr(ours, part), getattr(theirs, part)), part
    assert not np.array_equal(ours.depth, other.depth)  # moved twice: that a box stands elsewhere is seen


def test_unknown_renderer() -> None:
    _, world = sampler_of()
    with pytest.raises(ConfigError, match="renderer: unknown renderer 'blender'; expected one of raycast, tiny"):
        make_renderer("blender", world)


def test_the_near_plane_depends_on_present_objects_only() -> None:
    """By hand: a camera at the axis of a cube of 20 cm, 1 m above its top, and with that gone the table."""
    sampler, world = sampler_of("randomize=none", *SMALL)
    cube, table = Box(np.array([0, 0, 0.1]), np.full(3, 0.2)), Box(np.array([0, 0, -0.5]), np.ones(3))
    world = replace(world, fixtures=((cube,),), table=table)
    scenes = sampler.sample(0, [0])
    pose = np.diag([1.0, -1, -1, 1])
    pose[:3, 3] = [0, 0, 1.2]
    cameras = replace(scenes.cameras, world_from_camera=pose[None])
    blocks = replace(scenes.blocks, present=np.zeros_like(scenes.blocks.present))
    corner = unproject(np.array([[-0.5, -0.5]]), cameras.intrinsics[0], cameras.distortion[0])
    for there, gap in ((True, 1.0), (False, 1.2)):
        fixtures = Fixtures(np.zeros((1, 1, 3)), np.ones((1, 1)), np.array([[there]]))
        shown = replace(scenes, cameras=cameras, blocks=blocks, fixtures=fixtures)
        assert nearest_depth(shown, 0, world) == pytest.approx(0.9 * gap / float(np.linalg.norm(corner)))
