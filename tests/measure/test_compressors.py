"""The compressors' bits per byte: of the whole stream, whatever its pieces."""

import bz2
import lzma
import random
import zlib

import pytest

from codenas.errors import CorpusError
from codenas.measure.compressors import compressor_bits_per_byte

TEXT = b"".join(b"def function_%d(argument):\n    return argument + %d\n" % (number, number * number) for number in range(500))


def test_equal_to_the_tools_in_one_go() -> None:
    whole = {"zlib": zlib.compress(TEXT, 9), "bz2": bz2.compress(TEXT, 9), "xz": lzma.compress(TEXT, preset=6)}
    assert compressor_bits_per_byte([TEXT]) == {name: 8 * len(data) / len(TEXT) for name, data in whole.items()}


def test_pieces_do_not_matter() -> None:
    pieces = (TEXT[start : start + 97] for start in range(0, len(TEXT), 97))
    assert compressor_bits_per_byte(pieces) == compressor_bits_per_byte([b"", TEXT])


def test_noise_needs_eight_bits_and_repetition_almost_none() -> None:
    noise = compressor_bits_per_byte([random.Random(0).randbytes(50_000)])
    assert all(8 <= bits < 8.1 for bits in noise.values())
    assert all(bits < 0.1 for bits in compressor_bits_per_byte([b"x"] * 50_000).values())


@pytest.mark.parametrize("chunks", [[], [b""]])
def test_nothing_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(CorpusError, match="not one byte"):
        compressor_bits_per_byte(chunks)
