"""Every view over every member: whatever a search can find can be shown, by its name.

The views are commands and what they are made of; a public function of `codenas.report` that none of them reaches fails the test.
Searches are histories without models, over designs in which every choice of the preset `full` occurs, and over random ones.
"""

import contextlib
import importlib
import io
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

import codenas.report
from codenas.arch import Design
from codenas.arch.cost import decoding_flops
from codenas.checkpoint import Checkpoint, Manifest
from codenas.cli import search as search_command
from codenas.cli.compare import finished_search
from codenas.cli.summary import front_member, show_summary
from codenas.corpus import Corpus
from codenas.evaluate.collapse import CollapseLimits, CollapseReport, CompletionFigures
from codenas.evaluate.config import EvaluationSettings
from codenas.evaluate.evaluation import Evaluation, Row, SuiteSummary
from codenas.evaluate.suites.completions import CompletionsResult
from codenas.experiment.jobs import SearchJob
from codenas.experiment.run import Run
from codenas.experiment.summary import Findings, summarise
from codenas.measure.latency_model import Calibration, Point
from codenas.metrics import Metrics
from codenas.report.device import calibration_figures, calibration_warnings
from codenas.report.front import front_rows
from codenas.report.page_data import Event, SearchRecord
from codenas.report.tables import summary_lines
from codenas.search.candidate import Proposal
from codenas.search.history import history_of
from codenas.search.result import SearchFolder
from tests.cli.commands import shown
from tests.fakes import tiny_corpus
from tests.report.members import RUNGS, SEEDS, VOCABULARIES, covering, drawn, labels, search_over

# Public functions of these modules show something else than designs: corpora, vocabularies, strategies.
OF_OTHER_THINGS = {"corpus", "tokens", "sampling", "replay"}
NOT_OF_DESIGNS = {"plots.volumes", "scale.percent"}


