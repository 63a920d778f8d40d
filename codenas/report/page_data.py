"""The data behind the report of a search, computed from the events of its history; nothing is rendered here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from codenas.arch.cost import body_parameters
from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.evaluate.evaluation import Evaluation
from codenas.metrics import STATIC, Metrics, TrainingCurve
from codenas.report.designs import in_words
from codenas.report.front import front_rows
from codenas.report.importance import Importance, expected_best, importances
from codenas.report.reasons import Reason, reasons
from codenas.report.reproduce import commands, job_file
from codenas.report.status import highest_rung, progress_line
from codenas.search.candidate import Failure, Proposal, Refusal, Report, Trial
from codenas.search.config import SearchConfig
from codenas.search.fidelity import Fidelity, fidelities
from codenas.search.result import SearchResult
from codenas.stats.pareto import front

Event = Proposal | Report | Refusal | Failure


@dataclass(slots=True, frozen=True)
class SearchRecord:
    """Everything in the files of a search.

    Attributes:
        events: the history in chronological order; `trials` is its final state.
        job: the job as parsed JSON; `config` is the part of it that describes the search.
        vocab_sizes: sizes of the vocabularies that are available; None is that of the corpus.
        evaluation: of the trained winner; None before.
    """

    run: str
    corpus: str | None
    job: Mapping[str, Any]
    config: SearchConfig
    events: Sequence[Event]
    trials: Sequence[Trial]
    result: SearchResult | None
    vocab_sizes: Mapping[str | None, int]
    evaluation: Evaluation | None = None


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ObjectiveFigures(_Figures):
    """An objective; `limit_text` is its limit with its unit."""

    metric: str
    direction: Literal["minimize", "maximize"]
    weight: float
    limit: float | None
    limit_text: str | None


class Settings(_Figures):
    """The settings of the search. `combinations` counts all combinations of choices, valid or not."""

    space: str
    choices: dict[str, tuple[str, ...]]
    combinations: int
    strategy: str
    seed: int
    candidates: int
    rungs: tuple[int, ...]
    promote: tuple[int, ...]
    objectives: tuple[ObjectiveFigures, ...]


class Effort(_Figures):
    """The cost of the search. The last three are those of the session that finished it, and None before.

    Attributes:
        worker_seconds: inside training steps, over all workers and sessions.
        worker_utilisation: share of worker time inside training steps.
    """

    steps: int
    scoring_steps: int
    trained: int
    refused: int
    failed: int
    worker_seconds: float
    workers: int | None
    wall_seconds: float | None
    worker_utilisation: float | None


class Rung(_Figures):
    """A candidate after `rung` steps; by then the search had taken `step` steps in total, and `best` was the best score at this rung."""

    rung: int
    step: int
    best: float | None
    metrics: Metrics
    curve: TrainingCurve | None


class CandidateFigures(_Figures):
    """A candidate: its origin, its design in words, its choices and its metrics."""

    id: str
    origin: str
    parents: tuple[str, ...]
    design: str
    choices: dict[str, str]
    fate: Literal["trained", "refused", "failed", "open"]
    failed_curve: TrainingCurve | None
    on_front: bool
    rungs: tuple[Rung, ...]


class Best(_Figures):
    """The winner; in an unfinished search the best candidate so far, by bits per byte at the highest rung."""

    id: str
    rung: int
    design: Design
    stored_arch: ArchSpec
    vocab_size: int | None
    metrics: Metrics


class Baseline(_Figures):
    """The best of some candidates at the first rung: measured, or the expected best of as many random ones."""

    name: str
    candidates: int
    bits_per_byte: float
    measured: bool
    best: str | None


class Baselines(_Figures):
    """What simpler methods would have found among the same candidates after `rung` steps.

    Attributes:
        search: the best of the first 1, 2, ... candidates that reported.
        random: the expected best of 1, 2, ... of the candidates that were sampled at random.
    """

    rung: int
    rows: tuple[Baseline, ...]
    search: tuple[float, ...]
    random: tuple[float, ...]


class Command(_Figures):
    """A command and its purpose."""

    purpose: str
    line: str


class SearchFigures(_Figures):
    """Everything in the report."""

    schema_version: Literal[2] = 2
    run: str
    finished: bool
    progress: str
    settings: Settings
    effort: Effort
    best: Best | None
    candidates: tuple[CandidateFigures, ...]
    importances: tuple[Importance, ...]
    correlations: tuple[Fidelity, ...]
    baselines: Baselines | None
    reasons: tuple[Reason, ...]
    evaluation: Evaluation | None
    job_file: str
    commands: tuple[Command, ...]


def search_figures(record: SearchRecord) -> SearchFigures:
    """The data of a search, finished or not."""
    config, trials = record.config, record.trials
    rungs, best = config.budget.rungs, _best(record)
    highest = highest_rung(trials)
    rows = [] if highest is None else front_rows(trials, record.result.winner if record.result else -1, highest, config.objectives)
    candidates = _candidates(record, {row.id for row in rows})
    first = [(each, each.rungs[0].metrics.bits_per_byte) for each in candidates if each.rungs and each.rungs[0].rung == rungs[0]]
    scored = [(each, bits) for each, bits in first if bits is not None]
    suggested = commands(record.run, record.corpus, rungs[-1], record.result is not None)
    return SearchFigures(
        run=record.run,
        finished=record.result is not None,
        progress=progress_line(trials, config, record.result is not None, None),
        settings=_settings(config),
        effort=_effort(record),
        best=best,
        candidates=candidates,
        importances=importances([each.choices for each, _ in scored], [bits for _, bits in scored]),
        correlations=fidelities(trials, rungs),
        baselines=_baselines(trials, candidates, config),
        reasons=reasons(trials),
        evaluation=record.evaluation,
        job_file=job_file(record.job),
        commands=tuple(Command(purpose=purpose, line=line) for purpose, line in suggested),
    )


def _settings(config: SearchConfig) -> Settings:
    space, budget = config.search_space(), config.budget
    objectives = [
        ObjectiveFigures(
            metric=each.metric,
            direction=each.direction,
            weight=each.weight,
            limit=each.limit,
            limit_text=None if each.limit is None else each.formatted(each.limit),
        )
        for each in config.objectives
    ]
    return Settings(
        space=config.space_name,
        choices={field: tuple(_word(value) for value in values) for field, values in space.choices.items()},
        combinations=space.cardinality,
        strategy=config.strategy,
        seed=config.seed,
        candidates=budget.candidates,
        rungs=budget.rungs,
        promote=budget.promote,
        objectives=tuple(objectives),
    )


def _effort(record: SearchRecord) -> Effort:
    reports = [report for trial in record.trials for report in trial.reports]
    result = record.result
    return Effort(
        steps=sum(report.steps for report in reports),
        scoring_steps=sum(report.scoring_steps for report in reports),
        trained=sum(bool(trial.reports) for trial in record.trials),
        refused=sum(trial.refusal is not None for trial in record.trials),
        failed=sum(trial.failure is not None for trial in record.trials),
        worker_seconds=sum(report.seconds for report in reports),
        workers=result.workers if result else None,
        wall_seconds=result.wall_seconds if result else None,
        worker_utilisation=result.training_share if result and result.session_steps else None,
    )


def _best(record: SearchRecord) -> Best | None:
    if record.result is not None:
        trial = record.trials[record.result.winner]
    else:
        rung = highest_rung(record.trials)
        scored = [(bits, trial.candidate.index) for trial in record.trials if rung and (bits := _bits(trial, rung)) is not None]
        if not scored:
            return None
        trial = record.trials[min(scored)[1]]
    report = trial.last
    assert report is not None
    design = trial.candidate.design
    return Best(
        id=trial.candidate.id,
        rung=report.rung,
        design=design,
        stored_arch=design.stored_arch,
        vocab_size=record.vocab_sizes.get(design.vocabulary),
        metrics=report.metrics,
    )


def _candidates(record: SearchRecord, on_front: set[str]) -> tuple[CandidateFigures, ...]:
    space, by_index = record.config.search_space(), _rungs(record.events)
    return tuple(
        CandidateFigures(
            id=trial.candidate.id,
            origin=trial.candidate.origin,
            parents=tuple(record.trials[parent].candidate.id for parent in trial.candidate.parents if parent < len(record.trials)),
            design=in_words(trial.candidate.design),
            choices={field: _word(value) for field, value in space.flatten(trial.candidate.design).items()},
            fate="refused" if trial.refusal else "failed" if trial.failure else "trained" if trial.reports else "open",
            failed_curve=trial.failure.curve if trial.failure else None,
            on_front=trial.candidate.id in on_front,
            rungs=tuple(by_index.get(trial.candidate.index, ())),
        )
        for trial in record.trials
    )


def _rungs(events: Iterable[Event]) -> dict[int, list[Rung]]:
    """The reports of each candidate, by its index; repeated reports of a rung count once."""
    found, known, best, step = dict[int, list[Rung]](), set[tuple[int, int]](), dict[int, float](), 0
    for event in events:
        if not isinstance(event, Report) or (event.index, event.rung) in known:
            continue
        known.add((event.index, event.rung))
        step += event.steps
        if (bits := event.metrics.bits_per_byte) is not None:
            best[event.rung] = min(bits, best.get(event.rung, bits))
        rung = Rung(rung=event.rung, step=step, best=best.get(event.rung), metrics=event.metrics, curve=event.curve)
        found.setdefault(event.index, []).append(rung)
    return found


def _baselines(trials: Sequence[Trial], candidates: Sequence[CandidateFigures], config: SearchConfig) -> Baselines | None:
    """None before the first report at the first rung."""
    rung = config.budget.rungs[0]
    steps = {each.id: each.rungs[0].step for each in candidates if each.rungs}
    reported = [(steps[trial.candidate.id], bits, trial) for trial in trials if (bits := _bits(trial, rung)) is not None]
    if not reported:
        return None
    reported.sort(key=lambda each: each[0])
    scores = [bits for _, bits, _ in reported]
    drawn = [(bits, trial) for _, bits, trial in reported if trial.candidate.origin == "random"]
    static = _static_front([(bits, trial) for _, bits, trial in reported], rung, config)
    rows = [_measured("this search (all candidates)", [(bits, trial) for _, bits, trial in reported])]
    if drawn:
        rows.append(_measured("random search (its candidates sampled at random)", drawn))
    if static:
        rows.append(_measured("its static Pareto front", static))
        name = f"{len(static)} of its candidates at random" if len(static) < len(scores) else "all its candidates"
        expected = expected_best(scores, len(static))
        rows.append(Baseline(name=name, candidates=len(static), bits_per_byte=expected, measured=False, best=None))
    return Baselines(
        rung=rung,
        rows=tuple(rows),
        search=tuple(min(scores[: count + 1]) for count in range(len(scores))),
        random=tuple(expected_best([bits for bits, _ in drawn], count + 1) for count in range(len(drawn))),
    )


def _measured(name: str, members: Sequence[tuple[float, Trial]]) -> Baseline:
    bits, trial = min(members, key=lambda each: (each[0], each[1].candidate.index))
    return Baseline(name=name, candidates=len(members), bits_per_byte=bits, measured=True, best=trial.candidate.id)


def _static_front(reported: Sequence[tuple[float, Trial]], rung: int, config: SearchConfig) -> list[tuple[float, Trial]]:
    """The Pareto front of what is known before training: parameters of the layers (more is better) and the static objectives."""
    known = [each for each in config.objectives if each.metric in STATIC]
    points = [
        (-float(body_parameters(trial.candidate.design.stored_arch)), *(each.cost(report.metrics) for each in known))
        for _, trial in reported
        if (report := trial.report(rung))
    ]
    return [reported[i] for i in front(points)]


def _bits(trial: Trial, rung: int) -> float | None:
    report = trial.report(rung)
    return report.metrics.bits_per_byte if report else None


def _word(value: Any) -> str:
    """A choice, formatted."""
    if isinstance(value, tuple | list):
        return "+".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
