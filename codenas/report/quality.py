"""An evaluation as a table."""

from rich.table import Table

from codenas.evaluate.collapse import CollapseReport
from codenas.metrics import LATENCY, METRICS, Metrics, context_name


def quality_table(metrics: Metrics, compressors: dict[str, float], completions: CollapseReport) -> Table:
    """The model against compressors of the same bytes, and its completions against the human reference."""
    table = Table(title="Held-out repositories", title_justify="left")
    table.add_column("figure")
    table.add_column("this model", justify="right", style="bold")
    table.add_column("reference", justify="right")
    references = ", ".join(f"{name} {bits:.3f}" for name, bits in compressors.items())
    table.add_row("bits per byte, the same bytes", f"{metrics.bits_per_byte:.3f}", references)
    if metrics.latency_ms_p50 is not None:
        info = METRICS[LATENCY]
        table.add_row(info.heading, info.number(metrics.latency_ms_p50), f"on {context_name(metrics.latency_context)}")
    model, human = completions.model, completions.human
    heading = f"{completions.prompts} completions of {completions.completion_tokens} tokens at temperature {completions.temperature:g}"
    table.add_section()
    table.add_row(heading, "", "human, same prompts")
    table.add_row("  collapsed", str(model.collapsed), str(human.collapsed))
    table.add_row("  seq-rep-4", f"{model.seq_rep_4:.3f}", f"{human.seq_rep_4:.3f}")
    table.add_row("  longest run of a token", f"{model.longest_token_run:.1f}", f"{human.longest_token_run:.1f}")
    table.add_row("  parses with the code before it", f"{100 * model.parse_rate:.0f} %", f"{100 * human.parse_rate:.0f} %")
    return table
