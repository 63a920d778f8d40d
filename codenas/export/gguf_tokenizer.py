"""The vocabulary in a GGUF file: byte-level BPE is GPT-2's tokenizer; of others llama.cpp knows the ids only."""

from typing import TYPE_CHECKING

from codenas.vocab import END_OF_TEXT, Bpe, Vocabulary
from codenas.vocab.base import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX
from codenas.vocab.frequencies import token_names

if TYPE_CHECKING:
    from gguf import GGUFWriter

_FIM_TOKENS = {"fim_pre": FIM_PREFIX, "fim_suf": FIM_SUFFIX, "fim_mid": FIM_MIDDLE}


def add_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary | None, vocab_size: int) -> None:
    """Write `vocabulary` with a `GGUFWriter`, or that the file has none."""
    if not isinstance(vocabulary, Bpe) or vocabulary.size != vocab_size:
        writer.add_tokenizer_model("no_vocab")
        return
    from gguf import TokenType

    specials = set(vocabulary.specials.values())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(token_names(vocabulary))
    writer.add_token_types([TokenType.CONTROL if index in specials else TokenType.NORMAL for index in range(vocab_size)])
    writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    writer.add_bos_token_id(vocabulary.specials[END_OF_TEXT])
    writer.add_eos_token_id(vocabulary.specials[END_OF_TEXT])
    writer.add_add_bos_token(False)
    for name, token in _FIM_TOKENS.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", vocabulary.specials[token])
