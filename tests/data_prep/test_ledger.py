"""The books."""

from pathlib import Path

from codenas.corpus import Tally
from data_prep.document import Entry
from data_prep.ledger import Ledger, load_entries, save_entries
from data_prep.rules.dedup import first_copy


def test_the_first_copy_is_kept_and_the_others_are_counted() -> None:
    ledger = Ledger("test")
    entries = [Entry("r", str(number), ("MIT",), 10, "f", row=number, sha256="abab"[number]) for number in range(4)]
    assert [entry.row for entry in ledger.sift(entries, first_copy())] == [0, 1]
    assert ledger.drops == {"duplicate": Tally(documents=2, bytes=20)}


def test_entries_and_ledger_come_back_together(tmp_path: Path) -> None:
    ledger = Ledger("somewhere")
    entries = ledger.enter("found", [Entry("r", "é.py", ("ISC", "MIT"), 7, "f", 1, 2, "aa", "train"), Entry("s", "b", (), 3, "g")])
    ledger.drop("syntax", 5)
    ledger.drop("syntax", 6)
    save_entries(tmp_path / "a.parquet", entries, ledger)
    save_entries(tmp_path / "b.parquet", entries, ledger)
    again, books = load_entries(tmp_path / "a.parquet")
    assert again == entries
    assert books.page() == ledger.page()
    assert books.drops == {"syntax": Tally(documents=2, bytes=11)}
    assert books.stages == {"found": Tally(documents=2, bytes=10)}
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
