"""Tables and lines say the figures, their units, and which were not measured."""

import pytest
from rich.console import Console

from codenas.arch.design import Design
from codenas.arch.mixers import MIXER_SPECS, MixerBase
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.spec import ArchSpec, FeedForwardSpec
from codenas.metrics import Metrics
from codenas.report.tables import FrontRow, front_table, metric_figures, search_counts, summary_lines, winner_line, worker_utilisation
from codenas.search.result import SearchResult

SMALL = Design(
    arch=ArchSpec(d_model=128, n_layers=4, pattern=(AttentionSpec(n_heads=4, n_kv_heads=2),), norm="layernorm", position="alibi")
)
MIXED = Design(
    arch=ArchSpec(
        d_model=256,
        n_layers=6,
        pattern=(AttentionSpec(n_heads=8, n_kv_heads=8, window=128), AttentionSpec(n_heads=8, n_kv_heads=8)),
        feedforward=FeedForwardSpec(activation="geglu"),
    )
)
MEASURED = Metrics(bits_per_byte=1.7043, params=4_512_000, size_bytes=9_024_000, latency_ms_p50=2.684, latency_ms_p95=3.1)

FOUND = SearchResult(
    winner=0, finalists=(0,), steps=1_600, trained=10, refused=1, failed=2, workers=2, wall_seconds=9.0, session_steps=50,
    training_share=0.84, fidelity=(),
)  # fmt: skip


def rendered(*rows: FrontRow) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(front_table(rows))
    return capture.get()


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def test_a_row_holds_the_architecture_and_its_figures() -> None:
    text = rendered(FrontRow("t07", MIXED, MEASURED, rung=1300, winner=True))
    (line,) = lines_with(text, "t07")
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == [
        "★", "t07", "6 x 256, attention 8/8, window 128 + attention 8/8", "4.51", "1.704", "9.02", "2.68 / 3.10", "1,300",
    ]  # fmt: skip
    assert "rmsnorm, geglu, rope, float16" in text


@pytest.mark.parametrize("spec", MIXER_SPECS, ids=lambda spec: spec.label)
def test_a_mixer_of_every_family_has_its_label_in_the_row(spec: type[MixerBase]) -> None:
    text = rendered(FrontRow("t07", Design(arch=ArchSpec(pattern=(spec(kind=spec.family()),))), MEASURED, rung=300, winner=True))
    assert spec.label in lines_with(text, "t07")[0]


def test_a_hybrid_names_each_of_its_mixers_once() -> None:
    text = rendered(FrontRow("t07", Design(arch=ArchSpec(pattern=(MambaSpec(), MambaSpec(), AttentionSpec(n_kv_heads=2)))), MEASURED, 300))
    assert "Mamba-2 x2, state 64" in text and "attention 4/2" in text and text.count("Mamba-2") == 1


def test_units_stand_in_the_headings() -> None:
    text = rendered(FrontRow("t07", MIXED, MEASURED, rung=300))
    assert all(unit in text for unit in ("(M)", "byte", "(MB)", "(ms per token)", "steps"))
    assert "★" not in text


def test_the_best_comes_first_and_the_unmeasured_last() -> None:
    worse = MEASURED.merged(Metrics(bits_per_byte=2.5))
    table = front_table(
        [FrontRow("none", SMALL, Metrics(), 0), FrontRow("worse", SMALL, worse, 50), FrontRow("best", SMALL, MEASURED, 300)]
    )
    assert list(table.columns[1].cells) == ["best", "worse", "none"]
    assert [list(column.cells)[-1] for column in table.columns][3:] == ["–", "–", "–", "–", "0"]
    assert next(iter(table.columns[2].cells)) == "4 x 128, attention 4/2\nlayernorm, swiglu, alibi, float16"


