"""The schema of conf/: what `python -m simgen render` and `preview` can be told, as plain dataclasses.

A field typed `Any` under `Randomize` is a leaf: a constant, `[kind, arguments...]` (distributions.py), or one of the words
`nominal` and `varied`, which stand for the scene file's own leaf at that place.
"""

from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"  # OmegaConf's mark for a value that must be given


@dataclass
class MaterialLeaves:
    texture: Any = MISSING  # words of scene.TEXTURES
    color: Any = MISSING  # RGB in [0, 1]
    color2: Any = MISSING  # the second colour of gradient, checker, stripes and noise
    cycles: Any = MISSING  # repetitions of the pattern across a face
    angle_deg: Any = MISSING
    pattern: Any = MISSING  # a whole number: which noise, which image
    roughness: Any = MISSING  # 0 a mirror, 1 matt
    metalness: Any = MISSING  # 0 or 1, or between
    specular: Any = MISSING  # reflectance of what is no metal; 0.5 is 4%, as most things have


@dataclass
class FixtureLeaves(MaterialLeaves):
    shift: Any = MISSING  # of each box, in units of the scene file's `moves`
    growth: Any = MISSING  # likewise of its `grows`: at -1 smaller by that, at 1 larger
    presence: Any = MISSING  # 0 to 1: a box is missing where this is below the scene file's `missing`


@dataclass
class BlockLeaves:
    slots: int = MISSING  # room for this many; places are drawn for all, so `count` moves no block
    count: Any = MISSING
    model: Any = MISSING  # names of the block set, or the word any
    scale: Any = MISSING  # times the size in the block set
    place: Any = MISSING  # x, y in metres on the table
    yaw_deg: Any = MISSING
    face: Any = MISSING  # in [0, 1): picks one of the block's resting faces; 0 is its base
    material: MaterialLeaves = field(default_factory=MaterialLeaves)


@dataclass
class LightLeaves:
    slots: int = MISSING  # room for this many, at most scene.MOST_LIGHTS
    count: Any = MISSING
    kind: Any = MISSING  # words of scene.LIGHTS
    direction: Any = MISSING  # towards the light, from the table's centre
    distance: Any = MISSING  # metres
    size: Any = MISSING  # radius of an area light, metres: soft shadows
    color: Any = MISSING
    intensity: Any = MISSING  # brightness of a white matt surface at the table's centre that faces it
    specular: Any = MISSING  # times the material's gloss
    shadow: Any = MISSING  # 0 or 1


@dataclass
class AmbientLeaves:
    intensity: Any = MISSING  # brightness of a white matt surface that nothing hides
    sky: Any = MISSING  # colour from above
    ground: Any = MISSING  # colour from below
    occlusion: Any = MISSING  # 0 to 1: how dark it gets where surfaces touch


@dataclass
class CameraLeaves:
    file: str = ""  # a camera file (simgen/camera): the size, intrinsics, lens and pose it states replace these leaves
    aim: Any = MISSING  # the point looked at, metres
    distance: Any = MISSING  # from `aim`, metres
    azimuth_deg: Any = MISSING  # of the camera as seen from `aim`, from X towards Y
    elevation_deg: Any = MISSING  # above the table's plane
    offset: Any = MISSING  # metres, added to the position; the aim stays
    pan_deg: Any = MISSING  # turns away from the aim, to the right
    tilt_deg: Any = MISSING  # and down
    roll_deg: Any = MISSING
    fov_deg: Any = MISSING  # vertical
    fov_scale: Any = MISSING  # times `fov_deg`
    principal_point: Any = MISSING  # offset from the picture's middle, in picture heights
    distortion: Any = MISSING  # k1, k2, p1, p2, k3 as OpenCV has them


@dataclass
class SensorLeaves:
    defocus_px: Any = MISSING  # radius, in px of a picture 480 px high
    motion_px: Any = MISSING  # length of the camera's movement in the picture, likewise
    motion_deg: Any = MISSING  # its direction, from u towards v
    vignette: Any = MISSING  # share of the light that the corners lose
    exposure: Any = MISSING  # stops
    shot_noise: Any = MISSING  # standard deviation at white, in units of 1/255 of linear light
    read_noise: Any = MISSING  # standard deviation everywhere, likewise
    white_balance: Any = MISSING  # gains of R, G, B
    shoulder: Any = MISSING  # 0: highlights are cut at white; 1: they are rolled off
    gamma: Any = MISSING  # the picture is raised to 1 / gamma
    jpeg_quality: Any = MISSING  # 1 to 100; 0 leaves the picture as it is


@dataclass
class Randomize:
    """The tree of factors. `images` is a folder of pictures for the texture `image`; empty means none."""

    images: str = ""
    blocks: BlockLeaves = field(default_factory=BlockLeaves)
    distractors: BlockLeaves = field(default_factory=BlockLeaves)
    table: MaterialLeaves = field(default_factory=MaterialLeaves)
    floor: MaterialLeaves = field(default_factory=MaterialLeaves)
    wall: MaterialLeaves = field(default_factory=MaterialLeaves)
    background: MaterialLeaves = field(default_factory=MaterialLeaves)
    fixture: FixtureLeaves = field(default_factory=FixtureLeaves)
    walls: Any = MISSING  # 1 with walls, 0 without: then the background is seen
    light: LightLeaves = field(default_factory=LightLeaves)
    ambient: AmbientLeaves = field(default_factory=AmbientLeaves)
    camera: CameraLeaves = field(default_factory=CameraLeaves)
    sensor: SensorLeaves = field(default_factory=SensorLeaves)


@dataclass
class Raycast:
    """How `renderer=raycast` works; render/raycast.py."""

    device: str = "cpu"  # cpu, cuda or cuda:K
    supersample: int = 1  # rays for each pixel: this many, squared
    light_samples: int = 9  # shadow rays to an area light for each ray; a square number
    chunk: int | None = None  # rays at a time, which bounds memory; changes no byte. Left out: what suits the device
    compile: bool = False  # by torch.compile: faster after a minute of compiling; changes the last bits


@dataclass
class Source:
    """What determines a sample's pixels and labels, given its index. Shared by all commands that make samples."""

    scene: str = "tabletop"
    seed: int = 0
    renderer: str = "tiny"
    physics: str = "place"  # place: analytic, without overlap; settle: dropped, come to rest
    width: int | None = None  # px; the scene's where left out
    height: int | None = None
    raycast: Raycast = field(default_factory=Raycast)
    randomize: Randomize = field(default_factory=Randomize)


@dataclass
class Render(Source):
    num: int = 1000
    start: int = 0
    out: str = "data/blocks"
    workers: int = 2
    writer: str = "bop"
    image_format: str = "jpg"


@dataclass
class Preview(Source):
    out: str = "preview.png"
    num: int = 36
    start: int = 0
    vary: str | None = None  # a preset of conf/randomize/: that group alone is varied
