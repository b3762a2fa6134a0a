"""The ray caster's kernels. In this order, for each 16 x 16 tile of a picture or each of its pixels:

    lens        the rays' directions on a grid of the picture, through the lens
    candidates  which parts a tile's rays may meet: those whose bounding sphere meets the cone of the rays
    trace       the first hit of each pixel's ray: depth, part and face
    occluders   which parts may shade what a tile shows, for each light, and which may darken its ambient light
    shade       each pixel's material, lights with shadows, ambient light with occlusion: linear rgb

No thread reads what another thread of the same kernel writes, so the bytes depend on no order. All counts of tiles start at
`first`, so that several CPU threads can share a batch.
"""

import warp as wp

from simgen.render.device import BOX, OPTIONS, Light, Material, Part, Scene, Tables
from simgen.render.intersect import (
    FAR,
    MISS,
    clearance,
    crossing,
    hides,
    mapped,
    normal_at,
    plane_at,
    turned,
    turned_back,
)
from simgen.render.shading import ambient_light, mirror_direction, mixed, product, reflected, surface_of
from simgen.render.texturing import surface_color
from simgen.scene import LIGHTS, TEXTURES

wp.set_module_options(OPTIONS)

TILE = 16  # px
RAYS = TILE * TILE
STEP = (
    4  # px: the lens is solved at every so many, and interpolated between: within 0.012 px at 640 x 480 for the presets
)
NEAR = 0.02  # m; geometry.NEAR
HEIGHTS = (0.01, 0.025, 0.06)  # m above a surface at which its surroundings darken its ambient light
LISTS = 9  # of occluders: one for each of at most 8 lights, then that of the ambient light
NOTHING, FLOOR, WALL_X, WALL_Y, WINDOW = -1, -2, -3, -4, -5  # a pixel's hit where it is no part; light k is WINDOW - k

_TILE, _RAYS, _STEP, _NEAR = wp.constant(TILE), wp.constant(RAYS), wp.constant(STEP), wp.constant(NEAR)
_LOW, _MIDDLE, _HIGH = (wp.constant(height) for height in HEIGHTS)
_AMBIENT = wp.constant(LISTS - 1)
_LISTS = wp.constant(LISTS)
_NOTHING, _FLOOR, _WALL_X, _WALL_Y, _WINDOW = (wp.constant(k) for k in (NOTHING, FLOOR, WALL_X, WALL_Y, WINDOW))
_BOX = wp.constant(BOX)
_FLAT, _DIRECTIONAL, _AREA_WINDOW = (
    wp.constant(TEXTURES.index("flat")),
    wp.constant(LIGHTS.index("directional")),
    wp.constant(LIGHTS.index("window")),
)
_FAR_LIGHT = wp.constant(20.0)  # m: shadow rays to a directional light end here
_CIRCLE = wp.constant(1024)  # directions in Tables.circle
_PCG_FACTOR, _PCG_STEP = wp.constant(wp.uint32(747796405)), wp.constant(wp.uint32(2891336453))
_d = wp.float64


