"""The contract of every model in mixed precision, under the rules that a GPU has for it: training, evaluation and decoding.

Where there is a GPU, on it; everywhere else under an imitation of these rules. What comes out may differ from the result in full
precision by little more than under a CPU's own rules: rounding is one thing, a wrong product another.
"""

import contextlib
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from codenas.arch import ArchSpec
from codenas.corpus import Batches, Corpus
from codenas.model import LanguageModel, build_model
from codenas.train.config import TrainConfig
from codenas.train.losses import cross_entropy
from codenas.train.trainer import Trainer
from tests.contracts.members import ARCHS, MIXERS
from tests.cuda_rules import cuda_rules
from tests.fakes import drawn_model, tiny_arch, tiny_corpus

LENGTH, VOCAB_SIZE = 133, 50  # several chunks of every mixer that scans, and a part of one
MEMBERS: dict[str, ArchSpec] = {
    **{name: arch.model_copy(update={"context_len": LENGTH}) for name, arch in ARCHS.items()},
    "factorised embedding": tiny_arch(context_len=LENGTH, embedding_rank=8),
    "factorised embedding, untied": tiny_arch(context_len=LENGTH, embedding_rank=8, tie_embeddings=False),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"))]
TOLERANCE, MARGIN = 3.0, 0.02  # of the distance to full precision: times a CPU's own, and beside it

pytestmark = pytest.mark.parametrize("device", DEVICES)


def as_on_a_gpu(device: str) -> contextlib.AbstractContextManager[None]:
    return cuda_rules() if device == "cpu" else contextlib.nullcontext()


def drawn_tokens() -> Tensor:
    return torch.randint(VOCAB_SIZE, (2, LENGTH), generator=torch.Generator().manual_seed(0))


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16)


def distance(found: Tensor, exact: Tensor) -> float:
    """Relative to the size of `exact`."""
    assert found.isfinite().all()
    return float((found.cpu().double() - exact).norm() / exact.norm())


def gradient(model: LanguageModel, precision: contextlib.AbstractContextManager[object]) -> Tensor:
    """Of all weights, as one vector."""
    tokens = drawn_tokens().to(model.device)
    with precision:
        logits = model(tokens[:, :-1])
    found = torch.autograd.grad(cross_entropy(logits, tokens[:, 1:]), list(model.parameters()))
    assert [each.dtype for each in found] == [parameter.dtype for parameter in model.parameters()]
    return joined(found)


def joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().flatten() for part in parts])


def decoded(model: LanguageModel, precision: contextlib.AbstractContextManager[object]) -> Tensor:
    """The logits of prompts, of single tokens, and of a ragged batch."""
    tokens, state, found = drawn_tokens().to(model.device), model.initial_state(2), []
    with torch.inference_mode(), precision:
        for start, stop in ((0, 7), (7, 8), (8, 75), (75, 76)):
            found.append(model.extend(tokens[:, start:stop], state))
        state.reset(1)
        for start, stop in ((76, 79), (79, 80)):
            found.append(model.extend(tokens[:, start:stop], state))
    return joined(found)


@pytest.mark.parametrize("arch", MEMBERS.values(), ids=MEMBERS)
def test_gradients_are_those_of_full_precision_up_to_rounding(arch: ArchSpec, device: str) -> None:
    model = drawn_model(arch, VOCAB_SIZE).train()
    usual = gradient(model, autocast("cpu"))
    with as_on_a_gpu(device):
        found = gradient(model.to(device), autocast(device))
    exact = gradient(model.cpu().double(), contextlib.nullcontext())
    assert distance(found, exact) <= TOLERANCE * distance(usual, exact) + MARGIN


@pytest.mark.parametrize("arch", MEMBERS.values(), ids=MEMBERS)
def test_evaluation_gives_the_logits_of_full_precision_up_to_rounding(arch: ArchSpec, device: str) -> None:
    model, tokens = drawn_model(arch, VOCAB_SIZE), drawn_tokens()
    with torch.no_grad():
        with autocast("cpu"):
            usual = model(tokens)
        with as_on_a_gpu(device), autocast(device):
            found = model.to(device)(tokens.to(device))
        exact = model.cpu().double()(tokens)
    assert distance(found, exact) <= TOLERANCE * distance(usual, exact) + MARGIN


@pytest.mark.parametrize("arch", MEMBERS.values(), ids=MEMBERS)
def test_decoding_gives_the_logits_of_full_precision_up_to_rounding(arch: ArchSpec, device: str) -> None:
    model = drawn_model(arch, VOCAB_SIZE)
    usual = decoded(model, autocast("cpu"))
    with as_on_a_gpu(device):
        found = decoded(model.to(device), autocast(device))
    exact = decoded(model.cpu().double(), contextlib.nullcontext())
    assert distance(found, exact) <= TOLERANCE * distance(usual, exact) + MARGIN


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("mixer", MIXERS)
def test_a_training_step_of_the_trainer_learns(mixer: str, dropout: float, optimizer: str, device: str, corpus: Corpus) -> None:
    """What stands around the model too: loss, clipping, optimizers, the moving average, micro-batches."""
    arch = tiny_arch(MIXERS[mixer], dropout=dropout, attention_dropout=dropout)
    config = TrainConfig(batch_size=4, micro_batch=3, warmup_steps=0, precision="bfloat16", optimizer=optimizer)
    with as_on_a_gpu(device):
        model = build_model(arch, corpus.manifest.vocab_size).to(device)
        losses = [float(step.loss) for step in Trainer(model, Batches(corpus.split("train"), arch.context_len, seed=1), config).run_to(8)]
    assert losses[-1] < losses[0]
