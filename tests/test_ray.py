"""`executor=ray` on a real cluster of two nodes on one machine: a worker and a node are killed; nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from builders import run_command, tree
from test_workers import until

import simgen.workers
from simgen.config import compose
from simgen.errors import ConfigError, RenderError
from simgen.pipeline import CHUNK
from simgen.schema import Render

NUM = 8 * CHUNK
KEYS = ["renderer=tiny", "randomize=none", "physics=place", "width=64", "height=48", "workers=1", f"num={NUM}"]
pytestmark = pytest.mark.ray


def render(out: Path, **keys: Any) -> str:
    config = replace(compose("render", Render, KEYS), out=str(out), **keys)
    done = run_command(lambda: simgen.workers.render(config), "simgen", "render", *KEYS)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")  # on a busy machine
        from ray.cluster_utils import Cluster

        # Ray notes its address there, whatever its own folder is, and does not make it.
        Path("/tmp/ray").mkdir(exist_ok=True)
        folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path is short
        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        health = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 4,
        }
        made = Cluster(True, head_node_args={**node, "temp_dir": folder, "_system_config": health})
        patch.setenv("RAY_ADDRESS", made.address)
        yield made, made.add_node(**node)
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_worker_and_a_node_are_killed(cluster: Any, tmp_path: Path) -> None:
    made, node = cluster
    out, seen = tmp_path / "set", []

    def records() -> int:
        return len(list(out.glob("train/*/sample/*.json")))

    def workers() -> list[int]:
        running = psutil.process_iter(["cmdline"])
        return [one.pid for one in running if "ray::simgen.chunk" in " ".join(one.info["cmdline"] or [])]

    def kill() -> None:
        until(lambda: records() > 0 and workers(), 200)
        os.kill(workers()[0], signal.SIGKILL)
        seen.append(records())
        until(lambda: records() > CHUNK, 200)
        made.remove_node(node, allow_graceful=False)
        seen.append(records())

    killer = threading.Thread(target=kill)
    killer.start()
    printed = render(out, executor="ray")
    killer.join()
    assert "executor=ray: 2 CPUs of 2 nodes" in printed and f"{NUM} samples, complete" in printed
    assert len(seen) == 2 and seen[1] < NUM - CHUNK
    render(tmp_path / "local")
    assert tree(out) == tree(tmp_path / "local")


def test_errors_of_nodes_end_in_one_line(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that sees another folder under the name, or that would draw other pictures, is named before it draws."""
    begin = simgen.workers.begin

    def elsewhere(*arguments: Any) -> set[int]:
        done = begin(*arguments)
        (tmp_path / "a" / "manifest.json").unlink()
        return done

    with monkeypatch.context() as patch:
        patch.setattr(simgen.workers, "begin", elsewhere)
        with pytest.raises(RenderError, match=r"out: .* has no manifest\.json here.*all nodes share.*\(on the node "):
            render(tmp_path / "a", executor="ray")
    describe = simgen.workers.describe_dataset
    with monkeypatch.context() as patch:
        patch.setattr(simgen.workers, "describe_dataset", lambda *a: {**describe(*a), "versions": {"numpy": "0.1"}})
        with pytest.raises(
            RenderError, match=r"other pictures than .*: versions\.numpy is '0\.1' there.*install the same"
        ):
            render(tmp_path / "b", executor="ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"no Ray cluster at RAY_ADDRESS=127\.0\.0\.1:9"):
        render(tmp_path / "c", executor="ray")


def test_the_trainings_of_a_study_are_tasks(cluster: Any, tmp_path: Path) -> None:
    """In a process of its own, whose script's folder the workers import from, as a user starts it."""
    script = Path(__file__).parent.parent / "scripts" / "bench_transfer.py"
    keys = ["study=tobin2017", "scale=smoke", "executor=ray", "arms=[full]", "seeds=[0]", f"out={tmp_path / 'study'}"]
    done = subprocess.run([sys.executable, str(script), *keys], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 trainings are finished." in done.stdout and "executor=ray: " in done.stderr
    cell = json.loads((tmp_path / "study/cells/ablations/full/tobin_small-0/cell.json").read_text())
    assert set(cell["columns"]) == {"simulated", "photographs", "alone", "distractors", "occluded"}
    assert len(cell["columns"]["simulated"]["errors"]) > 15
