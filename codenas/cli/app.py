"""The command line. Every command imports what it needs inside, so that --help is instant; every error is one line."""

import contextlib
import errno
import functools
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from codenas.cli.arch import show_arch
from codenas.cli.bench_decode import bench_decode
from codenas.cli.compare import compare
from codenas.cli.complete import complete
from codenas.cli.corpus import report_corpus, show_corpus
from codenas.cli.demo import demo
from codenas.cli.device import calibrate, predict
from codenas.cli.evaluate import evaluate
from codenas.cli.fetch import fetch
from codenas.cli.prepare import prepare
from codenas.cli.record import record
from codenas.cli.remote import jobs, logs, stop
from codenas.cli.replay import replay
from codenas.cli.report import report
from codenas.cli.sample_stats import sample_stats
from codenas.cli.search import search
from codenas.cli.serve import serve
from codenas.cli.space import show_space
from codenas.cli.status import status
from codenas.cli.study import study
from codenas.cli.submit import submit_search
from codenas.cli.tensorboard import tensorboard
from codenas.cli.tokens import compare as compare_tokens
from codenas.cli.tokens import frequencies
from codenas.cli.train import train
from codenas.errors import CodeNASError, device_failure, is_out_of_memory, os_error_reason
from codenas.interrupts import interruptible
from codenas.log import LOGGER, configure
from codenas.loopback import bypass_proxies

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130

FINISHED_KEPT = "finished work is kept, run the same command again to continue"
NOTHING_KEPT = "this command writes its results at the end: nothing is kept, run it again to start over"
WRITE_AT_THE_END: frozenset[Callable[..., None]] = frozenset((sample_stats, frequencies, compare_tokens, bench_decode))

_FREE_SPACE = "free some space and run the same command again, finished work is kept"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EMFILE: "raise the limit (ulimit -n) and run the same command again",
    errno.EAGAIN: "raise the limit on processes (ulimit -u), or end some, and run the same command again",
    None: "what was read or written may be damaged or of another kind; `codenas --debug` with the same command shows where",
}
_PERMISSIONS = "choose another place, or correct its permissions"


class _Commands(TyperGroup):
    """Prints errors of the command line itself in one line too."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and exit with its code."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            if not standalone_mode:
                raise
            _print_usage_error(error)
            raise SystemExit(EXIT_USER_ERROR) from None
        if standalone_mode:
            raise SystemExit(code)
        return code


def _print_usage_error(error: typer.TyperException) -> None:
    message, context = error.format_message(), getattr(error, "ctx", None)
    if "\n" in message:  # the help of a group that was called without a command
        typer.echo(message, err=True)
    else:
        path = context.command_path if context is not None else "codenas"
        _print_error(f"{message.rstrip('.')}{_run_hint(message, context)} (see {path} --help)")


def _run_hint(message: str, context: Any) -> str:
    """How the command takes its run, if it was given the other way: some take it as an argument, some as --run."""
    run = next((each for each in context.command.params if each.name in ("run", "runs")), None) if context is not None else None
    if run is None:
        return ""
    if run.param_type_name == "argument":
        return f"; the run is an argument here: {context.command_path} RUN" if message.startswith("No such option: --run") else ""
    unexpected = message.startswith(("Got unexpected extra argument", "No such command"))
    return f"; the run is an option here: {context.command_path} --run RUN" if unexpected else ""


app = typer.Typer(
    cls=_Commands,
    help="Find, train and serve the best code-completion model inside a size and latency limit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would parse "[train]" and "[default: ...]" in help texts as markup
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("codenas"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, and show the traceback of an error.")] = False,
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    configure(debug)


def _with_one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with its errors as one line and an exit code; `--debug` lets them through."""

    kept = NOTHING_KEPT if command in WRITE_AT_THE_END else FINISHED_KEPT

    @functools.wraps(command)
    def run(*args: object, **options: object) -> None:
        with _errors_in_one_line(kept), interruptible():
            command(*args, **options)

    return run


