"""`codenas corpus show` and `report`: contents of a prepared corpus, its source, and what was dropped and why."""

from pathlib import Path
from typing import Annotated

import typer

from codenas.cli.prepare import DEFAULT_OUTPUT

Prepared = Annotated[Path, typer.Argument(help="The folder of a prepared corpus.")]


def show_corpus(corpus: Prepared = DEFAULT_OUTPUT) -> None:
    """Print stages, drops, licences, splits, languages and lengths as histograms."""
    from codenas.cli.console import console
    from codenas.cli.prepare import show
    from codenas.corpus import Corpus
    from codenas.report.corpus import bars_table, histograms, source_lines

    opened = Corpus.open(corpus)
    show(opened)
    console().print(*source_lines(opened.manifest), *map(bars_table, histograms(opened.manifest)), sep="\n", markup=False)


def report_corpus(
    corpus: Prepared = DEFAULT_OUTPUT,
    output: Annotated[Path | None, typer.Option(help="The file to write. [default: report.html in the corpus]")] = None,
) -> None:
    """Write the same as one self-contained HTML page."""
    from codenas.corpus import Corpus
    from codenas.files import require_writable_file, write_atomic
    from codenas.report.corpus import corpus_page

    opened, path = Corpus.open(corpus), output or corpus / "report.html"
    require_writable_file(path)
    write_atomic(path, corpus_page(opened.manifest, corpus.resolve().name))
    typer.echo(f"report: {path}")
