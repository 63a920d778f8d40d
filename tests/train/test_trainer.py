"""The trainer: stopping and going on changes no bit, a broken training says so, and it learns."""

import itertools
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from codenas.arch import ArchSpec
from codenas.corpus import Batches, Corpus
from codenas.errors import ConfigError, ResourceError, TrialFailure
from codenas.model import build_model
from codenas.train.config import TrainConfig
from codenas.train.trainer import Trainer, _require_compiler, compile_mode
from tests.fakes import CONTEXT, tiny_arch, tiny_corpus

PLAIN = tiny_arch()
DROPPING = tiny_arch(dropout=0.2, attention_dropout=0.1, position="alibi")
LAST = 7


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def trainer(corpus: Corpus, arch: ArchSpec = PLAIN, device: str = "cpu", **fields: object) -> Trainer:
    config = TrainConfig.model_validate({"batch_size": 4, "warmup_steps": 3, "seed": 5, **fields})
    model = build_model(arch, corpus.manifest.vocab_size, config.seed).to(device)
    return Trainer(model, Batches(corpus.split("train"), arch.context_len, seed=1), config)


def run(trained: Trainer, last_step: int, decay_from: int | None = None) -> list[float]:
    return [float(step.loss) for step in trained.run_to(last_step, decay_from)]