@wp.kernel
def lens(
    intrinsics: wp.array2d(dtype=wp.float64),
    distortion: wp.array2d(dtype=wp.float64),
    rows: int,
    columns: int,
    du: wp.float64,
    dv: wp.float64,
    nodes: wp.array3d(dtype=wp.vec2),
):
    """`nodes` (B, rows, columns): where the rays through the pixels (STEP column + du, STEP row + dv) meet the plane z = 1 of
    the camera, by Newton's method. `intrinsics` (B, 4) fx, fy, cx, cy; `distortion` (B, 9), see distortion.py."""
    s, row, column = wp.tid()
    x = (_d(column * _STEP) + du - intrinsics[s, 2]) / intrinsics[s, 0]
    y = (_d(row * _STEP) + dv - intrinsics[s, 3]) / intrinsics[s, 1]
    k1 = distortion[s, 0]
    k2 = distortion[s, 1]
    p1 = distortion[s, 2]
    p2 = distortion[s, 3]
    k3 = distortion[s, 4]
    k4 = distortion[s, 5]
    k5 = distortion[s, 6]
    k6 = distortion[s, 7]
    one = _d(1.0)
    two = _d(2.0)
    three = _d(3.0)
    if distortion[s, 8] > _d(0.0):  # fisheye
        r = wp.sqrt(x * x + y * y + _d(1.0e-30))
        angle = wp.float64(r)
        for _ in range(12):
            q = angle * angle
            shown = angle * (one + q * (k1 + q * (k2 + q * (p1 + q * p2))))
            rise = one + q * (three * k1 + q * (_d(5.0) * k2 + q * (_d(7.0) * p1 + q * _d(9.0) * p2)))
            angle = angle - (shown - r) / rise
        share = wp.tan(angle) / r
        nodes[s, row, column] = wp.vec2(float(x * share), float(y * share))
        return
    fx = wp.float64(x)
    fy = wp.float64(y)
    step = _d(1.0)
    rounds = int(0)
    while step > _d(1.0e-12) and rounds < 12:
        q = fx * fx + fy * fy
        below = one + q * (k4 + q * (k5 + q * k6))
        radial = (one + q * (k1 + q * (k2 + q * k3))) / below
        slope = (k1 + q * (two * k2 + q * three * k3) - radial * (k4 + q * (two * k5 + q * three * k6))) / below
        off_x = fx * radial + two * p1 * fx * fy + p2 * (q + two * fx * fx) - x
        off_y = fy * radial + p1 * (q + two * fy * fy) + two * p2 * fx * fy - y
        # The Jacobian, which is symmetric.
        xx = radial + two * fx * fx * slope + two * p1 * fy + _d(6.0) * p2 * fx
        yy = radial + two * fy * fy * slope + _d(6.0) * p1 * fy + two * p2 * fx
        xy = two * fx * fy * slope + two * p1 * fx + two * p2 * fy
        scale = one / (xx * yy - xy * xy)
        step_x = (yy * off_x - xy * off_y) * scale
        step_y = (xx * off_y - xy * off_x) * scale
        fx = fx - step_x
        fy = fy - step_y
        step = wp.abs(step_x) + wp.abs(step_y)
        rounds += 1
    nodes[s, row, column] = wp.vec2(float(fx), float(fy))


@wp.func
def direction_of(scene: Scene, nodes: wp.array3d(dtype=wp.vec2), s: int, x: int, y: int):
    """The ray of a pixel in world coordinates, 1 along the optical axis."""
    column = x // _STEP
    row = y // _STEP
    fx = float(x - column * _STEP) / float(_STEP)
    fy = float(y - row * _STEP) / float(_STEP)
    a = nodes[s, row, column]
    b = nodes[s, row, column + 1]
    c = nodes[s, row + 1, column]
    d = nodes[s, row + 1, column + 1]
    top = a + (b - a) * fx
    bottom = c + (d - c) * fx
    place = top + (bottom - top) * fy
    return scene.rotation * wp.vec3(place[0], place[1], 1.0)


@wp.kernel
def candidates(
    first: int,
    tables: Tables,
    scenes: wp.array(dtype=Scene),
    nodes: wp.array3d(dtype=wp.vec2),
    spheres: wp.array(dtype=wp.vec4),
    count: wp.array(dtype=int),
    near: wp.array2d(dtype=wp.int16),
):
    """`near` (tiles, most), the first `count` (tiles,) of each: the numbers within their scene of the parts that a tile's rays
    may meet. `spheres` are the parts' bounding spheres in world coordinates."""
    tile = first + wp.tid()
    s = tile // tables.tiles
    place = tile - s * tables.tiles
    scene = scenes[s]
    row = place // tables.across
    x = (place - row * tables.across) * _TILE
    y = row * _TILE
    a = wp.normalize(direction_of(scene, nodes, s, x, y))
    b = wp.normalize(direction_of(scene, nodes, s, x + _TILE - 1, y))
    c = wp.normalize(direction_of(scene, nodes, s, x, y + _TILE - 1))
    d = wp.normalize(direction_of(scene, nodes, s, x + _TILE - 1, y + _TILE - 1))
    axis = wp.normalize(a + b + c + d)
    # The cone about the axis, wider by what a lens bends a tile's edges beyond its corners, and by half a pixel.
    cosine = wp.min(wp.min(wp.dot(a, axis), wp.dot(b, axis)), wp.min(wp.dot(c, axis), wp.dot(d, axis)))
    sine = wp.sqrt(wp.max(1.0 - cosine * cosine, 0.0)) * 1.08 + 1.0e-4
    sine = wp.min(sine, 1.0)
    cosine = wp.sqrt(1.0 - sine * sine)
    n = int(0)
    for j in range(scene.parts):
        sphere = spheres[scene.part + j]
        away = wp.vec3(sphere[0], sphere[1], sphere[2]) - scene.eye
        radius = sphere[3]
        along = wp.dot(away, axis)
        square = wp.dot(away, away)
        beside = wp.sqrt(wp.max(square - along * along, 0.0))
        # The distance of the center from the cone, in the plane that holds both.
        if square <= radius * radius or (beside * cosine - along * sine <= radius and along > -radius):
            near[tile, n] = wp.int16(j)
            n += 1
    count[tile] = n


