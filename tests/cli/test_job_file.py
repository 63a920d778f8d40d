"""Job files: what is wrong is named with its place and the way out."""

import re
from pathlib import Path

import pytest

from codenas.cli.job_file import DEMO_JOB, Job, load_job
from codenas.errors import ConfigError
from codenas.report.reproduce import job_file


def _load(tmp_path: Path, text: str) -> Job:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return load_job(path)


def test_without_a_file_all_is_default() -> None:
    assert load_job(None) == Job()


def test_overrides_replace_values_and_merge_tables() -> None:
    given = [
        "search.budget.rungs=[1, 2]", "search.budget={ candidates = 6 }", "search.strategy=random", "train.steps=4",
        'search.choices."feedforward.activation"=["gelu"]', "prepare.source=x y",
    ]  # fmt: skip
    job, plain = load_job(DEMO_JOB, given), load_job(DEMO_JOB)
    assert (job.search.budget.rungs, job.search.budget.candidates, job.search.strategy) == ((1, 2), 6, "random")
    assert (job.train.steps, job.prepare.source) == (4, "x y")
    assert (job.search.budget.promote, job.evaluate) == (plain.search.budget.promote, plain.evaluate)
    assert load_job(None, ["train.steps=4"]).train.steps == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", "--set train.steps is not KEY=VALUE; an example: --set search.budget.candidates=6"),
        ("=3", "--set =3 is not KEY=VALUE"),
        ("train..steps=3", "--set train..steps=3 is not KEY=VALUE"),
        ("train.stebs=3", "with --set: unknown key train.stebs; did you mean 'steps'"),
        ("space=medium", "with --set: unknown key space; did you mean search.space or record.space?"),
        ("candidates=6", "with --set: unknown key candidates; did you mean search.budget.candidates?"),
        ("search.batch_size=8", "with --set: unknown key search.batch_size; did you mean search.train.batch_size?"),
        ("search.port=8", "with --set: unknown key search.port; did you mean serve.port?"),
        ("train.steps=many", "with --set: train.steps = 'many' is refused"),
        ("train=3", "with --set: train = 3 is refused"),
    ],
)
def test_what_is_wrong_with_an_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_job(None, [override])


def test_the_word_none_is_none_where_a_value_may_be_absent(tmp_path: Path) -> None:
    job = _load(tmp_path, """
        [prepare]
        opt_out = "none"
        [search.train]
        micro_batch = 2
        [search.choices]
        vocabulary = ["none", "char"]
        position = ["rope", "none"]
        [[search.objectives]]
        metric = "bits_per_byte"
        weight = 1.0
        limit = "none"
        [train.recipe]
        micro_batch = "none"
    """)  # fmt: skip
    assert (job.prepare.opt_out, job.search.objectives[0].limit) == (None, None)
    assert job.train.merged_recipe(job.search.train).micro_batch is None, "as asked, not as in the search"
    assert job.search.choices == {"vocabulary": (None, "char"), "position": ("rope", "none")}
    assert load_job(tmp_path / "job.toml", ["search.train.micro_batch=none"]).search.train.micro_batch is None
    assert _load(tmp_path, job_file(job.search.model_dump(mode="json"))).search == job.search
    with pytest.raises(ConfigError, match="train.steps = 'none' is refused"):
        _load(tmp_path, "[train]\nsteps = 'none'\n")


