"""`codenas search tensorboard`: losses, scores and choices of every candidate, in files that TensorBoard reads."""

import struct
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codenas.cli.app import app
from codenas.search.result import SearchFolder
from tests.fakes import SMALL_SEARCH, tiny_corpus

pytest.importorskip("tensorboardX")


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps of each scalar in the event files of `folder`: records of a length, its checksum, an event and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[int]] = {}
    for file in folder.glob("events.out.*"):
        data, start = file.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            event = Event.FromString(data[start + 12 : start + 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
            start += length + 16
    return found


def test_a_search_becomes_events(tmp_path: Path) -> None:
    job, run, events = tmp_path / "job.toml", tmp_path / "run", tmp_path / "events"
    job.write_text(SMALL_SEARCH)
    corpus = tiny_corpus(tmp_path / "corpus").path
    asked = ["search", "tensorboard", "--run", str(run), "--output", str(events)]
    searched = CliRunner().invoke(app, ["search", "--no-ray", "--run", str(run), "--corpus", str(corpus), "--job", str(job)])
    assert searched.exit_code == 0, searched.output
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"3 candidates: tensorboard --logdir {events}\n"
    assert sorted(path.name for path in events.iterdir()) == ["c000", "c001", "c002"]
    rungs = [scalars(events / name)["rung/bits_per_byte"] for name in ("c000", "c001", "c002")]
    budget = SearchFolder(run / "search").history().trials
    assert rungs == [[report.rung for report in trial.reports] for trial in budget] and max(map(len, rungs)) == 2
    assert scalars(events / "c000")["training/nats_per_token"]
    again = CliRunner().invoke(app, asked)
    assert again.exit_code == 2 and f"{events} is not empty" in again.stderr
