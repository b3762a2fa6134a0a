"""The schema of conf/: the keys of `python -m simgen render` and `preview`, as plain dataclasses.

Each field holds its own explanation (command/keys.py), the source of the help texts and of docs/randomization.md. A field
typed `Any` under `Randomize` is a factor: a constant, `[kind, arguments...]` (distributions.py), or one of the words
`nominal` and `varied`, which stand for the scene file's own value at that place.
"""

from dataclasses import dataclass
from typing import Any

from simgen.command.keys import MISSING, key

_MIXES = ".texture=gradient|checker|stripes|noise|faces"
_PICTURES = "image|collage|print|wood|stone|fabric|fractal|photograph"


@dataclass
class MaterialLeaves:
    texture: Any = key(
        "texture of the surface; `image` shows randomize.images, `faces` gives each face of a block its own color, "
        "`collage`, `print`, `wood`, `stone`, `fabric` and `fractal` are generated pictures, `photograph` is for validation",
        MISSING,
        unit="words",
    )
    color: Any = key("color, or the first color of a texture that has two", MISSING, unit="RGB, 0 to 1")
    color2: Any = key("second color of a texture that has two", MISSING, unit="RGB, 0 to 1", needs=_MIXES)
    cycles: Any = key("repetitions of the pattern", MISSING, unit="per face", needs=".texture=checker|stripes|noise")
    angle_deg: Any = key(
        "direction of the pattern or picture",
        MISSING,
        unit="degrees",
        needs=f".texture=gradient|checker|stripes|{_PICTURES}",
    )
    pattern: Any = key(
        "selects the noise, the picture and its crop, or the set of face colors",
        MISSING,
        unit="whole number",
        needs=f".texture=noise|faces|{_PICTURES}",
    )
    crop: Any = key(
        "share of a picture's side that covers the longest side of the surface; 1 shows all of it, less a random part",
        MISSING,
        unit="0.02 to 16",
        needs=f".texture={_PICTURES}",
    )
    grime: Any = key("strength of dirt, stains and scratches", MISSING, unit="0 to 1")
    roughness: Any = key("spread of the highlight: 0 is a mirror, 1 is matte", MISSING, unit="0 to 1")
    metalness: Any = key("0 for plastic, wood or paint, 1 for bare metal", MISSING, unit="0 to 1")
    specular: Any = key("reflectance of what is not metal; 0.5 is 4%, the usual value", MISSING, unit="0 to 1")


_UNLIT = "the background is drawn as bright as its texture, without lights"


@dataclass
class BackgroundLeaves(MaterialLeaves):
    roughness: Any = key("spread of the highlight", MISSING, unit="0 to 1", idle=_UNLIT)
    metalness: Any = key("share of metal", MISSING, unit="0 to 1", idle=_UNLIT)
    specular: Any = key("reflectance of what is not metal", MISSING, unit="0 to 1", idle=_UNLIT)


@dataclass
class SolidLeaves(MaterialLeaves):
    sides: Any = key(
        "whether every face shows its own crop of the picture, with its own turn and scale",
        MISSING,
        unit="0 or 1",
        needs=f".texture={_PICTURES}",
    )
    edge_mm: Any = key("radius to which edges are rounded, for light alone", MISSING, unit="mm, 0 to 5")
    wear: Any = key("share of the color that is worn off along the edges", MISSING, unit="0 to 1")


@dataclass
class FixtureLeaves(SolidLeaves):
    shift: Any = key(
        "displacement of each box, as a share of the scene file's `moves`", MISSING, unit="-1 to 1 for X, Y, Z"
    )
    growth: Any = key(
        "change of size of each box, as a share of the scene file's `grows`: smaller at -1, larger at 1",
        MISSING,
        unit="-1 to 1",
    )
    presence: Any = key(
        "a box is absent where this number is below the scene file's `missing`, so uniform from 0 to 1 makes it absent in "
        "that share of the samples",
        MISSING,
        unit="0 to 1",
    )


