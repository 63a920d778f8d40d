"""The contract of every vocabulary: any bytes round-trip, sizes add up, special tokens are never read from text."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codenas.errors import CorpusError
from codenas.vocab import SPECIAL_TOKENS, Bpe, Char, Vocabulary, load_vocabulary

SAMPLE = ["def add(left, right):\n    return left + right\n" * 4, "# naïve café — ∑ 数\nvalue = 'ü'\n" * 3]
VOCABULARIES: dict[str, Vocabulary] = {"char": Char.train(SAMPLE), "bpe": Bpe.train(SAMPLE, 300)}
DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=80)

AWKWARD = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"ok \xed\xa0\x80 ok",
    b"\xf0\x9f\x98",
    "😀".encode(),
    b"\r\n\t  x",
    b"<|endoftext|>",
    b"<fim_prefix>a",
]


@pytest.fixture(params=VOCABULARIES)
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return VOCABULARIES[request.param]


@pytest.mark.parametrize("kind", VOCABULARIES)
@given(data=st.binary(max_size=64))
@DETERMINISTIC
def test_any_bytes_round_trip(kind: str, data: bytes) -> None:
    assert VOCABULARIES[kind].decode(VOCABULARIES[kind].encode(data)) == data


@pytest.mark.parametrize("kind", VOCABULARIES)
@given(text=st.text(alphabet=st.characters(), max_size=40))
@DETERMINISTIC
def test_any_text_round_trips_and_its_bytes_add_up(kind: str, text: str) -> None:
    ids = VOCABULARIES[kind].encode(text)
    assert VOCABULARIES[kind].decode(ids).decode("utf-8", "surrogatepass") == text
    assert VOCABULARIES[kind].bytes_per_token[ids].sum() == len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("data", AWKWARD)
def test_awkward_bytes(vocabulary: Vocabulary, data: bytes) -> None:
    ids = vocabulary.encode(data)
    assert vocabulary.decode(ids) == data
    assert int(vocabulary.bytes_per_token[ids].sum()) == len(data)
    assert not set(ids) & set(vocabulary.specials.values())


def test_special_tokens_have_ids_no_bytes_and_no_text(vocabulary: Vocabulary) -> None:
    assert tuple(vocabulary.specials) == SPECIAL_TOKENS
    ids = list(vocabulary.specials.values())
    assert vocabulary.decode(ids) == b""
    assert not vocabulary.bytes_per_token[ids].any()
    assert (vocabulary.bytes_per_token > 0).sum() == vocabulary.size - len(SPECIAL_TOKENS)
    for name in SPECIAL_TOKENS:
        assert not set(vocabulary.encode(f"x = '{name}'")) & set(ids)


def test_ids_lie_inside_the_vocabulary(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode(bytes(range(256)) + "".join(SAMPLE).encode())
    assert min(ids) >= 0 and max(ids) < vocabulary.size == len(vocabulary.bytes_per_token)


def test_save_and_load_keep_ids_and_digest(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "tokenizer.json")
    loaded = load_vocabulary(tmp_path / "tokenizer.json")
    text = "".join(SAMPLE) + "<|endoftext|>"
    assert type(loaded) is type(vocabulary)
    assert loaded.digest == vocabulary.digest
    assert loaded.size == vocabulary.size
    assert loaded.encode(text) == vocabulary.encode(text)


def test_the_digest_is_the_same_in_another_process(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    vocabulary.save(path)
    code = (
        "import sys; from pathlib import Path; from codenas.vocab import load_vocabulary; print(load_vocabulary(Path(sys.argv[1])).digest)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == vocabulary.digest


def test_the_kinds_differ_in_digest() -> None:
    assert len({vocabulary.digest for vocabulary in VOCABULARIES.values()}) == len(VOCABULARIES)


def test_a_missing_file_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no vocabulary at .*codenas prepare"):
        load_vocabulary(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"kind": "char"}', b'{"kind": "char", "characters": ["ab"]}', b'{"model": {"type": "BPE"}}'],
)
def test_a_broken_file_is_one_clear_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="is broken") as caught:
        load_vocabulary(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_half_a_file_is_broken(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    vocabulary.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorpusError, match="is broken"):
        load_vocabulary(path)
