"""`python -m simgen merge`: makes one dataset of parts that several machines rendered (`render part=K/N`).

The parts are in the dataset's folder already, or in folders of their own, which are copied. The result has the same bytes as
a dataset that was rendered at once.
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from simgen.command.progress import Progress
from simgen.dataset.assemble import (
    PARTS,
    Part,
    changes,
    done_among,
    finish,
    listed,
    mark_unfinished,
    parts_of,
    read_manifest,
    read_records,
    runs_of,
)
from simgen.dataset.layout import MANIFEST, MODELS_INFO
from simgen.dataset.write import record_name
from simgen.errors import ConfigError, DatasetError
from simgen.schema import Merge
from simgen.storage import Storage, open_storage
from simgen.workers import samples_of

_NO_FILES: dict[str, Any] = {"files": {}}
_AT_ONCE = 16  # samples whose files are in memory
_SHOWN = 20  # commands for missing parts


def merge(config: Merge) -> None:
    """Completes the dataset `config.out`. Raises DatasetError if the parts are not of one recipe, or if samples are missing,
    and then prints the commands that render them."""
    out = open_storage(config.out)
    parts = [open_storage(part, "parts") for part in config.parts]
    there = out.top()
    if there and MANIFEST not in there:
        raise DatasetError(f"out: {out} exists and is not a dataset of simgen's; name a new or empty folder")
    places = [*([out] if there else []), *parts]
    if not places:
        raise ConfigError(f"out: {out} holds no dataset; name the folder that parts were rendered into, or parts=[...]")
    manifests = [_manifest(place) for place in places]
    head = _joined(manifests, places)
    whole = range(head["start"], head["start"] + head["num"])
    claims = [claim for place in places for claim in parts_of(place)]
    if not parts and manifests[0]["status"] == "complete":
        out.remove(out.sizes(PARTS))  # of a merge that was killed, or of a part that was rendered again
        print(f"{out}: {len(whole)} samples, complete")
        return
    if parts:
        mark_unfinished(out, head)
        out.put(_models_of(places, "copy it again"))
    for part in parts:
        _copy(part, out, whole)
    done = done_among(out, whole)
    if config.hashes:
        done -= _damaged(out, sorted(done))
    missing = list(runs_of(index for index in whole if index not in done))
    if missing:
        for command in _commands(missing, head, claims, config.out):
            print(command)
        raise DatasetError(
            f"{out}: {len(whole) - len(done)} of {len(whole)} samples are missing: "
            f"{listed([_named(run) for run in missing])}; render them (the commands of known parts are printed above; "
            f"without part= all are rendered) into {out}, then merge again"
        )
    if not parts:
        _models_of([out], "copy it again, or repeat the command that rendered it")
    finish(out, head)
    print(f"{out}: {len(whole)} samples, complete")


def _models_of(places: Sequence[Storage], remedy: str) -> dict[str, bytes]:
    """The files in models/ of all `places` together. Raises DatasetError, which ends with the `remedy`, where two differ, or
    where one is missing or damaged."""
    found: dict[str, tuple[bytes, Storage]] = {}
    for place in places:
        names = sorted(name for name, size in place.sizes("models").items() if size)
        for name, data in zip(names, place.read(names), strict=True):
            known, other = found.setdefault(name, (data or b"", place))
            if known != data:
                raise DatasetError(f"parts: {name} differs in {other} and {place}; copy the damaged one again")
    infos = found.get(f"models/{MODELS_INFO}")
    content, origin = infos or (b"{}", places[0])
    try:
        numbers = [int(number) for number in json.loads(content)]
    except (ValueError, TypeError) as error:
        raise DatasetError(f"parts: {origin}/models/{MODELS_INFO} is damaged ({error}); {remedy}") from error
    wanted = [f"models/{MODELS_INFO}", *(f"models/obj_{number:06d}.ply" for number in numbers)]
    gone = [name for name in wanted if name not in found]
    if gone:
        raise DatasetError(f"parts: {gone[0]} is missing, or empty, in {', '.join(map(str, places))}; {remedy}")
    return {name: data for name, (data, _) in found.items()}


def _manifest(place: Storage) -> dict[str, Any]:
    if MANIFEST not in place.top():
        raise DatasetError(f"parts: {place} has no {MANIFEST}; expected a folder that `render part=K/N` wrote")
    return read_manifest(place)


def _joined(manifests: Sequence[Mapping[str, Any]], places: Sequence[Storage]) -> dict[str, Any]:
    """The manifest, without status and files, of all the samples of `manifests`, which must have one recipe."""
    first = manifests[0]
    for manifest, place in zip(manifests, places, strict=True):
        found = changes(first["recipe"], manifest["recipe"])
        if found:
            raise DatasetError(f"{places[0]} and {place} are not parts of one dataset: {listed(found)}")
    start = min(manifest["start"] for manifest in manifests)
    end = max(manifest["start"] + manifest["num"] for manifest in manifests)
    stated = {key: value for key, value in first.items() if key not in ("status", "files")}
    return {**stated, "start": start, "num": end - start}


def _copy(part: Storage, out: Storage, whole: range) -> None:
    """Copies the samples of `part` to `out`. One that is there already must have the same bytes."""
    done, todo = done_among(out, whole), sorted(done_among(part, whole))
    for index in (index for index in todo if index in done):
        ours, theirs = (place.read([record_name(index)]) for place in (out, part))
        if ours != theirs:
            raise DatasetError(
                f"sample {index} is in {out} and in {part} with different bytes, so machines of two kinds rendered it; "
                "leave one of the two folders out"
            )
    new = [index for index in todo if index not in done]
    with Progress(f"{part}: copied", len(new), "samples") as progress:
        for batch in _loaded(part, new):
            good = [one for one in batch if one.damaged is None]
            out.put({name: data for one in good for name, data in one.files.items()})
            out.put({record_name(one.index): one.record for one in good})
            _report(part, batch)
            progress.update(len(batch))


def _damaged(out: Storage, indices: Sequence[int]) -> set[int]:
    """Those samples of `indices` with a file whose bytes are not those that its record states. Their records are removed, so
    that `render` renders them again."""
    found: set[int] = set()
    with Progress(f"{out}: checked", len(indices), "samples", ending=False) as progress:
        for batch in _loaded(out, indices):
            damaged = [one.index for one in batch if one.damaged is not None]
            out.remove(record_name(index) for index in damaged)
            found.update(damaged)
            _report(out, batch)
            progress.update(len(batch))
    return found


@dataclass(frozen=True)
class _Loaded:
    """A sample with its record and its files. `damaged` is the name of a file with other bytes than the record states."""

    index: int
    record: bytes
    files: Mapping[str, bytes]
    damaged: str | None


def _loaded(place: Storage, indices: Sequence[int]) -> Iterator[list[_Loaded]]:
    """The samples `indices`, some at a time."""
    for k in range(0, len(indices), _AT_ONCE):
        batch = indices[k : k + _AT_ONCE]
        records = list(zip(batch, read_records(place, batch), strict=True))
        stated = {name: digest for _, (_, record) in records for name, digest in (record or _NO_FILES)["files"].items()}
        files = dict(zip(stated, place.read(list(stated)), strict=True))
        with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
            digests = dict(zip(files, pool.map(_sha256, files.values()), strict=True))
        loaded = []
        for index, (data, record) in records:
            names = list((record or _NO_FILES)["files"])
            wrong = [record_name(index)] if record is None else [n for n in names if digests[n] != stated[n]]
            loaded.append(_Loaded(index, data, {n: files[n] or b"" for n in names}, next(iter(wrong), None)))
        yield loaded


def _report(place: Storage, batch: Sequence[_Loaded]) -> None:
    for one in batch:
        if one.damaged is not None:
            print(f"{place}/{one.damaged}: truncated or changed: sample {one.index} counts as missing", file=sys.stderr)


def _commands(missing: Sequence[range], head: Mapping[str, Any], claims: Sequence[Part], out: str) -> Iterator[str]:
    """The commands that render the samples `missing` into `out`, from those of the known parts; none if none is known."""
    for claim in claims:
        number = next((text.rpartition("/")[2] for text in claim.command if text.startswith("part=")), "")
        if number.isdecimal() and claim.command[0] == "render":
            break
    else:
        return
    kept = [text for text in claim.command if not text.startswith(("part=", "out="))]
    wanted = []
    for k in range(1, int(number) + 1):
        piece = samples_of(f"{k}/{number}", head["start"], head["num"])
        if any(run.start < piece.stop and piece.start < run.stop for run in missing):
            wanted.append(f"python -m simgen {shlex.join([*kept, f'part={k}/{number}', f'out={out}'])}")
    yield from wanted[:_SHOWN]
    if len(wanted) > _SHOWN:
        yield f"and {len(wanted) - _SHOWN} more parts of {number}"


def _sha256(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()


def _named(run: range) -> str:
    return str(run.start) if len(run) == 1 else f"{run.start} to {run.stop - 1}"