def _group_callback(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as the callback of a group. It also runs before the group's own commands, which handle signals themselves."""

    @functools.wraps(command)
    def run(context: typer.Context, **options: object) -> None:
        alone = context.invoked_subcommand is None
        with _errors_in_one_line(), interruptible() if alone else contextlib.nullcontext():
            command(context=context, **options)

    return run


@contextlib.contextmanager
def _errors_in_one_line(kept: str = FINISHED_KEPT) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does: click exits silently
        raise
    except KeyboardInterrupt as interrupt:
        place = f" {interrupt}" if str(interrupt) else ""
        _print_error(f"interrupted{place}; {kept}")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        message = _message(error)
        if message is None or LOGGER.isEnabledFor(logging.DEBUG):
            raise
        _print_error(message)
        raise SystemExit(EXIT_USER_ERROR) from None


def _print_error(message: str) -> None:
    one_line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message)  # a name may hold a line break
    with contextlib.suppress(OSError):  # standard error may be closed; the exit code remains
        typer.echo(f"codenas: {one_line}", err=True)


def _message(error: Exception) -> str | None:
    """The error and its remedy; None for a bug."""
    if isinstance(error, CodeNASError):
        return str(error)
    if is_out_of_memory(error):
        return f"there is no memory left ({_first_line(error)}); close something or raise the limit (ulimit -v), then run it again"
    if (failure := device_failure(error)) is not None:
        return f"the GPU failed ({failure}), and this process cannot use it any more; {FINISHED_KEPT}"
    if not isinstance(error, OSError):
        return None
    place = f": {error.filename}" if error.filename else ""
    return f"{os_error_reason(error)}{place}; {_REMEDIES.get(error.errno, _PERMISSIONS)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


for each in (demo, prepare, train, evaluate, serve, complete, bench_decode, status, report, compare, jobs, logs, stop, fetch):
    app.command()(_with_one_line_errors(each))

# `codenas search` runs a search, and has subcommands.
search_group = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
search_group.callback()(_group_callback(search))
search_group.command("record")(_with_one_line_errors(record))
search_group.command("replay")(_with_one_line_errors(replay))
search_group.command("study")(_with_one_line_errors(study))
search_group.command("tensorboard")(_with_one_line_errors(tensorboard))
app.add_typer(search_group, name="search")

# Commands of two words: `codenas space show`.
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "corpus": ("Inspect a prepared corpus.", {"show": show_corpus, "report": report_corpus}),
    "space": ("Inspect a search space.", {"show": show_space}),
    "arch": ("Inspect an architecture.", {"show": show_arch}),
    "tokens": (
        "Inspect and compare vocabularies.",
        {"sample-stats": sample_stats, "frequencies": frequencies, "compare": compare_tokens},
    ),
    "submit": ("Submit work to a cluster.", {"search": submit_search}),
    "device": ("Measure and predict decoding latency.", {"calibrate": calibrate, "predict": predict}),
}
for noun, (purpose, verbs) in GROUPS.items():
    group = typer.Typer(help=purpose, no_args_is_help=True, pretty_exceptions_enable=False)
    for verb, command in verbs.items():
        group.command(verb)(_with_one_line_errors(command))
    app.add_typer(group, name=noun)


def main() -> None:
    """Run the command line."""
    # Threads that wait for each other spin, by default for long: with any other work on the machine, training on all cores
    # then becomes many times slower. A short spin costs nothing on a quiet machine. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    bypass_proxies()
    if isinstance(sys.stdout, io.TextIOWrapper):  # replace characters that the user's encoding lacks
        sys.stdout.reconfigure(errors="replace")
    given = sys.argv[1:]
    with _errors_in_one_line():  # outside of commands, such as a help text on a full disk
        app(
            ["--debug", *(each for each in given if each != "--debug")] if "--debug" in given else given
        )  # accepted anywhere on the command line
