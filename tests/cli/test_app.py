"""The command line: instant help, one line for what the user can mend, its exit codes.

As a process where the process matters (its start, its pipes, what another one holds), else in this one: a start takes seconds.
"""

import errno
import io
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codenas.cli.app import app
from codenas.search.result import SearchFolder
from data_prep.config import PrepareConfig
from tests.cli.commands import codenas, complaint
from tests.fakes import SMALL_SEARCH, tiny_corpus
from tune_jobs.cluster import local as cluster

ROOT = Path(__file__).parents[2]


def _process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codenas", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


def _run_without_heavy_imports(*arguments: str) -> tuple[str, str]:
    """Standard output and standard error of a command that imports nothing which takes a second."""
    script = "import sys\ntry:\n    from codenas.cli.app import main; main()\nexcept SystemExit: pass\n"
    script += "print([name for name in ('torch', 'ray', 'matplotlib', 'fastapi', 'tokenizers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
    return done.stdout, done.stderr


def test_help_names_every_stage_and_imports_nothing_heavy() -> None:
    output, _ = _run_without_heavy_imports("--help")
    stages = ("demo", "prepare", "search", "train", "evaluate", "serve", "complete", "space", "arch", "device", "tokens")
    assert all(stage in output for stage in stages)
    assert all(command in output for command in ("status", "compare", "submit", "jobs", "logs", "stop"))


@pytest.mark.parametrize("arguments", ["arch show small:7", "space show small"])
def test_what_is_decided_in_closed_form_imports_nothing_heavy(arguments: str) -> None:
    output, _ = _run_without_heavy_imports(*arguments.split())
    assert "parameters" in output


