"""Every evaluation suite: a second run reads its cache, and another model, corpus or setting that it depends on does not."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codenas.arch import Design
from codenas.checkpoint import MANIFEST, Checkpoint, Manifest, write_checkpoint
from codenas.corpus import Corpus
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.run import evaluate_checkpoint, run_suite
from codenas.evaluate.suites.base import EvaluationSubject, Suite
from codenas.evaluate.suites.registry import SUITES
from codenas.experiment.training import manifest_of
from codenas.model import build_model
from tests.fakes import tiny_arch, tiny_corpus

SETTINGS = EvaluationSettings(tokens=64, prompts=2, prompt_tokens=8, completion_tokens=8, latency_tokens=2)
OTHER: dict[str, Any] = {
    "split": "valid", "tokens": 96, "prompts": 3, "prompt_tokens": 10, "completion_tokens": 9, "temperature": 0.3, "seed": 5,
    "latency_tokens": 3, "latency_threads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


def model(corpus: Corpus, path: Path, seed: int = 0) -> Checkpoint:
    arch = tiny_arch()
    weights = dict(build_model(arch, corpus.manifest.vocab_size, seed).named_parameters())
    return write_checkpoint(path, weights, manifest_of(corpus, Design(arch=arch), 0, 0), corpus.tokenizer_path)


@pytest.fixture
def subject(corpus: Corpus, tmp_path: Path) -> EvaluationSubject:
    return EvaluationSubject(model(corpus, tmp_path / "model"), corpus, SETTINGS)


def runs(suite: Suite[Any], subject: EvaluationSubject, folder: Path) -> bool:
    """Whether `suite` measures anew."""
    measured = list[EvaluationSubject]()

    def noted(subject: EvaluationSubject) -> Any:
        measured.append(subject)
        return suite.run(subject)

    run_suite(replace(suite, run=noted), subject, folder)
    return bool(measured)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
class TestSuite:
    def test_a_second_run_reads_the_cache_and_finds_the_same(self, suite: Suite[Any], subject: EvaluationSubject, tmp_path: Path) -> None:
        first = run_suite(suite, subject, tmp_path)
        again = replace(subject)
        assert not runs(suite, again, tmp_path) and run_suite(suite, again, tmp_path) == first
        assert "model" not in vars(again), "what is stored is read without the model"
        assert [path.name for path in tmp_path.glob("*.json")] == [f"{suite.name}.json"]

    def test_a_changed_checkpoint_is_measured(self, suite: Suite[Any], subject: EvaluationSubject, corpus: Corpus, tmp_path: Path) -> None:
        run_suite(suite, subject, tmp_path)
        assert runs(suite, replace(subject, checkpoint=model(corpus, tmp_path / "other", seed=1)), tmp_path)

    def test_another_architecture_with_the_same_weights_is_measured(
        self, suite: Suite[Any], subject: EvaluationSubject, tmp_path: Path
    ) -> None:
        """The weights of rotary and of ALiBi positions have the same names and shapes."""
        run_suite(suite, subject, tmp_path)
        shutil.copytree(subject.checkpoint.path, tmp_path / "turned")
        manifest = Manifest.model_validate_json((tmp_path / "turned" / MANIFEST).read_bytes())
        turned = manifest.model_copy(update={"arch": manifest.arch.model_copy(update={"position": "alibi"})})
        (tmp_path / "turned" / MANIFEST).write_text(turned.model_dump_json())
        assert runs(suite, replace(subject, checkpoint=Checkpoint.open(tmp_path / "turned")), tmp_path)

    def test_only_settings_that_it_depends_on_count(self, suite: Suite[Any], subject: EvaluationSubject, tmp_path: Path) -> None:
        assert {*OTHER, "device"} == set(EvaluationSettings.model_fields)
        run_suite(suite, subject, tmp_path)
        for name, value in OTHER.items():
            folder = tmp_path / name
            shutil.copytree(tmp_path, folder, ignore=lambda *_: [name for name in OTHER if (tmp_path / name).exists()] + ["model"])
            changed = replace(subject, settings=SETTINGS.model_copy(update={name: value}))
            assert runs(suite, changed, folder) == (name in suite.depends_on), name

    @pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 2}'])
    def test_a_file_that_cannot_be_read_is_made_again(
        self, content: str, suite: Suite[Any], subject: EvaluationSubject, tmp_path: Path
    ) -> None:
        (tmp_path / f"{suite.name}.json").write_text(content)
        assert runs(suite, subject, tmp_path) and not runs(suite, subject, tmp_path)


def test_each_setting_belongs_to_a_suite() -> None:
    assert {name for suite in SUITES for name in suite.depends_on} == set(OTHER)


def test_a_latency_of_another_device_is_measured_again(subject: EvaluationSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_checkpoint(subject.checkpoint, subject.corpus, SETTINGS, folder=tmp_path / "kept")
    monkeypatch.setattr("codenas.measure.served.device_name", lambda *_: "H200")
    assert [suite.name for suite in SUITES if runs(suite, subject, tmp_path / "kept")] == ["latency"]


def test_what_was_measured_before_an_interrupt_is_kept(subject: EvaluationSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("codenas.evaluate.suites.latency.decoding_latency", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_checkpoint(subject.checkpoint, subject.corpus, SETTINGS, folder=tmp_path / "kept")
    assert [suite.name for suite in SUITES if runs(suite, subject, tmp_path / "kept")] == ["latency"]
