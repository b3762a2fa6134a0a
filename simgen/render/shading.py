"""Reflection of light by surfaces: functions of the ray caster's kernels. All colors and intensities are linear light.

Intensities omit the factor pi: a white matte surface that faces a light of intensity 1 has radiance 1.
"""

import warp as wp

from simgen.render.device import Material


@wp.struct
class Surface:
    """A point of a surface: unit `normal` toward the camera's side, unit `view` toward the camera, linear `albedo`, and
    constants of the reflection model: cosine `facing` between the two, square of the distribution's width `alpha2`, head-on
    reflectance `dielectric` of what is no metal, and the share `matte` of the albedo that is scattered."""

    normal: wp.vec3
    view: wp.vec3
    albedo: wp.vec3
    facing: float
    alpha2: float
    dielectric: float
    matte: float
    metal: float
    masking: float  # the camera's part of Smith's masking


@wp.func
def surface_of(m: Material, normal: wp.vec3, view: wp.vec3, albedo: wp.vec3):
    """Disney's parameters (Burley 2012, "Physically based shading at Disney"): alpha is the square of the roughness, and a
    dielectric reflects 8% of `specular` head-on."""
    s = Surface()
    alpha = wp.max(m.roughness * m.roughness, 0.005)  # a mirror's highlight of a point would have no extent
    s.normal = normal
    s.view = view
    s.albedo = albedo
    s.facing = wp.max(wp.dot(normal, view), 1.0e-3)
    s.alpha2 = alpha * alpha
    head_on = 0.08 * m.specular
    s.dielectric = head_on * (1.0 - m.metalness)
    s.matte = (1.0 - m.metalness) * (1.0 - head_on)
    s.metal = m.metalness
    s.masking = wp.sqrt(s.facing * s.facing * (1.0 - s.alpha2) + s.alpha2)
    return s


@wp.func
def reflected(s: Surface, light: wp.vec3, cosine: float, strength: float):
    """Radiance toward the camera for light of intensity 1 from the unit direction `light` at `cosine` to the normal;
    `strength` is a factor on the gloss.

    Lambert's law for the matte part. For the gloss the microfacet model of Walter et al. 2007 ("Microfacet models for
    refraction through rough surfaces") with their GGX distribution, Smith's masking in the height-correlated form of
    Heitz 2014, and Schlick's approximation (1994) of Fresnel's law, which fades out where the reflectance is nearly 0
    (Lagarde and de Rousiers 2014).
    """
    # Of the half vector h = light + view of two unit vectors, h.h = 2 (1 + light.view) and light.h = 1 + light.view.
    opened = 1.0 + wp.max(wp.dot(light, s.view), -0.999999)
    upright = cosine + s.facing  # normal.h
    grazing = 1.0 - wp.min(wp.sqrt(0.5 * opened), 1.0)
    grazing2 = grazing * grazing
    fresnel = grazing2 * grazing2 * grazing
    spread = wp.clamp(upright * upright / (2.0 * opened), 0.0, 1.0) * (s.alpha2 - 1.0) + 1.0
    masking = cosine * s.masking + s.facing * wp.sqrt(cosine * cosine * (1.0 - s.alpha2) + s.alpha2)
    # pi D V cosine: the distribution's 1 / pi cancels against the unit of intensity.
    lobe = strength * cosine * s.alpha2 * 0.5 / (spread * spread * wp.max(masking, 1.0e-6))
    fades = wp.min(50.0 * (s.dielectric + s.metal), 1.0)
    constant = lobe * (s.dielectric * (1.0 - fresnel) + fades * fresnel)
    colored = s.matte * cosine + lobe * s.metal * (1.0 - fresnel)
    return s.albedo * colored + wp.vec3(constant, constant, constant)


@wp.func
def product(a: wp.vec3, b: wp.vec3):
    """The product of two colors."""
    return wp.vec3(a[0] * b[0], a[1] * b[1], a[2] * b[2])


@wp.func
def mixed(a: wp.vec3, b: wp.vec3, share: float):
    """`a`, and `share` of `b` in its place."""
    return a + (b - a) * share


@wp.func
def mirror_direction(s: Surface):
    """The unit direction that a mirror would show."""
    return s.normal * (2.0 * s.facing) - s.view


@wp.func
def ambient_light(s: Surface, sky: wp.vec3, ground: wp.vec3, toward: wp.vec3, open_share: float, mirrored: wp.vec3):
    """Radiance under ambient light, of which `open_share` arrives: `sky` from `toward`, `ground` from the opposite side,
    blended by the cosine. Glossy surfaces mirror the light that comes from the mirror direction, times `mirrored`."""
    scattered = mixed(ground, sky, 0.5 + 0.5 * wp.dot(s.normal, toward))
    glossy = mixed(ground, sky, 0.5 + 0.5 * wp.clamp(wp.dot(mirror_direction(s), toward), -1.0, 1.0))
    gloss = wp.vec3(s.dielectric, s.dielectric, s.dielectric) + s.albedo * s.metal
    return (product(scattered, s.albedo) * s.matte + product(product(glossy, mirrored), gloss)) * open_share