@dataclass
class BlockLeaves:
    slots: int = key(
        "greatest number of blocks; places are drawn for all of them, so that `count` moves none",
        MISSING,
        unit="blocks",
    )
    count: Any = key("number of blocks", MISSING, unit="blocks")
    model: Any = key(
        "kind of each block; `any` is each of the block set's, equally likely",
        MISSING,
        unit="words",
        needs=".count!=0",
    )
    scale: Any = key("size, as a multiple of that in the block set", MISSING, unit="factor", needs=".count!=0")
    place: Any = key("position on the table", MISSING, unit="m, X and Y", needs=".count!=0")
    yaw_deg: Any = key("rotation about the vertical", MISSING, unit="degrees", needs=".count!=0")
    face: Any = key(
        "selects one of the block's resting faces; 0 is its base", MISSING, unit="0 to 1, 1 excluded", needs=".count!=0"
    )
    material: SolidLeaves = key("surface of the blocks", SolidLeaves, needs=".count!=0")


@dataclass
class ClutterLeaves:
    slots: int = key(
        "greatest number of objects; places are drawn for all of them, so that `count` moves none",
        MISSING,
        unit="objects",
    )
    meshes: str = key(
        "folder of your own mesh files for the kind `mesh`, each drawn as its convex hull; empty for none",
        "",
        unit="folder",
    )
    count: Any = key("number of objects", MISSING, unit="objects")
    kind: Any = key("kind of each object", MISSING, unit="words", needs=".count!=0")
    variant: Any = key(
        "selects one of the 64 objects of each kind, or the file of `meshes`",
        MISSING,
        unit="whole number",
        needs=".count!=0",
    )
    size: Any = key(
        "longest edge of the bounding box; an object that does not fit is made smaller, down to a tenth of it",
        MISSING,
        unit="m, 0.005 to 5",
        needs=".count!=0",
    )
    where: Any = key(
        "`table`: stands on the table; `around`: beside the table, on the floor or as on a shelf; `front`: hangs between "
        "the camera and the table and hides a part of the picture",
        MISSING,
        unit="words",
        needs=".count!=0",
    )
    place: Any = key(
        "position there: on the table along X and Y; around it the direction, the distance and the height; in front of it "
        "the position in the picture, right and down, and the distance from the camera",
        MISSING,
        unit="0 to 1, three numbers",
        needs=".count!=0",
    )
    yaw_deg: Any = key("rotation about the vertical", MISSING, unit="degrees", needs=".count!=0")
    tilt_deg: Any = key(
        "rotation out of the upright; on the table and around it an object of over 45 degrees has fallen over, unless it is "
        "flat",
        MISSING,
        unit="degrees",
        needs=".count!=0",
    )
    material: SolidLeaves = key("surface of the objects", SolidLeaves, needs=".count!=0")


@dataclass
class LightLeaves:
    slots: int = key("greatest number of lights, at most 8; values are drawn for all of them", MISSING, unit="lights")
    count: Any = key("number of lights", MISSING, unit="lights")
    kind: Any = key(
        "kind of each light; a window is a square area light that is itself visible",
        MISSING,
        unit="words",
        needs=".count!=0",
    )
    direction: Any = key("direction from the table's center to the light", MISSING, unit="vector", needs=".count!=0")
    distance: Any = key("distance from the table's center", MISSING, unit="m", needs=".kind=point|area|window")
    size: Any = key(
        "radius of an area light, half the edge of a window: the softness of their shadows",
        MISSING,
        unit="m",
        needs=".kind=area|window",
    )
    color: Any = key("color of the light", MISSING, unit="RGB, 0 to 1", needs=".count!=0")
    intensity: Any = key(
        "brightness of a white matte surface at the table's center that faces the light",
        MISSING,
        unit="1 is white",
        needs=".count!=0",
    )
    specular: Any = key(
        "strength of highlights, as a multiple of the material's", MISSING, unit="factor", needs=".count!=0"
    )
    shadow: Any = key("whether the light casts shadows", MISSING, unit="0 or 1", needs=".count!=0")


@dataclass
class AmbientLeaves:
    intensity: Any = key("brightness of a white matte surface by ambient light alone", MISSING, unit="1 is white")
    sky: Any = key("color of the ambient light from `direction`", MISSING, unit="RGB", needs=".intensity!=0")
    ground: Any = key("color of the ambient light from the opposite side", MISSING, unit="RGB", needs=".intensity!=0")
    direction: Any = key(
        "where `sky` is: upward, or toward the bright side of the room", MISSING, unit="vector", needs=".intensity!=0"
    )
    reflection: Any = key(
        "share in which glossy surfaces mirror the background's texture", MISSING, unit="0 to 1", needs=".intensity!=0"
    )
    occlusion: Any = key(
        "darkening of the ambient light where surfaces are close to each other",
        MISSING,
        unit="0 to 1",
        needs=".intensity!=0",
    )


