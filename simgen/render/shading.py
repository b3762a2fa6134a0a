"""Reflection of light by surfaces, as pure functions of tensors. All colors and intensities are linear light.

Intensities omit the factor pi: a white matte surface that faces a light of intensity 1 has radiance 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from simgen.render.stage import Vector, dot

SMALLEST_ALPHA = 0.005  # a mirror's highlight of a point would have no extent at all


class Surface(NamedTuple):
    """Surfaces that rays meet: unit `normal` towards the ray's side, linear `albedo`, and the gloss; tensors that broadcast
    to (K, P)."""

    normal: Vector
    albedo: Vector
    roughness: Tensor
    metalness: Tensor
    specular: Tensor


class Gloss(NamedTuple):
    """What of the reflection model does not depend on the light; see `gloss_of`."""

    view: Vector  # unit, towards the camera
    facing: Tensor  # cosine between normal and view
    alpha2: Tensor
    dielectric: Tensor  # reflectance of the part that is no metal, head-on
    matt: Tensor  # share of the albedo that is scattered


def gloss_of(surface: Surface, view: Vector) -> Gloss:
    """The reflection model's constants. Disney's parameters (Burley 2012, "Physically based shading at Disney"): alpha is
    the square of the roughness, and a dielectric reflects 8% of `specular` head-on."""
    alpha = (surface.roughness * surface.roughness).clamp_min(SMALLEST_ALPHA)
    dielectric = 0.08 * surface.specular
    return Gloss(
        view=view,
        facing=dot(surface.normal, view).clamp_min(1e-3),
        alpha2=alpha * alpha,
        dielectric=dielectric * (1 - surface.metalness),
        matt=(1 - surface.metalness) * (1 - dielectric),
    )


def reflect(surface: Surface, gloss: Gloss, light: Vector, cosine: Tensor, strength: Tensor) -> Vector:
    """Radiance towards the camera for light of intensity 1 from the unit direction `light`, `cosine` being its (clamped)
    cosine with the normal, and `strength` a factor on the gloss.

    Lambert's law for the matt part. For the gloss the microfacet model of Walter et al. 2007 ("Microfacet models for
    refraction through rough surfaces") with their GGX distribution, Smith's masking in the height-correlated form of
    Heitz 2014, and Schlick's approximation (1994) of Fresnel's law, which fades out where the reflectance is nearly 0
    (Lagarde and de Rousiers 2014).
    """
    half = tuple(a + b for a, b in zip(light, gloss.view, strict=True))
    inverse = torch.rsqrt(dot(half, half).clamp_min(1e-12))  # type: ignore[arg-type]
    upright = (dot(surface.normal, half) * inverse).clamp(0, 1)  # type: ignore[arg-type]
    grazing = 1 - (dot(light, half) * inverse).clamp(0, 1)  # type: ignore[arg-type]
    grazing2 = grazing * grazing
    fresnel = grazing2 * grazing2 * grazing
    spread = upright * upright * (gloss.alpha2 - 1) + 1
    rest = 1 - gloss.alpha2
    seen, lit = gloss.facing * gloss.facing * rest + gloss.alpha2, cosine * cosine * rest + gloss.alpha2
    masking = cosine * (seen * torch.rsqrt(seen)) + gloss.facing * (lit * torch.rsqrt(lit))
    # pi D V cosine: the distribution's 1 / pi cancels against the unit of intensity.
    lobe = strength * cosine * gloss.alpha2 * 0.5 / (spread * spread * masking.clamp_min(1e-6))
    matt = gloss.matt * cosine
    metal = surface.metalness * (1 - fresnel)
    fades = (50 * (gloss.dielectric + surface.metalness)).clamp_max(1)
    constant = lobe * (gloss.dielectric * (1 - fresnel) + fades * fresnel)
    coloured = matt + lobe * metal
    r, g, b = surface.albedo
    return r * coloured + constant, g * coloured + constant, b * coloured + constant


def ambient(surface: Surface, gloss: Gloss, sky: Tensor, ground: Tensor, share: Tensor) -> Vector:
    """Radiance under light from everywhere: `sky` (K, 3) from above, `ground` (K, 3) from below, blended by height; `share`
    of it arrives. The gloss mirrors the height that it reflects."""
    height = 0.5 + 0.5 * surface.normal[2]
    mirrored = 0.5 + 0.5 * (2 * gloss.facing * surface.normal[2] - gloss.view[2]).clamp(-1, 1)
    matt = gloss.matt * share
    r, g, b = (
        (ground[:, k, None] + (sky - ground)[:, k, None] * height) * (matt * surface.albedo[k])
        + (ground[:, k, None] + (sky - ground)[:, k, None] * mirrored)
        * (share * (gloss.dielectric + surface.metalness * surface.albedo[k]))
        for k in range(3)
    )
    return r, g, b


def occlusion(clearances: list[Tensor], heights: tuple[float, ...]) -> Tensor:
    """How much one object takes away of the light from everywhere, 0 to 1: by how much nearer it is than the open height
    above the surface, at several heights, the nearest counting most (Evans 2006, "Fast approximations for global
    illumination on dynamic scenes")."""
    weights = [0.5**k for k in range(len(heights))]
    total = torch.zeros_like(clearances[0])
    for weight, height, clear in zip(weights, heights, clearances, strict=True):
        total = total + (weight / sum(weights)) * (1 - clear / height).clamp(0, 1)
    return total
