"""Where tables are printed."""

from rich.console import Console

MIN_WIDTH = 128  # the table of a front; a log file has no width, and 80 columns would cut every cell


def console() -> Console:
    """Standard output, wide enough for the tables."""
    return Console(width=max(MIN_WIDTH, Console().width))
