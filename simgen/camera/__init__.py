"""Every camera file that people have, read into one checked `Camera`.

files.py knows the syntaxes, formats.py the keys of each tool, lenses.py the distortion models, checks.py what cannot be
right and which mistake it looks like, value.py the Camera itself.
"""

from simgen.camera.lenses import bop_lens, lens_of_bop
from simgen.camera.read import fit_camera, read_camera
from simgen.camera.value import Camera

__all__ = ["Camera", "bop_lens", "fit_camera", "lens_of_bop", "read_camera"]
