"""The container files say what is in the repository; the entry point starts each role with the right command."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
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
ROLES = {"head", "worker", "endpoint"}


def test_every_base_image_is_pinned() -> None:
    assert len(STAGES) == len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)), "a FROM has no name"
    outside = [base for base in STAGES.values() if base not in STAGES]
    assert outside and all(re.fullmatch(r"\S+:\d+\.\d+\.\d+\S*", base) for base in outside)


def test_every_role_is_a_target_and_runs_without_root() -> None:
    targets = {service["build"]["target"] for service in SERVICES.values()}
    assert targets == ROLES <= STAGES.keys()
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
    for role in ROLES:
        stage = DOCKERFILE.split(f" AS {role}\n")[1].split("\nFROM ")[0]
        assert f'CMD ["entrypoint.sh", "healthy", "{role}"]' in stage


def test_each_gpu_has_a_worker_of_its_own_and_a_machine_without_gpus_a_profile() -> None:
    """Within a node Ray cannot choose between GPUs of two kinds."""
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert profiles == {"head": None, "gpu0": ["gpu"], "gpu1": ["gpu"], "cpu": ["cpu"], "endpoint": ["endpoint"]}
    for number in (0, 1):
        devices = SERVICES[f"gpu{number}"]["deploy"]["resources"]["reservations"]["devices"]
        assert devices == [{"driver": "nvidia", "device_ids": [str(number)], "capabilities": ["gpu"]}]
    assert "deploy" not in SERVICES["cpu"]


def test_the_token_is_a_secret_that_the_user_of_the_image_can_read() -> None:
    assert COMPOSE["secrets"] == {"ray_token": {"environment": "RAY_AUTH_TOKEN"}}
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[-1]
    for service in SERVICES.values():
        (secret,) = service["secrets"]
        assert (secret["uid"], secret["gid"], secret["mode"]) == (*user, 0o400)
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == f"/run/secrets/{secret['target']}"
        assert service["environment"]["RAY_AUTH_MODE"] == "token"


def test_objects_fit_in_the_shared_memory_of_a_container() -> None:
    script = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")
    store = re.search(r"^object_store_bytes=(\d+)", script, re.MULTILINE)
    assert store is not None
    for service in SERVICES.values():
        assert int(store[1]) < int(service["shm_size"].removesuffix("gb")) * 2**30 / 2


def test_what_compiles_for_a_cpu_and_for_a_gpu_is_in_the_image() -> None:
    """In the stage that roles are built from, not only where the decoding library is compiled."""
    packages = DOCKERFILE.split(" AS packages\n")[1].split("\nFROM ")[0]
    assert re.search(r"apt-get install .*\bgcc g\+\+", packages) and "FROM packages AS base" in DOCKERFILE


def test_the_image_installs_the_requirements_of_the_project() -> None:
    """Without building the project, whose C++ is not there yet."""
    command = [sys.executable, str(DOCKER / "requirements.py"), "ray", "serve"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert printed == [*project["dependencies"], *project["optional-dependencies"]["ray"], *project["optional-dependencies"]["serve"]]


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
        (["head"], ["ray start --block", " --head --port 6379 ", "--node-ip-address 10.0.0.7 ", "--dashboard-host 10.0.0.7 "]),
        (["worker"], ["ray start --block", "--node-ip-address 10.0.0.7 ", "--address 10.0.0.2:6379"]),
        (["head"], ["--metrics-export-port 8080", "--object-store-memory 1000000000", "--num-gpus 0"]),
        (["worker", "--num-gpus", "1"], ["--address 10.0.0.2:6379 --num-gpus 1"]),
        (["endpoint", "--run", "runs/demo"], ["codenas serve --host 10.0.0.7 --port 8000 --run runs/demo"]),
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


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can make a file of another user")
def test_a_token_that_cannot_be_read_is_one_line() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's folders are closed to others
        token = Path(name) / "token"
        token.write_text("secret")
        token.chmod(0o400)
        Path(name).chmod(0o755)
        command = ["setpriv", "--reuid", "1000", "--clear-groups", "bash", "-s", "worker"]
        environment = {"PATH": os.defpath, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        script = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")
        done = subprocess.run(command, env=environment, input=script, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2 and done.stderr.startswith(f"the token in {token} cannot be read by user 1000"), done.stderr
