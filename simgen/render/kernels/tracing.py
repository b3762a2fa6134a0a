"""The first hits of a picture's rays: the ray caster's kernels `lens`, `candidates` and `trace`."""

import warp as wp

from simgen.geometry import NEAR

from .device import (
    FLOOR,
    NOTHING,
    OPTIONS,
    PACKETS,
    STEP,
    TILE,
    WALL_X,
    WALL_Y,
    WINDOW,
    WINDOW_LIGHT,
    Bodies,
    Light,
    Part,
    Scene,
    Tables,
    pixel_of,
    place_of,
)
from .intersect import FAR, crossing, turned
from .lanes import (
    LANES,
    add,
    anywhere,
    below,
    div,
    dot,
    equal,
    lanes,
    lanes3,
    less,
    mul,
    no,
    short,
    shorts,
    spread,
    sub,
    where,
    whole,
    wholes,
    xyz,
)

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
def direction_of(scene: Scene, nodes: wp.array3d(dtype=wp.vec2), s: int, column: int, row: int):
    """The ray of a node of the lens' grid in world coordinates, 1 along the optical axis."""
    node = nodes[s, row, column]
    return scene.rotation * wp.vec3(node[0], node[1], 1.0)


@wp.func
def directions_of(scene: Scene, nodes: wp.array3d(dtype=wp.vec2), s: int, x: int, y: int):
    """The rays of the eight pixels from (x, y) to the right in world coordinates, 1 along the optical axis: interpolated
    between the nodes of the lens' grid, of which every lens' cell spans four pixels."""
    column = x // STEP
    row = y // STEP
    fx = within_cells(x)
    fy = float(y - row * STEP) / float(STEP)
    a = nodes[s, row, column]
    b = nodes[s, row, column + 1]
    c = nodes[s, row, column + 2]
    d = nodes[s, row + 1, column]
    e = nodes[s, row + 1, column + 1]
    f = nodes[s, row + 1, column + 2]
    top_x = halves(a[0], b[0]) + halves(b[0] - a[0], c[0] - b[0]) * fx
    top_y = halves(a[1], b[1]) + halves(b[1] - a[1], c[1] - b[1]) * fx
    bottom_x = halves(d[0], e[0]) + halves(e[0] - d[0], f[0] - e[0]) * fx
    bottom_y = halves(d[1], e[1]) + halves(e[1] - d[1], f[1] - e[1]) * fx
    u = top_x + (bottom_x - top_x) * fy
    v = top_y + (bottom_y - top_y) * fy
    r = scene.rotation
    return xyz(
        r[0, 0] * u + r[0, 1] * v + lanes(r[0, 2]),
        r[1, 0] * u + r[1, 1] * v + lanes(r[1, 2]),
        r[2, 0] * u + r[2, 1] * v + lanes(r[2, 2]),
    )


if LANES == 1:

    @wp.func
    def within_cells(x: int):
        """Where the pixel at `x` is within its cell of the lens' grid."""
        return lanes(float(x % STEP) / float(STEP))

    @wp.func
    def halves(a: float, b: float):
        """`a`: one pixel is within one cell."""
        return lanes(a)

else:

    @wp.func
    def within_cells(x: int):
        """Where eight pixels are within the two cells of the lens' grid that begin at `x`."""
        return lanes(0.0, 0.25, 0.5, 0.75, 0.0, 0.25, 0.5, 0.75)

    @wp.func
    def halves(a: float, b: float):
        """`a` in the left four lanes, `b` in the right ones."""
        return lanes(a, a, a, a, b, b, b, b)


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
    column = x // STEP
    row = y // STEP
    across = TILE // STEP
    a = wp.normalize(direction_of(scene, nodes, s, column, row))
    b = wp.normalize(direction_of(scene, nodes, s, column + across, row))
    c = wp.normalize(direction_of(scene, nodes, s, column, row + across))
    d = wp.normalize(direction_of(scene, nodes, s, column + across, row + across))
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
def window_depth(light: Light, o: wp.vec3, d: lanes3):
    """Where rays meet the square of a window, FAR if they do not. It is seen from the table's side alone."""
    normal = wp.cross(light.across, light.up)
    toward = dot(normal, d)
    met = no(less(toward, lanes(1.0e-12)))
    t = lanes(wp.dot(normal, light.place - o)) / where(met, toward, lanes(1.0))
    p = (o + d * t) - light.place
    a = wp.abs(dot(light.across, p)) / wp.dot(light.across, light.across)
    b = wp.abs(dot(light.up, p)) / wp.dot(light.up, light.up)
    met = met & less(lanes(0.0), t) & no(less(lanes(1.0), wp.max(a, b)))
    return where(met, t, lanes(FAR))