@dataclass(frozen=True, slots=True)
class Case:
    """A finished search in a run folder, and the designs that it trained."""

    folder: Path
    run: Path
    found: SearchRecord
    designs: tuple[Design, ...]
    corpus: Corpus

    def place(self, name: str) -> Path:
        """A path that nothing has been written to."""
        return next(path for number in range(100) if not (path := self.folder / f"{number}-{name}").exists())

    @property
    def calibration(self) -> Path:
        """Of a device that takes a nanosecond for a thousand FLOPs."""
        path, size = self.folder / "device.json", self.corpus.manifest.vocab_size
        if not path.exists():
            archs = {design.stored_arch.digest: design.stored_arch for design in (*covering(), *self.designs)}
            times = [1 + decoding_flops(arch, size, arch.context_len - 1) / 1e9 for arch in archs.values()]
            points = [
                Point(arch=arch, vocab_size=size, p50_ms=ms, p50_uncertainty_ms=0.1) for arch, ms in zip(archs.values(), times, strict=True)
            ]
            Calibration.fit("a device", 1, points).save(path)
        return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("views") / "corpus", vocabularies=VOCABULARIES)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough that no label is broken over two lines."""
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture(scope="module", params=["covering", *SEEDS])
def case(request: pytest.FixtureRequest, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Case:
    seed = request.param
    designs = covering() if seed == "covering" else tuple(drawn(seed))
    folder = tmp_path_factory.mktemp("case")
    found = search_over(designs, corpus.manifest.vocab_size, seed=0 if seed == "covering" else seed)
    return Case(folder, written(folder / "run", found, corpus), found, designs, corpus)


def written(folder: Path, found: SearchRecord, corpus: Corpus) -> Path:
    """`found` as a run folder."""
    home = SearchFolder(folder / "search")
    home.claim(SearchJob.model_validate(found.job).model_dump_json(), corpus.manifest.digest)
    (home.path / "trials.jsonl").write_text("".join(event.model_dump_json() + "\n" for event in found.events), encoding="utf-8")
    if found.result is not None:
        home.finish(found.result)
        evaluation = Evaluation(
            settings=EvaluationSettings(), weights_sha256="", corpus_digest=corpus.manifest.digest, metrics=Metrics(),
            results={"suite": SuiteSummary(rows=(Row(name="score", value="1.0", reference="human"),))},
        )  # fmt: skip
        Run(folder).evaluation.write_text(evaluation.model_dump_json(), encoding="utf-8")
    (folder / "corpus").write_text(f"{corpus.path}\n", encoding="utf-8")
    (folder / ".lock").touch()
    return folder


def others(case: Case) -> Iterator[Path]:
    """Runs of the same search with another seed, and of another search."""
    for name, designs, seed in (("again", case.designs, case.found.config.seed + 1), ("other", case.designs[:-1], 0)):
        folder = case.folder / name
        yield folder if folder.exists() else written(folder, search_over(designs, case.corpus.manifest.vocab_size, seed), case.corpus)


def file_of(case: Case, design: Design) -> Path:
    """`design` as a file."""
    path = case.folder / f"{design.digest}.json"
    path.write_text(design.model_dump_json(), encoding="utf-8")
    return path


def show_architecture(case: Case, design: Design) -> str:
    return shown("arch", "show", file_of(case, design))


def predict(case: Case, design: Design) -> str:
    return shown("device", "predict", file_of(case, design), "--on", case.calibration)


def picture(case: Case) -> str:
    """`arch show --picture` of a small design with each family of mixers: to draw a layer takes time."""
    smallest = sorted(case.designs, key=lambda design: design.arch.n_layers, reverse=True)
    by_family = {mixer.kind: design for design in smallest for mixer in design.arch.pattern}
    output = ""
    for design in {design.digest: design for design in by_family.values()}.values():
        path = case.place("architecture.png")
        output += shown("arch", "show", file_of(case, design), "--picture", path)
        assert path.read_bytes().startswith(b"\x89PNG")
    return output


def show_space(case: Case) -> str:
    """`space show`, which draws a thousand designs, with a few."""
    job = case.folder / "space.toml"
    job.write_text('[search]\nspace = "full"\nchoices = { vocabulary = ["char", "bpe-300"] }\n', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codenas.cli.space.SAMPLE", 20)
        return shown("space", "show", job)


def status(case: Case) -> str:
    return shown("status", case.run)


def unfinished(case: Case) -> str:
    """`codenas status` and `codenas report` of the search as it was before its last event."""
    found = replace(case.found, events=case.found.events[:-1], result=None)
    run = written(case.place("unfinished"), found, case.corpus)
    output = shown("status", run)
    shown("report", run)
    return output + Run(run).report.read_text(encoding="utf-8")


def search_ends(case: Case) -> str:
    """What `codenas search` prints at its end."""
    output = io.StringIO()
    job, result = SearchJob.model_validate(case.found.job), case.found.result
    assert result is not None
    with contextlib.redirect_stdout(output):
        search_command.show(Run(case.run), result, history_of(case.found.events), job)
    return output.getvalue()


def summary(case: Case) -> str:
    """What `codenas demo` prints at its end."""
    result, run, history = case.found.result, Run(case.run), history_of(case.found.events)
    assert result is not None
    winner = history.trials[result.winner].candidate.design
    figures = CompletionFigures(collapsed=1, seq_rep_4=0.1, longest_token_run=2.0, longest_line_run=1.0, parse_rate=0.5)
    report = CollapseReport(
        prompts=2, temperature=0.8, completion_tokens=8, limits=CollapseLimits(), model=figures, human=figures
    )  # fmt: skip
    last = history.trials[result.winner].last
    assert last is not None
    evaluation = Evaluation(
        settings=EvaluationSettings(), weights_sha256="", corpus_digest=case.corpus.manifest.digest, metrics=last.metrics,
        results={"completions": CompletionsResult(completions=report).summary(), "other": SuiteSummary(warnings=("a warning",))},
    )  # fmt: skip
    manifest = Manifest(
        arch=winner.stored_arch, storage=winner.storage, vocabulary=winner.vocabulary, vocab_size=case.corpus.manifest.vocab_size,
        vocab_digest="", corpus_digest=case.corpus.manifest.digest, step=30, train_tokens=100,
    )  # fmt: skip
    rows = front_rows(history.trials, result.winner, RUNGS[-1], case.found.config.objectives)
    found = Findings(case.corpus, result, tuple(map(front_member, rows)), Checkpoint(run.model, manifest), evaluation, ())
    summary = summarise(run, found, {"search": 1.0}, 10**9, 8000)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        show_summary(run, summary, history, rows, case.found.config.objectives)
    return output.getvalue()


def compared(case: Case) -> str:
    path = case.place("fronts.png")
    output = shown("compare", case.run, *others(case), "--picture", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    return output


def page(case: Case) -> str:
    """The page as a reader sees it, tips included, and its figures."""
    path = case.place("report.html")
    shown("report", case.run, "--output", path)
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["finished"]
    return path.read_text(encoding="utf-8")


def tensorboard(case: Case) -> str:
    pytest.importorskip("tensorboardX")
    folder = case.place("events")
    shown("search", "tensorboard", "--run", case.run, "--output", folder)
    return "".join(path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("events.out.*")))


def study(case: Case) -> str:
    optuna = pytest.importorskip("optuna")
    path = case.place("study.db")
    shown("search", "study", "--run", case.run, "--output", path)
    trials = optuna.load_study(study_name=str(case.run), storage=f"sqlite:///{path}").trials
    return "\n".join(str(trial.user_attrs) for trial in trials)


def device(case: Case) -> str:
    """What `codenas device calibrate` prints at its end."""
    calibration = Calibration.load(case.calibration)
    return "\n".join([*summary_lines(calibration_figures(calibration)), *calibration_warnings(calibration)])


def speeds(case: Case) -> str:
    """What `codenas bench-decode` prints, of the smallest work."""
    work = ("--prompt", "2", "--tokens", "4", "--streams", "1", "--rounds", "1", "--no-memory", "--vocab-size", "64")
    return shown("bench-decode", "4M", *work)


MODEL = frozenset({"mixer", "norm", "position", "activation"})
STORED = frozenset({"storage", "pruning", "vocabulary"})

# Each view of a design with the kinds of members that it shows by their labels.
OF_A_DESIGN: dict[str, tuple[Callable[[Case, Design], str], frozenset[str]]] = {
    "arch show": (show_architecture, MODEL | STORED),
    "device predict": (predict, frozenset()),
}
# Each view of a search, with the kinds of members of which it shows those of all designs.
OF_A_SEARCH: dict[str, tuple[Callable[[Case], str], frozenset[str]]] = {
    "arch show --picture": (picture, frozenset({"mixer"})),
    "space show": (show_space, MODEL | {"storage"}),
    "status": (status, MODEL | STORED),
    "status, unfinished": (unfinished, MODEL | STORED),
    "search": (search_ends, MODEL | STORED),
    "demo": (summary, MODEL | STORED),
    "report": (page, MODEL | STORED),
    "search tensorboard": (tensorboard, MODEL - {"mixer"} | {"storage"}),  # choices as a job file writes them
    "search study": (study, MODEL - {"mixer"} | {"storage"}),
    "compare": (compared, frozenset()),  # of the winner alone, see below
    "device calibrate": (device, frozenset()),
    "bench-decode": (speeds, frozenset()),
}
SLOW = ("arch show --picture", "space show", "search study", "bench-decode")  # over the designs with every member only


@pytest.mark.parametrize("name", OF_A_DESIGN)
def test_every_design_is_shown_with_its_members(name: str, case: Case) -> None:
    render, shown_kinds = OF_A_DESIGN[name]
    for design in case.designs:
        output = render(case, design)
        missing = {kind: labels(design)[kind] for kind in shown_kinds if not all(label in output for label in labels(design)[kind])}
        assert output and not missing, design


@pytest.mark.parametrize("case", ["covering"], indirect=True)
@pytest.mark.parametrize("name", SLOW)
def test_a_search_is_shown_with_the_members_of_its_designs_by_slow_views(name: str, case: Case) -> None:
    check_view_of_a_search(name, case)


@pytest.mark.parametrize("name", [name for name in OF_A_SEARCH if name not in SLOW])
def test_every_search_is_shown_with_the_members_of_its_designs(name: str, case: Case) -> None:
    check_view_of_a_search(name, case)


def check_view_of_a_search(name: str, case: Case) -> None:
    render, shown_kinds = OF_A_SEARCH[name]
    output = render(case)
    assert output
    for kind in shown_kinds:
        expected = {label for design in case.designs for label in labels(design)[kind]}
        assert {label for label in expected if label not in output} == set(), kind


def test_no_cell_is_cut_in_a_terminal_of_the_least_width(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert all("…" not in view(case) for view in (status, search_ends, summary))


@pytest.mark.parametrize("case", SEEDS[:1], indirect=True)
def test_a_run_of_an_earlier_version_is_shown(case: Case) -> None:
    """Its files lack what has been added since: every field that has a default. Its candidates are architectures alone."""
    plain = [Design(arch=design.arch) for design in case.designs]
    found = search_over(plain, case.corpus.manifest.vocab_size, curve=False)
    run = written(case.place("earlier"), found, case.corpus)
    lines = [json.dumps({"event": event.event, **_as_before(event)}) for event in found.events]
    (run / "search" / "trials.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert found.result is not None
    (run / "search" / "result.json").write_text(found.result.model_dump_json(exclude_defaults=True), encoding="utf-8")
    early = replace(case, folder=case.place("views"), run=run, found=found, designs=tuple(plain))
    early.folder.mkdir()
    for view in ("status", "report", "compare", "search tensorboard", "search study"):
        assert OF_A_SEARCH[view][0](early), view
    assert "This history has no training curves" in page(early)


def _as_before(event: Event) -> dict[str, Any]:
    """The fields of `event` that it cannot do without; of a candidate its architecture alone."""
    needed = {name for name, field in type(event).model_fields.items() if field.is_required()}
    fields = event.model_dump(mode="json", include=needed)
    if isinstance(event, Proposal):
        fields["candidate"]["arch"] = fields["candidate"].pop("design")["arch"]
    return fields


def test_a_comparison_shows_the_members_of_the_winners(case: Case) -> None:
    output, winner = compared(case), next(row.design for row in finished_search(Run(case.run), "run").rows if row.winner)
    assert all(label in output for kind in {"mixer"} | STORED for label in labels(winner)[kind])


@pytest.mark.parametrize("case", SEEDS[:1], indirect=True)
def test_no_public_view_is_without_a_command_that_shows_it(case: Case) -> None:
    reached: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            reached.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for of_design, _ in OF_A_DESIGN.values():
            of_design(case, case.designs[0])
        for of_search, _ in OF_A_SEARCH.values():
            of_search(case)
    finally:
        sys.setprofile(before)
    assert sorted(name for name, view in public_views() if view.__code__ not in reached) == []


def public_views() -> Iterator[tuple[str, FunctionType]]:
    """The public functions of `codenas.report` that show designs or searches."""
    for module in pkgutil.iter_modules(codenas.report.__path__):
        if module.name not in OF_OTHER_THINGS:
            for name, value in vars(importlib.import_module(f"codenas.report.{module.name}")).items():
                own = isinstance(value, FunctionType) and value.__module__ == f"codenas.report.{module.name}"
                if own and not name.startswith("_") and f"{module.name}.{name}" not in NOT_OF_DESIGNS:
                    yield f"{module.name}.{name}", value
