"""NVIDIA Warp, the compiler of the ray caster's kernels: loading it, and the data types that its kernels share.

Kernels are compiled for a fixed x86-64 baseline and without contraction to fused multiply-adds, so that every machine
draws the same bytes. Their arithmetic is + - * / and sqrt, which IEEE 754 rounds exactly; functions such as sin and pow,
whose last bit depends on the C library, occur in tables that NumPy makes, or not at all.
"""

import platform
from typing import Any

import warp as wp

from simgen.engine import silence
from simgen.scene import LIGHTS, MOST_LIGHTS

from .lanes import LANES

wp.config.log_level = wp.LOG_WARNING  # no banner
with silence():  # its C code warns where there is no CUDA driver, which only raycast.device=cuda needs
    wp.init()

# x86-64-v3 is every x86-64 processor since 2013 (Haswell) and 2015 (Excavator).
FLAGS = "-ffp-contract=off -mllvm=-inline-threshold=20000" + (
    " -target-cpu x86-64-v3" if platform.machine() in ("x86_64", "AMD64") else ""
)
OPTIONS: dict[str, Any] = {"enable_backward": False, "fuse_fp": False, "fast_math": False, "cpu_compiler_flags": FLAGS}

TILE = 16  # px: the rays of a tile are tested against the same parts
ACROSS = TILE // LANES  # rays come eight at a time
PACKETS = ACROSS * TILE  # of a tile
STEP = 4  # px: the lens is solved at every so many, and interpolated between
LISTS = MOST_LIGHTS + 1  # of parts that may shade a tile: one for each light, then that for the ambient light
AMBIENT = MOST_LIGHTS
DIRECTIONS = 1024  # in Tables.circle
LOW, MIDDLE, HIGH = 0.01, 0.025, 0.06  # m above a surface at which its surroundings darken its ambient light
FAR_LIGHT = 20.0  # m: shadow rays to a directional light end here
NOTHING, FLOOR, WALL_X, WALL_Y, WINDOW = -1, -2, -3, -4, -5  # a pixel's hit where it is no part; light k is WINDOW - k
DIRECTIONAL, WINDOW_LIGHT = LIGHTS.index("directional"), LIGHTS.index("window")

# Beside the kinds of shapes.bodies: a polytope whose planes are the sides of its bounding box, -x, +x, -y, +y, -z, +z.
BOX = 4

mat34 = wp.types.matrix(shape=(3, 4), dtype=wp.float32)


@wp.struct
class Part:
    """A body in a scene; see shapes.bodies.Body. `world` maps world coordinates to the body's, and `unit` those to the
    coordinates of its quadric; `eye` is the camera in the body's coordinates, and `scale` is m for each unit of them."""

    kind: int
    first: int  # its planes, or its triangles' faces
    count: int
    mesh: int  # its place in Bodies.meshes; -1 for any other body
    unit: mat34
    curve: wp.vec3
    low: wp.vec3
    high: wp.vec3
    world: mat34
    eye: wp.vec3
    metric: float  # its unit for each unit of excess over its quadric, at least
    scale: float
    material: int
    slot: int  # of a block; -1 for any other
    tone: float  # -1 for the material's whole texture
    darkens: int  # whether it takes ambient light from others


@wp.struct
class Material:
    """A surface; see scene.Materials. Colors are linear light. `layer` is the picture's place in the pool, `grime_layer`
    that of its dirt; `offset` moves the crop. `low`, `high` and `hash` are parts of the hash of its pattern's number."""

    texture: int
    color: wp.vec3
    color2: wp.vec3
    cycles: float
    cosine: float
    sine: float
    low: int
    high: int
    hash: int
    layer: int
    crop: float
    offset: wp.vec2
    recolor: int
    sides: int
    edge: float
    wear: float
    grime: float
    grime_layer: int
    roughness: float
    metalness: float
    specular: float


@wp.struct
class Light:
    """A light; see scene.Lights. `place` is where it is, or for a directional light the direction to it; `strength` is its
    color times its intensity, times the square of its distance. `across` and `up` span an area light: a disc, or a square
    for a window."""

    kind: int
    number: int  # among the scene's lights, dark ones included
    place: wp.vec3
    strength: wp.vec3
    specular: float
    shadow: int
    across: wp.vec3
    up: wp.vec3
    radius: float
    radiance: wp.vec3  # of a window, as seen


@wp.struct
class Scene:
    """A scene: its camera, its ranges of parts and lights, its ambient light and its room."""

    eye: wp.vec3
    rotation: wp.mat33  # world_from_camera
    focal: float  # px
    part: int
    parts: int
    light: int
    lights: int
    surface: int  # row of the first of its materials of scene.SURFACES
    sky: wp.vec3
    ground: wp.vec3
    toward: wp.vec3
    reflection: float
    occlusion: float
    walls: int
    seed: wp.uint32


@wp.struct
class Bodies:
    """What all parts share: planes, for each face 4 times its number and the axis that its texture is projected along, and
    meshes."""

    planes: wp.array(dtype=wp.vec4)
    faces: wp.array(dtype=int)
    meshes: wp.array(dtype=wp.uint64)


@wp.struct
class Pictures:
    """What all textures share: random numbers on a lattice, the linear light of each level, and pictures with mip levels."""

    lattice: wp.array(dtype=float)
    linear: wp.array(dtype=float)
    pool: wp.array2d(dtype=wp.vec3ub)


@wp.struct
class Tables:
    """What all scenes share beside bodies and pictures: points of the unit circle, corners of the room, and the size of the
    pictures."""

    circle: wp.array(dtype=wp.vec2)
    room_low: wp.vec3
    room_high: wp.vec3
    width: int
    height: int
    across: int  # tiles in a row
    tiles: int  # of a picture


@wp.func
def place_of(tile: int, tables: Tables):
    """The scene of a tile, and the column and the row of its first pixel."""
    s = tile // tables.tiles
    place = tile - s * tables.tiles
    row = place // tables.across
    return s, (place - row * tables.across) * TILE, row * TILE


@wp.func
def pixel_of(packet: int, x0: int, y0: int):
    """The column and the row of the first of the eight pixels `packet` of the tile whose first pixel is (x0, y0)."""
    return x0 + packet % ACROSS * LANES, y0 + packet // ACROSS
