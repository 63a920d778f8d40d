"""What the page of a search shows, as figures: computed from the events of its history, nothing is drawn here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from codenas.arch.cost import body_parameters
from codenas.arch.design import Design
from codenas.arch.spec import ArchSpec
from codenas.metrics import STATIC, Course, Metrics
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
class Found:
    """All that the files of a search say.

    Attributes:
        events: the history, in the order in which things happened; `trials` is what they amount to.
        job: what was asked, as the JSON of the search's folder has it; `config` is that of it which this version reads.
        vocab_sizes: ids of the vocabularies that are at hand; None is the corpus's own.
    """

    run: str
    corpus: str | None
    job: Mapping[str, Any]
    config: SearchConfig
    events: Sequence[Event]
    trials: Sequence[Trial]
    result: SearchResult | None
    vocab_sizes: Mapping[str | None, int]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Goal(_Figures):
    """An objective; `told` is its limit as people read it."""

    metric: str
    direction: Literal["minimize", "maximize"]
    weight: float
    limit: float | None
    told: str | None


class Asked(_Figures):
    """What the search was asked to do. `combinations` counts those of the choices, whether they fit together or not."""

    space: str
    choices: dict[str, tuple[str, ...]]
    combinations: int
    strategy: str
    seed: int
    candidates: int
    rungs: tuple[int, ...]
    promote: tuple[int, ...]
    objectives: tuple[Goal, ...]


class Effort(_Figures):
    """What it cost. What is None is not known: some of it is written by the session that finishes a search.

    Attributes:
        worker_seconds: inside training steps, over all workers and sessions.
        training_share: of the time of all workers, in the session that finished the search; so are the two above it.
    """

    steps: int
    scoring_steps: int
    trained: int
    refused: int
    failed: int
    worker_seconds: float
    workers: int | None
    wall_seconds: float | None
    training_share: float | None


class Rung(_Figures):
    """A candidate after `rung` steps; by then all candidates had taken `step` of them, and `best` was the best at this rung."""

    rung: int
    step: int
    best: float | None
    metrics: Metrics
    course: Course | None


class CandidateFigures(_Figures):
    """A candidate: where it comes from, what it chose, what it was worth."""

    id: str
    origin: str
    parents: tuple[str, ...]
    design: str
    choices: dict[str, str]
    fate: Literal["trained", "refused", "failed", "open"]
    failed_course: Course | None
    on_front: bool
    rungs: tuple[Rung, ...]


class Leader(_Figures):
    """The winner; of a search that is not finished the best so far, in bits per byte, of the highest rung."""

    id: str
    rung: int
    design: Design
    stored_arch: ArchSpec
    vocab_size: int | None
    metrics: Metrics


class Baseline(_Figures):
    """The best of some of the candidates at the first rung: `measured`, or the mean of all ways to draw as many of them."""

    name: str
    candidates: int
    bits_per_byte: float
    measured: bool
    best: str | None


class Baselines(_Figures):
    """What less than this search would have had from the same candidates after `rung` steps.

    Attributes:
        search: the best of the first 1, 2, ... candidates that reported.
        random: what 1, 2, ... draws out of those that were drawn at random have on average.
    """

    rung: int
    rows: tuple[Baseline, ...]
    search: tuple[float, ...]
    random: tuple[float, ...]


class Command(_Figures):
    """A command and what it is for."""

    purpose: str
    line: str


class SearchFigures(_Figures):
    """Everything that the page shows."""

    schema_version: Literal[1] = 1
    run: str
    finished: bool
    progress: str
    asked: Asked
    effort: Effort
    leader: Leader | None
    candidates: tuple[CandidateFigures, ...]
    importances: tuple[Importance, ...]
    correlations: tuple[Fidelity, ...]
    baselines: Baselines | None
    reasons: tuple[Reason, ...]
    job_file: str | None
    commands: tuple[Command, ...]


def search_figures(found: Found) -> SearchFigures:
    """The figures of a search, finished or not."""
    config, trials = found.config, found.trials
    rungs, leader = config.budget.rungs, _leader(found)
    highest = highest_rung(trials)
    rows = [] if highest is None else front_rows(trials, found.result.winner if found.result else -1, highest, config.objectives)
    candidates = _candidates(found, {row.id for row in rows})
    first = [(each, each.rungs[0].metrics.bits_per_byte) for each in candidates if each.rungs and each.rungs[0].rung == rungs[0]]
    scored = [(each, bits) for each, bits in first if bits is not None]
    told = commands(found.run, found.corpus, rungs[-1], found.result is not None)
    return SearchFigures(
        run=found.run,
        finished=found.result is not None,
        progress=progress_line(trials, config, found.result is not None, None),
        asked=_asked(config),
        effort=_effort(found),
        leader=leader,
        candidates=candidates,
        importances=importances([each.choices for each, _ in scored], [bits for _, bits in scored]),
        correlations=fidelities(trials, rungs),
        baselines=_baselines(trials, candidates, config),
        reasons=reasons(trials),
        job_file=job_file(found.job),
        commands=tuple(Command(purpose=purpose, line=line) for purpose, line in told),
    )


def _asked(config: SearchConfig) -> Asked:
    space, budget = config.search_space(), config.budget
    objectives = [
        Goal(
            metric=each.metric,
            direction=each.direction,
            weight=each.weight,
            limit=each.limit,
            told=None if each.limit is None else each.formatted(each.limit),
        )
        for each in config.objectives
    ]
    return Asked(
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


def _effort(found: Found) -> Effort:
    reports = [report for trial in found.trials for report in trial.reports]
    result = found.result
    return Effort(
        steps=sum(report.steps for report in reports),
        scoring_steps=sum(report.scoring_steps for report in reports),
        trained=sum(bool(trial.reports) for trial in found.trials),
        refused=sum(trial.refusal is not None for trial in found.trials),
        failed=sum(trial.failure is not None for trial in found.trials),
        worker_seconds=sum(report.seconds for report in reports),
        workers=result.workers if result else None,
        wall_seconds=result.wall_seconds if result else None,
        training_share=result.training_share if result and result.session_steps else None,
    )


def _leader(found: Found) -> Leader | None:
    if found.result is not None:
        trial = found.trials[found.result.winner]
    else:
        rung = highest_rung(found.trials)
        scored = [(bits, trial.candidate.index) for trial in found.trials if rung and (bits := _bits(trial, rung)) is not None]
        if not scored:
            return None
        trial = found.trials[min(scored)[1]]
    report = trial.last
    assert report is not None
    design = trial.candidate.design
    return Leader(
        id=trial.candidate.id,
        rung=report.rung,
        design=design,
        stored_arch=design.stored_arch,
        vocab_size=found.vocab_sizes.get(design.vocabulary),
        metrics=report.metrics,
    )


def _candidates(found: Found, on_front: set[str]) -> tuple[CandidateFigures, ...]:
    space, by_index = found.config.search_space(), _rungs(found.events)
    return tuple(
        CandidateFigures(
            id=trial.candidate.id,
            origin=trial.candidate.origin,
            parents=tuple(found.trials[parent].candidate.id for parent in trial.candidate.parents if parent < len(found.trials)),
            design=in_words(trial.candidate.design),
            choices={field: _word(value) for field, value in space.flatten(trial.candidate.design).items()},
            fate="refused" if trial.refusal else "failed" if trial.failure else "trained" if trial.reports else "open",
            failed_course=trial.failure.course if trial.failure else None,
            on_front=trial.candidate.id in on_front,
            rungs=tuple(by_index.get(trial.candidate.index, ())),
        )
        for trial in found.trials
    )


def _rungs(events: Iterable[Event]) -> dict[int, list[Rung]]:
    """What each candidate reported, by its index: first in the history, first in the count of steps."""
    found, known, best, step = dict[int, list[Rung]](), set[tuple[int, int]](), dict[int, float](), 0
    for event in events:
        if not isinstance(event, Report) or (event.index, event.rung) in known:
            continue
        known.add((event.index, event.rung))
        step += event.steps
        if (bits := event.metrics.bits_per_byte) is not None:
            best[event.rung] = min(bits, best.get(event.rung, bits))
        rung = Rung(rung=event.rung, step=step, best=best.get(event.rung), metrics=event.metrics, course=event.course)
        found.setdefault(event.index, []).append(rung)
    return found


def _baselines(trials: Sequence[Trial], candidates: Sequence[CandidateFigures], config: SearchConfig) -> Baselines | None:
    """None before anybody has reported at the first rung."""
    rung = config.budget.rungs[0]
    steps = {each.id: each.rungs[0].step for each in candidates if each.rungs}
    reported = [(steps[trial.candidate.id], bits, trial) for trial in trials if (bits := _bits(trial, rung)) is not None]
    if not reported:
        return None
    reported.sort(key=lambda each: each[0])
    scores = [bits for _, bits, _ in reported]
    drawn = [(bits, trial) for _, bits, trial in reported if trial.candidate.origin == "random"]
    promising = _free_front([(bits, trial) for _, bits, trial in reported], rung, config)
    rows = [_measured("this search, all candidates", [(bits, trial) for _, bits, trial in reported])]
    if drawn:
        rows.append(_measured("those of them that were drawn at random", drawn))
    if promising:
        rows.append(_measured("those of them on the training-free front", promising))
        name = f"any {len(promising)} of them, drawn without looking" if len(promising) < len(scores) else "all of them"
        expected = expected_best(scores, len(promising))
        rows.append(Baseline(name=name, candidates=len(promising), bits_per_byte=expected, measured=False, best=None))
    return Baselines(
        rung=rung,
        rows=tuple(rows),
        search=tuple(min(scores[: count + 1]) for count in range(len(scores))),
        random=tuple(expected_best([bits for bits, _ in drawn], count + 1) for count in range(len(drawn))),
    )


def _measured(name: str, members: Sequence[tuple[float, Trial]]) -> Baseline:
    bits, trial = min(members, key=lambda each: (each[0], each[1].candidate.index))
    return Baseline(name=name, candidates=len(members), bits_per_byte=bits, measured=True, best=trial.candidate.id)


def _free_front(reported: Sequence[tuple[float, Trial]], rung: int, config: SearchConfig) -> list[tuple[float, Trial]]:
    """Those whom no other beats in what is known before training: more parameters in the layers, less of every objective that is known."""
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
    """A choice as people read it."""
    if isinstance(value, tuple | list):
        return "+".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
