"""The story of docker/compose.yaml on loopback: its roles as the entry point starts them, and the lines of its header, for real.

There is no container here: what a container gives (its address, the name of the head, its environment, its working folder) is given to
processes of this machine, and ports are chosen that are free.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.loopback import free_port
from tests.nodes import _START, ROOT, Node, wait_until
from tune_jobs.cluster.reaper import reaped_folder

DOCKER = ROOT / "docker"
TEXT = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
JOB = """
[prepare]
source = "source"
vocab_size = 300
valid_share = 0.1
test_share = 0.1
filters = { enabled = false }
[search]
budget = { candidates = 2, rungs = [2, 4], promote = [1] }
objectives = [{ metric = "bits_per_byte", weight = 1.0 }]
trial = { score_tokens = 128, latency_tokens = 4 }
[search.space]
base = { d_model = 16, n_layers = 1, context_len = 32 }
choices = { d_model = [16, 32] }
[train]
steps = 6
"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@dataclass(slots=True)
class Machine:
    """Containers that are none: a folder for /data, an environment, and what runs."""

    data: Path
    folder: Path
    environment: dict[str, str]
    running: list[Node]

    def up(self, service: str, *options: str, said: str = "Ray runtime started") -> Node:
        """Start a service with its command of the compose file and more `options`; returns when it has said that it is up."""
        default = {"head": ["head"], "cpu": ["worker"]}
        words = SERVICES[service].get("command", default.get(service))
        command = ["bash", str(DOCKER / "entrypoint.sh"), *(word.replace("${CODENAS_RUN:-demo}", "mine") for word in words), *options]
        log = self.folder / f"{service}.log"
        with log.open("wb") as file:
            process = psutil.Popen(command, cwd=self.data, env=self.environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        node = Node(process, log)
        self.running.append(node)
        wait_until(lambda: process.poll() is not None or said in log.read_text(errors="replace"), lambda: log.read_text(errors="replace"))
        assert process.poll() is None, log.read_text(errors="replace")
        return node

    def healthy(self, role: str, port: int) -> bool:
        """What the health check of the image says."""
        command = ["bash", str(DOCKER / "entrypoint.sh"), "healthy", role, str(port)]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def execute(self, line: str) -> str:
        """Run what stands behind `docker compose exec SERVICE` in the header of the compose file; returns its output."""
        done = subprocess.run(shlex.split(line), cwd=self.data, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "token").write_text("a" * 32)
    programs = {
        "hostname": "echo 127.0.0.1",
        "getent": 'echo "127.0.0.1  $2"',
        "ray": f'exec {sys.executable} -c {shlex.quote(_START)} "$@"',  # two raylets on one loopback
    }
    (tmp_path / "bin").mkdir()
    for name, body in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    given = SERVICES["head"]["environment"] | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    image = {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    with reaped_folder() as folder:
        (tmp_path / "data").mkdir()
        found = Machine(tmp_path / "data", folder, {**image, **given, "PATH": path}, [])
        try:
            yield found
        finally:
            for node in found.running:
                node.kill()


def test_the_lines_of_the_header_prepare_search_train_and_serve(machine: Machine) -> None:
    ports = {name: free_port() for name in ("ray", "dashboard", "agent", "client", "metrics", "worker metrics", "worker agent", "http")}
    head = f"--port {ports['ray']} --dashboard-port {ports['dashboard']} --dashboard-agent-listen-port {ports['agent']} "
    head += f"--ray-client-server-port {ports['client']} --metrics-export-port {ports['metrics']} --temp-dir {machine.folder / 'head'}"
    machine.up("head", *head.split())
    assert machine.healthy("head", ports["ray"]) and not machine.healthy("head", free_port())
    worker = f"--address 127.0.0.1:{ports['ray']} --num-cpus 1 --num-gpus 0 --metrics-export-port {ports['worker metrics']} "
    machine.up("cpu", *f"{worker} --dashboard-agent-listen-port {ports['worker agent']} --temp-dir {machine.folder / 'cpu'}".split())
    assert machine.healthy("worker", ports["ray"])

    # A container has one head, which Ray finds, on an address that it does not replace by another.
    machine.environment |= {"RAY_ADDRESS": f"127.0.0.1:{ports['ray']}", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    job = machine.data / "tune_jobs" / "jobs" / "workstation.toml"
    job.parent.mkdir(parents=True)
    job.write_text(JOB)
    for package in range(30):
        (machine.data / "source" / f"p{package}").mkdir(parents=True)
        for module in range(3):
            text = "".join(f"def f{package}_{module}_{i}(a, b):\n    return a * {i} + b\n\n" for i in range(20))
            (machine.data / "source" / f"p{package}" / f"m{module}.py").write_text(text)
    lines = re.findall(r"^#   docker compose exec (\w+) (codenas .*?)(?: #.*)?$", TEXT, re.MULTILINE)
    assert [line.split()[1] for _, line in lines] == ["prepare", "search", "train"] and {service for service, _ in lines} <= SERVICES.keys()
    for _, line in lines:
        machine.execute(line)

    port = ports["http"]
    machine.up("endpoint", "--port", str(port), said=f"is served at http://127.0.0.1:{port}")
    assert machine.healthy("endpoint", port)
    asked = {"model": "mine", "prompt": "def f(", "max_tokens": 4}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=asked, timeout=60).json()
    assert answer["choices"][0]["text"]
    exported = httpx.get(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=60)
    assert exported.status_code == 200 and "ray_" in exported.text