@pytest.mark.parametrize(
    "arguments",
    [
        "search --max-mb -1", "search --weights x=1", "search", "search record", "train --steps 0", "train", "evaluate", "serve",
        "demo --max-ms 0", "demo --port 65536",
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_options_is_reported_before_anything_heavy_is_imported(arguments: str, tmp_path: Path) -> None:
    _, complaints = _run_without_heavy_imports(*arguments.split(), "--run", str(tmp_path / "absent"))
    assert re.fullmatch(r"codenas: .+\n", complaints)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--run", "RUN"], "there is no corpus in RUN/corpus (no corpus.json); run: codenas prepare --output RUN/corpus"),
        (["search", "--run", "RUN", "--max-mb", "-1"], "--max-mb -1 must be a number above 0"),
        (["search", "--max-mb", "3", "record"], "--max-mb comes before `record`; write it behind: codenas search record"),
        (["search", "record", "--run", "RUN"], "there is no corpus in RUN/corpus (no corpus.json)"),
        (["search", "--run", "RUN", "--job", "RUN/absent.toml"], "there is no job file RUN/absent.toml"),
        (["train", "--run", "RUN"], "there is no run RUN; name the folder that was given to --run, or make it: codenas search --run RUN"),
        (
            ["evaluate", "--run", "RUN"],
            "there is no run RUN; name the folder that was given to --run, or make it: codenas search --run RUN",
        ),
        (["serve", "--run", "RUN"], "there is no run RUN; name the folder that was given to --run, or make it: codenas search --run RUN"),
        (["complete", "--url", "http://127.0.0.1:9", "x"], "nothing answers at http://127.0.0.1:9"),
        (["serve", "CHECKPOINT", "--max-batch", "5000"], "--max-batch 5000 is refused: Input should be less than or equal to 1024"),
        (["serve", "CHECKPOINT", "--port", "0"], "--port 0 is refused"),
        (["serve", "CHECKPOINT", "--name", ""], "--name  is refused"),
        (["train", "--run", "RUN", "--steps", "0"], "--steps 0 is refused: Input should be greater than or equal to 1"),
        (["demo", "--run", "RUN", "--port", "65536"], "--port 65536 is refused"),
        (["demo", "--run", "/dev/null/run"], "Not a directory: /dev/null/run"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    run = str(tmp_path / "run")
    assert message.replace("RUN", run) in complaint(*[argument.replace("RUN", run) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--cpus", "0"], "Invalid value for '--cpus': Input should be greater than or equal to 1 (see codenas search --help)"),
        (["search", "--max-mb", "much"], "Invalid value for '--max-mb': Input should be a valid number"),
        (["search", "--cpus"], "Option '--cpus' requires an argument (see codenas --help)"),
        (["serch"], "No such command 'serch'. Did you mean 'search', 'arch', 'serve'? (see codenas --help)"),
        (["space", "show"], "Missing argument 'PRESET_OR_FILE' (see codenas space show --help)"),
        (["arch", "show", "a", "b"], "Got unexpected extra argument(s) (b) (see codenas arch show --help)"),
    ],
)
def test_a_wrong_command_line_is_one_line_too(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, arguments, prog_name="codenas")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"codenas: {message}")


@pytest.mark.parametrize("command", ["status", "report", "compare", "fetch"])
def test_a_command_whose_run_is_an_argument_says_so_to_an_option(command: str) -> None:
    assert f"No such option: --run; the run is an argument here: codenas {command} RUN (see" in _usage_error(command, "--run", "runs/a")


@pytest.mark.parametrize(
    "command",
    ["search", "search study --output x", "search tensorboard --output x", "search record", "train", "evaluate", "demo", "serve a"],
)
def test_a_command_whose_run_is_an_option_says_so_to_an_argument(command: str) -> None:
    named = command.removesuffix(" a").removesuffix(" --output x")
    assert f"; the run is an option here: codenas {named} --run RUN (see" in _usage_error(*command.split(), "runs/a")


def _usage_error(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, prog_name="codenas")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


@pytest.mark.parametrize("arguments", [[], ["space"]])
def test_a_group_alone_shows_its_help(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments, prog_name="codenas")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: codenas")


@pytest.mark.parametrize("arguments", [["search"], ["train"], ["evaluate"], ["serve"]], ids=lambda arguments: arguments[0])
def test_no_library_adds_a_line_to_it(tmp_path: Path, arguments: list[str]) -> None:
    """In a process of its own, where nothing is imported and no warning is an error yet; and what does not exist is not made."""
    done = _process(*arguments, "--run", tmp_path / "mistyped")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("codenas: ")
    assert list(tmp_path.iterdir()) == []


def _in_a_shell(script: str) -> subprocess.CompletedProcess[str]:
    """What `script` says; in it `codenas` is the command."""
    command = f'codenas() {{ "{sys.executable}" -m codenas "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("arguments", ["space show small", "arch show small:7", "--help", "train --help"])
def test_a_closed_output_pipe_is_not_an_error(arguments: str) -> None:
    done = _in_a_shell(f"codenas {arguments} | :")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", ["arch show small:7", "--help"])
def test_an_output_on_a_full_disk_is_one_line(arguments: str) -> None:
    done = _in_a_shell(f"codenas {arguments} > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "codenas: No space left on device; free some space and run the same command again, finished work is kept\n"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_an_error_with_standard_error_closed_keeps_its_exit_code(closed: str, tmp_path: Path) -> None:
    assert _in_a_shell(f"codenas serve --run {tmp_path}/absent {closed}").returncode == 2


def test_a_letter_that_the_encoding_lacks_is_no_fault(tmp_path: Path) -> None:
    manifest = tiny_corpus(tmp_path).manifest.model_copy(update={"source": "größe", "config_digest": PrepareConfig().digest})
    (tmp_path / "corpus.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    done = _in_a_shell(f"PYTHONIOENCODING=ascii codenas prepare --output {tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "gr??e" in done.stdout


def test_a_ray_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    """As where too few files may be open, but at once: Ray waits half a minute for what cannot come."""
    script = "import ray\ndef fail(**_): raise RuntimeError('Timed out waiting for file x\\nmore')\nray.init = fail\n"
    script += "import sys\nfrom codenas.cli.app import main\nmain()"
    given = ["search", "--run", f"{tmp_path}/run", "--corpus", str(tiny_corpus(tmp_path / "corpus").path)]
    job = tmp_path / "job.toml"
    job.write_text('[search]\nspace = { base = { d_model = 16, context_len = 32 }, choices = { norm = ["rmsnorm"] } }\n')
    done = subprocess.run([sys.executable, "-c", script, *given, "--job", str(job)], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("codenas: Ray cannot be started here (Timed out waiting for file x); ") and "--no-ray" in done.stderr


def test_a_name_with_a_line_break_stays_on_one_line() -> None:
    assert "codenas: there is no run a\\nb\\u2028; name the folder" in complaint("report", "a\nb\u2028")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("jobs --address http://[::1", "'http://[::1' is not the URL of a cluster's dashboard"),
        ("prepare --source file://[ --output OUT", "the source file://[ is of an unknown kind"),
        ("submit search JOB --run /runs/mine --mirror file://[", "--mirror file://[ is no URL"),
        ("search replay table --strategy random --trained loss --workers 2147483648", "'--workers': Input should be less than or equal to"),
        ("device calibrate --threads 65536", "'--threads': Input should be less than or equal to 512"),
        ("device calibrate --vocab-size 99999999999999999999", "'--vocab-size': Input should be less than or equal to 1048576"),
        ("device calibrate --sweeps 99999999999999999999", "'--sweeps': Input should be less than or equal to 1000"),
        ("serve CHECKPOINT --threads 65536", "--threads 65536 is refused: Input should be less than or equal to 512"),
    ],
)
def test_what_a_library_would_answer_by_a_traceback_or_by_ending_the_process(arguments: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(SMALL_SEARCH)
    places = {"OUT": str(tmp_path / "corpus"), "JOB": str(tmp_path / "job.toml")}
    assert message in complaint(*(places.get(word, word) for word in arguments.split()))


def test_a_prompt_from_a_closed_input_says_the_way_out() -> None:
    done = _in_a_shell("codenas complete <&-")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard input is closed; give the code to continue as an argument" in done.stderr


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (MemoryError(), "there is no memory left (MemoryError); close something or raise the limit (ulimit -v), then run it again"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nmore"), "there is no memory left ([enforce"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "there is no memory left (libtorch_cpu.so: failed"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "there is no memory left ("),
        (OSError(errno.EMFILE, "Too many open files", "a/b"), "Too many open files: a/b; raise the limit (ulimit -n)"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable; raise the limit on processes"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "Permission denied: a/b; choose another place, or correct its"),
        (OSError("AF_UNIX path length cannot exceed 107 bytes\nmore"), "AF_UNIX path length cannot exceed 107 bytes; what was read or"),
        (io.UnsupportedOperation("seek"), "seek; what was read or written may be damaged"),
    ],
)
def test_what_the_machine_lacks_is_one_line_too(error: Exception, output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("codenas.experiment.run.Run.finished_search", fail)
    done = CliRunner().invoke(app, ["train", "--run", str(tmp_path)])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"codenas: {output}")


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("codenas.experiment.run.Run.finished_search", fail)
    done = CliRunner().invoke(app, ["train", "--run", str(tmp_path)])
    assert isinstance(done.exception, RuntimeError)


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    for arguments in (["--debug", "serve"], ["serve", "--debug"]):
        done = _process(*arguments, "--run", tmp_path)
        assert "Traceback" in done.stderr
        assert "RunError" in done.stderr


def test_a_busy_port_is_found_before_ten_minutes_of_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        output = complaint("demo", "--run", tmp_path / "run", "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert "choose another --port" in output
    assert not (tmp_path / "run" / "corpus").exists()


def test_two_processes_cannot_hold_one_run(tmp_path: Path) -> None:
    from codenas.files import folder_lock

    with folder_lock(tmp_path):
        done = _process("train", "--run", tmp_path)
    assert done.returncode == 2
    assert "is in use by process" in done.stderr


def test_a_search_without_ray_finds_a_winner_and_trains_it(tmp_path: Path) -> None:
    corpus, job, run = tiny_corpus(tmp_path / "corpus"), tmp_path / "job.toml", tmp_path / "run"
    job.write_text(f"{SMALL_SEARCH}[train]\nsteps = 6\n")
    searched = codenas("search", "--no-ray", "--corpus", corpus.path, "--run", run, "--job", job)
    assert searched.exit_code == 0, searched.stderr
    assert "8 training steps" in searched.stdout
    assert "c000 (frontier) at 2 steps: " in searched.stderr and "bits per byte" in searched.stderr
    trained = codenas("train", "--run", run, "--job", job)
    assert trained.exit_code == 0, trained.stderr
    assert "6 steps" in trained.stdout
    other = tiny_corpus(tmp_path / "other", seed=1)
    assert "choose another --run" in complaint("search", "--no-ray", "--corpus", other.path, "--run", run, "--job", job)


def test_a_corpus_too_small_for_the_context_is_refused(tmp_path: Path) -> None:
    corpus, job = tiny_corpus(tmp_path / "corpus"), tmp_path / "job.toml"
    job.write_text('[search]\nspace = { base = { context_len = 100000 }, choices = { norm = ["rmsnorm"] } }\n')
    output = complaint("search", "--no-ray", "--corpus", corpus.path, "--run", tmp_path / "run", "--job", job)
    assert "corpus too small for the context" in output


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "local_ray", lambda *_, **__: pytest.fail("Ray was started"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "TMP/absent"], "TMP/absent"),
        (["prepare", "--source", "TMP/absent", "--output", "TMP/corpus"], "there is no source TMP/absent"),
        (["prepare", "--source", "TMP/absent", "--output", "TMP/other"], "TMP/other holds a corpus of other settings"),
        (["demo", "--run", "TMP/run", "--job", "TMP/job.toml"], "there is no source TMP/absent"),
        (["demo", "--run", "TMP/run", "--max-mb", "0.01"], "no architecture can meet the limit"),
        (["search", "--run", "TMP/run", "--corpus", "TMP/other"], "TMP/run/search holds a search with another job or another corpus"),
    ],
)
@pytest.mark.usefixtures("_no_ray")
def test_what_is_missing_is_found_before_ray_starts(tmp_path: Path, arguments: list[str], message: str) -> None:
    tiny_corpus(tmp_path / "other")
    other = SearchFolder(tmp_path / "run" / "search")
    other.claim("another job", "another corpus")
    (other.checkpoints / "c000" / "50").mkdir(parents=True)  # one of which nothing was trained would give way
    (tmp_path / "job.toml").write_text(f"[prepare]\nsource = '{tmp_path}/absent'\n")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    given = [argument.replace("TMP", str(tmp_path)) for argument in arguments]
    given += ["--port", str(port)] if arguments[0] in ("serve", "demo") else []
    assert message.replace("TMP", str(tmp_path)) in complaint(*given)


@pytest.mark.usefixtures("_no_ray")
def test_a_demo_checks_more_if_its_corpus_exists(tmp_path: Path) -> None:
    """No architecture of 300 ids and their tokenizer is inside the limit; with the fewest ids and no tokenizer one would be."""
    corpus, job = tiny_corpus(tmp_path / "run" / "corpus"), tmp_path / "job.toml"
    manifest = corpus.manifest.model_copy(update={"config_digest": PrepareConfig().digest})
    (corpus.path / "corpus.json").write_text(manifest.model_dump_json())
    job.write_text(SMALL_SEARCH)
    given = ["demo", "--run", str(tmp_path / "run"), "--job", str(job), "--max-mb", "0.02"]
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    output = complaint(*given, "--port", str(port))
    assert "no architecture can meet the limit" in output and "the smallest; a larger one" not in output


@pytest.mark.parametrize(
    ("command", "words"),
    [("train", "its [train] table is used"), ("search", "its [search] table is used"), ("evaluate", "its [evaluate] table is used"),
     ("demo", "[default: the demo's own]"), ("search", "[default: the run's own]"), ("demo", "[default: all]")],
)  # fmt: skip
def test_help_shows_what_stands_in_brackets(command: str, words: str) -> None:
    output = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).stdout
    assert words in " ".join(output.split())
