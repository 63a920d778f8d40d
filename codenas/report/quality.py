"""An evaluation as a table."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from codenas.evaluate.evaluation import Evaluation, Row
from codenas.report.scale import ABSENT


def quality_table(evaluation: Evaluation) -> Table:
    """The model beside what each suite compares it with: compressors of the same bytes, human continuations."""
    table = Table(title="Held-out repositories", title_justify="left")
    table.add_column("figure")
    table.add_column("this model", justify="right", style="bold")
    table.add_column("reference", justify="right")
    for summary in evaluation.results.values():
        for row in summary.rows:
            table.add_row(row.name, row.value, row.reference)
        table.add_section()
    return table


def qualities_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """The trained models of several runs side by side: a column for each run, by its name."""
    table = Table(title="Trained models on held-out repositories", title_justify="left")
    table.add_column("figure")
    for name in evaluations:
        table.add_column(name, justify="right")
    held = [_rows(evaluation) for evaluation in evaluations.values()]
    for name in dict.fromkeys(name for rows in held for name in rows):
        table.add_row(name, *(rows[name].value if name in rows else ABSENT for rows in held))
    return table


def _rows(evaluation: Evaluation) -> dict[str, Row]:
    rows: Sequence[Row] = [row for summary in evaluation.results.values() for row in summary.rows]
    return {row.name.strip(): row for row in rows}
