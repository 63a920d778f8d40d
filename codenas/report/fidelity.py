"""The fidelity of the lower rungs of a search, as lines of text."""

from collections.abc import Sequence

from codenas.search.fidelity import Fidelity


def fidelity_lines(rungs: Sequence[Fidelity]) -> list[str]:
    """One line for each lower rung: its rank correlation with the last, plain and size-adjusted."""
    return [
        f"rank correlation of {each.low:,} with {each.high:,} steps over {each.trials} trial{'s' if each.trials != 1 else ''}: "
        f"{correlation(each.spearman, each.interval)}; size-adjusted {correlation(each.given_size, each.given_size_interval)}"
        for each in rungs
    ]


def correlation(rho: float | None, interval: tuple[float, float] | None) -> str:
    """A correlation and its 95 % interval, as `+0.31 (95 %: +0.20 to +0.41)`; unknown with too few trials."""
    if rho is None:
        return "unknown"
    return f"{rho:+.2f} (95 %: {interval[0]:+.2f} to {interval[1]:+.2f})" if interval is not None else f"{rho:+.2f} (no interval)"
