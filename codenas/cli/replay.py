"""`codenas search replay`: strategies compared on recorded results, without training."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codenas.processes import MAX_WORKERS

if TYPE_CHECKING:
    from codenas.search.candidate import Budget
    from codenas.search.replay.replay import ColumnRoles, Recorded

_CHUNK = 5  # seeds that a worker does at a time


def replay(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Recorded results: parquet, npz or jsonl, one row an architecture.")],
    strategy: Annotated[str, typer.Option(metavar="NAME[,NAME...]", help="Strategies; the first is the baseline.")],
    trained: Annotated[str, typer.Option("--trained", "--costly", help="Columns known after training, also per step: `loss@50`.")],
    static: Annotated[str, typer.Option("--static", "--free", help="Columns known before training.")] = "",
    capacity: Annotated[
        str | None,
        typer.Option(help="The static column that predicts quality, such as parameters; not an objective. [default: the first of several]"),
    ] = None,
    choices: Annotated[str, typer.Option(help="Columns that identify an architecture. [default: `choice.*`, or all others]")] = "",
    maximize: Annotated[str, typer.Option(help="Columns to maximize.")] = "",
    trainings: Annotated[int, typer.Option(min=1, help="Budget of a search, in trainings.")] = 24,
    seeds: Annotated[int, typer.Option(min=2, help="Searches for each strategy.")] = 100,
    rungs: Annotated[str, typer.Option(help="Steps of the rungs, such as 50,300: candidates are promoted as in a search.")] = "",
    candidates: Annotated[int, typer.Option(min=1, help="With rungs: candidates of a round.")] = 12,
    promote: Annotated[str, typer.Option(help="With rungs: how many of a round are promoted from each but the last.")] = "3",
    least: Annotated[str, typer.Option(help="With rungs: promote at least this many; scores decide how many more, up to --promote.")] = "",
    screen: Annotated[str | None, typer.Option(help="With rungs: column that lower rungs rank by. [default: first of --trained]")] = None,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Processes.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Store the results, as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Plot the results, as a PNG.")] = None,
) -> None:
    """Replay searches on recorded results: hypervolume found after each number of trainings.

    Measured as hypervolume: of the objectives (trained and static columns, without the capacity), relative to that of all rows.
    """
    from codenas.cli.console import console
    from codenas.errors import ConfigError
    from codenas.files import require_writable_file, write_atomic
    from codenas.report.plots import volumes
    from codenas.report.replay import replay_rows, replay_table
    from codenas.search.replay.replay import Recorded
    from codenas.search.replay.table import Table
    from codenas.search.strategies.registry import STRATEGIES
    from codenas.search.strategies.registry import strategy as strategy_called

    names = _names(strategy)
    if not names:
        raise ConfigError(f"--strategy names none; choose among {', '.join(STRATEGIES)}")
    for name in names:
        strategy_called(name)
    for path in filter(None, (json_file, picture)):
        require_writable_file(path)
    roles = _roles(_names(static), _names(trained), _names(maximize), capacity, screen, _names(choices))
    found = Table.read(table)
    recorded = Recorded.of(found, roles, _budget(rungs, candidates, promote, least))
    recorded.require_rows(trainings)
    started = time.monotonic()
    shares, seconds = _replays(recorded, names, trainings, seeds, workers)
    rows = replay_rows(shares, {name: total / (seeds * trainings) for name, total in seconds.items()})
    title = f"{table.name}: {len(found):,} rows, {' x '.join(roles.objectives)}, {trainings} trainings, {seeds} seeds"
    console().print(replay_table(rows, title))
    if json_file is not None:
        write_atomic(
            json_file, json.dumps({"table": str(table), "objectives": roles.objectives, "rows": [asdict(row) for row in rows]}, indent=1)
        )
    if picture is not None:
        volumes({row.strategy: [(share.mean, share.low, share.high) for share in row.shares] for row in rows}, title, picture)
    typer.echo(f"{seeds * len(names):,} searches in {time.monotonic() - started:.1f} s")


def some_replays(recorded: "Recorded", name: str, trainings: int, seeds: Sequence[int]) -> tuple[list[list[float]], float]:
    """What a worker does: the shares of volume of each seed, and the seconds that it took."""
    from codenas.search.replay.replay import replay
    from codenas.search.strategies.registry import strategy

    started = time.process_time()
    shares = [replay(recorded, strategy(name), trainings, seed) for seed in seeds]
    return shares, time.process_time() - started


def _replays(
    recorded: "Recorded", names: Sequence[str], trainings: int, seeds: int, workers: int
) -> tuple[dict[str, list[list[float]]], dict[str, float]]:
    """The shares of volume [seeds, trainings] and the seconds of each strategy."""
    from codenas.log import Progress
    from codenas.processes import worker_pool

    chunks = [(name, range(first, min(first + _CHUNK, seeds))) for name in names for first in range(0, seeds, _CHUNK)]
    shares: dict[str, list[list[float]]] = {name: [] for name in names}
    seconds = dict.fromkeys(names, 0.0)
    progress = Progress("replay", seeds * len(names), "searches")

    def note(name: str, done: tuple[list[list[float]], float]) -> None:
        shares[name] += done[0]
        seconds[name] += done[1]
        progress.update(progress.done + len(done[0]))

    if workers == 1:
        for name, some in chunks:
            note(name, some_replays(recorded, name, trainings, some))
        return shares, seconds
    with worker_pool(workers) as pool:
        futures = [pool.submit(some_replays, recorded, name, trainings, some) for name, some in chunks]
        for (name, _), future in zip(chunks, futures, strict=True):
            note(name, future.result())
    return shares, seconds


def _roles(
    static: Sequence[str], trained: Sequence[str], maximize: Sequence[str], capacity: str | None, screen: str | None, choices: Sequence[str]
) -> "ColumnRoles":
    from codenas.search.replay.replay import ColumnRoles

    chosen = capacity or (static[0] if len(static) > 1 else None)
    return ColumnRoles(tuple(static), tuple(trained), frozenset(maximize), chosen, screen, tuple(choices))


def _budget(rungs: str, candidates: int, promote: str, least: str) -> "Budget | None":
    """A round of a search; None without rungs."""
    from pydantic import ValidationError

    from codenas.errors import ConfigError, first_error
    from codenas.search.candidate import Budget

    if not rungs:
        return None
    try:
        return Budget.model_validate({"candidates": candidates, "rungs": _names(rungs), "promote": _names(promote), "least": _names(least)})
    except ValidationError as error:
        raise ConfigError(
            f"--rungs {rungs} --candidates {candidates} --promote {promote}{f' --least {least}' if least else ''}: {first_error(error)}"
        ) from None


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]
