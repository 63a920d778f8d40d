"""Formatting of numbers: three significant figures and an SI prefix, percentages, a dash for what is unknown."""

from dataclasses import dataclass

ABSENT = "–"

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(value: float, unit: str = "") -> str:
    """`4.98 M`, `10.2 MB`, `912 B`: at least three significant figures, decimal prefixes, then `unit`."""
    size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if abs(value) >= size), (1.0, ""))
    digits = 0 if size == 1.0 and float(value).is_integer() else max(0, 2 - (abs(value / size) >= 10) - (abs(value / size) >= 100))
    return f"{value / size:,.{digits}f} {prefix}{unit}".rstrip()


def brief(value: float) -> str:
    """`1,049`, `26.2`, `0.524`: at least three significant figures, never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def fixed(value: float | None, digits: int) -> str:
    """`1,234.50`, with `digits` decimals."""
    return ABSENT if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """`62.6 %`."""
    return ABSENT if share is None else f"{100 * share:.1f} %"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on what an axis shows, in the unit of the axis."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"limit {self.value:,g} {self.unit}"


def limit_of(value: float | None, unit: str, factor: float = 1.0) -> Limit | None:
    """The limit `value`, divided by `factor`, in `unit`; None without one."""
    return None if value is None else Limit(value / factor, unit)
