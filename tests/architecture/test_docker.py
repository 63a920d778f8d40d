"""The container files say what is in the repository; the entry point starts each role with the right command."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
STAGES = {stage: base for base, stage in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_every_base_image_is_pinned() -> None:
    assert len(STAGES) == len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)), "a FROM has no name"
    outside = [base for base in STAGES.values() if base not in STAGES]
    assert outside and all(re.fullmatch(r"\S+:\d+\.\d+\.\d+\S*", base) for base in outside)


def test_every_role_is_a_target_and_runs_without_root() -> None:
    assert {service["build"]["target"] for service in SERVICES.values()} == {"head", "worker", "endpoint"} <= STAGES.keys()
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users and users[-1].split(":")[0].isdigit() and int(users[-1].split(":")[0]) > 0


def test_every_copied_file_exists_and_reaches_the_build() -> None:
    copied = [source for line in re.findall(r"^COPY (?!--from=)(.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]]
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for source in copied:
        assert (ROOT / source).exists(), f"COPY {source}: there is no such path"
        assert f"!{source}" in allowed, f"COPY {source}: Dockerfile.dockerignore keeps it out"


def test_every_port_is_on_the_loopback_of_the_host_and_every_role_has_a_health_check() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    for role in SERVICES:
        stage = DOCKERFILE.split(f" AS {role}\n")[1].split("\nFROM ")[0]
        assert f'CMD ["entrypoint.sh", "healthy", "{role}"]' in stage


def test_the_worker_has_both_gpus_and_the_token_is_a_secret() -> None:
    devices = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]
    assert COMPOSE["secrets"] == {"ray_token": {"environment": "RAY_AUTH_TOKEN"}}
    assert all(service["environment"]["RAY_AUTH_MODE"] == "token" for service in SERVICES.values())


@pytest.fixture
def path_of_stubs(tmp_path: Path) -> str:
    """A PATH whose ray, codenas, hostname and getent only say what they were asked for."""
    for name, says in {"ray": 'ray "$@"', "codenas": 'codenas "$@"', "hostname": "10.0.0.7 10.0.1.7", "getent": '"10.0.0.2  $2"'}.items():
        stub = tmp_path / name
        stub.write_text(f"#!/bin/sh\necho {says}\n", encoding="utf-8")
        stub.chmod(0o755)
    return f"{tmp_path}:{os.defpath}"


def entrypoint(path: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point with nothing but `environment`."""
    command = ["bash", str(DOCKER / "entrypoint.sh"), *arguments]
    return subprocess.run(command, env={"PATH": path, **environment}, capture_output=True, text=True, timeout=20, check=False)


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["head"], ["ray start --head --block", "--node-ip-address 10.0.0.7 ", "--dashboard-host 10.0.0.7 "]),
        (["worker"], ["ray start --block", "--node-ip-address 10.0.0.7 ", "--address 10.0.0.2:6379"]),
        (["endpoint", "--run", "demo"], ["codenas serve --host 10.0.0.7 --port 8000 --run demo"]),
        (["search", "--address", "auto"], ["codenas search --address auto"]),
        (["healthy", "worker"], ["ray health-check --address 10.0.0.2:6379"]),
        ([], ["codenas --help"]),
    ],
)
def test_a_role_starts_the_command_of_a_laptop(arguments: list[str], words: list[str], path_of_stubs: str) -> None:
    done = entrypoint(path_of_stubs, *arguments, **TOKEN)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words), done.stdout
    assert "0.0.0.0" not in done.stdout and "secret" not in done.stdout


@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize("environment", [{}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_TOKEN": "secret"}])
def test_no_cluster_starts_without_its_token(role: str, environment: dict[str, str], path_of_stubs: str) -> None:
    done = entrypoint(path_of_stubs, role, **environment)
    assert done.returncode == 2 and "token" in done.stderr and done.stdout == ""
