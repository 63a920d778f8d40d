"""The head of a cluster goes: the process that works on it ends with a line."""

import socket
import subprocess
import sys

_WATCH = """
import threading
from tune_jobs.cluster.head_watch import head_watched
with head_watched("127.0.0.1", {port}, patience=0.2, interval=0.05):
    print("watching", flush=True)
    threading.Event().wait()
"""


def test_an_unreachable_head_ends_the_process_with_a_one_line_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        command = [sys.executable, "-c", _WATCH.format(port=port)]
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watching.stdout is not None and watching.stdout.readline() == "watching\n"
        for _ in range(5):
            head.accept()[0].close()  # it is looked for again and again, and found
        assert watching.poll() is None
    _, output = watching.communicate(timeout=60)
    assert watching.returncode == 2
    assert output == (
        f"codenas: the head of the cluster at 127.0.0.1:{port} is unreachable; finished work is kept, "
        "run the same command again once the cluster is up\n"
    )
