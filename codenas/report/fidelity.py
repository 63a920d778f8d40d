"""How far the low rungs of a search can be trusted, in lines of text."""

from collections.abc import Sequence

from codenas.search.fidelity import Fidelity


def fidelity_lines(rungs: Sequence[Fidelity]) -> list[str]:
    """One line for each low rung: its rank correlation with the last, plain and with size taken out."""
    return [
        f"rank correlation of {each.low:,} with {each.high:,} steps over {each.trials} trials: "
        f"{correlation(each.spearman, each.interval)}; with size taken out {correlation(each.given_size, each.given_size_interval)}"
        for each in rungs
    ]


def correlation(rho: float | None, interval: tuple[float, float] | None) -> str:
    """A correlation and its 95 % interval, as `+0.31 (95 %: +0.20 to +0.41)`; too few trials leave it unknown."""
    if rho is None:
        return "unknown"
    return f"{rho:+.2f} (95 %: {interval[0]:+.2f} to {interval[1]:+.2f})" if interval is not None else f"{rho:+.2f} (no interval)"
