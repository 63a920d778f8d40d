"""Statistics and the table of documents."""

from pathlib import Path

from codenas.corpus import Tally
from data_prep.document import Entry
from data_prep.entry_table import load_entries, save_entries
from data_prep.rules.dedup import first_copy
from data_prep.statistics import Statistics


def test_the_first_copy_is_kept_and_the_others_are_counted() -> None:
    statistics = Statistics("test")
    entries = [Entry("r", str(number), ("MIT",), 10, "f", row=number, sha256="abab"[number]) for number in range(4)]
    assert [entry.row for entry in statistics.filter(entries, first_copy())] == [0, 1]
    assert statistics.drops == {"duplicate": Tally(documents=2, bytes=20)}


def test_entries_and_statistics_are_stored_together(tmp_path: Path) -> None:
    statistics = Statistics("somewhere")
    entries = statistics.record("found", [Entry("r", "é.py", ("ISC", "MIT"), 7, "f", 1, 2, "aa", "train"), Entry("s", "b", (), 3, "g")])
    statistics.drop("syntax", 5)
    statistics.drop("syntax", 6)
    save_entries(tmp_path / "a.parquet", entries, statistics)
    save_entries(tmp_path / "b.parquet", entries, statistics)
    again, loaded = load_entries(tmp_path / "a.parquet")
    assert again == entries
    assert loaded.to_file() == statistics.to_file()
    assert loaded.drops == {"syntax": Tally(documents=2, bytes=11)}
    assert loaded.stages == {"found": Tally(documents=2, bytes=10)}
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