@wp.func
def room_depth(scene: Scene, tables: Tables, d: lanes3):
    """Where rays meet the room from inside, FAR if they do not, and what they meet: FLOOR, WALL_X or WALL_Y."""
    low = tables.room_low
    high = tables.room_high
    o = scene.eye
    zero = lanes(0.0)
    far = lanes(FAR)
    to_floor = where(less(d.z, zero), lanes(low[2] - o[2]) / d.z, far)
    to_x = where(less(d.x, zero), lanes(low[0] - o[0]), lanes(high[0] - o[0])) / d.x
    to_y = where(less(d.y, zero), lanes(low[1] - o[1]), lanes(high[1] - o[1])) / d.y
    to_x = where(less(zero, wp.abs(d.x)), to_x, far)
    to_y = where(less(zero, wp.abs(d.y)), to_y, far)
    to_wall = wp.min(to_x, to_y)
    if scene.walls == 0:
        fx = lanes(o[0]) + to_floor * d.x
        fy = lanes(o[1]) + to_floor * d.y
        beside_x = wp.max(lanes(low[0]) - fx, fx - lanes(high[0]))
        beside_y = wp.max(lanes(low[1]) - fy, fy - lanes(high[1]))
        on_floor = less(d.z, zero) & no(less(zero, wp.max(beside_x, beside_y)))
        return where(on_floor, to_floor, far), lanes(float(FLOOR))
    on_floor = less(d.z, zero) & no(less(to_wall, to_floor))
    above = less(lanes(high[2]), lanes(o[2]) + to_wall * d.z)
    what = where(less(to_y, to_x), lanes(float(WALL_Y)), lanes(float(WALL_X)))
    return where(on_floor, to_floor, where(above, far, to_wall)), where(on_floor, lanes(float(FLOOR)), what)


@wp.kernel
def trace(
    first: int,
    each: int,
    tables: Tables,
    bodies: Bodies,
    scenes: wp.array(dtype=Scene),
    nodes: wp.array3d(dtype=wp.vec2),
    parts: wp.array(dtype=Part),
    lights: wp.array(dtype=Light),
    count: wp.array(dtype=int),
    near: wp.array2d(dtype=wp.int16),
    labels: int,
    reach: wp.array3d(dtype=lanes),
    hit: wp.array3d(dtype=wholes),
    face: wp.array3d(dtype=wholes),
    depth: wp.array3d(dtype=lanes),
    slot: wp.array3d(dtype=shorts),
    amodal: wp.array4d(dtype=wp.bool),
):
    """For eight pixels: `reach` in units of their rays (`directions_of`), `hit` the number of the part within its scene or
    one of NOTHING to WINDOW, `face`. With `labels`, `depth`, `slot` and the `amodal` masks of blocks, too."""
    start = first * PACKETS + wp.tid() * each
    tile = start // PACKETS
    s, x0, y0 = place_of(tile, tables)
    scene = scenes[s]
    for k in range(each):
        packet = start - tile * PACKETS + k
        x, y = pixel_of(packet, x0, y0)
        if y < tables.height:
            d = directions_of(scene, nodes, s, x, y)
            best = lanes(FAR)
            found = lanes(float(NOTHING))
            found_face = lanes(0.0)
            shown = lanes(-1.0)  # the slot of a block
            for c in range(count[tile]):
                j = int(near[tile, c])
                part = parts[scene.part + j]
                t, side = crossing(part, bodies, spread(part.eye), turned(part.world, d), NEAR)
                if labels != 0 and part.slot >= 0:  # a block's whole mask, hidden or not
                    met = less(t, lanes(FAR))
                    for i in range(LANES):
                        if met[i] != 0 and x + i < tables.width:
                            amodal[s, part.slot, y, x + i] = True
                nearer = less(t, best)
                best = wp.min(best, t)
                found = where(nearer, lanes(float(j)), found)
                found_face = where(nearer, side, found_face)
                shown = where(nearer, lanes(float(part.slot)), shown)
            # The room behind everything is seen from inside alone. What is inside the room is before it.
            p = scene.eye + d * best
            low = tables.room_low
            high = tables.room_high
            beyond_x = wp.max(lanes(low[0]) - p.x, p.x - lanes(high[0]))
            beyond_y = wp.max(lanes(low[1]) - p.y, p.y - lanes(high[1]))
            outside = no(less(wp.max(wp.max(beyond_x, beyond_y), lanes(low[2]) - p.z), lanes(0.0)))
            if anywhere(outside):
                t, what = room_depth(scene, tables, d)
                nearer = outside & less(t, best)
                best = where(nearer, t, best)
                found = where(nearer, what, found)
                shown = where(nearer, lanes(-1.0), shown)
            for c in range(scene.lights):
                light = lights[scene.light + c]
                if light.kind == WINDOW_LIGHT:
                    t = window_depth(light, scene.eye, d)
                    nearer = less(t, best)
                    best = wp.min(best, t)
                    found = where(nearer, lanes(float(WINDOW - c)), found)
                    shown = where(nearer, lanes(-1.0), shown)
            numbers = whole(found)
            best = where(equal(numbers, NOTHING), lanes(0.0), best)
            reach[s, y, x // LANES] = best
            hit[s, y, x // LANES] = numbers
            face[s, y, x // LANES] = whole(found_face)
            if labels != 0:
                slot[s, y, x // LANES] = short(whole(shown))
                depth[s, y, x // LANES] = where(below(numbers, WINDOW + 1), lanes(0.0), best)
