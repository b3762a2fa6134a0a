"""Intersections of rays with bodies, and distances of points from them: functions of the ray caster's kernels.

A ray is o + t d with t > 0 in any units of d; bodies are in their own frames (shapes.bodies.Body).
"""

import warp as wp

from simgen.render.device import BOX, Part, Tables, mat34
from simgen.shapes.bodies import CAPSULE, MESH, QUADRIC

FAR = wp.constant(1.0e9)
ROUND = wp.constant(-1)  # the face of a curved surface
MISS = wp.constant(-2)
TINY = wp.constant(1.0e-30)
_CAPSULE, _MESH, _QUADRIC, _BOX = (wp.constant(kind) for kind in (CAPSULE, MESH, QUADRIC, BOX))


@wp.func
def mapped(m: mat34, p: wp.vec3):
    """The point `p` mapped by `m`."""
    return wp.vec3(
        m[0, 0] * p[0] + m[0, 1] * p[1] + m[0, 2] * p[2] + m[0, 3],
        m[1, 0] * p[0] + m[1, 1] * p[1] + m[1, 2] * p[2] + m[1, 3],
        m[2, 0] * p[0] + m[2, 1] * p[1] + m[2, 2] * p[2] + m[2, 3],
    )


@wp.func
def turned(m: mat34, d: wp.vec3):
    """The direction `d` mapped by `m`."""
    return wp.vec3(
        m[0, 0] * d[0] + m[0, 1] * d[1] + m[0, 2] * d[2],
        m[1, 0] * d[0] + m[1, 1] * d[1] + m[1, 2] * d[2],
        m[2, 0] * d[0] + m[2, 1] * d[1] + m[2, 2] * d[2],
    )


@wp.func
def turned_back(m: mat34, n: wp.vec3):
    """The normal `n` of a surface in the coordinates that `m` maps to, in those that it maps from; not a unit vector."""
    return wp.vec3(
        m[0, 0] * n[0] + m[1, 0] * n[1] + m[2, 0] * n[2],
        m[0, 1] * n[0] + m[1, 1] * n[1] + m[2, 1] * n[2],
        m[0, 2] * n[0] + m[1, 2] * n[1] + m[2, 2] * n[2],
    )


