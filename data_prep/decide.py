"""What is decided over all documents at once, from the verdicts that are stored: duplicates, the split, and the books of it.

No text is in memory here: 250 bytes for each document that the source lists, and 1.2 kB at the highest, while near-duplicates
are looked for.
"""

import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from codenas.corpus import Redacted
from codenas.errors import CorpusError
from codenas.log import LOGGER
from data_prep.config import PrepareConfig
from data_prep.document import Entry
from data_prep.ledger import BadRow, Ledger, Match
from data_prep.rules.dedup import first_copy
from data_prep.rules.kinship import KIN_SHARE, kin
from data_prep.rules.near_dedup import Place, best_copy
from data_prep.rules.redact import KINDS
from data_prep.rules.select import nothing_left
from data_prep.rules.split import split_by_repository
from data_prep.unit_store import UnitStore
from data_prep.units import CONTAMINATED, units_of


def decide(config: PrepareConfig, entries: list[Entry], store: UnitStore, ledger: Ledger) -> list[Entry]:
    """The documents to keep, each with its hash, its true size, its language and its split; every other one is on the `ledger`.

    Raises:
        CorpusError: nothing is left, or too little to split.
    """
    filtered, sketches = _filter(entries, store, ledger)
    unique = ledger.enter("unique", ledger.sift(filtered, first_copy()))
    if not unique:
        raise CorpusError(nothing_left(config, ledger))
    if config.near_dedup.enabled:
        unique = ledger.enter("near-unique", ledger.sift(unique, best_copy(unique, _column(unique, store, "bands"))))
    if config.redact:
        ledger.redacted = _redacted(_column(unique, store, "redacted").values())
    copies = kin(sketches)
    LOGGER.info(f"split: {len(copies)} of {len(sketches)} repositories share over {KIN_SHARE:.0%} of their lines, and are not held out")
    splits = split_by_repository(unique, {"valid": config.valid_share, "test": config.test_share}, config.seed, copies)
    for entry in unique:
        entry.split = splits[entry.repository]
    return unique


def _filter(entries: list[Entry], store: UnitStore, ledger: Ledger) -> "tuple[list[Entry], dict[str, array[int]]]":
    """The entries that pass the filters and hold no benchmark, with their hash and true size; and the sketch of each repository."""
    reasons: dict[Place, str] = {}
    sketches: dict[str, array[int]] = defaultdict(lambda: array("I"))
    placed = sorted(entries, key=lambda entry: entry.place)
    columns = ("reason", "sha256", "size", "language", "lines", "found", "matched")
    for entry, verdict in zip(placed, store.verdicts(units_of(placed), columns), strict=True):
        entry.sha256, entry.language = verdict["sha256"], sys.intern(verdict["language"])
        if verdict["size"] is None:
            ledger.quarantine.append(BadRow(file=entry.file, row_group=entry.row_group, row=entry.row, reason=verdict["reason"]))
        else:
            entry.size = verdict["size"]
        if verdict["reason"] is None:
            sketches[entry.repository].extend(verdict["lines"])
            continue
        reasons[entry.place] = verdict["reason"]
        if verdict["reason"] == CONTAMINATED:
            match = Match(repository=entry.repository, path=entry.path, found=verdict["found"], matched=verdict["matched"])
            ledger.benchmarks.append(match)
            LOGGER.info(f"benchmark text in {match.repository}/{match.path}: {match.found}, {match.matched!r}")
    return ledger.enter("filtered", ledger.sift(entries, lambda entry: reasons.get(entry.place))), sketches


def _column(entries: list[Entry], store: UnitStore, name: str) -> dict[Place, Any]:
    """One column of the verdicts on `entries`."""
    placed = sorted(entries, key=lambda entry: entry.place)
    return {entry.place: row[name] for entry, row in zip(placed, store.verdicts(units_of(placed), (name,)), strict=True)}


def _redacted(counts: Iterable[list[int]]) -> dict[str, Redacted]:
    """Of the numbers that were replaced in each document: how many of each kind, and in how many documents."""
    rows = [(*row, sum(row)) for row in counts]
    columns = zip((*KINDS, "all"), zip(*rows, strict=True), strict=True) if rows else ()
    return {kind: Redacted(values=sum(column), documents=sum(map(bool, column))) for kind, column in columns}
