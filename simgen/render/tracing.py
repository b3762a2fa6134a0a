"""The first hits of a picture's rays: the ray caster's kernels `lens`, `candidates` and `trace`."""

import warp as wp

from simgen.geometry import NEAR
from simgen.render.device import (
    FLOOR,
    NOTHING,
    OPTIONS,
    RAYS,
    STEP,
    TILE,
    WALL_X,
    WALL_Y,
    WINDOW,
    WINDOW_LIGHT,
    Light,
    Part,
    Scene,
    Tables,
    place_of,
)
from simgen.render.intersect import FAR, MISS, crossing, turned

wp.set_module_options(OPTIONS)

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
    """`nodes` (B, rows, columns): where the rays through the pixels (STEP column + du, STEP row + dv) meet the plane z = 1
    of the camera, by Newton's method. `intrinsics` (B, 4) fx, fy, cx, cy; `distortion` (B, 9), see distortion.py."""
    s, row, column = wp.tid()
    x = (_d(column * STEP) + du - intrinsics[s, 2]) / intrinsics[s, 0]
    y = (_d(row * STEP) + dv - intrinsics[s, 3]) / intrinsics[s, 1]
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
    column = x // STEP
    row = y // STEP
    fx = float(x - column * STEP) / float(STEP)
    fy = float(y - row * STEP) / float(STEP)
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
    """`near` (tiles, most), the first `count` (tiles,) of each: the numbers within their scene of the parts that a tile's
    rays may meet. `spheres` are the parts' bounding spheres in world coordinates."""
    tile = first + wp.tid()
    s, x, y = place_of(tile, tables)
    scene = scenes[s]
    a = wp.normalize(direction_of(scene, nodes, s, x, y))
    b = wp.normalize(direction_of(scene, nodes, s, x + TILE - 1, y))
    c = wp.normalize(direction_of(scene, nodes, s, x, y + TILE - 1))
    d = wp.normalize(direction_of(scene, nodes, s, x + TILE - 1, y + TILE - 1))
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
    if toward < 1.0e-12:
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
    found = int(NOTHING)
    found_face = int(0)
    for k in range(count[tile]):
        j = int(near[tile, k])
        part = parts[scene.part + j]
        local = turned(part.world, d)
        most = best
        if labels != 0 and part.slot >= 0:
            most = FAR  # a block's whole mask, hidden or not
        t, side = crossing(part, tables, part.eye, local, NEAR, most)
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
                found = FLOOR
        elif scene.walls != 0 and o[2] + to_wall * d[2] <= high[2] and to_wall < best:
            best = to_wall
            found = WALL_Y
            if to_x <= to_y:
                found = WALL_X
    for k in range(scene.lights):
        light = lights[scene.light + k]
        if light.kind == WINDOW_LIGHT:
            t = window_depth(light, o, d)
            if t < best:
                best = t
                found = WINDOW - k
    if found == NOTHING:
        best = 0.0
    reach[s, y, x] = best
    hit[s, y, x] = wp.int16(found)
    face[s, y, x] = found_face
    if labels != 0:
        shown = int(-1)
        if found >= 0:
            shown = parts[scene.part + found].slot
        slot[s, y, x] = wp.int16(shown)
        if found <= WINDOW:
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
    """For each pixel: its ray in world coordinates, 1 along the optical axis; `reach` in units of it, `hit` the number of
    the part within its scene or one of NOTHING to WINDOW, `face`. With `labels`, `depth`, `slot` and the `amodal` masks of
    blocks, too."""

    start = first * RAYS + wp.tid() * each
    tile = start // RAYS
    s, x0, y0 = place_of(tile, tables)
    inner = start - tile * RAYS
    scene = scenes[s]
    for k in range(each):
        x = x0 + (inner + k) % TILE
        y = y0 + (inner + k) // TILE
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
