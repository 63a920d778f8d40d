"""`codenas tokens frequencies` and `compare`: what they write and show, and one line where they cannot."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codenas.arch import ArchSpec
from codenas.arch.cost import parameters
from codenas.cli.app import app
from codenas.cli.tokens import corpus_vocabularies
from codenas.report.scale import scaled
from codenas.vocab import Bpe, Char
from codenas.vocab.frequencies import FrequencyTable
from tests.fakes import tiny_corpus
from tests.vocab.texts import code_like


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of code in two languages, two vocabularies, and a prepared corpus without its text."""
    home = tmp_path_factory.mktemp("tokens")
    (home / "code").mkdir()
    for suffix, seed in ((".py", 1), (".go", 2)):
        for number, text in enumerate(code_like(seed, 20)):
            (home / "code" / f"{number:03d}{suffix}").write_text(text or "x")
    Bpe.train(code_like(3, 100), 600).save(home / "bpe.json")
    Char.train(code_like(3, 100)).save(home / "char.json")
    tiny_corpus(home / "corpus")
    return home


def codenas(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["tokens", *map(str, arguments)])


def test_frequencies_are_stored_and_shown_by_language(folder: Path, tmp_path: Path) -> None:
    done = codenas("frequencies", folder / "bpe.json", "--source", folder / "code", "--output_file", tmp_path / "new/table.json")
    assert done.exit_code == 0, done.output
    table = FrequencyTable.model_validate_json((tmp_path / "new/table.json").read_bytes())
    assert set(table.languages) == {"Go", "Python"} and table.vocab_size == 600
    for words in ("600 ids on", "Go ", "Python ", "total ", "unused ids", "Top 20", f"{table.tokens[0].count:,}"):
        assert words in done.output


def test_vocabularies_stand_side_by_side(folder: Path) -> None:
    done = codenas("compare", folder / "bpe.json", folder / "char.json", folder / "corpus", "--source", folder / "code")
    assert done.exit_code == 0, done.output
    embedding, whole = 600 * ArchSpec().d_model, parameters(ArchSpec(), 600)
    for words in ("4 layers x 256", "Go", "Python", scaled(embedding), f"{100 * embedding / whole:.1f} %"):
        assert words in done.output
    assert "2 layers x 16" in codenas("compare", folder / "bpe.json", "--source", folder / "code", "--arch", "L2 H16 A2").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frequencies", "FOLDER/none.json", "--source", "FOLDER/code"], "there is no vocabulary at FOLDER/none.json"),
        (["frequencies", "FOLDER/bpe.json", "--source", "FOLDER/none"], "there is no source FOLDER/none"),
        (["frequencies", "FOLDER/bpe.json", "--source", "FOLDER/code", "--output-file", "FOLDER"], "Is a directory: FOLDER"),
        (["frequencies", "--source", "FOLDER/corpus"], "FOLDER/corpus does not say which documents it holds"),
        (["compare", "--source", "FOLDER/none"], "there is no source FOLDER/none; give a prepared corpus, or name the vocabularies"),
        (["compare", "--source", "FOLDER/code"], "FOLDER/code is no prepared corpus with vocabularies of its own; name those to compare"),
        (["compare", "FOLDER/bpe.json", "--source", "FOLDER/code", "--arch", "no such thing"], "'no such thing' is no file"),
    ],
)
def test_what_the_user_can_mend_is_one_line(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    output = [] if arguments[0] == "compare" or "--output-file" in arguments else ["--output-file", str(tmp_path / "table.json")]
    done = codenas(*(argument.replace("FOLDER", str(folder)) for argument in arguments), *output)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"codenas: {message.replace('FOLDER', str(folder))}") and done.stderr.count("\n") == 1


def test_of_a_corpus_all_vocabularies_are_compared(tmp_path: Path) -> None:
    tiny_corpus(tmp_path / "corpus", vocabularies=("bpe-300",))
    found = [tmp_path / "corpus/tokenizer.json", tmp_path / "corpus/vocabularies/bpe-300/tokenizer.json"]
    assert corpus_vocabularies(tmp_path / "corpus") == found
    Char("").save(tmp_path / "corpus/vocab-char.json")
    assert corpus_vocabularies(tmp_path / "corpus") == [found[0], tmp_path / "corpus/vocab-char.json", found[1]]


def test_the_characters_of_a_corpus_are_compared_once(tmp_path: Path) -> None:
    tiny_corpus(tmp_path / "corpus", vocabularies=("char",))
    Char("").save(tmp_path / "corpus/vocab-char.json")
    found = [tmp_path / "corpus/tokenizer.json", tmp_path / "corpus/vocabularies/char/tokenizer.json"]
    assert corpus_vocabularies(tmp_path / "corpus") == found
