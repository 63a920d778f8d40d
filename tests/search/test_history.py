"""The history: what was recorded is there again after any kill; what is broken is named by its line."""

import json
from pathlib import Path

import pytest

from codenas.arch import Design
from codenas.errors import RunError
from codenas.metrics import Metrics, TrainingCurve
from codenas.search.candidate import Candidate, Failure, Outcome, Refusal, Report
from codenas.search.history import History, history_of, read_events
from tests.fakes import tiny_arch


def candidate(index: int) -> Candidate:
    return Candidate(index=index, design=Design(arch=tiny_arch(n_layers=1 + index)), origin="random", seed=7)


def report(index: int, rung: int = 50, bits: float = 2.0) -> Report:
    return Report(index=index, rung=rung, steps=rung, metrics=Metrics(bits_per_byte=bits), seconds=1.5, checkpoint=f"c{index:03d}/{rung}")


OUTCOMES: list[Outcome] = [
    report(0),
    Refusal(index=1, reason="too large", metrics=Metrics(size_bytes=9)),
    report(0, 300),
    Failure(index=2, rung=50, reason="diverged: ünïcode"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A history of three candidates."""
    history = History(tmp_path / "run" / "trials.jsonl")
    for index in range(3):
        history.propose(candidate(index))
    for outcome in OUTCOMES:
        history.add_outcome(outcome)
    return tmp_path / "run" / "trials.jsonl"


def test_an_empty_history_needs_no_file(tmp_path: Path) -> None:
    history = History(tmp_path / "trials.jsonl")
    assert len(history) == 0 and history.trials == ()
    assert not (tmp_path / "trials.jsonl").exists()


def test_what_was_recorded_is_read_again(path: Path) -> None:
    first, second, third = History(path).trials
    assert first.candidate == candidate(0) and first.candidate.id == "c000"
    assert first.reports == (OUTCOMES[0], OUTCOMES[2]) and first.last == OUTCOMES[2] and not first.stopped
    assert second.refusal == OUTCOMES[1] and second.stopped and second.last is None
    assert third.failure == OUTCOMES[3] and third.settled(50) and third.settled(300)


def test_events_are_published_after_their_line_is_in_the_file(tmp_path: Path) -> None:
    path, published = tmp_path / "trials.jsonl", list[str]()

    def publish(line: str) -> None:
        published.append(line)
        assert path.read_text().splitlines() == published

    history = History(path, publish)
    history.propose(candidate(0))
    history.add_outcome(report(0))
    assert len(published) == 2
    History(path, publish).add_outcome(report(0, 300))
    assert len(published) == 3, "what was there already is no news"


def test_events_come_in_their_order_and_amount_to_the_same_history(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"event":"rep')  # is being written
    events = list(read_events(path))
    assert events[3:] == OUTCOMES
    assert history_of(events).trials == History(path).trials


def test_an_outcome_of_an_earlier_version_has_no_curve(path: Path) -> None:
    before = History(path).trials
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert any("curve" in line for line in lines)
    path.write_text("".join(json.dumps({name: value for name, value in line.items() if name != "curve"}) + "\n" for line in lines))
    assert History(path).trials == before


def test_the_training_curve_of_an_earlier_version_is_read_by_its_old_name(path: Path) -> None:
    curve = TrainingCurve(worker="host:1", started=1.0, seconds=2.0, losses=((50, 3.0),))
    old = [json.loads(line) for line in path.read_text().splitlines()]
    for event in (event for event in old if event["event"] in ("report", "failure")):
        event["course"] = event.pop("curve") or curve.model_dump(mode="json")
    path.write_text("".join(f"{json.dumps(event)}\n" for event in old))
    found = [event.curve for event in read_events(path) if isinstance(event, Report | Failure)]
    assert found and set(found) == {curve}


def test_a_candidate_of_an_earlier_version_is_its_architecture_as_it_stood(path: Path) -> None:
    """Written when a search chose nothing but architectures."""
    before = History(path).trials
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for event in lines:
        if event["event"] == "proposal":
            event["candidate"]["arch"] = event["candidate"].pop("design")["arch"]
    path.write_text("".join(f"{json.dumps(event)}\n" for event in lines))
    assert History(path).trials == before
    event = {**lines[0], "candidate": {**lines[0]["candidate"], "design": {"arch": {}}}}
    path.write_text(json.dumps(event))
    with pytest.raises(RunError, match="line 1 is no event of a search: .*arch"):
        History(path)


def test_it_is_the_same_in_memory_and_on_disk(path: Path) -> None:
    memory = History()
    for index in range(3):
        memory.propose(candidate(index))
    for outcome in OUTCOMES:
        memory.add_outcome(outcome)
    assert memory.trials == History(path).trials


def test_a_rung_reported_twice_counts_as_first_said(path: Path) -> None:
    history = History(path)
    history.add_outcome(report(0, bits=9.0))
    assert history.trials[0].report(50) == OUTCOMES[0]
    assert History(path).trials == history.trials


def test_a_kill_at_any_byte_loses_at_most_the_line_that_was_written(path: Path) -> None:
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut + 1 for end in ends)  # a line that lacks only its line break is whole
        history = History(path)
        assert len(history) == min(kept, 3)
        assert sum(len(trial.reports) + trial.stopped for trial in history.trials) == max(0, kept - 3)


def test_a_torn_line_in_the_middle_is_closed_off_and_the_rest_counts(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    history = History(path)
    assert history.trials[2].failure is None
    history.add_outcome(OUTCOMES[3])
    history.propose(candidate(3))
    again = History(path)
    assert again.trials == history.trials
    assert again.trials[2].failure == OUTCOMES[3] and len(again) == 4


@pytest.mark.parametrize("line", ["{}", "3", '"report"', '{"event":"party"}', '{"event":"failure","index":0,"rung":50,"reason":1}'])
def test_a_line_that_is_json_and_no_event_is_named(line: str, path: Path) -> None:
    lines = path.read_text().splitlines()
    lines.insert(2, line)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match=r"trials.jsonl, line 3 is no event of a search: .*; restore the file") as caught:
        History(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_refused(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text(json.dumps({**json.loads(lines[0]), "extra": 1}) + "\n")
    with pytest.raises(RunError, match="line 1 is no event"):
        History(path)


def test_candidates_come_in_order(path: Path) -> None:
    with pytest.raises(RunError, match="the history has 3 candidates; number 5 cannot come next"):
        History(path).propose(candidate(5))


@pytest.mark.parametrize("index", [3, -1])
def test_an_event_of_nobody_is_refused(index: int, path: Path) -> None:
    with pytest.raises(RunError, match=f"the history has 3 candidates and an event of number {index}"):
        History(path).add_outcome(report(index))


def test_what_is_refused_is_not_in_the_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(RunError):
        History(path).add_outcome(report(9))
    with pytest.raises(RunError):
        History(path).propose(candidate(0))
    assert path.read_bytes() == before


@pytest.mark.parametrize("lost", ["whole line", "half of a line"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_lost_candidate_is_reported_with_file_line_and_way_out(number: int, lost: str, path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    half = lines[number - 1][:40] + "\n"
    path.write_text("".join([*lines[: number - 1], *([half] if lost == "half of a line" else []), *lines[number:]]))
    message = (
        rf"^{path}, line {number + (lost == 'half of a line')}: the history has {number - 1} candidates; number {number} cannot come next, "
    )
    message += rf"so a line before it is lost or damaged; restore the file, or remove {path.parent} to search again$"
    for read in (History, lambda path: list(read_events(path))):
        with pytest.raises(RunError, match=message):
            read(path)


def test_what_is_kept_beside_the_trials_is_what_they_say(path: Path) -> None:
    """The same after a restart, and whatever is told twice."""
    history = History(path)
    history.add_outcome(OUTCOMES[1])
    for each in (history, History(path)):
        assert each.open == ()
        assert (each.refused(), each.refused(before=2), each.refused(before=1)) == (1, 1, 0)
        assert each.has_design(candidate(2).design.digest) and not each.has_design(candidate(3).design.digest)
        assert each.best_bits_per_byte == 2.0
    history.propose(candidate(3))
    history.propose(candidate(4))
    history.add_outcome(report(4, bits=1.5))
    assert history.open == (3,) and history.has_design(candidate(3).design.digest) and history.best_bits_per_byte == 1.5
