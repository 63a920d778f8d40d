"""Training and the fast path of the byte-level BPE."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from codenas.errors import ConfigError, CorpusError
from codenas.vocab import Bpe
from codenas.vocab.bpe import SMALLEST_SIZE, byte_letters

TEXTS = [f"def function_{index}(self, value):\n        return self.value_{index % 7} + value  # café\n" for index in range(60)]

TRAIN = """
from codenas.vocab import Bpe
texts = [f"def function_{index}(self, value):\\n        return self.value_{index % 7} + value  # café\\n" for index in range(60)]
print(Bpe.train(texts, 320).digest)
"""


def test_the_byte_letters_are_those_of_the_library() -> None:
    from tokenizers import pre_tokenizers

    assert sorted(byte_letters().values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(" ")[0][0]] == [byte_letters()[ord(" ")]]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_training_is_the_same_in_every_process_and_for_any_number_of_threads(threads: str) -> None:
    environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", TRAIN], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Bpe.train(TEXTS, 320).digest


def test_more_ids_mean_fewer_tokens() -> None:
    text = "".join(TEXTS)
    lengths = [len(Bpe.train(TEXTS, size).encode(text)) for size in (SMALLEST_SIZE, 300, 340)]
    assert lengths[0] == len(text.encode())
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 3


def test_training_skips_what_is_not_utf8() -> None:
    assert Bpe.train([*TEXTS, "\ud800"], 320).digest == Bpe.train(TEXTS, 320).digest


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"261 is too small.*262"):
        Bpe.train(TEXTS, SMALLEST_SIZE - 1)


def test_the_file_is_the_common_tokenizer_json(tmp_path: Path) -> None:
    vocabulary = Bpe.train(TEXTS, 320)
    vocabulary.save(tmp_path / "tokenizer.json")
    common = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "def function_1(self):\n    pass  # café"
    assert common.encode(text).ids == vocabulary.encode(text)
    assert common.decode(vocabulary.encode(text)) == text


def test_a_tokenizer_without_our_special_tokens_is_refused(tmp_path: Path) -> None:
    vocabulary = Bpe.train(TEXTS, 320)
    vocabulary.save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["added_tokens"] = []
    del content["model"]["vocab"]["<file_sep>"]
    with pytest.raises(CorpusError, match="'<file_sep>'"):
        Bpe.load(json.dumps(content))