@wp.func
def window_depth(light: Light, o: wp.vec3, d: wp.vec3):
    """Where the ray meets the square of a window, FAR if it does not. It is seen from the table's side alone."""
    normal = wp.cross(light.across, light.up)
    toward = wp.dot(normal, d)
    if wp.abs(toward) < 1.0e-12:
        return FAR
    t = wp.dot(normal, light.place - o) / toward
    if t <= 0.0:
        return FAR
    p = o + d * t - light.place
    a = wp.dot(p, light.across) / wp.dot(light.across, light.across)
    b = wp.dot(p, light.up) / wp.dot(light.up, light.up)
    if wp.abs(a) > 1.0 or wp.abs(b) > 1.0:
        return FAR
    return t


@wp.func
def trace_ray(
    tile: int,
    s: int,
    x: int,
    y: int,
    scene: Scene,
    tables: Tables,
    nodes: wp.array3d(dtype=wp.vec2),
    parts: wp.array(dtype=Part),
    lights: wp.array(dtype=Light),
    count: wp.array(dtype=int),
    near: wp.array2d(dtype=wp.int16),
    labels: int,
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    face: wp.array3d(dtype=int),
    depth: wp.array3d(dtype=float),
    slot: wp.array3d(dtype=wp.int16),
    amodal: wp.array4d(dtype=wp.bool),
):
    """The first hit of one ray; see `trace`."""
    d = direction_of(scene, nodes, s, x, y)
    rays[s, y, x] = d
    best = float(FAR)
    found = int(_NOTHING)
    found_face = int(0)
    for k in range(count[tile]):
        j = int(near[tile, k])
        part = parts[scene.part + j]
        local = turned(part.world, d)
        most = best
        if labels != 0 and part.slot >= 0:
            most = FAR  # a block's whole mask, hidden or not
        t, side = crossing(part, tables, part.eye, local, _NEAR, most)
        if side != MISS:
            if labels != 0 and part.slot >= 0:
                amodal[s, part.slot, y, x] = True
            if t < best:
                best = t
                found = j
                found_face = side
    # The room behind everything: floor and walls are seen from inside alone. What is inside the room is before them.
    low = tables.room_low
    high = tables.room_high
    o = scene.eye
    p = o + d * best
    inside = p[0] > low[0] and p[0] < high[0] and p[1] > low[1] and p[1] < high[1] and p[2] > low[2]
    if not inside:
        to_floor = float(FAR)
        if d[2] < 0.0:
            to_floor = (low[2] - o[2]) / d[2]
        to_x = float(FAR)
        if d[0] > 0.0:
            to_x = (high[0] - o[0]) / d[0]
        elif d[0] < 0.0:
            to_x = (low[0] - o[0]) / d[0]
        to_y = float(FAR)
        if d[1] > 0.0:
            to_y = (high[1] - o[1]) / d[1]
        elif d[1] < 0.0:
            to_y = (low[1] - o[1]) / d[1]
        to_wall = wp.min(to_x, to_y)
        on_floor = False
        if scene.walls != 0:
            on_floor = to_floor <= to_wall
        else:
            fx = o[0] + to_floor * d[0]
            fy = o[1] + to_floor * d[1]
            on_floor = fx >= low[0] and fx <= high[0] and fy >= low[1] and fy <= high[1]
        if d[2] >= 0.0:
            on_floor = False
        if on_floor:
            if to_floor < best:
                best = to_floor
                found = _FLOOR
        elif scene.walls != 0 and o[2] + to_wall * d[2] <= high[2] and to_wall < best:
            best = to_wall
            found = _WALL_Y
            if to_x <= to_y:
                found = _WALL_X
    for k in range(scene.lights):
        light = lights[scene.light + k]
        if light.kind == _AREA_WINDOW:
            t = window_depth(light, o, d)
            if t < best:
                best = t
                found = _WINDOW - k
    if found == _NOTHING:
        best = 0.0
    reach[s, y, x] = best
    hit[s, y, x] = wp.int16(found)
    face[s, y, x] = found_face
    if labels != 0:
        shown = int(-1)
        if found >= 0:
            shown = parts[scene.part + found].slot
        slot[s, y, x] = wp.int16(shown)
        if found <= _WINDOW:
            best = 0.0
        depth[s, y, x] = best


