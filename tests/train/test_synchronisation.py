"""A step of training hands its work over and waits for nothing: counted on torch's device without numbers.

As on a GPU, what is asked of that device cannot be answered by the host alone. Every such question is counted, and answered with ones.
"""

import sys
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from codenas.arch import ArchSpec
from codenas.corpus import Batches, Corpus
from codenas.errors import TrialFailure
from codenas.model import LanguageModel, norms, uninitialized_model
from codenas.model.mixers import rwkv7
from codenas.train import readings
from codenas.train.config import TrainConfig
from codenas.train.readings import EVERY, Readings
from codenas.train.trainer import Trainer
from codenas.vocab import Infilling, load_vocabulary
from tests.contracts.members import ARCHS
from tests.fakes import tiny_arch, tiny_corpus

META = torch.device("meta")
STEPS = 2  # the first one allocates what the others find
ASKING = ("_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "masked_select", "_to_copy", "copy_")


class Questions(TorchDispatchMode):
    """Counts what waits for the device, and the copies to it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: Counter[str] = Counter()
        self.uploads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        target, source = self._ends(name, args, kwargs)
        if source == META and target != META:
            self.asked[name] += 1
            if name == "copy_":
                return args[0].fill_(1.0)
            return 1.0 if target is None else torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        self.uploads += source not in (META, None) and target == META
        return func(*args, **kwargs)

    @staticmethod
    def _ends(name: str, args: Any, kwargs: Any) -> tuple[torch.device | None, torch.device | None]:
        """Where what an operator reads goes, None for a number of the host, and where it is; META and META for all that asks nothing."""
        if name not in ASKING:
            return META, META
        if name == "copy_":
            return args[0].device, args[1].device
        if name == "_to_copy":
            return torch.device(kwargs.get("device") or args[0].device), args[0].device
        return None, args[0].device


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def _like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (norms, rwkv7):
        monkeypatch.setattr(module, "matrix_dtype", lambda x: x.dtype)  # autocast knows no such device
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_get_fused_kernels_supported_devices", lambda: ["meta"])


def trainer(corpus: Corpus, arch: ArchSpec, **fields: Any) -> Trainer:
    config = TrainConfig(batch_size=2, precision="float32", fim_rate=0.5, **fields)
    rewrite = Infilling(load_vocabulary(corpus.tokenizer_path), config.fim_rate, config.fim_spm_share)
    model: LanguageModel = uninitialized_model(arch, corpus.manifest.vocab_size).to(META)
    return Trainer(model, Batches(corpus.split("train"), arch.context_len, seed=1, rewrite=rewrite), config)


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)
def test_a_step_waits_for_nothing(arch: ArchSpec, corpus: Corpus) -> None:
    steps = trainer(corpus, arch).run_to(EVERY)
    with Questions() as questions:
        for _ in range(STEPS):
            next(steps)
    assert questions.asked == {}
    assert questions.uploads == 2 * STEPS  # inputs and targets, and no bias or position from the host


@pytest.mark.parametrize("fields", [{"optimizer": "adamw"}, {"micro_batch": 1}, {"weight_decay": 0.1}, {"label_smoothing": 0.1}], ids=str)
def test_no_setting_makes_a_step_wait(fields: dict[str, Any], corpus: Corpus) -> None:
    steps = trainer(corpus, tiny_arch(dropout=0.1, attention_dropout=0.1), **fields).run_to(EVERY)
    with Questions() as questions:
        for _ in range(STEPS):
            next(steps)
    assert questions.asked == {}


def test_losses_and_norms_are_read_together_and_rarely(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "EVERY", 3)
    with Questions() as questions:
        losses = [step.loss for step in trainer(corpus, tiny_arch(n_layers=1)).run_to(4 * 3 + 1)]
        assert [float(loss) for loss in losses] == [1.0] * len(losses)
    assert questions.asked == {"copy_": 5}


def test_a_loss_that_is_asked_for_is_waited_for(corpus: Corpus) -> None:
    with Questions() as questions:
        first = next(trainer(corpus, tiny_arch()).run_to(2))
        assert float(first.loss) == 1.0
        assert float(first.loss) == 1.0
    assert questions.asked == {"copy_": 1}


@pytest.mark.parametrize(
    ("loss", "norm", "words"), [(float("nan"), 1.0, "loss of step 3 is nan"), (1.0, float("inf"), "norm of the grad.*step 3 is inf")]
)
def test_a_step_that_is_not_finite_is_found_before_its_weights_are_used(loss: float, norm: float, words: str) -> None:
    found = Readings(META)
    with Questions():
        for step in range(1, 6):
            found.add(step, torch.empty((), device=META), torch.empty((), device=META))
    found._send = lambda: found._blocks.append(readings._Block(found._losses, numbers(5, loss, norm), None))  # type: ignore[method-assign]
    with pytest.raises(TrialFailure, match=f"diverged: the {words}"):
        found.check()


def numbers(steps: int, loss: float, norm: float) -> Tensor:
    """Of so many steps, the third of which has this loss and this norm."""
    found = torch.ones(steps, 2)
    found[2] = torch.tensor([loss, norm])
    return found
