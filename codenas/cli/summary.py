"""What a run found: `summary.json` for machines, tables for people."""

from dataclasses import dataclass
from typing import Literal

import typer
from pydantic import BaseModel, ConfigDict

from codenas.arch import ArchSpec, Design
from codenas.arch.storage import Storage
from codenas.checkpoint import Checkpoint
from codenas.cli.console import console
from codenas.cli.report import write_report
from codenas.corpus import Corpus
from codenas.corpus.manifest import SplitInfo, Tally
from codenas.evaluate.run import Evaluation
from codenas.experiment.run import Run
from codenas.log import duration
from codenas.metrics import Metrics
from codenas.report.fidelity import fidelity_lines
from codenas.report.front import draw_front, front_rows
from codenas.report.quality import quality_table
from codenas.report.tables import FrontRow, front_table, metric_figures, search_counts, summary_lines, winner_line, worker_utilisation
from codenas.search.fitness import Objective
from codenas.search.history import History
from codenas.search.result import SearchResult


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(_Part):
    """One completion over HTTP: `seconds` from sending the request to the last byte of the answer."""

    prompt: str
    completion: str
    tokens: int
    seconds: float


class FrontMember(_Part):
    """One design of the front, after `rung` steps: the mean of its seeds, and the bits per byte of each."""

    id: str
    design: Design
    metrics: Metrics
    rung: int
    winner: bool
    scores: tuple[float, ...] = ()


class CorpusFacts(_Part):
    """What the models were trained and scored on."""

    digest: str
    source: str
    vocab_size: int
    splits: dict[str, SplitInfo]
    drops: dict[str, Tally]


class ModelFacts(_Part):
    """The trained winner as it is stored; metrics are those of the evaluation."""

    path: str
    arch: ArchSpec
    storage: Storage
    vocabulary: str | None
    step: int
    metrics: Metrics


class Summary(_Part):
    """Everything a run found. Seconds and memory are those of the session that finished it."""

    schema_version: Literal[1] = 1
    corpus: CorpusFacts
    search: SearchResult
    front: tuple[FrontMember, ...]
    model: ModelFacts
    evaluation: Evaluation
    answers: tuple[Answer, ...]
    stage_seconds: dict[str, float]
    peak_memory_bytes: int
    serve_again: str


@dataclass(slots=True, frozen=True)
class Findings:
    """What the stages of a run returned."""

    corpus: Corpus
    result: SearchResult
    history: History
    checkpoint: Checkpoint
    evaluation: Evaluation
    answers: tuple[Answer, ...]

    def rows(self, rung: int, objectives: tuple[Objective, ...]) -> list[FrontRow]:
        """The front at the last rung."""
        return front_rows(self.history.trials, self.result.winner, rung, objectives)


def summarise(run: Run, found: Findings, rows: list[FrontRow], seconds: dict[str, float], peak_memory_bytes: int, port: int) -> Summary:
    """Put the findings of a run together."""
    manifest, trained = found.corpus.manifest, found.checkpoint.manifest
    return Summary(
        corpus=CorpusFacts(
            digest=manifest.digest, source=manifest.source, vocab_size=manifest.vocab_size, splits=manifest.splits, drops=manifest.drops
        ),
        search=found.result,
        front=tuple(
            FrontMember(id=row.id, design=row.design, metrics=row.metrics, rung=row.rung, winner=row.winner, scores=row.scores)
            for row in rows
        ),
        model=ModelFacts(
            path=str(found.checkpoint.path.relative_to(run.folder)),
            arch=trained.arch,
            storage=trained.storage,
            vocabulary=trained.vocabulary,
            step=trained.step,
            metrics=found.evaluation.metrics,
        ),
        evaluation=found.evaluation,
        answers=found.answers,
        stage_seconds=seconds,
        peak_memory_bytes=peak_memory_bytes,
        serve_again=f"codenas serve --run {run.folder} --port {port}",
    )


def show_summary(run: Run, summary: Summary, found: Findings, rows: list[FrontRow], objectives: tuple[Objective, ...]) -> None:
    """One table of the front, one of the model, the picture, and how to go on."""
    if run.writable:
        draw_front(found.history.trials, rows, objectives, run.picture)
        write_report(run)
    screen = console()
    screen.print(front_table(rows, f"Pareto front after {rows[0].rung} steps (★ was trained in full)"))
    screen.print(quality_table(summary.evaluation.metrics, summary.evaluation.compressors, summary.evaluation.completions))
    for warning in summary.evaluation.warnings:
        screen.print(f"[bold red]{warning}")
    for line in summary_lines([*metric_figures(summary.model.metrics), *_search_figures(summary), *_cost_figures(summary)]):
        typer.echo(line)
    places = [("report", run.report), ("picture", run.picture), ("summary", run.summary), ("model", run.model)]
    lines = "\n".join(f"{name:<8}  {path}" for name, path in places)
    typer.echo(f"\n{lines}\n\nServe it again:\n  {summary.serve_again}")


def _search_figures(summary: Summary) -> list[tuple[str, str]]:
    search = summary.search
    return [
        ("search", search_counts(search)),
        ("winner", winner_line(search)),
        ("worker utilisation", worker_utilisation(search)),
        *(("fidelity", line) for line in fidelity_lines(search.fidelity)),
    ]


def _cost_figures(summary: Summary) -> list[tuple[str, str]]:
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in summary.stage_seconds.items())
    return [
        ("time", f"{duration(sum(summary.stage_seconds.values()))} in this session: {stages}"),
        ("memory", f"{summary.peak_memory_bytes / 1e9:.2f} GB at most in all processes"),
    ]