@wp.kernel
def trace(
    first: int,
    each: int,
    tables: Tables,
    scenes: wp.array(dtype=Scene),
    nodes: wp.array3d(dtype=wp.vec2),
    parts: wp.array(dtype=Part),
    lights: wp.array(dtype=Light),
    count: wp.array(dtype=int),
    near: wp.array2d(dtype=wp.int16),
    labels: int,
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    face: wp.array3d(dtype=int),
    depth: wp.array3d(dtype=float),
    slot: wp.array3d(dtype=wp.int16),
    amodal: wp.array4d(dtype=wp.bool),
):
    """For each pixel: its ray in world coordinates, 1 along the optical axis; `reach` in units of it, `hit` the number of the part within its scene or one of NOTHING to WINDOW,
    `face`. With `labels`, `depth`, `slot` and the `amodal` masks of blocks, too."""

    start = first * _RAYS + wp.tid() * each
    tile = start // _RAYS
    s = tile // tables.tiles
    place = tile - s * tables.tiles
    row = place // tables.across
    x0 = (place - row * tables.across) * _TILE
    y0 = row * _TILE
    inner = start - tile * _RAYS
    scene = scenes[s]
    for k in range(each):
        x = x0 + (inner + k) % _TILE
        y = y0 + (inner + k) // _TILE
        if x < tables.width and y < tables.height:
            trace_ray(
                tile,
                s,
                x,
                y,
                scene,
                tables,
                nodes,
                parts,
                lights,
                count,
                near,
                labels,
                rays,
                reach,
                hit,
                face,
                depth,
                slot,
                amodal,
            )


@wp.func
def parted(part: Part, tables: Tables, a: wp.vec3, a_radius: float, b: wp.vec3, b_radius: float):
    """Whether a plane of the part has all of the ball about `a` and of that about `b` before it, in the part's coordinates:
    then no line between the two balls meets the part."""
    for k in range(part.count):
        plane = plane_at(part, tables, k)
        n = wp.vec3(plane[0], plane[1], plane[2])
        if wp.dot(n, a) - a_radius >= plane[3] - 1.0e-5 and wp.dot(n, b) - b_radius >= plane[3] - 1.0e-5:
            return True
    return False


