"""Reads the camera files of common calibration tools into one checked `Camera`.

files.py reads the syntaxes, formats.py the keys of each tool, lenses.py the distortion models; checks.py detects implausible
values and their likely cause; value.py has `Camera` itself.
"""

from simgen.camera.lenses import bop_lens, lens_of_bop
from simgen.camera.read import fit_camera, read_camera
from simgen.camera.value import Camera

__all__ = ["Camera", "bop_lens", "fit_camera", "lens_of_bop", "read_camera"]
