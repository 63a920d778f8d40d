"""Compressors as a baseline for bits per byte: a useful model is below xz."""

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

    The chunks are one stream: compressors use matches across chunks, within their window.

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