@wp.func
def plane_at(part: Part, tables: Tables, k: int):
    """The plane `k` of the body, [n, d]."""
    if part.kind != _BOX:
        return tables.planes[part.first + k]
    d = -part.low[k // 2]
    sign = -1.0
    if k % 2 == 1:
        d = part.high[k // 2]
        sign = 1.0
    plane = wp.vec4(0.0, 0.0, 0.0, d)
    plane[k // 2] = sign
    return plane


@wp.func
def quadric_span(part: Part, o: wp.vec3, d: wp.vec3):
    """From where to where the ray is inside x^2 + y^2 + c z^2 <= (a + b z)^2: a quadratic in t.

    Where its leading coefficient is negative, the ray is steeper than a cone's side and meets both nappes; the part in the
    lower one is what the planes leave.
    """
    p = mapped(part.unit, o)
    q = turned(part.unit, d)
    a = part.curve[0]
    b = part.curve[1]
    c = part.curve[2]
    reach = a + b * p[2]
    widens = b * q[2]
    square = q[0] * q[0] + q[1] * q[1] - widens * widens + c * q[2] * q[2]
    half = p[0] * q[0] + p[1] * q[1] - reach * widens + c * p[2] * q[2]
    rest = p[0] * p[0] + p[1] * p[1] - reach * reach + c * p[2] * p[2]
    discriminant = half * half - square * rest
    enter = float(FAR)
    leave = float(-FAR)
    if square < 0.0:
        root = wp.sqrt(wp.max(discriminant, 0.0))
        if widens > 0.0:  # the cone widens along the ray: its lower nappe comes last
            enter = (-half - root) / square
            leave = FAR
        else:
            enter = -FAR
            leave = (-half + root) / square
    elif discriminant > 0.0:
        root = wp.sqrt(discriminant)
        inverse = 1.0 / wp.max(square, TINY)
        enter = (-half - root) * inverse
        leave = (-half + root) * inverse
    return enter, leave


@wp.func
def capsule_span(part: Part, o: wp.vec3, d: wp.vec3):
    """From where to where the ray is inside a capsule: its cylinder, and the balls at its ends."""
    a = wp.vec3(part.unit[0, 0], part.unit[0, 1], part.unit[0, 2])
    axis = wp.vec3(part.unit[1, 0], part.unit[1, 1], part.unit[1, 2]) - a
    radius = part.curve[0]
    away = o - a
    dd = wp.dot(d, d)
    aa = wp.max(wp.dot(axis, axis), TINY)
    ad = wp.dot(axis, d)
    ao = wp.dot(axis, away)
    enter = float(FAR)
    leave = float(-FAR)
    for end in range(2):  # the balls
        m = away - axis * float(end)
        half = wp.dot(m, d)
        rest = wp.dot(m, m) - radius * radius
        discriminant = half * half - dd * rest
        if discriminant > 0.0:
            root = wp.sqrt(discriminant)
            enter = wp.min(enter, (-half - root) / dd)
            leave = wp.max(leave, (-half + root) / dd)
    square = aa * dd - ad * ad
    half = aa * wp.dot(away, d) - ao * ad
    rest = aa * wp.dot(away, away) - ao * ao - radius * radius * aa
    discriminant = half * half - square * rest
    if discriminant > 0.0 and square > TINY:
        root = wp.sqrt(discriminant)
        first = (-half - root) / square
        along = ao + first * ad
        if along > 0.0 and along < aa:
            enter = wp.min(enter, first)
        last = (-half + root) / square
        along = ao + last * ad
        if along > 0.0 and along < aa:
            leave = wp.max(leave, last)
    return enter, leave


@wp.func
def span(part: Part, tables: Tables, o: wp.vec3, d: wp.vec3, most: float):
    """From where to where the ray is inside a convex body, the end at most at `most`, and by which plane it enters (ROUND
    for the curved surface). The body is missed where the end is not behind the start, and where it is not ahead of `o`."""
    face = int(ROUND)
    enter = float(-FAR)
    leave = float(most)
    if part.kind == _BOX:
        for k in range(3):
            along = d[k]
            if wp.abs(along) < TINY:
                along = TINY
            inverse = 1.0 / along
            first = (part.low[k] - o[k]) * inverse
            last = (part.high[k] - o[k]) * inverse
            side = 2 * k
            if inverse < 0.0:
                swap = first
                first = last
                last = swap
                side = 2 * k + 1
            if first > enter:
                enter = first
                face = side
            leave = wp.min(leave, last)
        return enter, leave, face
    for k in range(part.count):
        plane = tables.planes[part.first + k]
        toward = plane[0] * d[0] + plane[1] * d[1] + plane[2] * d[2]
        gap = plane[3] - (plane[0] * o[0] + plane[1] * o[1] + plane[2] * o[2])
        if gap >= 0.0:  # `o` is on the plane's inner side
            if toward > TINY:
                leave = wp.min(leave, gap / toward)
        elif toward < -TINY:
            t = gap / toward
            if t > enter:
                enter = t
                face = k
        else:
            leave = -FAR
        if enter >= leave:
            return enter, leave, face
    if part.kind == _QUADRIC or part.kind == _CAPSULE:
        first = float(0.0)
        last = float(0.0)
        if part.kind == _QUADRIC:
            first, last = quadric_span(part, o, d)
        else:
            first, last = capsule_span(part, o, d)
        if first > enter:
            enter = first
            face = ROUND
        leave = wp.min(leave, last)
    return enter, leave, face


@wp.func
def crossing(part: Part, tables: Tables, o: wp.vec3, d: wp.vec3, least: float, most: float):
    """Where the ray enters the body between `least` and `most`, and by which plane or triangle (ROUND for its curved
    surface); FAR and MISS if it does not."""
    if part.kind == _MESH:
        hit = wp.mesh_query_ray(tables.meshes[part.mesh], o, d, most)
        if hit.result and hit.t > least:
            return hit.t, hit.face
        return FAR, int(MISS)
    enter, leave, face = span(part, tables, o, d, most)
    if enter < leave and enter > least:
        return enter, face
    return FAR, int(MISS)


@wp.func
def hides(part: Part, tables: Tables, o: wp.vec3, d: wp.vec3, is_own: bool):
    """Whether the body lies between the surface point `o` and `o` + `d`. A convex body never hides its own surface; `is_own`
    states that `o` lies on it."""
    if part.kind == _MESH:
        start = 1.0e-4
        if is_own:
            start = 1.0e-3
        back = start * wp.length(part.high - part.low) / wp.sqrt(wp.max(wp.dot(d, d), TINY))
        hit = wp.mesh_query_ray(tables.meshes[part.mesh], o + d * back, d, 1.0 - back)
        return hit.result
    if is_own:
        return False
    enter, leave, face = span(part, tables, o, d, 1.0)
    return enter < leave and leave > 0.0


@wp.func
def normal_at(part: Part, tables: Tables, face: int, p: wp.vec3):
    """The outward normal of the body at its surface point `p`, in its own frame, and 4 times the face's number plus the axis
    of projection of its texture. The normal of a curved surface is not a unit vector."""
    if face >= 0 and part.kind != _MESH:
        plane = plane_at(part, tables, face)
        return wp.vec3(plane[0], plane[1], plane[2]), tables.faces[part.first + face]
    if part.kind == _MESH:
        return wp.mesh_eval_face_normal(tables.meshes[part.mesh], face), tables.faces[part.first + face]
    n = wp.vec3(0.0, 0.0, 1.0)
    if part.kind == _CAPSULE:
        a = wp.vec3(part.unit[0, 0], part.unit[0, 1], part.unit[0, 2])
        axis = wp.vec3(part.unit[1, 0], part.unit[1, 1], part.unit[1, 2]) - a
        along = wp.clamp(wp.dot(p - a, axis) / wp.max(wp.dot(axis, axis), TINY), 0.0, 1.0)
        n = p - (a + axis * along)
    else:
        q = mapped(part.unit, p)
        n = turned_back(
            part.unit,
            wp.vec3(q[0], q[1], part.curve[2] * q[2] - part.curve[1] * (part.curve[0] + part.curve[1] * q[2])),
        )
    x = wp.abs(n[0])
    y = wp.abs(n[1])
    z = wp.abs(n[2])
    axis_number = int(0)
    if z > wp.max(x, y):
        axis_number = 2
    elif y > x:
        axis_number = 1
    return n, 4 * 15 + axis_number  # textures.procedural.ROUND_FACE


@wp.func
def round_gap(part: Part, p: wp.vec3):
    """How far the round side of a quadric is from the point `p` inside, at least, in the body's unit; never negative."""
    q = mapped(part.unit, p)
    reach = wp.sqrt(q[0] * q[0] + q[1] * q[1] + part.curve[2] * q[2] * q[2])
    return wp.max((part.curve[0] + part.curve[1] * q[2] - reach) * part.metric, 0.0)


@wp.func
def clearance(part: Part, tables: Tables, p: wp.vec3):
    """How far the point `p` is from the body, in its own unit: at most the true distance, equal to it opposite a face;
    negative inside. A mesh is infinitely far: it takes no ambient light."""
    if part.kind == _MESH:
        return FAR
    far = float(-FAR)
    if part.kind == _BOX:
        for k in range(3):
            far = wp.max(far, wp.max(part.low[k] - p[k], p[k] - part.high[k]))
        return far
    for k in range(part.count):
        plane = tables.planes[part.first + k]
        far = wp.max(far, plane[0] * p[0] + plane[1] * p[1] + plane[2] * p[2] - plane[3])
    if part.kind == _QUADRIC:
        q = mapped(part.unit, p)
        reach = wp.sqrt(q[0] * q[0] + q[1] * q[1] + part.curve[2] * q[2] * q[2])
        far = wp.max(far, (reach - (part.curve[0] + part.curve[1] * q[2])) * part.metric)
    elif part.kind == _CAPSULE:
        a = wp.vec3(part.unit[0, 0], part.unit[0, 1], part.unit[0, 2])
        axis = wp.vec3(part.unit[1, 0], part.unit[1, 1], part.unit[1, 2]) - a
        along = wp.clamp(wp.dot(p - a, axis) / wp.max(wp.dot(axis, axis), TINY), 0.0, 1.0)
        far = wp.length(p - (a + axis * along)) - part.curve[0]
    return far
