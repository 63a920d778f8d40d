"""`codenas tokens sample-stats`: what it writes and shows, and one line where it cannot."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codenas.cli.app import NOTHING_KEPT, app
from codenas.vocab.sampling.details import SampleDetails
from codenas.vocab.sampling.draws import SamplingSettings
from codenas.vocab.sampling.pieces import FORCED
from codenas.vocab.sampling.statistics import Part, Run, sample
from tests.vocab.texts import code_like

SMALL = ("--num_batches", "12", "--min-size", "400", "--max-size", "600", "--texts", "64")


def one_after_the_other(runs: Sequence[Run], texts: Mapping[str, Sequence[str]], settings: SamplingSettings) -> Iterator[Part]:
    """What Ray does."""
    for run in runs:
        yield from sample(run, texts[run.language], settings)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_jobs.cluster.local.local_ray", lambda cpus: contextlib.nullcontext())
    monkeypatch.setattr("data_prep.tokens.sampling.sample_on_ray", one_after_the_other)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    for suffix, seed, count in ((".py", 1, 100), (".go", 2, 80), (".lua", 3, 5)):
        for number, text in enumerate(code_like(seed, count)):
            (folder / f"{number:03d}{suffix}").write_text(text or "x")
    return folder


def sampled(source: Path, *more: str | Path) -> Result:
    return CliRunner().invoke(app, ["tokens", "sample-stats", "--source", str(source), *map(str, more)])


def test_the_file_says_how_many_vocabularies_hold_each_token(source: Path, tmp_path: Path) -> None:
    output, details = tmp_path / "new/stats.json", tmp_path / "details.json"
    done = sampled(source, *SMALL, "--output_file", output, "--details-file", details)
    assert done.exit_code == 0, done.output
    counts = json.loads(output.read_text())
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert sum(counts.values()) == 12 * 600
    assert all(counts[piece] == 12 for piece in FORCED)
    stored = SampleDetails.model_validate_json(details.read_bytes())
    assert set(stored.languages) == {"Python", "Go"} and stored.settings.draws == 12
    drawn = {
        token: sum(round(held.get(token, (0, 0))[0] * stored.languages[language].draws) for language, held in stored.tokens.items())
        for token in counts
        if token not in FORCED
    }
    assert drawn == {token: count for token, count in counts.items() if token not in FORCED}


def test_the_summary_shows_only_drawn_tokens(source: Path, tmp_path: Path) -> None:
    done = sampled(source, *SMALL, "--output-file", tmp_path / "stats.json")
    for line in (
        "batches            12, and 0 failed",
        "total occurrences  7,200: 2,508 drawn, 4,692 forced",
        "average per batch  600.0 tokens",
        "forced             256 bytes and 135 runs of blanks, in every vocabulary",
        "languages          Go (",
        "left out, with fewer than the 64 texts of a window: 5 of Lua",
        "sample: 12 batches in ",
    ):
        assert line in done.output
    top = done.output.partition("Top 20")[2]
    assert " 20 │ " in top and not any(f"│ {piece} │" in top for piece in FORCED)


def test_weights_choose_languages_and_workers_change_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.json").write_text('{"Go": 1}')
    outputs = [tmp_path / f"{workers}.json" for workers in (1, 3)]
    for workers, output in zip((1, 3), outputs, strict=True):
        done = sampled(source, *SMALL, "--languages", tmp_path / "weights.json", "--workers", str(workers), "--output-file", output)
        assert "languages          Go (12)" in done.output
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "FOLDER/empty"], "the source FOLDER/empty is empty: it has 0 documents with text"),
        (["--source", "FOLDER/nowhere"], "there is no source FOLDER/nowhere"),
        (["--texts", "2048"], "a window takes 2,048 texts and the source has 100 of Python, 80 of Go, 5 of Lua; .* lower --texts to 96$"),
        (["--max-size", "391"], "--max-size 391 is refused: it must be 392 or more, 256 bytes and 135 runs of blanks"),
        (["--min-size", "391"], "--min-size 391 is refused: it must be 392 or more"),
        (["--mean-size", "9000"], "--mean-size 9000.0 is refused: it must be between the smallest and the largest size, 400 and 600"),
        (["--size-std", "-1"], "--size-std -1.0 is refused: Input should be greater than or equal to 0"),
        (["--noise-mean", "-1"], "--noise-mean -1.0 is refused: Input should be greater than or equal to 0"),
        (["--noise-std", "-1"], "--noise-std -1.0 is refused: Input should be greater than or equal to 0"),
        (["--num-batches", "0"], "--num-batches 0 is refused: Input should be greater than or equal to 1"),
        (["--texts", "40"], "--texts 40 is refused: Input should be a multiple of 16"),
        (["--max-size", "900000", "--min-size", "90000"], "all 12 draws failed: the texts of a window have at most .*lower the sizes to"),
        (["--output-file", "FOLDER"], "Is a directory: FOLDER"),
        (["--details-file", "/dev/null/details.json"], "/dev/null"),
        (["--languages", "FOLDER/nowhere.json"], "there is no file FOLDER/nowhere.json of weights"),
        (["--languages", "FOLDER/negative.json"], "negative.json holds no weights of languages .Go: Input should be greater than 0"),
        (["--languages", "FOLDER/none.json"], "none.json holds no weights of languages"),
        (["--languages", "FOLDER/absent.json"], "a window takes 64 texts and the source has 0 of Haskell; give a source"),
    ],
)
def test_what_the_user_can_mend_is_one_line(source: Path, tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    for name, content in (("negative", '{"Go": -1}'), ("none", "{}"), ("absent", '{"Haskell": 1}')):
        (tmp_path / f"{name}.json").write_text(content)
    given = [option.replace("FOLDER", str(tmp_path)) for option in options]
    done = sampled(source, *SMALL, "--output-file", tmp_path / "stats.json", *given)
    assert done.exit_code == 2
    messages = [line for line in done.stderr.splitlines() if line.startswith("codenas: ")]
    assert len(messages) == 1 and done.stderr.endswith(messages[0] + "\n")
    assert re.search(message.replace("FOLDER", str(tmp_path)), messages[0]) and done.stdout == ""
    assert not (tmp_path / "stats.json").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_source_is_read(tmp_path: Path) -> None:
    done = sampled(tmp_path / "nowhere", "--output-file", tmp_path)
    assert (done.exit_code, done.stderr.split(":")[1]) == (2, " Is a directory")


def test_an_interrupt_says_that_nothing_is_kept(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Iterator[Part]:
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.tokens.sampling.sample_on_ray", interrupted)
    done = sampled(source, *SMALL, "--output-file", tmp_path / "stats.json")
    assert done.exit_code == 130 and done.stderr.endswith("codenas: interrupted; " + NOTHING_KEPT + "\n")
    assert not (tmp_path / "stats.json").exists()