@wp.kernel
def occluders(
    first: int,
    tables: Tables,
    scenes: wp.array(dtype=Scene),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    lights: wp.array(dtype=Light),
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
):
    """`shading` (tiles, LISTS, most), the first `count` (tiles, LISTS) of each: the parts whose bounding spheres touch a line
    between what a tile shows and light k, unless one of their planes has both before it; and last those near to it."""
    tile = first + wp.tid()
    s = tile // tables.tiles
    place = tile - s * tables.tiles
    row = place // tables.across
    x0 = (place - row * tables.across) * _TILE
    y0 = row * _TILE
    scene = scenes[s]
    low = wp.vec3(FAR, FAR, FAR)
    high = wp.vec3(-FAR, -FAR, -FAR)
    for iy in range(_TILE):
        for ix in range(_TILE):
            x = x0 + ix
            y = y0 + iy
            if x < tables.width and y < tables.height:
                what = int(hit[s, y, x])
                if what != _NOTHING and what > _WINDOW:
                    p = scene.eye + rays[s, y, x] * reach[s, y, x]
                    low = wp.min(low, p)
                    high = wp.max(high, p)
    for k in range(_LISTS):
        count[tile, k] = 0
    if low[0] > high[0]:
        return
    middle = (low + high) * 0.5
    radius = wp.length(high - low) * 0.5 + 1.0e-5
    for k in range(scene.lights):
        light = lights[scene.light + k]
        if light.shadow != 0:
            target = light.place
            if light.kind == _DIRECTIONAL:
                target = middle + light.place * _FAR_LIGHT
            line = target - middle
            square = wp.max(wp.dot(line, line), 1.0e-12)
            wide = wp.max(radius, light.radius)
            if light.kind == _DIRECTIONAL:
                wide = radius
            n = int(0)
            for j in range(scene.parts):
                sphere = spheres[scene.part + j]
                away = wp.vec3(sphere[0], sphere[1], sphere[2]) - middle
                along = wp.clamp(wp.dot(away, line) / square, 0.0, 1.0)
                gap = away - line * along
                limit = sphere[3] + wide + 1.0e-4
                if wp.dot(gap, gap) <= limit * limit:
                    part = parts[scene.part + j]
                    a = mapped(part.world, middle)
                    b = mapped(part.world, target)
                    far_radius = light.radius
                    if light.kind == _DIRECTIONAL:
                        far_radius = radius
                    if not parted(part, tables, a, radius / part.scale, b, far_radius / part.scale):
                        shading[tile, k, n] = wp.int16(j)
                        n += 1
            count[tile, k] = n
    if scene.occlusion > 0.0:
        n = int(0)
        reach_of = radius + 2.0 * _HIGH  # a point that much above the surface is that much away from what it feels
        for j in range(scene.parts):
            sphere = spheres[scene.part + j]
            away = wp.vec3(sphere[0], sphere[1], sphere[2]) - middle
            limit = sphere[3] + reach_of
            if wp.dot(away, away) <= limit * limit:
                part = parts[scene.part + j]
                a = mapped(part.world, middle)
                if clearance(part, tables, a) * part.scale <= reach_of:
                    shading[tile, _AMBIENT, n] = wp.int16(j)
                    n += 1
        count[tile, _AMBIENT] = n


@wp.func
def hashed(value: wp.uint32):
    """A well-mixed 32-bit number (the PCG output function of Jarzynski and Olano 2020, "Hash Functions for GPU Rendering")."""
    state = value * _PCG_FACTOR + _PCG_STEP
    word = ((state >> ((state >> wp.uint32(28)) + wp.uint32(4))) ^ state) * wp.uint32(277803737)
    return (word >> wp.uint32(22)) ^ word


@wp.func
def share_of(word: wp.uint32):
    """A number in [0, 1) from the upper bits of `word`."""
    return float(int(word >> wp.uint32(8))) * (1.0 / 16777216.0)