_NO_FILE = ".file="
_NO_POSE = ".file.camera_from_table=null"  # of what the file states: see command/effects.py


@dataclass
class CameraLeaves:
    file: str = key(
        "file of your own camera's calibration; its size, intrinsics and lens replace `fov_deg` and what follows, "
        "its pose, if it states one, all from `aim` to `roll_deg`",
        "",
        unit="file",
        regardless="vary",
    )
    aim: Any = key("point that the camera looks at", MISSING, unit="m, X, Y and Z", needs=_NO_POSE)
    distance: Any = key("distance of the camera from `aim`", MISSING, unit="m", needs=_NO_POSE)
    azimuth_deg: Any = key(
        "direction of the camera as seen from `aim`, from X toward Y", MISSING, unit="degrees", needs=_NO_POSE
    )
    elevation_deg: Any = key(
        "angle of the camera above the table's plane, as seen from `aim`", MISSING, unit="degrees", needs=_NO_POSE
    )
    offset: Any = key("added to the position; the aim stays", MISSING, unit="m, X, Y and Z", needs=_NO_POSE)
    pan_deg: Any = key("rotation away from the aim, to the right", MISSING, unit="degrees", needs=_NO_POSE)
    tilt_deg: Any = key("rotation away from the aim, downwards", MISSING, unit="degrees", needs=_NO_POSE)
    roll_deg: Any = key("rotation about the optical axis", MISSING, unit="degrees", needs=_NO_POSE)
    fov_deg: Any = key("vertical field of view", MISSING, unit="degrees", needs=_NO_FILE)
    fov_scale: Any = key("factor on `fov_deg`", MISSING, unit="factor", needs=_NO_FILE)
    principal_point: Any = key(
        "offset of the principal point from the image center",
        MISSING,
        unit="image heights, right and down",
        needs=_NO_FILE,
    )
    distortion: Any = key("lens distortion as OpenCV defines it", MISSING, unit="k1, k2, p1, p2, k3", needs=_NO_FILE)


@dataclass
class SensorLeaves:
    defocus_px: Any = key("radius of the defocus blur", MISSING, unit="px at an image height of 480")
    motion_px: Any = key("length of the motion blur", MISSING, unit="px at an image height of 480")
    motion_deg: Any = key(
        "direction of the motion blur, from u toward v", MISSING, unit="degrees", needs=".motion_px!=0"
    )
    vignette: Any = key("share of the light that the corners lose", MISSING, unit="0 to 1")
    exposure: Any = key("exposure; +1 doubles the light", MISSING, unit="stops")
    shot_noise: Any = key("standard deviation of the shot noise at white", MISSING, unit="1/255 of linear light")
    read_noise: Any = key("standard deviation of the read noise, everywhere", MISSING, unit="1/255 of linear light")
    white_balance: Any = key("gains of the channels", MISSING, unit="factors of R, G, B")
    shoulder: Any = key("0 clips highlights at white, 1 rolls them off", MISSING, unit="0 to 1")
    gamma: Any = key("the image is raised to 1 / gamma", MISSING, unit="exponent")
    jpeg_quality: Any = key("JPEG compression before the file is written; 0 for none", MISSING, unit="1 to 100, or 0")


