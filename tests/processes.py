"""Processes of others, which may end while they are looked at, and Python in a copy of this project."""

from pathlib import Path

import psutil

_IMPORT_FROM_THE_COPY = """
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_editable_skbc_codenas"]
"""


def import_from_copy(folder: Path) -> dict[str, str]:
    """Variables with which Python finds the packages in `folder`: an editable install would come before PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(_IMPORT_FROM_THE_COPY)
    return {"PYTHONPATH": str(folder)}


def tree(process: psutil.Process) -> list[psutil.Process]:
    """`process` and all that it started; none when it is gone."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def title(process: psutil.Process) -> str:
    """What `process` is called; empty when it is gone."""
    try:
        return process.name() + " ".join(process.cmdline())
    except psutil.Error:
        return ""