@wp.func
def visible_share(
    tables: Tables,
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    scene: Scene,
    light: Light,
    shading: wp.array3d(dtype=wp.int16),
    tile: int,
    k: int,
    n: int,
    p: wp.vec3,
    own: int,
    side: int,
    key: wp.uint32,
):
    """The share of light `k` that no part hides from the point `p` of part `own`: of side^2 places on an area light, one in
    each ring and sector of equal area, or in each square of a window."""
    toward = light.place - p
    if light.kind == _DIRECTIONAL:
        toward = light.place * _FAR_LIGHT
    inverse = 1.0 / wp.max(wp.dot(toward, toward), 1.0e-12)
    # Bit c: whether part c of the list, of the first 63, meets the cone from the point to the light.
    one = wp.int64(1)
    meets = wp.int64(0)
    for c in range(wp.min(n, 63)):
        sphere = spheres[scene.part + int(shading[tile, k, c])]
        away = wp.vec3(sphere[0], sphere[1], sphere[2]) - p
        along = wp.clamp(wp.dot(away, toward) * inverse, 0.0, 1.0)
        gap = away - toward * along
        limit = sphere[3] + light.radius * along
        if wp.dot(gap, gap) <= limit * limit and int(shading[tile, k, c]) != own:
            meets = meets | (one << wp.int64(c))
        elif int(shading[tile, k, c]) == own and parts[scene.part + own].mesh >= 0:
            meets = meets | (one << wp.int64(c))
    if meets == wp.int64(0) and n <= 63:
        return float(1.0)
    places = int(side)
    if light.radius == 0.0:
        places = 1
    open_places = int(0)
    word = hashed(key)
    for ring in range(places):
        for sector in range(places):
            line = toward
            if light.radius > 0.0:
                word = hashed(word)
                a = (float(ring) + share_of(word)) / float(places)
                word = hashed(word)
                b = (float(sector) + share_of(word)) / float(places)
                if light.kind == _AREA_WINDOW:
                    a = 2.0 * a - 1.0
                    b = 2.0 * b - 1.0
                else:
                    away_from_middle = wp.sqrt(a)
                    turn = tables.circle[wp.min(int(b * float(_CIRCLE)), _CIRCLE - 1)]
                    a = away_from_middle * turn[0]
                    b = away_from_middle * turn[1]
                line = line + light.across * a + light.up * b
            hidden = bool(False)
            c = int(0)
            while c < n and not hidden:
                if c >= 63 or ((meets >> wp.int64(c)) & one) != wp.int64(0):
                    j = int(shading[tile, k, c])
                    part = parts[scene.part + j]
                    hidden = hides(part, tables, mapped(part.world, p), turned(part.world, line), j == own)
                c += 1
            if not hidden:
                open_places += 1
    if places == 1:
        return float(open_places)
    return float(open_places) / float(places * places)


@wp.func
def sky_place(d: wp.vec3):
    """Where the direction `d` lies on a square picture of all directions: the octahedral map (Cigolle et al. 2014), in
    [-0.5, 0.5]^2, straight up in the middle."""
    total = wp.max(wp.abs(d[0]) + wp.abs(d[1]) + wp.abs(d[2]), 1.0e-12)
    u = d[0] / total
    v = d[1] / total
    if d[2] < 0.0:
        a = (1.0 - wp.abs(v)) * wp.sign(u)
        b = (1.0 - wp.abs(u)) * wp.sign(v)
        u = a
        v = b
    return wp.vec2(0.5 * u, 0.5 * v)


