"""Numbers as people read them: three figures and a prefix."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(value: float, unit: str = "") -> str:
    """`4.98 M`, `10.2 MB`, `912 B`: at least three figures, decimal prefixes, `unit` behind."""
    size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if abs(value) >= size), (1.0, ""))
    digits = 0 if size == 1.0 and float(value).is_integer() else max(0, 2 - (abs(value / size) >= 10) - (abs(value / size) >= 100))
    return f"{value / size:,.{digits}f} {prefix}{unit}".rstrip()
