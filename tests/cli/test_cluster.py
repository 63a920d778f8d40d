"""A cluster of one's own does not depend on the folder that it is started in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_DRIVER = """
import os, ray
from codenas.cli.cluster import local_ray
with local_ray(cpus=1):
    assert ray.get(ray.remote(lambda: __import__("wave").WAVE_FORMAT_PCM).remote(), timeout=60) == 1
    print(os.getcwd())
"""


@pytest.mark.cluster
def test_workers_do_not_import_modules_of_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / "wave.py").write_text("raise SystemExit('the module of the user was imported')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", _DRIVER]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}\n"
