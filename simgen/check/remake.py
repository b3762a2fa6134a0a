"""Makes samples of a dataset of simgen again from the configuration in its manifest, and compares them file by file."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import cv2
import numpy as np

from simgen.check.findings import NotRemade, NotReproduced, NotReproducedHere
from simgen.check.folder import Folder
from simgen.check.schema import CheckConfig
from simgen.command.progress import Progress
from simgen.dataset.recipe import describe
from simgen.dataset.write import DATA_VERSION, encode
from simgen.draws import Draws
from simgen.errors import DatasetError, SimgenError
from simgen.files import differences
from simgen.pipeline import Pipeline, make_pipeline
from simgen.render import make_renderer
from simgen.schema import Source

T = TypeVar("T")
_LARGEST = 179_000_000  # pixels of one picture
_LAST_BITS = 1e-9  # relative: to which numbers of two kinds of machines agree
_LEVELS = 3  # of 255 by which their pictures differ, in all but a part `_FEW` of the pixels
_FEW = 1e-3


def pipeline_of(manifest: Mapping[str, Any]) -> tuple[Pipeline | None, str]:
    """The pipeline that rendered the dataset with this manifest, or None and the reason: another tool's dataset, another
    version, a scene or folder that is missing here."""
    if not manifest:
        return None, "it has no manifest.json of this version of simgen"
    recipe = manifest["recipe"]
    if recipe["data_version"] != DATA_VERSION:
        return None, f"it is of data version {recipe['data_version']}, and this simgen renders version {DATA_VERSION}"
    try:
        source = source_of(recipe)
        if (source.width or 1) * (source.height or 1) > _LARGEST:
            raise DatasetError(f"{source.width} x {source.height} pixels are more than {_LARGEST}")
        pipeline = make_pipeline(source, checked=True)
        now = json.loads(json.dumps(describe(source, pipeline.world, pipeline.sampler, pipeline.images)))
    except (SimgenError, OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        return None, f"its configuration cannot be used here: {error}"
    changed = [key for key, _, _ in differences(recipe, {**recipe, **now}) if not key.startswith("versions.")]
    if changed:
        return None, f"{changed[0]} differs from that of the dataset: a file that it names has changed"
    return pipeline, ""


def source_of(recipe: Mapping[str, Any]) -> Source:
    """The configuration in the `recipe` of a manifest: the inverse of `simgen.dataset.recipe.describe`. Raises DatasetError
    that names the key for values of another type."""
    randomize = {**recipe["randomize"], "camera": {"file": "", **recipe["randomize"]["camera"]}}
    return _filled(Source, {**recipe, "randomize": randomize}, "recipe")


def _filled(kind: type[T], values: Any, where: str) -> T:
    if not isinstance(values, Mapping):
        raise DatasetError(f"manifest.json: {where}: expected an object")
    hints = get_type_hints(kind)
    found: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        if item.name not in values:
            continue  # its default; a required one is missing below
        value, hint, path = values[item.name], hints[item.name], f"{where}.{item.name}"
        if is_dataclass(hint):
            value = _filled(hint, value, path)  # type: ignore[arg-type]
        elif (hint is not Any and not isinstance(value, hint)) or (isinstance(value, bool) and hint is int):
            raise DatasetError(f"manifest.json: {path}: got {value!r}")
        found[item.name] = value
    return kind(**found)


def check_remade(folder: Folder, pipeline: Pipeline | None, reason: str, config: CheckConfig) -> None:
    """Makes `config.remake` samples again, chosen by `config.seed`, and reports those of which a file differs."""
    report = folder.report
    if pipeline is None:
        report(NotRemade(str(folder.root), reason))
        return
    start, num = folder.manifest.get("start"), folder.manifest.get("num")
    if type(start) is not int or type(num) is not int or start < 0 or not 0 < num < 2**40:
        report(NotRemade("manifest.json", f"start is {start!r} and num is {num!r}"))
        return
    image_format = folder.manifest["recipe"].get("image_format")
    if image_format not in ("jpg", "png"):
        report(NotRemade("manifest.json", f"recipe.image_format is {image_format!r}"))
        return
    chosen = _chosen(config.seed, start, num, config.remake)
    other = _other_versions(folder.manifest["recipe"], pipeline)
    try:
        renderer = make_renderer(
            pipeline.source.renderer, pipeline.world, pipeline.images, pipeline.source.raycast, threads=1
        )
        with Progress("made again", len(chosen), "samples", ending=False) as progress:
            for index in chosen:
                for sample in pipeline.samples(renderer, [index]):
                    encoded = encode(sample, image_format)
                    _compare(folder, {**encoded.files, encoded.record_name: encoded.record}, index, other)
                progress.update()
    except SimgenError as error:
        report(NotRemade(str(folder.root), str(error)))


def _chosen(seed: int, start: int, num: int, count: int) -> list[int]:
    """`count` different numbers of start .. start + num - 1, in order; all if there are fewer."""
    if count >= num:
        return list(range(start, start + num))
    found: dict[int, None] = {}
    tries = Draws(seed, np.arange(8 * count + 64)) / "remake"
    for share in tries.uniform(1)[:, 0]:
        found.setdefault(start + min(int(share * num), num - 1))
        if len(found) == count:
            break
    return sorted(found)


def _compare(folder: Folder, made: Mapping[str, bytes], index: int, other: str) -> None:
    there = {name: folder.read(name) for name in made}
    unlike = [name for name in made if there[name] is not None and there[name] != made[name]]
    if not unlike:
        return
    what = f"{len(unlike)} of its {len(made)} files have other bytes when made again from the recipe: {unlike[0]}"
    near = all(_nearly(name, there[name] or b"", made[name]) for name in unlike)
    last_bits = "another architecture of the processor is likely, or another GPU: they differ in last bits only"
    reason = other or (last_bits if near else "")
    kind = NotReproducedHere if reason else NotReproduced
    folder.report(kind(f"sample {index}", f"{what}{'; ' + reason if reason else ''}"))


def _nearly(name: str, one: bytes, two: bytes) -> bool:
    """Whether two versions of a file differ as those of two kinds of machines do."""
    if name.endswith(".json"):
        try:
            pairs = list(_numbers(json.loads(one), json.loads(two)))
        except (ValueError, RecursionError):
            return False
        return all(abs(a - b) <= _LAST_BITS * max(abs(a), abs(b), 1.0) for a, b in pairs)
    if not one or not two:
        return False
    a, b = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in (one, two))
    if a is None or b is None or a.shape != b.shape:
        return False
    off = np.abs(a.astype(np.int64) - b)
    return bool(np.count_nonzero(off > _LEVELS) <= _FEW * off.size)


def _numbers(one: Any, two: Any, key: str = "") -> Iterator[tuple[float, float]]:
    """The pairs of different numbers in two JSON values. Raises ValueError where they differ in anything else."""
    for path, a, b in differences(one, two, key):
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for x, y in zip(a, b, strict=True):
                yield from _numbers({"": x}, {"": y}, path)
        elif isinstance(a, int | float) and isinstance(b, int | float):
            yield a, b
        elif not path.startswith("files."):  # the hashes of the pictures
            raise ValueError(path)


def _other_versions(recipe: Mapping[str, Any], pipeline: Pipeline) -> str:
    """How the packages of the machine that rendered the dataset differ from those here; "" if they do not."""
    now = describe(pipeline.source, pipeline.world, pipeline.sampler, pipeline.images)["versions"]
    changed = [
        f"{name} {old or 'none'}, here {new or 'none'}" for name, old, new in differences(recipe.get("versions"), now)
    ]
    if not changed:
        return ""
    return f"likely because it was rendered with other versions: {', '.join(changed[:4])}"
