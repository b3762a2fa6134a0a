"""`render out=URL`: a dataset in any file system of fsspec has the bytes of a local one, also after faults of the remote."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from builders import run_command, tree
from fsspec.implementations.local import LocalFileSystem

import simgen.executors
import simgen.merge
import simgen.workers
from simgen.config import compose
from simgen.dataset.assemble import done_among
from simgen.dataset.read import open_dataset
from simgen.dataset.storage import open_storage as open_source
from simgen.errors import ConfigError, DatasetError, FileError
from simgen.pipeline import CHUNK
from simgen.schema import Merge, Render
from simgen.storage import open_storage

NUM = CHUNK + 4
KEYS = ["renderer=tiny", "randomize=none", "physics=place", "width=64", "height=48", "workers=1", f"num={NUM}"]


def render(out: str | Path, **keys: Any) -> str:
    config = replace(compose("render", Render, KEYS), out=str(out), **keys)
    return run_command(lambda: simgen.workers.render(config), "simgen", "render", *KEYS).stdout


def files_at(url: str) -> dict[str, bytes]:
    """As `builders.tree`, of a URL."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return {path[len(root) + 1 :]: fs.cat_file(path) for path in fs.find(root)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reference") / "set"
    render(out)
    return tree(out)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket on an S3 server of this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
        server.stop()


class Server(LocalFileSystem):
    """A file server, which unlike an object store shows a file while it is written; it vanishes after `left` writes."""

    protocol = "server"
    left = 10**6

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        Server.left -= 1
        super().pipe_file(path, value if Server.left >= 0 else value[: len(value) // 2], **options)
        if Server.left < 0:
            raise ConnectionError("connection lost")

    def rm_file(self, path: str) -> None:
        if Server.left < 0:
            raise ConnectionError("connection lost")
        super().rm_file(path)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return LocalFileSystem._strip_protocol(path.removeprefix("server://"))


def test_memory(reference: dict[str, bytes], tmp_path: Path) -> None:
    """At once, in parts, and of parts in a folder and in memory."""
    assert f"memory://whole: {NUM} samples, complete" in render("memory://whole")
    assert files_at("memory://whole") == reference
    assert "rendering 0 of" in render("memory://whole")
    for k in (2, 1):
        render("memory://parts", part=f"{k}/2")
    render(tmp_path / "second", part="2/2")
    render("memory://first", part="1/2")
    for merged in (Merge("memory://parts"), Merge("memory://both", [str(tmp_path / "second"), "memory://first"])):
        simgen.merge.merge(merged)
        assert files_at(merged.out) == reference
    with pytest.raises(DatasetError, match=r"seed is 0 there and 1 here"):
        render("memory://whole", seed=1)
    fsspec.filesystem("memory").pipe({"/thesis/a.tex": b"years of work"})
    with pytest.raises(DatasetError, match="is not a dataset of simgen's"):
        render("memory://thesis")
    assert files_at("memory://thesis") == {"a.tex": b"years of work"}


def test_s3(reference: dict[str, bytes], bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server fails at every request in turn, until the run gets through: nothing is lost, and nothing is half there."""
    out = f"{bucket}/deep/set"
    fs = open_storage(out).fs  # type: ignore[attr-defined]
    whole, before = type(fs)._pipe_file, -1
    for allowed in (3, 40, 100, 10**6):
        left = iter(range(allowed))

        async def pipe(self: Any, path: str, *arguments: Any, left: Any = left, **options: Any) -> None:
            if next(left, None) is None:
                raise ConnectionError("the server has vanished")
            await whole(self, path, *arguments, **options)

        monkeypatch.setattr(type(fs), "_pipe_file", pipe)
        if allowed < 10**6:
            with pytest.raises(FileError, match=r"s3://bucket/deep/set/.*the server has vanished.*same command again"):
                render(out)
            there = files_at(out)
            assert "camera.json" not in there and all(there[n] == reference[n] for n in there if n != "manifest.json")
            done = len(done_among(open_storage(out), range(NUM)))
            assert done >= max(before, 0)
            before = done
        else:
            assert f"rendering {NUM - before} of {NUM}" in render(out)
    assert files_at(out) == reference
    with pytest.raises(FileError, match=r"s3://nowhere/set"):
        render("s3://nowhere/set")


def test_an_empty_folder_of_a_console_is_empty(bucket: str) -> None:
    """That of S3 makes an object of the folder's own name."""
    out = f"{bucket}/console/set"
    fs = open_storage(out).fs  # type: ignore[attr-defined]
    fs.pipe_file(f"{out}/", b"")
    assert open_storage(out).top() == set() and open_storage(out).sizes("") == {}
    assert open_source(out).names() == []
    render(out, num=1)
    assert "manifest.json" in files_at(out)


def test_a_server_that_is_not_there(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(FileError, match=r"s3://bucket/other: cannot be read .*check address, credentials, connection"):
        render("s3://bucket/other")
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_file_server(reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is lost in the middle of a file: no file is half there under its name, and the same command completes the
    dataset."""
    fsspec.register_implementation("server", Server, clobber=True)
    out = f"server://{tmp_path}/set"
    for left in (0, 9, 50):
        monkeypatch.setattr(Server, "left", left)
        with pytest.raises(FileError, match="connection lost"):
            render(out)
        for name, data in tree(tmp_path / "set").items():
            assert name == "manifest.json" or name.endswith(".tmp") or data == reference[name]
    assert list((tmp_path / "set").rglob("*.tmp"))
    monkeypatch.setattr(Server, "left", 10**6)
    render(out)
    assert tree(tmp_path / "set") == reference


def test_urls(reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(f"file://{tmp_path}/set")
    assert tree(tmp_path / "set") == reference
    for url, words in {
        "foo://bucket/set": "out: foo://bucket/set: Protocol not known: foo; expected a folder, or a URL",
        "simplecache::s3://bucket/set": "expected one URL without",
        "s3://bucket/set*": "expected one URL without",
    }.items():
        with pytest.raises(ConfigError, match=words.replace("*", ".")):
            render(url)
    with pytest.raises(ConfigError, match=r"executor=ray: memory://set is the memory of one process"):
        render("memory://set", executor="ray")
    with pytest.raises(DatasetError, match=r"s3://bucket/set is a URL.*copy it"):
        open_dataset("s3://bucket/set")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(
        ConfigError, match=r"out: s3:// needs a package that is not installed: pip install 'simgen\[s3\]'"
    ):
        open_storage("s3://bucket/set")
