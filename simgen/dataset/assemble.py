"""Begins and resumes a dataset, and makes the whole of its samples: scene_*.json, camera.json and, last, manifest.json.

An unfinished dataset has a manifest with "status": "rendering". Runs that render a part each may share a folder, or have
folders of their own with the same files in the same places. Each leaves a file in parts/, which states its recipe, its
samples and its command. The whole has none of them.

Memory is that of one scene, IMAGES_PER_SCENE samples, however many there are.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simgen.catalogue import World
from simgen.dataset.layout import MANIFEST
from simgen.dataset.write import IMAGES_PER_SCENE, SPLIT, models_files, models_names, place_of, record_name
from simgen.errors import DatasetError
from simgen.files import differences, json_bytes
from simgen.storage import Storage

PARTS = "parts"
_TABLES = ("camera", "gt", "gt_info", "keypoints")  # of a record: each is gathered into scene_NAME.json
_STATED = {"start", "num", "status"}
_AT_ONCE = 100  # records that are read together


@dataclass(frozen=True)
class Part:
    """What one run that rendered a part of a dataset stated: the samples `start` to `end` - 1, and its command line."""

    recipe: Mapping[str, Any]
    start: int
    end: int
    command: tuple[str, ...]


def begin(
    out: Storage, recipe: Mapping[str, Any], start: int, num: int, world: World, wanted: range | None = None
) -> set[int]:
    """Prepares `out` for the samples start .. start + num - 1 of `recipe` and returns the numbers of those that exist; of
    `wanted` alone if that is given.

    Raises DatasetError if `out` cannot be written, or holds another dataset; the error names the differences.
    """
    head, there = head_of(recipe, start, num, world), out.top()
    manifest = read_manifest(out) if MANIFEST in there else None
    if manifest is not None:
        _compare(out, manifest, head)
    elif there:
        raise DatasetError(f"out: {out} exists and is not a dataset of simgen's; name a new or empty folder")
    wanted = range(start, start + num) if wanted is None else wanted
    done = done_among(out, wanted)
    if len(done) < len(wanted) or manifest is None or manifest["num"] != num or manifest["status"] != "complete":
        mark_unfinished(out, head)
        names = {f"models/{name}" for name in models_names(world.solids)}
        if not names <= {name for name, size in out.sizes("models").items() if size}:  # some may be empty after a crash
            out.put({f"models/{name}": data for name, data in models_files(world.solids).items()})
    return done


def mark_unfinished(out: Storage, head: Mapping[str, Any]) -> None:
    """Writes a manifest that states that the dataset is being rendered."""
    unfinished = json_bytes({**head, "status": "rendering"}, indent=1)
    if out.read([MANIFEST]) != [unfinished]:
        out.put({MANIFEST: unfinished})


def claim(out: Storage, recipe: Mapping[str, Any], samples: range, command: Sequence[str]) -> None:
    """States in parts/ that this run renders `samples` of `recipe`."""
    plain = json.dumps(recipe, sort_keys=True)
    name = f"{PARTS}/{hashlib.sha256(plain.encode()).hexdigest()[:16]}.{samples.start}-{samples.stop}.json"
    out.put(
        {name: json_bytes({"recipe": recipe, "start": samples.start, "end": samples.stop, "command": list(command)})}
    )


def parts_of(out: Storage) -> list[Part]:
    """What the runs stated that rendered parts of `out`. Raises DatasetError unless all rendered the same recipe."""
    names = sorted(out.sizes(PARTS))
    found: list[Part] = []
    for name, data in zip(names, out.read(names), strict=True):
        content = _parsed(data)
        try:
            part = Part(content["recipe"], content["start"], content["end"], tuple(content["command"]))
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{out}/{name}: does not state a part; remove it, and render that part again") from error
        found.append(part)
    found.sort(key=lambda part: (part.start, part.end))
    for part in found:
        if part.recipe != found[0].recipe:
            raise DatasetError(
                f"{out}: holds samples of several datasets: the part of samples {found[0].start} to {found[0].end - 1} "
                f"and that of {part.start} to {part.end - 1} differ: {listed(changes(found[0].recipe, part.recipe))}; "
                "put the parts of one dataset into a new folder"
            )
    return found


def read_manifest(out: Storage) -> dict[str, Any]:
    """The manifest of the dataset in `out`, which simgen rendered or began. Raises DatasetError for any other."""
    manifest = _parsed(out.read([MANIFEST])[0])
    if not isinstance(manifest, dict) or not isinstance(manifest.get("recipe"), dict) or not manifest.keys() >= _STATED:
        raise DatasetError(f"out: {out}/{MANIFEST} is not a manifest of simgen's; name a new or empty folder")
    return manifest


def done_among(out: Storage, wanted: range) -> set[int]:
    """The numbers of the samples of `wanted` that are stored with all their files."""
    done = set()
    for here in by_scene(wanted):
        sizes = out.sizes(place_of(here.start)[0])
        there = [index for index in here if record_name(index) in sizes]
        for index, (_, record) in zip(there, read_records(out, there), strict=True):
            # A file without content is one that a machine left that lost its power.
            if record is not None and all(sizes.get(name, 0) > 0 for name in record["files"]):
                done.add(index)
    return done


def read_records(out: Storage, indices: Sequence[int]) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """The record of each sample of `indices`, as bytes and as a value; None for one that is missing or incomplete."""
    for k in range(0, len(indices), _AT_ONCE):
        for data in out.read([record_name(index) for index in indices[k : k + _AT_ONCE]]):
            content = _parsed(data)
            whole = isinstance(content, dict) and isinstance(content.get("files"), dict)
            yield data or b"", content if whole else None


def finish(out: Storage, head: Mapping[str, Any]) -> None:
    """Gathers the records into scene_*.json, writes camera.json and, last of all, the complete manifest.

    Raises DatasetError if a sample is missing, or if parts of several datasets are in `out`.
    """
    for part in parts_of(out):
        if part.recipe != json.loads(json.dumps(head["recipe"])):
            raise DatasetError(
                f"{out}: the part of samples {part.start} to {part.end - 1} is one of another dataset: "
                f"{listed(changes(part.recipe, head['recipe']))}; put the parts of one dataset into a new folder"
            )
    out.clean()
    start = head["start"]
    (first,) = (record for _, record in read_records(out, [start]))
    camera = _there(first, out, start)
    k, size = camera["camera"]["cam_K"], camera["recipe"]["cameras"]
    content = {"fx": k[0], "fy": k[4], "cx": k[2], "cy": k[5], "depth_scale": 0.1}
    camera_json = json_bytes({**content, "width": size["width"], "height": size["height"]})
    out.put({"camera.json": camera_json})
    out.put_lines(MANIFEST, _manifest_lines(out, head, _sha256(camera_json)))
    out.remove(out.sizes(PARTS))


def head_of(recipe: Mapping[str, Any], start: int, num: int, world: World) -> dict[str, Any]:
    """The manifest of the samples start .. start + num - 1 of `recipe` but for its status and its files."""
    table = {"center": world.table.center[:2].tolist(), "size": world.table.size[:2].tolist()}
    return {"format": "bop", "recipe": recipe, "start": start, "num": num, "split": SPLIT, "table": table}


def _manifest_lines(out: Storage, head: Mapping[str, Any], camera: str) -> Iterator[str]:
    """The lines of the complete manifest, as json writes it with indent=1; writes the scene_*.json on the way."""
    lines = json.dumps({**head, "status": "complete"}, indent=1, allow_nan=False).splitlines()
    yield from lines[:-2]
    yield f"{lines[-2]},"
    yield ' "files": {'
    before = ""
    for name, digest in _hashes(out, head, camera):
        if before:
            yield f"{before},"
        before = f"  {json.dumps(name)}: {json.dumps(digest)}"
    yield before
    yield " }"
    yield "}"


def _hashes(out: Storage, head: Mapping[str, Any], camera: str) -> Iterator[tuple[str, str]]:
    """All files of the dataset with their hashes, sorted by name."""
    yield "camera.json", camera
    models = sorted(out.sizes("models"))
    for name, data in zip(models, out.read(models), strict=True):
        yield name, _sha256(data or b"")
    scenes = by_scene(range(head["start"], head["start"] + head["num"]))
    for here in sorted(scenes, key=lambda scene: place_of(scene.start)[0]):
        yield from sorted(_gather(out, here).items())


def _gather(out: Storage, here: range) -> dict[str, str]:
    """Writes the scene_*.json of the scene of the samples `here`; returns all files of the scene with their hashes."""
    folder, _ = place_of(here.start)
    files: dict[str, str] = {}
    rows: dict[str, list[str]] = {table: [] for table in _TABLES}
    for index, (data, record) in zip(here, read_records(out, here), strict=True):
        whole = _there(record, out, index)
        for table, lines in rows.items():
            lines.append(f'  "{index % IMAGES_PER_SCENE}": {json.dumps(whole[table])}')
        files.update(whole["files"])
        files[record_name(index)] = _sha256(data)
    for table, lines in rows.items():
        content = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
        out.put({f"{folder}/scene_{table}.json": content})
        files[f"{folder}/scene_{table}.json"] = _sha256(content)
    return files


def _there(record: dict[str, Any] | None, out: Storage, index: int) -> dict[str, Any]:
    if record is None:
        raise DatasetError(
            f"{out}/{record_name(index)}: missing or incomplete, though it was rendered; run the same command again (a "
            "folder that several machines write must be shared by them)"
        )
    return record


def _compare(out: Storage, manifest: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    version, ours = manifest["recipe"].get("data_version"), head["recipe"]["data_version"]
    if version != ours:
        raise DatasetError(
            f"out: {out} was rendered with data version {version}, and this simgen renders version {ours}, which draws "
            "other pictures: name another folder (a complete dataset of an older version can still be used for training "
            "and evaluation)"
        )
    found = changes(manifest["recipe"], head["recipe"])
    if manifest["start"] != head["start"]:
        found.append(f"start is {manifest['start']} there and {head['start']} here")
    if manifest["num"] > head["num"]:
        found.append(f"num is {manifest['num']} there and only {head['num']} here")
    if found:
        raise DatasetError(
            f"out: {out} holds another dataset: {listed(found)}; name another folder or the same configuration"
        )


def changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The differences between two recipes, as texts for messages."""
    return [f"{key} is {a!r} there and {b!r} here" for key, a, b in differences(there, json.loads(json.dumps(here)))]


def listed(found: Sequence[str]) -> str:
    """Up to five of the texts `found` as one, and the number of the others."""
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")


def by_scene(indices: range) -> Iterator[range]:
    """The ranges of `indices` cut at the borders of scenes."""
    at = indices.start
    while at < indices.stop:
        end = min(indices.stop, (at // IMAGES_PER_SCENE + 1) * IMAGES_PER_SCENE)
        yield range(at, end)
        at = end


def runs_of(indices: Iterable[int]) -> Iterator[range]:
    """`indices`, in ascending order, as ranges."""
    at: range | None = None
    for index in indices:
        if at is not None and index == at.stop:
            at = range(at.start, index + 1)
            continue
        if at is not None:
            yield at
        at = range(index, index + 1)
    if at is not None:
        yield at


def _parsed(data: bytes | None) -> Any:
    """The JSON value in `data`; None if there is none, or not a whole one."""
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
