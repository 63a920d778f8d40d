"""A space in words and tables: its size, its choices, what binds them, what was drawn from it."""

import io

import pytest
from rich.console import Console

from codenas.arch import ArchSpec, AttentionSpec, SearchSpace, preset
from codenas.arch.cost import parameters, stored_bytes
from codenas.arch.presets import PRESETS
from codenas.report.scale import scaled
from codenas.report.space import choices_table, draw_sample, families_table, space_figures
from tests.fakes import tiny_arch

VOCAB_SIZE, DRAWS = 300, 60


def printed(table: object) -> str:
    console = Console(width=128, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_with_its_size_and_range(name: str) -> None:
    space = preset(name)
    sample = draw_sample(space, DRAWS)
    figures = dict(space_figures(space, sample, VOCAB_SIZE))
    sizes = [parameters(arch, VOCAB_SIZE) for arch in sample.archs]
    assert figures["combinations"].startswith(f"{space.cardinality:,}, about ")
    assert figures["parameters"].startswith(f"{scaled(min(sizes))} to {scaled(max(sizes))}, ")
    stored = [stored_bytes(design.stored_arch, VOCAB_SIZE, design.storage) for design in sample.designs]
    assert figures["stored size"].startswith(f"{scaled(min(stored), 'B')} to {scaled(max(stored), 'B')}, ")
    assert figures["families"] == ("1 pure, 0 hybrid" if name == "tiny" else "4 pure, 5 hybrid")
    assert all(f"base of {mixer.kind}" in figures for mixer in (*space.base.pattern, *space.mixers))


@pytest.mark.parametrize("name", PRESETS)
def test_every_dimension_has_a_line_with_its_choices(name: str) -> None:
    text = printed(choices_table(preset(name)))
    assert all(f" {path} " in text for path in preset(name).choices)


def test_choices_read_as_people_write_them() -> None:
    text = printed(choices_table(preset("full")))
    assert "1, 2, 2.67, 3, 4" in text and "none, 64, 128, 256" in text and "yes, no" in text
    unbroken = " ".join(text.replace("│", " ").split())
    assert "3 x rwkv7 + 1 x attention" in unbroken and "mamba2 + attention" in unbroken


def test_a_space_says_which_vocabularies_it_reads_or_how_to_have_more() -> None:
    tiny = preset("tiny")
    more = tiny.model_copy(update={"choices": {**tiny.choices, "vocabulary": (None, "char", "bpe-1024")}})
    alone, several = (dict(space_figures(space, draw_sample(space, 2), VOCAB_SIZE)) for space in (tiny, more))
    assert "[prepare]" in alone["vocabularies"] and "vocabulary = [...]" in alone["vocabularies"]
    assert several["vocabularies"] == "that of the corpus, char, bpe-1024"
    assert "dropout 0, attention_dropout 0, pruning 0" in alone["fixed"]


def test_only_constraints_that_can_bind_are_named() -> None:
    constraints = dict(space_figures(preset("tiny"), draw_sample(preset("tiny"), 2), VOCAB_SIZE))["constraints"]
    assert "attention: n_kv_heads divides n_heads" in constraints and "Mamba-2" not in constraints


@pytest.mark.parametrize("mixer", [mixer for name in PRESETS for mixer in preset(name).mixers], ids=lambda mixer: mixer.kind)
def test_every_mixer_says_what_binds_it(mixer: AttentionSpec) -> None:
    assert mixer.constraints


def test_the_share_of_invalid_combinations_is_estimated() -> None:
    half = SearchSpace(base=tiny_arch(), choices={"pattern.attention.n_heads": (2, 3)})  # three heads fit no width of 16
    sample = draw_sample(half, 400)
    assert sample.invalid == pytest.approx(0.5, abs=0.1)
    assert len(sample.archs) == 400 and {arch.pattern[0].model_dump()["n_heads"] for arch in sample.archs} == {2}


def test_families_have_a_line_each_if_they_were_drawn() -> None:
    space = preset("small")
    text = printed(families_table(space, draw_sample(space, DRAWS), VOCAB_SIZE))
    assert "│ linear_attention + attention " in text and "MFLOP" in text
    only = ArchSpec()
    one = SearchSpace(base=only, choices={"norm": ("rmsnorm", "layernorm")})
    assert "│ attention " in printed(families_table(one, draw_sample(one, 5), VOCAB_SIZE))
