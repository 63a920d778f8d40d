"""The command line in this process."""

import traceback
from pathlib import Path

from typer.testing import CliRunner, Result

from codenas.cli.app import app


def codenas(*arguments: str | Path) -> Result:
    """What becomes of a command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def shown(*arguments: str | Path) -> str:
    """What a command prints that ends well."""
    done = codenas(*arguments)
    assert done.exit_code == 0, f"{done.output}{''.join(traceback.format_exception(done.exception))}"
    return done.output


def complaint(*arguments: str | Path) -> str:
    """The one line of a command that the user must mend."""
    done = codenas(*arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert done.stderr.startswith("codenas: ")
    return done.stderr
