"""Model files as they are, with their textures, for programs that draw them."""

import re
import sys
from pathlib import Path
from typing import Any

import trimesh

from simgen.dataset.models import Model
from simgen.errors import DatasetError

_HEAD = 65536  # bytes: more than the header of any PLY file


def load_model(model: Model) -> Any:
    """The mesh of `model` as trimesh reads it, with its texture, in mm and in its own frame. Raises DatasetError."""
    textures_of(model)
    try:
        return trimesh.load(model.mesh, force="mesh", process=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{model.mesh}: missing, or cannot be read as a mesh ({error})") from error


def textures_of(model: Model) -> list[Path]:
    """The texture files that the PLY file of `model` names; only those beside it may be named. Prints a line for one that is
    not there. Raises DatasetError."""
    if not model.mesh.is_file():
        raise DatasetError(f"{model.mesh}: missing; expected the mesh of model {model.obj_id}")
    if model.mesh.suffix.lower() != ".ply":
        return []
    with model.mesh.open("rb") as file:
        data = file.read(_HEAD).partition(b"end_header")[0]
    try:
        head = data.decode()
    except UnicodeDecodeError:
        head = data.decode("latin-1")
    names = re.findall(r"^comment TextureFile (.+?)\s*$", head, re.MULTILINE)
    for name in names:
        if Path(name).name != name:
            raise DatasetError(f"{model.mesh}: names the texture {name!r}; expected the name of a file beside it")
    paths = [model.mesh.parent / name for name in names]
    for path in paths:
        if not path.is_file():
            print(f"{model.mesh}: names the texture {path.name}, which is missing: it is left out", file=sys.stderr)
    return [path for path in paths if path.is_file()]
