"""A design: what is stored of an architecture is an architecture, whatever was pruned, and equal designs have equal names."""

import pytest
from pydantic import ValidationError

from codenas.arch import ArchSpec, Design, FeedForwardSpec
from codenas.arch.cost import parameters
from codenas.arch.spec import HIDDEN_MULTIPLE
from tests.fakes import tiny_arch

SHARES = (0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.999)


def hidden(arch: ArchSpec) -> int:
    return arch.feedforward.hidden_width(arch.d_model)


@pytest.mark.parametrize("d_model", [8, 16, 24, 136, 1000, 8192])
@pytest.mark.parametrize("multiplier", [0.01, 1.0, 8 / 3, 3.3, 16.0])
def test_what_is_stored_is_an_architecture_with_the_channels_that_are_left(d_model: int, multiplier: float) -> None:
    arch = tiny_arch(d_model=d_model, feedforward=FeedForwardSpec(multiplier=multiplier))
    for share in SHARES:
        stored = Design(arch=arch, pruning=share).stored_arch
        assert ArchSpec.model_validate(stored.model_dump()) == stored
        assert hidden(stored) % HIDDEN_MULTIPLE == 0 and HIDDEN_MULTIPLE <= hidden(stored) <= hidden(arch)
        assert hidden(stored) == pytest.approx((1 - share) * hidden(arch), abs=HIDDEN_MULTIPLE)
        assert (stored == arch) == (hidden(stored) == hidden(arch))


def test_pruning_cuts_the_feed_forward_and_nothing_else() -> None:
    arch = tiny_arch()
    half = Design(arch=arch, pruning=0.5).stored_arch
    assert (hidden(arch), hidden(half)) == (32, 16)
    assert parameters(arch, 300) - parameters(half, 300) == 3 * 16 * 16 * arch.n_layers
    assert half.model_copy(update={"feedforward": arch.feedforward}) == arch


def test_nothing_pruned_is_the_architecture_itself() -> None:
    design = Design(arch=tiny_arch())
    assert design.stored_arch is design.arch


def test_the_digest_names_the_whole_design() -> None:
    arch = tiny_arch()
    plain = Design(arch=arch)
    others = [Design(arch=arch, storage="int8"), Design(arch=arch, pruning=0.5), Design(arch=arch, vocabulary="char")]
    others.append(Design(arch=tiny_arch(n_layers=1)))
    assert Design(arch=tiny_arch(), pruning=0).digest == plain.digest
    assert len({design.digest for design in (plain, *others)}) == 5


@pytest.mark.parametrize(
    "fields", [{"pruning": 1.0}, {"pruning": -0.1}, {"storage": "int2"}, {"vocabulary": "bpe"}, {"vocabulary": "../x"}, {"vocabulary": ""}]
)
def test_what_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Design.model_validate({"arch": tiny_arch(), **fields})
