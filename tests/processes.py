"""Processes of others, which may end while they are looked at."""

import psutil


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
