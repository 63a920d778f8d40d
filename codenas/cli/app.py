"""The command line. Every command imports what it needs inside, so that --help is instant; every error is one line."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from codenas.cli.complete import complete
from codenas.cli.demo import demo
from codenas.cli.evaluate import evaluate
from codenas.cli.prepare import prepare
from codenas.cli.search import search
from codenas.cli.serve import serve
from codenas.cli.train import train
from codenas.errors import CodeNASError
from codenas.log import configure

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130

app = typer.Typer(
    help="Find, train and serve the best code-completion model inside a size and latency limit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, prepare, search, train, evaluate, serve, complete):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("codenas"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="Log more, and show the traceback of an error.")] = False,
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    configure(debug)


def main() -> None:
    """Run the command line; one clear line and exit code 2 for what the user can mend, 130 after Ctrl-C."""
    try:
        app()
    except CodeNASError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"codenas: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        typer.echo("codenas: interrupted; finished work is kept, run the same command again to go on", err=True)
        sys.exit(EXIT_INTERRUPTED)
