"""The figures of a corpus as bars, in a terminal and on a page."""

import io
import re
from html.parser import HTMLParser

from rich.console import Console

from codenas.corpus import CorpusManifest, Figures, Portion, SourceSize, SplitInfo, Tally
from codenas.corpus.manifest import content_digest
from codenas.report.corpus import OLD, bars_table, corpus_page, histograms, source_lines

SPLITS = {"train": SplitInfo(tokens=0, bytes=30, documents=3, repositories=1, shards=())}
OLD_CARD = CorpusManifest(
    digest=content_digest("v", "uint16", SPLITS), config_digest="c", vocab_digest="v", vocab_size=300, dtype="uint16", end_of_text=0,
    splits=SPLITS, source="a <source> & more", stages={"found": Tally(documents=9, bytes=90)},
    drops={"syntax": Tally(documents=2, bytes=20), "tests": Tally(documents=4, bytes=40)},
    licences={"MIT": Tally(documents=2, bytes=20), "ISC": Tally(documents=1, bytes=10)},
)  # fmt: skip
FIGURES = Figures(
    languages={"Python": Portion(documents=2, bytes=28, tokens=9), "": Portion(documents=1, bytes=2, tokens=2)},
    sizes=(0, 0, 1, 0, 2), lengths=(1, 2),
)  # fmt: skip
CARD = OLD_CARD.model_copy(
    update={
        "held": SourceSize(files=2, row_groups=3, rows=9, bytes=1_230_000, digest="d" * 64),
        "bad_rows": 1,
        "figures": {"train": FIGURES},
    }
)


def test_every_figure_is_a_histogram() -> None:
    named = {bars.title: bars.rows for bars in histograms(CARD)}
    assert [label for label, _, _ in named["Dropped, by reason"]] == ["tests", "syntax"]
    assert named["Licences of kept documents"][0] == ("MIT", 20, "2 documents, 0.00 MB")
    assert named["Languages of train"][1] == ("unknown", 2, "1 documents, 0.00 MB, 2 tokens")
    assert named["Documents of train by bytes"] == (("2 to 3", 1, "1"), ("4 to 7", 0, "0"), ("8 to 15", 2, "2"))
    assert named["Documents of train by tokens"] == (("0", 1, "1"), ("1 to 1", 2, "2"))


def test_splits_come_in_the_order_of_the_corpus() -> None:
    splits = dict.fromkeys(("train", "valid", "test"), SPLITS["train"])
    card = CARD.model_copy(update={"splits": splits, "figures": dict.fromkeys(sorted(splits), FIGURES)})
    titles = [bars.title for bars in histograms(card)]
    assert [title for title in titles if title.startswith("Languages")] == [f"Languages of {split}" for split in splits]


def test_the_longest_bar_is_full_and_the_others_are_shares_of_it() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(bars_table(histograms(CARD)[0]))
    assert [line.count("█") for line in console.export_text().splitlines() if "█" in line] == [40, 20]


def test_the_source_and_its_bad_rows_are_told() -> None:
    assert source_lines(CARD) == [
        "source: 2 files, 3 row groups, 9 rows, 1.23 MB compressed, digest dddddddddddd",
        "bad rows: 1, see quarantine.jsonl",
    ]


def test_a_corpus_of_an_earlier_version_is_noted() -> None:
    assert source_lines(OLD_CARD) == [OLD]
    assert [bars.title for bars in histograms(OLD_CARD)] == ["Dropped, by reason", "Licences of kept documents"]
    assert OLD in corpus_page(OLD_CARD, "old")


def test_the_page_is_whole_escaped_and_needs_nothing_else() -> None:
    page = corpus_page(CARD, "mine & <yours>")
    assert "mine &amp; &lt;yours&gt;" in page and "a &lt;source&gt; &amp; more" in page and "<source>" not in page
    assert page.count("<svg ") == page.count("</svg>") == 5
    assert not re.search(r"(src|href)=|url\(|@import|<script|<link", page)
    HTMLParser().feed(page)


def test_a_long_licence_is_not_cut_at_the_edge_of_its_picture() -> None:
    long = "0BSD AND BSD-3-Clause AND CC0-1.0 AND MIT AND Zlib"
    licences = dict.fromkeys((long, "x" * 500), Tally(documents=1, bytes=1))
    page = corpus_page(CARD.model_copy(update={"licences": licences}), "mine")
    ends = {label: int(x) for x, label in re.findall(r'<text x="(\d+)" y="\d+" text-anchor="end">([^<]*)<', page)}
    assert all(7 * len(label) < end for label, end in ends.items())  # no letter of this size is wider on average
    assert long in ends and f"{'x' * 79}…" in ends
