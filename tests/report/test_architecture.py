"""An architecture as a tree and as a picture: every part is there, and the columns add up to the closed form."""

import io
import random
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from codenas.arch import ArchSpec, cost, preset
from codenas.arch.mixers import MIXER_SPECS, MixerBase
from codenas.arch.mixers.attention import AttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.presets import PRESETS
from codenas.report import architecture, plots
from codenas.report.architecture import KINDS, Figures, architecture_tree, cost_lines, describe, draw_architecture
from codenas.report.plots import ProfileBar, Segment
from codenas.report.scale import scaled
from tests.fakes import tiny_arch

VOCAB_SIZE = 300
HYBRID = tiny_arch(n_layers=8, pattern=(MambaSpec(head_width=16), AttentionSpec(n_heads=2, n_kv_heads=1)), position="absolute")


def printed(arch: ArchSpec) -> list[str]:
    console = Console(width=128, record=True, file=io.StringIO())
    console.print(architecture_tree(arch, VOCAB_SIZE))
    return console.export_text().splitlines()


def columns(line: str) -> list[str]:
    """The figures of a line, which stand two blanks apart."""
    return [cell for cell in line.split("  ") if cell][1:]


def test_the_tree_has_every_part_and_equal_layers_once() -> None:
    lines = printed(HYBRID)
    names = [line.lstrip("│├└─ ").split("  ")[0] for line in lines]
    assert names == [
        "part", "embedding", "positions",
        "4 equal layers: 0, 2 ... 6", "rmsnorm", "Mamba-2, expand 2, head_width 16, state_width 64, conv_width 4", "rmsnorm",
        "feed-forward, swiglu, 16 to 32 to 16",
        "4 equal layers: 1, 3 ... 7", "rmsnorm", "attention, n_heads 2, n_kv_heads 1, qk_norm", "rmsnorm",
        "feed-forward, swiglu, 16 to 32 to 16",
        "norm", "head, tied", "total",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1, "the columns do not stand below each other"


@pytest.mark.parametrize("name", PRESETS)
def test_the_parts_add_up_to_the_whole(name: str) -> None:
    arch = preset(name).sample(random.Random(5)).arch
    lines = [line for line in printed(arch) if line[:3] in ("├──", "└──")]
    parameters = [int(columns(line)[0].replace(",", "")) for line in lines]
    assert sum(parameters[:-1]) == parameters[-1] == cost.parameters(arch, VOCAB_SIZE)
    whole = Figures.of(cost.parts(arch, VOCAB_SIZE), arch)
    assert whole.training_flops == pytest.approx(cost.training_flops_per_token(arch, VOCAB_SIZE))
    assert whole.decoding_flops == cost.decoding_flops(arch, VOCAB_SIZE, arch.context_len - 1)
    assert whole.state_bytes == cost.state_bytes(arch, arch.context_len)
    assert whole.stored_bytes < cost.stored_bytes(arch, VOCAB_SIZE) < whole.stored_bytes + 200 * (4 * arch.n_layers + 4) * 4


def test_a_long_name_is_cut_and_moves_no_column() -> None:
    lines = printed(tiny_arch(AttentionSpec(n_heads=16, n_kv_heads=16, window=1_000_000_000_000_000_000), position="none"))
    assert any("…" in line for line in lines) and len({len(line) for line in lines}) == 1


def test_the_lines_below_say_what_the_tree_does_not() -> None:
    figures = dict(cost_lines(HYBRID, VOCAB_SIZE))
    assert figures["digest"] == HYBRID.digest
    assert all(storage in figures["weight file"] for storage in ("float16", "int8", "int4"))
    assert "windows of 32" in figures["training"] and "after 31 tokens" in figures["decoding"]


@pytest.mark.parametrize("spec", MIXER_SPECS, ids=lambda spec: spec.label)
def test_every_mixer_is_described_by_what_is_set(spec: type[MixerBase]) -> None:
    described = describe(spec(kind=spec.family()))
    assert described.startswith(spec.label) and "None" not in described and "True" not in described


def test_flags_are_words_and_what_is_not_set_is_left_out() -> None:
    assert describe(AttentionSpec(qk_norm=False, window=9)) == "attention, n_heads 4, n_kv_heads 4, window 9"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "B", "0 B"), (912, "B", "912 B"), (4_980_000, "", "4.98 M"), (10_230_000, "B", "10.2 MB"), (322e6, "B", "322 MB"),
        (1.5e12, "FLOP", "1.50 TFLOP"), (1e15, "", "1.00 P"), (1e21, "", "1,000 E"), (0.5, "ms", "0.50 ms"),
    ],
)  # fmt: skip
def test_numbers_have_three_figures_and_a_prefix(value: float, unit: str, expected: str) -> None:
    assert scaled(value, unit) == expected


def test_the_picture_has_a_bar_per_layer_and_leaves_out_what_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[ProfileBar] = []
    monkeypatch.setattr(architecture, "profile", lambda bars, *_: drawn.extend(bars))
    draw_architecture(HYBRID, VOCAB_SIZE, tmp_path / "picture.png")
    assert [bar.label for bar in drawn] == ["embedding", "positions", *(f"layer {i}" for i in range(8)), "head, tied"]
    assert [segment.kind for segment in drawn[2].segments] == ["Mamba-2", "feed-forward"]
    norms = (2 * 8 + 1) * HYBRID.d_model
    seen = sum(segment.parameters for bar in drawn for segment in bar.segments)
    assert seen == cost.parameters(HYBRID, VOCAB_SIZE) - norms


def test_sums_in_a_picture_have_no_exponents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_write", lambda figure, _: figures.append(figure))
    bars = [ProfileBar("layer", (Segment("attention", 4_200_000, 26_214_400, size),)) for size in (999_600, 1_048_576)]
    plots.profile(bars, KINDS, "title", tmp_path / "absent")
    assert [text.get_text() for axes in figures[0].axes for text in axes.texts] == ["4.2", "4.2", "26.2", "26.2", "1,000", "1,049"]


def test_the_picture_is_a_png_and_the_same_every_time(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        draw_architecture(HYBRID, VOCAB_SIZE, tmp_path / name)
    data = (tmp_path / "first.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data == (tmp_path / "second.png").read_bytes()