@pytest.mark.parametrize("path", sorted(DEMO_JOB.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_job_that_is_shipped_can_be_read(path: Path) -> None:
    assert load_job(path) != Job()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serch]\n", "unknown key serch; did you mean 'search'"),
        ("[search]\nbudjet = 1\n", "unknown key search.budjet; did you mean 'budget'"),
        ("[train.recipe]\nzzz = 1\n", "unknown key train.recipe.zzz; known keys are .*batch_size"),
        ("[search]\nstrategy = 'luck'\n", "job.toml: no strategy is called 'luck'; choose one of random, evolution"),
        ("[search]\nspace = 'galaxy'\n", "no search space is called 'galaxy'"),
        ("[train]\nsteps = -1\n", "train.steps = -1 is refused: .* greater than or equal to 1"),
        ("[search]\nbudget = { candidates = 4, rungs = [300, 50], promote = [2] }\n", r"rungs \[300, 50\] must be positive and rise"),
        ("[search]\nbudget = { candidates = 4, rungs = [50, 300], promote = [6] }\n", r"promote \[6\] of 4 candidates"),
        ("[search]\nbudget = { promote = 3 }\n", r"search.budget.promote = 3 is refused: Input should be a list, such as \[1, 2\]"),
        ("[search]\nobjectives = [{ metric = 'beauty' }]\n", "there is no metric 'beauty'"),
        ("[search]\nobjectives = [{ metric = 'params' }]\n", "weights of params are all zero"),
        ("[search\n", "is no TOML"),
        ("[search]\nobjectives = [{ metrik = 'params' }]\n", r"unknown key search.objectives.0.metrik; did you mean 'metric'"),
        ("[search]\nspace = 5\n", r"search.space = 5 is refused: must be the name of a preset \(tiny, .*full\) or a table"),
        ("[search.trial]\nscore_decay = 2\n", "search.trial.score_decay = 2 is refused: Input should be less than or equal to 1"),
        ("[search.trial]\nscore_decay = [0.5]\n", r"search: trial.score_decay \[0.5\] must have one share per rung; the rungs are"),
        ("[search.space]\nbase = 3\n", "search.space.base = 3 is refused"),
        ("[search.space]\nbase = { zzz = 3 }\n", "unknown key search.space.base.zzz; known keys are .*d_model"),
        (
            "[search.space]\nbase = { pattern = [{ kind = 'attention', n_headz = 3 }] }\n",
            r"unknown key search.space.base.pattern.0.attention.n_headz; did you mean 'n_heads'",
        ),
        ("[prepare]\nmax_megabytes = inf\n", "prepare.max_megabytes = inf is refused: Input should be a finite number"),
        ("[prepare.filters]\nmegabytes = 1e999\n", "prepare.filters.megabytes = inf is refused: Input should be a finite number"),
        ("[search]\nobjectives = [{ metric = 'params', weight = inf }]\n", "search.objectives.0.weight = inf is refused"),
        ("[search]\nobjectives = [{ metric = 'params', limit = nan }]\n", "search.objectives.0.limit = nan is refused"),
        ("[search]\nobjectives = [{ metric = 'params', target = inf }]\n", "search.objectives.0.target = inf is refused"),
        (
            "[search]\nobjectives = [{ metric = 'params', limit = 2, target = 3 }]\n",
            "search.objectives.0: the target of params, 3, is outside its limit, at most 2",
        ),
        (
            "[search.space]\nchoices = { vocabulary = ['char', 'bpe'] }\n",
            "job.toml: search.space: vocabulary: 'bpe' is no choice: 'bpe' names no vocabulary; write char, or bpe-N",
        ),
        ("[search.space]\nchoices = { storage = ['int2'] }\n", "job.toml: search.space: storage: 'int2' is no choice: .*'int8'"),
        ("[search.space]\nstorage = 'int8'\n", "unknown key search.space.storage; known keys are .*choices"),
        ("[prepare]\nvocabularies = ['words']\n", "prepare.vocabularies.0 = 'words' is refused: 'words' names no vocabulary"),
        (
            "[prepare]\nvocabularies = ['bpe-200']\n",
            r"prepare.vocabularies = \['bpe-200'\] is refused: 'bpe-200': a byte-level BPE has 262",
        ),
        ("[search.choices]\nd_model = 128\n", r"search.choices: d_model = 128 is no list of choices; write d_model = \[128\]"),
        ("[search.choices]\nwidth = [128]\n", "job.toml: choices of the preset tiny: unknown field 'width'"),
        ("[search.space]\nbase = { d_model = 'wide' }\n", "search.space.base.d_model = 'wide' is refused"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        _load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no job file .*absent.toml"):
        load_job(tmp_path / "absent.toml")


def test_a_folder_is_no_job_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"the job file {tmp_path} cannot be read: Is a directory; the demo's is"):
        load_job(tmp_path)