def comparable(trained: Trainer) -> dict[str, Tensor]:
    """All state but the clock."""
    return {name: value.clone() for name, value in trained.state().items() if name != "seconds"}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize("arch", [PLAIN, DROPPING], ids=["plain", "dropout"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stopped_at_any_step_stored_and_resumed_equals_undisturbed(arch: ArchSpec, precision: str, corpus: Corpus, tmp_path: Path) -> None:
    whole = trainer(corpus, arch, precision=precision)
    losses = run(whole, LAST, decay_from=5)
    for stop in range(LAST + 1):
        first = trainer(corpus, arch, precision=precision)
        before = [float(step.loss) for step in itertools.islice(first.run_to(LAST, decay_from=5), stop)]
        save_file(first.state(), tmp_path / "training.safetensors")
        torch.rand(3)  # the state of the global generator must not matter
        second = trainer(corpus, arch, precision=precision)
        second.load_state(load_file(tmp_path / "training.safetensors"))
        assert second.step == stop
        assert before + run(second, LAST, decay_from=5) == losses
        assert_equal(comparable(second), comparable(whole))


def test_what_is_loaded_is_a_copy(corpus: Corpus) -> None:
    first, second = trainer(corpus), trainer(corpus)
    run(first, 2)
    second.load_state(first.state())
    before = comparable(first)
    run(second, 4)
    assert_equal(comparable(first), before)


def test_progress_is_counted_exactly(corpus: Corpus) -> None:
    trained = trainer(corpus)
    assert [step.step for step in trained.run_to(3)] == [1, 2, 3]
    assert (trained.step, trained.cursor, trained.tokens) == (3, 12, 12 * CONTEXT)
    assert run(trained, 3) == []
    assert 0 < trained.seconds < 60


def test_seconds_add_up_over_processes(corpus: Corpus) -> None:
    first, second = trainer(corpus), trainer(corpus)
    run(first, 2)
    second.load_state(first.state())
    assert second.seconds == pytest.approx(first.seconds)
    run(second, 3)
    assert second.seconds > first.seconds


def test_the_seed_decides_the_weights_and_the_dropout(corpus: Corpus) -> None:
    losses = [run(trainer(corpus, DROPPING, seed=seed), 3) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_evaluating_between_two_steps_changes_nothing(corpus: Corpus) -> None:
    whole, watched = trainer(corpus, DROPPING), trainer(corpus, DROPPING)
    run(whole, 4)
    for _ in watched.run_to(4):
        watched.model.eval()
    assert_equal(comparable(watched), comparable(whole))


def test_the_loss_falls(corpus: Corpus) -> None:
    losses = run(trainer(corpus, batch_size=8, precision="float32"), 40)
    assert losses[0] == pytest.approx(math.log(corpus.manifest.vocab_size), rel=0.1)
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


def test_a_training_that_diverges_is_a_failed_trial(corpus: Corpus) -> None:
    broken = trainer(corpus)
    run(broken, 2)
    with torch.no_grad():
        broken.model.embedding.weight[:, 0] = math.nan
    with pytest.raises(TrialFailure, match="diverged: the loss of step 3 is nan"):
        run(broken, 4)
    assert broken.step == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] can't allocate memory"),
        MemoryError("std::bad_alloc"),
    ],
)
def test_running_out_of_memory_is_a_failed_trial_with_a_way_out(error: Exception, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    hungry = trainer(corpus)

    def no_memory(tokens: Tensor) -> Tensor:
        raise error

    monkeypatch.setattr(hungry.model, "forward", no_memory)
    message = f"out of memory at step 1: 1 x {CONTEXT} tokens at once; take a context_len below {CONTEXT}, or close something"
    with pytest.raises(TrialFailure, match=message):
        run(hungry, 1)


class SmallCard:
    """The forward pass of a model on a device that has memory for `room` sequences at once, from its step `since` on."""

    def __init__(self, trained: Trainer, room: int, since: int = 1) -> None:
        self._trained, self._forward, self._room, self._since = trained, trained._forward, room, since
        self.refused: list[int] = []
        trained._forward = self

    def __call__(self, tokens: Tensor) -> Tensor:
        if len(tokens) > self._room and self._trained.step + 1 >= self._since:
            self.refused.append(len(tokens))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._forward(tokens)


@pytest.mark.parametrize("since", [1, 3])
def test_where_memory_runs_out_fewer_sequences_at_once_give_the_same(since: int, corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    whole, parts = (trainer(corpus, batch_size=8, precision="float32") for _ in range(2))
    card = SmallCard(parts, room=3, since=since)
    with caplog.at_level("WARNING", logger="codenas"):
        assert run(parts, 4) == pytest.approx(run(whole, 4), rel=1e-5)
    assert card.refused == [8, 4]  # once each: what is too much is not tried again
    assert (parts.step, parts.cursor) == (whole.step, whole.cursor)
    assert parts.config == whole.config.model_copy(update={"micro_batch": 2})
    assert [record.getMessage() for record in caplog.records] == [
        f"out of memory at step {since} with 8 sequences at once; going on with micro_batch = 4",
        f"out of memory at step {since} with 4 sequences at once; going on with micro_batch = 2",
    ]
    for name, value in parts.averaged_weights().items():
        torch.testing.assert_close(value, whole.averaged_weights()[name], rtol=0.0, atol=2e-3)  # Muon's bfloat16


def test_a_training_with_a_micro_batch_is_halved_from_there(corpus: Corpus) -> None:
    trained = trainer(corpus, batch_size=8, micro_batch=5)
    card = SmallCard(trained, room=2)
    run(trained, 2)
    assert (card.refused, trained.config.micro_batch) == ([5], 2)


def test_memory_that_runs_out_in_the_optimizers_fails_the_trial(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some weights have moved then: the step cannot begin again."""
    trained = trainer(corpus)

    def no_memory(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trained._optimizers[1], "step", no_memory)
    with pytest.raises(TrialFailure, match="out of memory in the optimizers at step 1; take a smaller model"):
        run(trained, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_recorded_step_without_a_gpu_is_refused(corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match="cuda_graph = true needs a GPU, and this training is on cpu; leave it out"):
        trainer(corpus, cuda_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("fields", [
    {}, {"optimizer": "adamw"}, {"micro_batch": 3}, {"precision": "bfloat16"}, {"weight_decay": 0.1, "clip_norm": 0.1},
], ids=str)  # fmt: skip
def test_a_recorded_step_is_the_step(fields: dict[str, object], corpus: Corpus) -> None:
    settings = {"precision": "float32", **fields}
    eager, recorded = (trainer(corpus, PLAIN, "cuda", **settings, cuda_graph=graph) for graph in (False, True))
    assert run(recorded, 12, decay_from=6) == pytest.approx(run(eager, 12, decay_from=6), rel=1e-2)
    for name, value in recorded.averaged_weights().items():
        torch.testing.assert_close(value, eager.averaged_weights()[name], rtol=0.02, atol=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_recorded_dropout_is_drawn_anew_in_every_step(corpus: Corpus) -> None:
    eager, recorded = (trainer(corpus, DROPPING, device="cuda", precision="float32", cuda_graph=graph) for graph in (False, True))
    assert run(recorded, 12) == pytest.approx(run(eager, 12), rel=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_training_on_a_gpu_is_stopped_stored_and_resumed(corpus: Corpus) -> None:
    whole, first, second = (trainer(corpus, device="cuda", precision="float32") for _ in range(3))
    losses = run(whole, 6)
    begun = run(first, 3)
    second.load_state(first.state())
    assert begun + run(second, 6) == pytest.approx(losses, rel=1e-3)


def test_the_average_follows_the_weights(corpus: Corpus) -> None:
    """Step by step by its definition: a young average forgets the random start, an old one moves by `average_decay`."""
    trained = trainer(corpus, average_decay=0.5, precision="float32")
    expected: dict[str, Tensor] = {name: value.detach().clone() for name, value in trained.model.named_parameters()}
    for step in trained.run_to(20):
        decay = min(0.5, step.step / (step.step + 10))
        for name, parameter in trained.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    for name, value in trained.averaged_weights().items():
        torch.testing.assert_close(value, expected[name])
    assert not torch.equal(trained.averaged_weights()["embedding.weight"], trained.model.embedding.weight)


def test_gradients_are_clipped(corpus: Corpus) -> None:
    trained = trainer(corpus, clip_norm=1e-3)
    run(trained, 1)
    norm = sum(float(parameter.grad.square().sum()) for parameter in trained.model.parameters() if parameter.grad is not None) ** 0.5
    assert norm <= 1.001e-3


def test_a_short_gradient_is_left_as_it_is(corpus: Corpus) -> None:
    free, bounded = (trainer(corpus, clip_norm=norm, precision="float32") for norm in (1e6, 1e3))
    assert run(free, 3) == run(bounded, 3)
    assert_equal(comparable(free), comparable(bounded))


def test_a_gradient_without_bound_fails_the_trial_and_leaves_the_weights_alone(corpus: Corpus) -> None:
    """The loss before it may well be finite; afterwards no weight would be."""
    broken = trainer(corpus)
    broken.model.embedding.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrialFailure, match="diverged: the norm of the gradient of step 1 is (inf|nan)"):
        run(broken, 1)
    assert all(bool(weights.isfinite().all()) for weights in broken.model.parameters())


def test_micro_batches_add_up_to_the_gradient_of_the_batch(corpus: Corpus) -> None:
    """5 sequences at once, then 3: every target must count the same."""
    whole, parts = (trainer(corpus, batch_size=8, precision="float32", micro_batch=size) for size in (None, 5))
    assert run(whole, 1) == pytest.approx(run(parts, 1), rel=1e-5)
    for mine, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_stopped_and_resumed_equals_undisturbed_under_any_optimizer(optimizer: str, corpus: Corpus) -> None:
    whole, first, second = (trainer(corpus, optimizer=optimizer, micro_batch=3) for _ in range(3))
    losses = run(whole, 4)
    begun = run(first, 2)
    second.load_state(first.state())
    assert begun + run(second, 4) == losses
    assert_equal(comparable(second), comparable(whole))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with it")
@pytest.mark.timeout(300)  # seventeen files of C++: beside other work two minutes are too few
@pytest.mark.filterwarnings(r"ignore:.torch\.jit:DeprecationWarning")  # torch's compiler uses what torch gives up
def test_a_compiled_training_is_the_same_training(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    arch = tiny_arch(n_layers=1)
    plain, compiled = (trainer(corpus, arch, precision="float32", compile=choice) for choice in (False, True))
    assert run(compiled, 3) == pytest.approx(run(plain, 3), rel=1e-4)
    assert compiled.state().keys() == plain.state().keys()


@pytest.mark.parametrize(
    ("device", "variable", "message"),
    [("cpu", "CXX", r"needs a C\+\+ compiler, and there is no g\+\+: install one, name it in CXX"),
     ("cuda", "CC", "needs a C compiler, and there is no gcc or clang: install one, name it in CC")],
)  # fmt: skip
def test_a_compiled_training_needs_a_compiler_for_its_device(
    device: str, variable: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton compiles what launches its kernels."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ResourceError, match=message):
        _require_compiler(device)
    monkeypatch.setenv(variable, "mine")
    with pytest.raises(ResourceError, match="there is no mine: install one"):
        _require_compiler(device)
    (tmp_path / "mine").touch(0o755)
    _require_compiler(device)


def test_training_checks_for_the_compiler(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ResourceError, match="compile = true needs"):
        trainer(corpus, compile=True)


@pytest.mark.parametrize(("device", "micro_batch", "mode"), [
    ("cpu", None, "default"), ("cuda", None, "reduce-overhead"), ("cuda", 4, "reduce-overhead"), ("cuda", 3, "default"),
])  # fmt: skip
def test_gradients_that_are_added_up_are_of_no_recorded_kernels(device: str, micro_batch: int | None, mode: str) -> None:
    """A second replay writes over the gradients of the first."""
    assert compile_mode(device, TrainConfig(batch_size=4, micro_batch=micro_batch)) == mode


def test_the_recipe_says_how_smooth_the_targets_are(corpus: Corpus) -> None:
    assert run(trainer(corpus, label_smoothing=0.3), 1) != run(trainer(corpus), 1)
