"""Reflection of light by surfaces: functions of the ray caster's kernels. All colors and intensities are linear light.

Intensities omit the factor pi: a white matte surface that faces a light of intensity 1 has radiance 1.
"""

import warp as wp

from .device import Material
from .lanes import add, div, dot, lanes, lanes3, mul, root, spread, sub, xyz


@wp.struct
class Surface:
    """Eight points of a surface of one material: unit `normal` toward the camera's side, unit `view` toward the camera,
    linear `albedo`, and constants of the reflection model: cosine `facing` between the two, square of the distribution's
    width `alpha2`, head-on reflectance `dielectric` of what is no metal, and the share `matte` of the albedo that is
    scattered."""

    normal: lanes3
    view: lanes3
    albedo: lanes3
    facing: lanes
    alpha2: float
    dielectric: float
    matte: float
    metal: float
    masking: lanes  # the camera's part of Smith's masking


@wp.func
def surface_of(m: Material, normal: lanes3, view: lanes3, albedo: lanes3):
    """Disney's parameters (Burley 2012, "Physically based shading at Disney"): alpha is the square of the roughness, and a
    dielectric reflects 8% of `specular` head-on."""
    s = Surface()
    alpha = wp.max(m.roughness * m.roughness, 0.005)  # a mirror's highlight of a point would have no extent
    s.normal = normal
    s.view = view
    s.albedo = albedo
    s.facing = wp.max(dot(normal, view), lanes(1.0e-3))
    s.alpha2 = alpha * alpha
    head_on = 0.08 * m.specular
    s.dielectric = head_on * (1.0 - m.metalness)
    s.matte = (1.0 - m.metalness) * (1.0 - head_on)
    s.metal = m.metalness
    s.masking = root(s.facing * s.facing * (1.0 - s.alpha2) + lanes(s.alpha2))
    return s


@wp.func
def reflected(s: Surface, light: lanes3, cosine: lanes, strength: float):
    """Radiance toward the camera for light of intensity 1 from the unit directions `light` at `cosine` to the normals;
    `strength` is a factor on the gloss.

    Lambert's law for the matte part. For the gloss the microfacet model of Walter et al. 2007 ("Microfacet models for
    refraction through rough surfaces") with their GGX distribution, Smith's masking in the height-correlated form of
    Heitz 2014, and Schlick's approximation (1994) of Fresnel's law, which fades out where the reflectance is nearly 0
    (Lagarde and de Rousiers 2014).
    """
    # Of the half vector h = light + view of two unit vectors, h.h = 2 (1 + light.view) and light.h = 1 + light.view.
    one = lanes(1.0)
    opened = one + wp.max(dot(light, s.view), lanes(-0.999999))
    upright = cosine + s.facing  # normal.h
    grazing = one - wp.min(root(0.5 * opened), one)
    grazing2 = grazing * grazing
    fresnel = grazing2 * grazing2 * grazing
    spread_out = wp.min(wp.max(upright * upright / (2.0 * opened), lanes(0.0)), one) * (s.alpha2 - 1.0) + one
    masking = cosine * s.masking + s.facing * root(cosine * cosine * (1.0 - s.alpha2) + lanes(s.alpha2))
    # pi D V cosine: the distribution's 1 / pi cancels against the unit of intensity.
    lobe = strength * cosine * s.alpha2 * 0.5 / (spread_out * spread_out * wp.max(masking, lanes(1.0e-6)))
    fades = wp.min(50.0 * (s.dielectric + s.metal), 1.0)
    constant = lobe * (s.dielectric * (one - fresnel) + fades * fresnel)
    colored = s.matte * cosine + lobe * s.metal * (one - fresnel)
    return s.albedo * colored + xyz(constant, constant, constant)


@wp.func
def mixed(a: lanes3, b: lanes3, share: float):
    """`a`, and `share` of `b` in its place."""
    return a + (b - a) * share


@wp.func
def mirror_direction(s: Surface):
    """The unit directions that a mirror would show."""
    return s.normal * (2.0 * s.facing) - s.view


@wp.func
def ambient_light(s: Surface, sky: wp.vec3, ground: wp.vec3, toward: wp.vec3, open_share: lanes, mirrored: lanes3):
    """Radiance under ambient light, of which `open_share` arrives: `sky` from `toward`, `ground` from the opposite side,
    blended by the cosine. Glossy surfaces mirror the light that comes from the mirror direction, times `mirrored`."""
    half = lanes(0.5)
    change = sky - ground
    scattered = ground + change * (half + 0.5 * dot(toward, s.normal))
    slope = wp.min(wp.max(dot(toward, mirror_direction(s)), lanes(-1.0)), lanes(1.0))
    glossy = ground + change * (half + 0.5 * slope)
    gloss = spread(wp.vec3(s.dielectric, s.dielectric, s.dielectric)) + s.albedo * s.metal
    return (scattered * s.albedo * s.matte + glossy * mirrored * gloss) * open_share
