"""The speed of engines side by side."""

from collections.abc import Callable, Iterator

from rich.table import Table

from codenas.measure.decoding_speed import Speed, SpeedComparison
from codenas.report.scale import ABSENT

CAPTION = (
    "Medians over all rounds, which the engines take in turn; with one thread of its CPU time, with several of wall time. In brackets: "
    "relative to the first engine with these weights, below 1 is better, of tokens/s above 1. Tokens at once: several of one sequence, "
    "as drafts are verified, relative to one. Memory: growth of a process that loads the model and answers one request. Error of "
    "logits: root mean square of the difference to the same weights in float32, relative to their spread."
)


def speed_tables(comparison: SpeedComparison) -> Iterator[Table]:
    """A table for each number of threads, a column for each engine with its weights."""
    for threads in dict.fromkeys(speed.context.threads for speed in comparison.speeds):
        yield _table(comparison, [speed for speed in comparison.speeds if speed.context.threads == threads])


def _table(comparison: SpeedComparison, speeds: list[Speed]) -> Table:
    context = speeds[0].context
    title = f"{comparison.model}, {context.threads} thread{'s' if context.threads > 1 else ''} of {context.device}"
    table = Table(title=title, caption=CAPTION, title_justify="left", caption_justify="left")
    table.add_column("")
    first = {speed.storage: speed for speed in reversed(speeds)}
    for speed in speeds:
        table.add_column(speed.engine, justify="right", no_wrap=True)
    for heading, figure, ratio in _rows(comparison):
        cells = [figure(speed) + ("" if ratio is None else f" ({ratio(speed) / ratio(first[speed.storage]):.2f})") for speed in speeds]
        table.add_row(heading, *cells)
    return table


def _rows(comparison: SpeedComparison) -> Iterator[tuple[str, Callable[[Speed], str], Callable[[Speed], float] | None]]:
    """Heading, cell, and what the ratio is of."""
    work = comparison.workload
    yield "precision", lambda speed: speed.context.precision, None
    yield "one stream, tokens/s", lambda speed: f"{speed.tokens_per_s:,.0f}", None
    yield "a token, ms", lambda speed: f"{speed.token_ms:.3f}", lambda speed: speed.token_ms
    yield "90th percentile, ms", lambda speed: f"{speed.token_p90_ms:.3f}", lambda speed: speed.token_p90_ms
    yield f"prompt of {work.prompt}, ms", lambda speed: f"{speed.prompt_ms:.1f}", lambda speed: speed.prompt_ms
    yield f"prompt + {work.tokens} tokens, ms", lambda speed: f"{speed.request_ms:.1f}", lambda speed: speed.request_ms
    yield (
        f"{work.streams} streams, tokens/s",
        lambda speed: f"{speed.streams_tokens_per_s:,.0f}",
        lambda speed: speed.streams_tokens_per_s,
    )
    for count in work.drafts:
        yield f"{count} tokens at once", _draft_cost(count), None
    yield "weights, MB", lambda speed: f"{speed.weights_bytes / 1e6:.1f}", None
    yield "memory, MB", lambda speed: ABSENT if speed.footprint is None else f"{speed.footprint.resident_bytes / 1e6:.0f}", None
    yield "loading, s", lambda speed: ABSENT if speed.footprint is None else f"{speed.footprint.load_s:.2f}", None
    yield "error of logits", lambda speed: ABSENT if speed.logits_error is None else f"{speed.logits_error:.4f}", None


def _draft_cost(count: int) -> Callable[[Speed], str]:
    return lambda speed: f"{speed.draft_cost[count]:.2f}"