def test_a_design_says_how_it_is_stored() -> None:
    packed = Design(arch=SMALL.arch, storage="int8", vocabulary="bpe-1024", pruning=0.5)
    text = rendered(FrontRow("t07", MIXED, MEASURED, 300), FrontRow("t08", packed, MEASURED, 300))
    assert "rope, float16 " in text and "alibi, int8, 50 % pruned, bpe-1024" in text


def test_a_table_without_rows_is_a_table() -> None:
    assert front_table([]).row_count == 0


def test_summary_lines_align_their_values() -> None:
    assert summary_lines([("steps", "1,500"), ("peak memory", "2.1 GB")]) == ["steps        1,500", "peak memory  2.1 GB"]
    assert summary_lines([]) == []


def test_figures_have_units_and_the_unmeasured_is_left_out() -> None:
    assert metric_figures(Metrics()) == []
    metrics = MEASURED.merged(Metrics(tokens_per_second=4340.4, peak_memory_bytes=1_250_000_000, train_tokens=614_400, train_seconds=125))
    assert dict(metric_figures(metrics)) == {
        "bits per byte": "1.704",
        "parameters": "4.51 M",
        "stored size": "9.02 MB",
        "latency p50": "2.68 ms per token",
        "latency p95": "3.10 ms per token",
        "training speed": "4,340 tokens/s",
        "peak memory": "1.25 GB",
        "training tokens": "614,400 tokens",
        "training time": "2m05s",
    }


def test_a_search_says_what_failed_and_in_which_session_it_trained() -> None:
    assert search_counts(FOUND) == "10 candidates trained, 1 refused, 2 failed, 1,600 training steps"
    assert worker_utilisation(FOUND) == "84 % of 2 workers in the session that finished the search"
    elsewhere = {"starting": 1.8, "preparing": 0.08, "storing": 0.01, "at the end": 0.9}
    assert worker_utilisation(FOUND.model_copy(update={"elsewhere_seconds": elsewhere})) == (
        "84 % of 2 workers in the session that finished the search (other: 10 % starting, 5 % at the end)"
    )
    concluded = FOUND.model_copy(update={"session_steps": 0, "training_share": 0.0})
    assert worker_utilisation(concluded) == "no training step in the session that finished the search"


def test_several_seeds_have_a_mean_a_deviation_and_a_column_of_their_number() -> None:
    once, thrice = FrontRow("t07", MIXED, MEASURED, 300, scores=(1.7,)), FrontRow("t08", MIXED, MEASURED, 300, scores=(1.6, 1.7, 1.8))
    text = rendered(once, thrice)
    assert "1.704 ± 0.100" in lines_with(text, "t08")[0] and lines_with(text, "t08")[0].split()[-2] == "3"
    assert "±" not in lines_with(text, "t07")[0] and lines_with(text, "t07")[0].split()[-2] == "1"
    assert "seeds" not in rendered(once)


@pytest.mark.parametrize(
    ("repeated", "ties", "line"),
    [
        ((), (), "c001 won (single seed, ties not assessed; to train the best with other seeds as well, set [search.budget] repeats = 2)"),
        ((1,), (), "c001 won (ties not assessed: no other finalist was trained with other seeds)"),
        ((1, 0), (), "c001 won, significantly better than c000 (Student's t-test over the seeds, 95 %)"),
        (
            (1, 0, 2),
            (0,),
            "c001 won by the best mean, not significantly better than c000, significantly better than c002 "
            "(Student's t-test over the seeds, 95 %)",
        ),
    ],
)
def test_the_winner_line_names_the_ties_or_says_that_they_are_not_assessed(
    repeated: tuple[int, ...], ties: tuple[int, ...], line: str
) -> None:
    assert winner_line(FOUND.model_copy(update={"winner": 1, "repeated": repeated, "ties": ties})) == line


def test_repeats_are_among_the_counts() -> None:
    counted = search_counts(FOUND.model_copy(update={"repeats": 5, "failed_repeats": 1}))
    assert "5 repeats with other seeds (1 failed), " in counted
    assert "repeats" not in search_counts(FOUND)
