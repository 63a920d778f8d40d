"""Log lines of a run, the same with and without Ray."""

from collections.abc import Sequence

from codenas.log import Progress
from codenas.measure.latency_model import Calibration
from codenas.metrics import LATENCY, METRICS, QUALITY, SIZE, Metrics, context_name
from codenas.search.actions import Job
from codenas.search.candidate import Budget, Failure, Outcome, Refusal, Trial, latency_contexts
from codenas.search.history import History
from codenas.search.loop import refusal_line
from codenas.search.plan import Plan
from codenas.search.rungs import with_decided_promotions
from codenas.train.config import TrainConfig


def outcome_line(job: Job, outcome: Outcome) -> str:
    """The outcome of `job`."""
    name = f"  {job.candidate.id} ({job.candidate.origin})"
    if isinstance(outcome, Failure):
        return f"{name} failed on the way to {outcome.rung} steps: {outcome.reason}"
    if isinstance(outcome, Refusal):
        return refusal_line(job.candidate, outcome)
    measured = outcome.metrics.values()
    figures = [f"{METRICS[QUALITY].format(measured[QUALITY])} {METRICS[QUALITY].label}"] if QUALITY in measured else []
    figures += [METRICS[metric].format(measured[metric]) for metric in (SIZE, LATENCY) if metric in measured]
    return f"{name} at {outcome.rung} steps: {', '.join(figures)}, {outcome.seconds:.0f} s"


def retry_line(job: Job, lost: str) -> str:
    """`job` is retried because its process or node (`lost`) died."""
    return f"  {job.candidate.id} on the way to {job.rung} steps: its {lost} died; retrying from its last stored rung"


def device_retry_line(job: Job, reason: str) -> str:
    """`job` is retried because the GPU of its process failed."""
    return f"  {job.candidate.id} on the way to {job.rung} steps: its GPU failed ({reason}); retrying once in another process"


def promotion_counts(budget: Budget) -> str:
    """How many candidates each rung but the last promotes: `[4]`, or `[2 to 10]` where promotion is adaptive."""
    bounds = zip(budget.at_least, budget.promote, strict=True)
    return f"[{', '.join(f'{most}' if least == most else f'{least} to {most}' for least, most in bounds)}]"


def update_total(progress: Progress, plan: Plan, history: History) -> None:
    """Update the total of `progress`: an upper bound as long as adaptive promotion may still narrow it."""
    if plan.budget.adaptive:
        budget = with_decided_promotions(plan.budget, history.trials, plan.objectives)
        progress.total, progress.at_most = budget.total_steps, budget.adaptive


def best_score_line(history: History) -> str:
    """The best score so far; empty before the first."""
    score = history.best_bits_per_byte
    return f"best {score:.3f} bits per byte" if score is not None else ""


def calibration_line(calibration: Calibration) -> str:
    """The log line of a search with a calibration."""
    return (
        f"search: latencies are predicted for {calibration.device} ({calibration.context}) before a candidate is built, "
        "and measured where it trains; the limit on latency holds for both"
    )


def mixed_latencies_line(trials: Sequence[Trial]) -> str | None:
    """A warning if the latencies of a search are not comparable; None if they are."""
    found = latency_contexts(trials)
    if len(found) < 2:
        return None
    return f"warning: latencies were measured on {' and '.join(map(context_name, found))}; compare those of one device only"


def other_context_line(measured: Metrics, decided: Metrics) -> str | None:
    """A warning if a latency was not measured in the context of the search; None if it was, or if the search measured none."""
    if decided.latency_ms_p50 is None or measured.latency_context == decided.latency_context:
        return None
    return (
        f"warning: latency is measured on {context_name(measured.latency_context)}; the search decided on "
        f"{METRICS[LATENCY].format(decided.latency_ms_p50)} on {context_name(decided.latency_context)}: the two are not comparable"
    )


def recipe_line(recipe: TrainConfig, searched: TrainConfig) -> str:
    """The recipe of a winner's training, and its differences from that of the search."""
    now, before = recipe.model_dump(), searched.model_dump()
    changed = ", ".join(f"{name} {now[name]} instead of {before[name]}" for name in now if now[name] != before[name])
    rate = f"matrix_rate {recipe.matrix_rate:g}" if recipe.optimizer == "muon" else f"adam_rate {recipe.adam_rate:g}"
    return (
        f"optimizer {recipe.optimizer}, {rate}, batch_size {recipe.batch_size}, precision {recipe.precision}: "
        f"the recipe of the search{f' with {changed}' if changed else ''}"
    )
