"""The contract of every search space: what it proposes is inside it, builds, and costs what the closed form says."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from codenas.arch import ArchSpec, AttentionSpec, Design, SearchSpace, preset
from codenas.arch.cost import parameters, state_elements, stored_bytes
from codenas.arch.presets import PRESETS
from codenas.arch.storage import STORAGES
from codenas.checkpoint import WEIGHTS, Manifest, write_checkpoint
from codenas.compress.prune import pruned
from codenas.errors import ConfigError
from codenas.model import LanguageModel, build_model, count_parameters
from tests.fakes import tiny_arch

DRAWS, BUILDS, VOCAB_SIZE = 1_000, 60, 4_096


# No preset names a vocabulary: it does not know which ones a corpus has. Every one chooses the storage.
BESIDE = {"vocabulary": (None, "char", "bpe-1024"), "storage": ("float16", "int8", "int4"), "pruning": (0.0, 0.25, 0.5)}
SPACES = {
    **{name: preset(name) for name in PRESETS},
    "beside": preset("small").model_copy(update={"choices": {**preset("small").choices, **BESIDE}}),
}


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[Design]:
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(count)]


def changed_fields(space: SearchSpace, before: Design, after: Design) -> int:
    return sum(space.flatten(before)[path] != space.flatten(after)[path] for path in space.choices)


def without_weights(arch: ArchSpec) -> LanguageModel:
    """The real model on the device that holds shapes and no numbers."""
    with torch.device("meta"):
        return LanguageModel(arch, VOCAB_SIZE)


def test_samples_mutations_and_crosses_are_in_the_space(space: SearchSpace) -> None:
    rng = random.Random(1)
    samples = drawn(space, DRAWS)
    crosses = [space.cross(rng.choice(samples), rng.choice(samples), rng) for _ in range(DRAWS)]
    mutations = [space.mutate(design, rng, rng.randint(1, 3)) for design in crosses]
    assert all(space.contains(design) for design in (*samples, *crosses, *mutations))
    assert len({design.digest for design in samples}) > DRAWS / 2


def test_the_same_generator_gives_the_same_architectures(space: SearchSpace) -> None:
    assert drawn(space, 20, seed=3) == drawn(space, 20, seed=3) != drawn(space, 20, seed=4)


def test_every_choice_is_drawn(space: SearchSpace) -> None:
    assignments = [space.flatten(design) for design in drawn(space, DRAWS)]
    for path, values in space.choices.items():
        assert {assignment[path] for assignment in assignments} == set(values)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_chooses_among_all_storages(name: str) -> None:
    assert set(preset(name).choices["storage"]) == set(STORAGES)
    assert {design.storage for design in drawn(preset(name), 50)} == set(STORAGES)


def test_flatten_and_unflatten_are_inverse(space: SearchSpace) -> None:
    for design in drawn(space, DRAWS):
        assignment = space.flatten(design)
        assert space.unflatten(assignment) == design
        assert space.flatten(space.unflatten(assignment)) == assignment


@pytest.mark.parametrize("fields", [1, 2, 5])
def test_a_mutation_changes_exactly_as_many_fields_as_asked(space: SearchSpace, fields: int) -> None:
    rng = random.Random(2)
    for design in drawn(space, 300):
        assert changed_fields(space, design, space.mutate(design, rng, fields)) == fields


def test_a_mutation_of_more_fields_than_there_are_changes_all() -> None:
    space = SearchSpace(choices={"norm": ("rmsnorm", "layernorm"), "n_layers": (2, 3), "dropout": (0.1,)})
    design = space.sample(random.Random(0))
    assert changed_fields(space, design, space.mutate(design, random.Random(0), 9)) == 2


def test_a_cross_takes_every_field_from_a_parent(space: SearchSpace) -> None:
    rng = random.Random(5)
    for mother, father in zip(drawn(space, 200, 6), drawn(space, 200, 7), strict=True):
        sides = space.flatten(mother), space.flatten(father)
        child = space.flatten(space.cross(mother, father, rng))
        assert all(child[path] in (sides[0][path], sides[1][path]) for path in space.choices)


def test_what_is_drawn_builds_and_costs_what_the_closed_form_says(space: SearchSpace) -> None:
    for design in drawn(space, BUILDS):
        arch = design.stored_arch
        model = without_weights(arch)
        assert count_parameters(model) == parameters(arch, VOCAB_SIZE)
        layers = model.initial_state(1).layers
        held = sum(numbers_in(layer) for layer in layers)
        assert held == state_elements(arch, arch.context_len)
        if all(mixer.kind == "attention" for mixer in arch.pattern):  # the others remember in constant space
            assert 0 == state_elements(arch, 0) < state_elements(arch, 1) <= held


@pytest.mark.parametrize(
    "fields",
    [
        {"tie_embeddings": False},
        {"position": "absolute"},
        {"pattern": (AttentionSpec(n_heads=2, n_kv_heads=1, qk_norm=False, window=3), AttentionSpec())},
        {"n_layers": 3, "norm": "layernorm"},
        {"embedding_rank": 4},
        {"embedding_rank": 4, "tie_embeddings": False},
    ],
)
def test_the_closed_form_holds_for_what_no_preset_draws(fields: dict[str, Any]) -> None:
    arch = tiny_arch(**fields)
    assert count_parameters(without_weights(arch)) == parameters(arch, VOCAB_SIZE)


def test_the_stored_checkpoint_has_the_bytes_of_the_closed_form(space: SearchSpace, tmp_path: Path) -> None:
    design = min(drawn(space, 20), key=lambda design: parameters(design.arch, VOCAB_SIZE))
    weights = pruned(dict(build_model(design.arch, VOCAB_SIZE).named_parameters()), design)
    arch = design.stored_arch
    manifest = Manifest(
        arch=arch, storage=design.storage, vocab_size=VOCAB_SIZE, vocab_digest="v", corpus_digest="c", step=0, train_tokens=0
    )  # fmt: skip
    (tmp_path / "tokenizer.json").write_text("{}")
    stored = write_checkpoint(tmp_path / "stored", weights, manifest, tmp_path / "tokenizer.json")
    assert (stored.path / WEIGHTS).stat().st_size == stored_bytes(arch, VOCAB_SIZE, design.storage)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "at least 1 item"),
        ({"d_model": ()}, "d_model: no choice is given"),
        ({"d_model": (128, 128)}, "d_model: a choice is given twice"),
        ({"feedforward.multiplier": (2, 2.0)}, "feedforward.multiplier: a choice is given twice"),
        ({"depth": (1, 2)}, "unknown field 'depth': there is no 'depth' among .*'n_layers'"),
        ({"feedforward.width": (1, 2)}, "there is no 'width' among .*'multiplier'"),
        ({"d_model.x": (1, 2)}, "256 has no fields"),
        ({"norm.r": (1, 2)}, "'rmsnorm' has no fields"),
        ({"pattern.n_heads": (1, 2)}, "write pattern.KIND.FIELD"),
        ({"pattern": (3,)}, "pattern: 3 is no list of mixers; write one such as \\['attention'\\]"),
        ({"pattern": ("attention",)}, "pattern: 'attention' is no list of mixers"),
        ({"pattern": (([],),)}, "names a mixer that is unknown here"),
        ({"norm": ("rmsnorm", "batchnorm")}, "norm: 'batchnorm' is no choice: .*'layernorm'"),
        ({"d_model": (4,)}, "d_model: 4 is no choice: .*greater than or equal to 8"),
        ({"d_model": ("128", 256)}, "d_model: '128' is no choice: it would be read as 128"),
        ({"pattern.attention.window": (0,)}, "window: 0 is no choice"),
        ({"storage": ("float16", "int2")}, "storage: 'int2' is no choice: .*'int8'"),
        ({"pruning": (0.0, 1.0)}, "pruning: 1.0 is no choice: .*less than 1"),
        ({"vocabulary": ("char", "words")}, "vocabulary: 'words' is no choice: .*bpe-"),
        ({"vocabulary": ("../..",)}, "vocabulary: '../..' is no choice"),
    ],
)
def test_a_bad_space_is_refused_at_birth(choices: dict[str, tuple[Any, ...]], message: str) -> None:
    with pytest.raises((ValidationError, ConfigError), match=message):
        SearchSpace(choices=choices)


def test_a_space_with_patterns_can_be_read_from_a_file() -> None:
    small = preset("small")
    assert SearchSpace.model_validate_json(small.model_dump_json()) == small


def test_mixers_that_differ_cannot_share_a_field() -> None:
    base = tiny_arch(pattern=(AttentionSpec(n_heads=2, n_kv_heads=1), AttentionSpec(n_heads=4)))
    with pytest.raises(ConfigError, match=r"the mixers of the pattern differ, \[2, 4\]"):
        SearchSpace(base=base, choices={"pattern.attention.n_heads": (2, 4)})


def test_a_space_without_a_valid_point_is_refused() -> None:
    space = SearchSpace(choices={"pattern.attention.n_heads": (3, 5)})
    with pytest.raises(ConfigError, match="samples gave no valid architecture; widen the choices"):
        space.sample(random.Random(0))


def test_an_assignment_must_have_all_fields_and_make_an_architecture() -> None:
    space = SearchSpace(choices={"pattern.attention.n_heads": (3, 4), "n_layers": (1, 2)})
    with pytest.raises(ConfigError, match="needs exactly the fields"):
        space.unflatten({"n_layers": 1})
    with pytest.raises(ConfigError, match="n_kv_heads 4 does not divide n_heads 3"):
        space.unflatten({"n_layers": 1, "pattern.attention.n_heads": 3})


def test_what_differs_from_the_base_elsewhere_is_outside() -> None:
    space = SearchSpace(base=tiny_arch(), choices={"n_layers": (1, 2)})
    assert space.contains(Design(arch=tiny_arch()))
    for other in ({"n_layers": 3}, {"norm": "layernorm"}, {"pattern": (AttentionSpec(), AttentionSpec(n_heads=8))}):
        assert not space.contains(Design(arch=tiny_arch(**other)))
    for beside in ({"storage": "int8"}, {"pruning": 0.5}, {"vocabulary": "char"}):
        assert not space.contains(Design.model_validate({"arch": tiny_arch(), **beside}))


def test_an_architecture_that_the_base_cannot_make_is_outside() -> None:
    space = SearchSpace(
        base=tiny_arch(d_model=64),
        choices={"pattern.attention.n_heads": (2, 4, 16), "pattern.attention.n_kv_heads": (1,), "d_model": (16,)},
    )
    assert not space.contains(Design(arch=tiny_arch(AttentionSpec(n_heads=16, n_kv_heads=1), position="alibi")))


def test_an_unknown_preset_is_answered_by_their_names() -> None:
    with pytest.raises(ConfigError, match=f"'huge'; choose one of {', '.join(PRESETS)}"):
        preset("huge")


def numbers_in(state: Any) -> int:
    """Elements of all tensors of a state; states may hold states, and flags."""
    if isinstance(state, torch.Tensor):
        return state.numel()
    if isinstance(state, bool):
        return 0
    return sum(numbers_in(getattr(state, field.name)) for field in dataclasses.fields(state))