@wp.func
def shade_ray(
    tile: int,
    s: int,
    x: int,
    y: int,
    scene: Scene,
    tables: Tables,
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    materials: wp.array(dtype=Material),
    lights: wp.array(dtype=Light),
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    face: wp.array3d(dtype=int),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    side: int,
    number: int,
    weight: float,
    rgb: wp.array3d(dtype=wp.vec3),
):
    """Adds the light of one ray; see `shade`."""
    what = int(hit[s, y, x])
    if what <= _WINDOW:
        rgb[s, y, x] = rgb[s, y, x] + lights[scene.light + (_WINDOW - what)].radiance * weight
        return
    d = rays[s, y, x]
    length = wp.length(d)
    view = d * (-1.0 / length)
    t = reach[s, y, x]
    p = scene.eye + d * t
    pixel = t * length / scene.focal  # m, what a pixel covers at this distance
    row_of_material = scene.surface + 3  # the background
    normal = wp.vec3(0.0, 0.0, 1.0)
    box = wp.vec3(0.0, 0.0, 0.0)  # the point from the middle of the surface's bounding box, whose edges are `size`
    size = wp.vec3(float(tables.width), float(tables.height), 1.0)
    code = int(2)  # 4 times the face's number, and the axis of projection
    tone = float(-1.0)
    scale = float(1.0)  # m for each unit of `size`
    gap_to_edge = float(FAR)  # m
    if what >= 0:
        part = parts[scene.part + what]
        row_of_material = part.material
        scale = part.scale
        tone = part.tone
        q = mapped(part.world, p)
        size = part.high - part.low
        box = q - (part.low + part.high) * 0.5
        found = face[s, y, x]
        n, face_code = normal_at(part, tables, found, q)
        code = face_code
        radius = materials[row_of_material].edge / scale
        if found >= 0 and part.mesh < 0 and (radius > 0.0 or materials[row_of_material].wear > 0.0):
            # Near an edge the normal bends toward that of the other face, halfway at the edge itself.
            bent = n
            if part.kind == _BOX:
                for k in range(3):
                    if k != found // 2:
                        gap = wp.min(q[k] - part.low[k], part.high[k] - q[k])
                        gap_to_edge = wp.min(gap_to_edge, gap * scale)
                        if gap < radius:
                            share = 1.0 - wp.max(gap, 0.0) / radius
                            other = wp.vec3(0.0, 0.0, 0.0)
                            other[k] = wp.sign(box[k])
                            bent = bent + other * (share * share)
            else:
                for k in range(part.count):
                    if k != found:
                        plane = tables.planes[part.first + k]
                        other = wp.vec3(plane[0], plane[1], plane[2])
                        gap = plane[3] - wp.dot(other, q)
                        gap_to_edge = wp.min(gap_to_edge, gap * scale)
                        if gap < radius:
                            share = 1.0 - wp.max(gap, 0.0) / radius
                            bent = bent + other * (share * share)
            n = bent
        normal = turned_back(part.world, n) * scale
        if found < 0 or radius > 0.0:  # others are unit vectors: bodies are only turned, moved and scaled
            normal = wp.normalize(normal)
    elif what == _NOTHING:
        box = wp.vec3(float(x) + 0.5 - 0.5 * size[0], 0.5 * size[1] - float(y) - 0.5, 0.0)
        pixel = 1.0
    else:
        size = tables.room_high - tables.room_low
        box = p - (tables.room_low + tables.room_high) * 0.5
        row_of_material = scene.surface + 2
        if what == _FLOOR:
            row_of_material = scene.surface + 1
        elif what == _WALL_X:
            normal = wp.vec3(1.0, 0.0, 0.0)
            code = 0
        else:
            normal = wp.vec3(0.0, 1.0, 0.0)
            code = 1
    m = materials[row_of_material]
    albedo = m.color
    if tone >= 0.0 and m.layer < 0:
        albedo = mixed(m.color, m.color2, tone)
    elif m.texture != _FLAT or m.grime > 0.0:
        extent = wp.max(size[0], wp.max(size[1], size[2]))
        axis = code & 3
        a = box[0]
        b = box[2]
        wide = size[0]
        high = size[2]
        if axis == 0:
            a = box[1]
            wide = size[1]
        if axis == 2:
            b = box[1]
            high = size[1]
        texels = float(1.0)
        if m.layer >= 0 or m.grime > 0.0:
            facing = wp.max(wp.abs(wp.dot(normal, view)), 0.2)
            if what == _NOTHING:
                facing = 1.0
            texels = 256.0 * pixel / (extent * scale * wp.sqrt(facing))
        albedo = surface_color(m, tables, a / wide, b / high, a / extent, b / extent, code >> 2, texels)
        if tone > 0.0:
            albedo = mixed(albedo, m.color2, tone)
    if what == _NOTHING:
        rgb[s, y, x] = rgb[s, y, x] + albedo * weight
        return
    if gap_to_edge < 0.004 * m.wear:
        # Worn edges lose their color along a ragged border, up to 4 mm wide.
        cell = box * (scale * 700.0)
        ragged = tables.lattice[
            (int(wp.floor(cell[0])) * 73 + int(wp.floor(cell[1])) * 179 + int(wp.floor(cell[2])) * 283 + m.hash)
            & 0xFFFF
        ]
        if gap_to_edge < 0.004 * m.wear * ragged:
            albedo = mixed(albedo, wp.vec3(0.55, 0.5, 0.45), 0.8)
    if wp.dot(normal, d) > 0.0:
        normal = -normal
    surface = surface_of(m, normal, view, albedo)
    taken = float(0.0)  # Evans 2006, "Fast approximations for global illumination on dynamic scenes", at three heights
    if scene.occlusion > 0.0:
        highest = p + normal * _HIGH
        for c in range(count[tile, _AMBIENT]):
            j = int(shading[tile, _AMBIENT, c])
            if j != what:
                # Clearance grows by at most the distance: what does not reach the highest point reaches none.
                sphere = spheres[scene.part + j]
                away = wp.vec3(sphere[0], sphere[1], sphere[2]) - highest
                limit = sphere[3] + _HIGH
                if wp.dot(away, away) < limit * limit:
                    part = parts[scene.part + j]
                    clear = clearance(part, tables, mapped(part.world, highest)) * part.scale
                    if clear < _HIGH:
                        taken += 0.25 / 1.75 * wp.min(1.0 - clear / _HIGH, 1.0)
                        clear = clearance(part, tables, mapped(part.world, p + normal * _MIDDLE)) * part.scale
                        taken += 0.5 / 1.75 * wp.clamp(1.0 - clear / _MIDDLE, 0.0, 1.0)
                        clear = clearance(part, tables, mapped(part.world, p + normal * _LOW)) * part.scale
                        taken += 1.0 / 1.75 * wp.clamp(1.0 - clear / _LOW, 0.0, 1.0)
    mirrored = wp.vec3(1.0, 1.0, 1.0)
    if scene.reflection > 0.0 and surface.dielectric + surface.metal > 0.01:
        back = materials[scene.surface + 3]
        where = sky_place(mirror_direction(surface))
        blur = 4.0 + 60.0 * m.roughness  # texels that a rough surface's lobe covers
        mirrored = mixed(
            mirrored, surface_color(back, tables, where[0], where[1], where[0], where[1], 0, blur), scene.reflection
        )
    color = ambient_light(
        surface, scene.sky, scene.ground, scene.toward, 1.0 - scene.occlusion * wp.min(taken, 1.0), mirrored
    )
    key = scene.seed + wp.uint32(x + y * tables.width) * wp.uint32(9781) + wp.uint32(number) * wp.uint32(6271)
    for k in range(scene.lights):
        light = lights[scene.light + k]
        toward = light.place
        falloff = float(1.0)
        if light.kind != _DIRECTIONAL:
            toward = light.place - p
            square = wp.max(wp.dot(toward, toward), 1.0e-6)
            inverse = 1.0 / wp.sqrt(square)
            falloff = inverse * inverse
            toward = toward * inverse
        cosine = wp.dot(normal, toward)
        if cosine > 0.0:
            arriving = falloff
            if count[tile, k] > 0:
                arriving = falloff * visible_share(
                    tables,
                    parts,
                    spheres,
                    scene,
                    light,
                    shading,
                    tile,
                    k,
                    count[tile, k],
                    p,
                    what,
                    side,
                    key + wp.uint32(light.number) * wp.uint32(26699),
                )
            if arriving > 0.0:
                lit = reflected(surface, toward, cosine, light.specular)
                color = color + product(lit, light.strength) * arriving
    rgb[s, y, x] = rgb[s, y, x] + color * weight


@wp.kernel
def shade(
    first: int,
    each: int,
    tables: Tables,
    scenes: wp.array(dtype=Scene),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    materials: wp.array(dtype=Material),
    lights: wp.array(dtype=Light),
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    face: wp.array3d(dtype=int),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    side: int,
    number: int,
    weight: float,
    rgb: wp.array3d(dtype=wp.vec3),
):
    """Adds `weight` of the linear light of each pixel's ray to `rgb`; `number` tells the passes of a picture apart."""

    start = first * _RAYS + wp.tid() * each
    tile = start // _RAYS
    s = tile // tables.tiles
    place = tile - s * tables.tiles
    row = place // tables.across
    x0 = (place - row * tables.across) * _TILE
    y0 = row * _TILE
    inner = start - tile * _RAYS
    scene = scenes[s]
    for k in range(each):
        x = x0 + (inner + k) % _TILE
        y = y0 + (inner + k) // _TILE
        if x < tables.width and y < tables.height:
            shade_ray(
                tile,
                s,
                x,
                y,
                scene,
                tables,
                parts,
                spheres,
                materials,
                lights,
                rays,
                reach,
                hit,
                face,
                count,
                shading,
                side,
                number,
                weight,
                rgb,
            )