@dataclass
class Randomize:
    images: str = key("folder of your own pictures for the texture `image`; empty for none", "", unit="folder")
    automatic: bool = key(
        "whether ranges grow from nominal values to these while a model learns; for trainings with data=stream",
        False,
    )
    distinct_materials: int = key(
        "number of different materials that each surface, and each slot of blocks, has in all samples; 0: no limit",
        0,
    )
    distinct_layouts: int = key(
        "number of different layouts (number, kinds, sizes, places and angles of blocks) in all samples; 0: no limit",
        0,
    )
    settle: Any = key(
        "whether all blocks are dropped and come to rest: they may touch, lean or lie on each other; needs PyBullet",
        MISSING,
        unit="0 or 1",
        needs="physics=randomize",
    )
    gather: Any = key(
        "how far the places of dropped blocks move toward the first block's: 0 for scattered blocks, 1 for one pile",
        MISSING,
        unit="0 to 1",
        needs="physics!=place",
    )
    blocks: BlockLeaves = key("the labeled blocks", BlockLeaves)
    distractors: BlockLeaves = key("blocks without labels, of the same block set", BlockLeaves)
    clutter: ClutterLeaves = key("objects without labels that are no blocks: mugs, tools, cables, books", ClutterLeaves)
    table: SolidLeaves = key("surface of the table", SolidLeaves)
    floor: MaterialLeaves = key("surface of the floor", MaterialLeaves)
    wall: MaterialLeaves = key("surface of the walls", MaterialLeaves, needs=".walls!=0")
    background: BackgroundLeaves = key("background, visible if there are no walls", BackgroundLeaves, needs=".walls!=1")
    fixture: FixtureLeaves = key("boxes of the scene file beside the table: surface, place and size", FixtureLeaves)
    walls: Any = key("whether there are walls", MISSING, unit="0 or 1")
    light: LightLeaves = key("lights", LightLeaves)
    ambient: AmbientLeaves = key("light from everywhere", AmbientLeaves)
    camera: CameraLeaves = key("position, direction and lens of the camera", CameraLeaves)
    sensor: SensorLeaves = key("blur, exposure, noise and compression", SensorLeaves)


@dataclass
class Raycast:
    device: str = key("device that draws: cpu, cuda or cuda:K", "cpu")
    supersample: int = key("rays per pixel along each side: 2 casts 4", 1)
    light_samples: int = key("shadow rays per area light and ray; a square number", 4)


@dataclass
class Source:
    """What determines a sample's pixels and labels, given its index. Shared by all commands that make samples."""

    scene: str = key("scene file: a name of scenes/*.yaml, or the path of your own file", "tabletop")
    seed: int = key("seed of all random numbers; sample i is a function of seed and i alone", 0)
    renderer: str = key(
        "renderer: raycast (any lights and materials; CPU and CUDA) or tiny (PyBullet's own, one light: the reference)",
        "raycast",
        choices=("raycast", "tiny"),
    )
    physics: str = key(
        "whether blocks are dropped and come to rest. randomize: as `randomize.settle` states for each scene; place: never, "
        "blocks lie apart; settle: always",
        "randomize",
        choices=("randomize", "place", "settle"),
    )
    width: int | None = key("image width; null: the scene's", None, unit="px")
    height: int | None = key("image height; null: the scene's", None, unit="px")
    raycast: Raycast = key("settings of renderer=raycast", Raycast, needs="renderer=raycast")
    randomize: Randomize = key(
        "how the scene varies: a preset of conf/randomize/ or your own file like them, and each of its factors",
        Randomize,
        needs="vary=null",
    )


@dataclass
class Render(Source):
    num: int = key("number of samples", 1000)
    start: int = key("index of the first sample", 0)
    out: str = key(
        "folder of the dataset, or a URL such as s3://bucket/folder; an unfinished dataset in it is completed",
        "data/blocks",
    )
    part: str | None = key(
        "K/N: renders the K-th of N parts of the samples, for several machines; `merge` makes a dataset of the parts",
        None,
    )
    executor: str = key(
        "what renders: `processes` of this machine, or a cluster of `ray`", "processes", choices=("processes", "ray")
    )
    workers: int = key("processes that render", 2, needs="executor=processes")
    writer: str = key("format of the dataset", "bop", choices=("bop",))
    image_format: str = key("jpg (quality 95) or png", "jpg", choices=("jpg", "png"))
    check: bool = key(
        "check each sample, as the command `check` does, before it is stored; an error ends the run", False
    )


@dataclass
class Merge:
    out: str = key(
        "folder or URL of the dataset, in which parts were rendered, or into which `parts` are copied", MISSING
    )
    parts: list[str] = key("folders or URLs of parts of one dataset, which are copied into `out`", list)
    hashes: bool = key("whether the bytes of every file are checked", True)


@dataclass
class Preview(Source):
    out: str = key("file of the contact sheet, .png", "preview.png")
    num: int = key("number of samples on the sheet, at most 400", 36)
    start: int = key("index of the first sample", 0)
    vary: str | None = key(
        "a preset of conf/randomize/ in place of `randomize`, to see one group of factors alone", None
    )
