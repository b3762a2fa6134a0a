"""Whether a model was trained on the pictures on which it is to be measured or calibrated."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simgen.dataset.read import BopDataset
from train.data.images import manifest_hash
from train.data.stream import seed_of


def note_what_was_learned(origin: Mapping[str, Any], dataset: BopDataset) -> None:
    """Prints a note on stderr if the training with the configuration `origin` learned from samples of `dataset`: it has the
    seed and the scene of its stream, or is its dataset."""
    recipe, scenes = dataset.manifest.get("recipe", {}), origin.get("data", {}).get("scenes", [])
    streamed = {(_place(scene), seed_of(origin["seed"], k)) for k, scene in enumerate(scenes)}
    sha = origin.get("dataset", {}).get("manifest_sha256")
    if "scene" in recipe and (_place(recipe["scene"]), recipe.get("seed")) in streamed:
        print(
            f"note: {dataset.root} has the scene and the seed {recipe['seed']} of the pictures that the model learned from; "
            "render with another seed, such as seed=777",
            file=sys.stderr,
        )
    elif sha is not None and sha == manifest_hash(dataset.root):
        print(f"note: the model learned from {dataset.root}: render others, with another seed", file=sys.stderr)


def _place(scene: str) -> str:
    """The same for all spellings of a scene file's path; the name of a scene of simgen's own."""
    return str(Path(scene).resolve()) if Path(scene).suffix else scene
