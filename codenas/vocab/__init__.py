"""Vocabularies: text to ids and back."""

import json
from pathlib import Path

from codenas.errors import CorpusError
from codenas.vocab.base import END_OF_TEXT, SPECIAL_TOKENS, Vocabulary
from codenas.vocab.bpe import Bpe
from codenas.vocab.char import Char
from codenas.vocab.infilling import Infilling, infill_prompt

__all__ = ["END_OF_TEXT", "SPECIAL_TOKENS", "Bpe", "Char", "Infilling", "Vocabulary", "infill_prompt", "load_vocabulary"]


def load_vocabulary(path: Path) -> Vocabulary:
    """Load a vocabulary file of either kind.

    Raises:
        CorpusError: the file is missing or broken.
    """
    way_out = "restore it, or make its folder again: a corpus with `codenas prepare`, a model with `codenas train`"
    try:
        content = Path(path).read_text(encoding="utf-8")
        kind = Char if json.loads(content).get("kind") == "char" else Bpe
        return kind.load(content)
    except FileNotFoundError:
        raise CorpusError(f"there is no vocabulary at {path}; {way_out}") from None
    except (OSError, ValueError, AttributeError, CorpusError) as error:
        raise CorpusError(f"the vocabulary {path} is broken ({error}); {way_out}") from None
