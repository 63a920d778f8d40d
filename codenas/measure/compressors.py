"""Compressors as a baseline: a model that needs more bits per byte than xz has learnt nothing worth its weights."""

import bz2
import lzma
import zlib
from collections.abc import Iterable
from typing import Protocol

from codenas.errors import CorpusError


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressor_bits_per_byte(chunks: Iterable[bytes]) -> dict[str, float]:
    """Bits per byte of zlib (level 9), bz2 (900 kB blocks) and xz (preset 6, 8 MiB window) over the whole stream.

    The chunks are joined as one stream, so that a compressor learns over their borders as far as its window reaches.

    Raises:
        CorpusError: the stream is empty.
    """
    compressors: dict[str, _Compressor] = {"zlib": zlib.compressobj(9), "bz2": bz2.BZ2Compressor(9), "xz": lzma.LZMACompressor(preset=6)}
    compressed, total = dict.fromkeys(compressors, 0), 0
    for chunk in chunks:
        total += len(chunk)
        for name, compressor in compressors.items():
            compressed[name] += len(compressor.compress(chunk))
    if not total:
        raise CorpusError("there is not one byte to compress; choose a split that has text")
    return {name: 8 * (compressed[name] + len(compressor.flush())) / total for name, compressor in compressors.items()}
