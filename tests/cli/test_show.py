"""`codenas space show` and `codenas arch show`: every way to name what is shown, and one line where it cannot be read."""

import json
from pathlib import Path

import pytest
import torch

from codenas.arch import ArchSpec, Design, preset
from codenas.arch.cost import stored_bytes
from codenas.checkpoint import Manifest, write_checkpoint
from codenas.report.scale import scaled
from codenas.seeds import stream
from codenas.vocab import Char
from tests.cli.commands import codenas, shown
from tests.fakes import drawn_model, null_device, tiny_arch

LEGACY = {"num_layers": 4, "hidden_size": 256, "vocab_size": 512}


def test_a_preset_a_job_and_a_file_are_shown_as_spaces(tmp_path: Path) -> None:
    assert "46,656, about" in shown("space", "show", "tiny")
    (tmp_path / "job.toml").write_text('[search]\nspace = { choices = { norm = ["rmsnorm", "layernorm"], n_layers = [2, 3] } }\n')
    (tmp_path / "space.json").write_text(preset("tiny").model_dump_json())
    assert "4, about 100 % of them valid" in shown("space", "show", tmp_path / "job.toml")
    (tmp_path / "refined.toml").write_text('[search]\nspace = "tiny"\n[search.choices]\nd_model = [128]\nstorage = ["int8", "int4"]\n')
    assert f"{15_552 * 2 // 3:,}, about" in shown("space", "show", tmp_path / "refined.toml")
    assert shown("space", "show", tmp_path / "space.json") == shown("space", "show", "tiny")
    assert shown("space", "show", "tiny", "--vocab-size", "100") != shown("space", "show", "tiny")


def test_every_way_to_name_an_architecture(tmp_path: Path) -> None:
    (tmp_path / "ours.json").write_text(ArchSpec().model_dump_json())
    (tmp_path / "old.json").write_text(json.dumps(LEGACY))
    assert shown("arch", "show", tmp_path / "ours.json").startswith("4 layers x 256, rmsnorm, positions rope, 4,096 ids")
    assert shown("arch", "show", tmp_path / "old.json").startswith("4 layers x 256, layernorm, positions rope, 512 ids")
    assert shown("arch", "show", "L4 H256 V512") == shown("arch", "show", tmp_path / "old.json")
    assert shown("arch", "show", "L4 H256", "--vocab-size", "512") == shown("arch", "show", tmp_path / "old.json")
    assert shown("arch", "show", "full:3") == shown("arch", "show", "full:3") != shown("arch", "show", "full:4")


def test_a_design_is_shown_with_what_its_file_holds(tmp_path: Path) -> None:
    (tmp_path / "design.json").write_text('{"arch": {"n_layers": 2}, "storage": "int4", "pruning": 0.5, "vocabulary": "bpe-1000"}')
    output = shown("arch", "show", tmp_path / "design.json")
    design = Design(arch=ArchSpec(n_layers=2), storage="int4", pruning=0.5)
    size = scaled(stored_bytes(design.stored_arch, 1_000, "int4"), "B")
    assert "1,000 ids" in output and f"{size} in int4, 50 % of the feed-forward's hidden channels pruned: " in output
    drawn = next(seed for seed in range(9) if preset("full").sample(stream(seed, "draw")).pruning)
    assert "hidden channels pruned: " in shown("arch", "show", f"full:{drawn}")


def test_a_checkpoint_is_shown_with_its_own_vocabulary(tmp_path: Path) -> None:
    arch, vocabulary = tiny_arch(), Char("")
    vocabulary.save(tmp_path / "vocabulary.json")
    weights: dict[str, torch.Tensor] = dict(drawn_model(arch, vocabulary.size).named_parameters())
    manifest = Manifest(
        arch=arch, vocab_size=vocabulary.size, vocab_digest=vocabulary.digest, corpus_digest="c", step=0, train_tokens=0
    )  # fmt: skip
    stored = write_checkpoint(tmp_path / "model", weights, manifest, tmp_path / "vocabulary.json")
    assert f"positions rope, {vocabulary.size:,} ids" in shown("arch", "show", stored.path)


def test_a_picture_is_drawn_where_one_is_asked_for(tmp_path: Path) -> None:
    assert f"picture: {tmp_path / 'a.png'}" in shown("arch", "show", "tiny:1", "--picture", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_for_a_device_leaves_the_device(tmp_path: Path) -> None:
    shown("arch", "show", "tiny:1", "--picture", device := null_device(tmp_path / "null"))
    assert device.is_char_device() and list(tmp_path.iterdir()) == [device]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["space", "show", "huge"], "'huge' is no search space: neither a preset (tiny, small, medium, full) nor a file"),
        (["space", "show", "FOLDER/broken.json"], "broken.json: choices: "),
        (["space", "show", "FOLDER/depth.json"], "FOLDER/depth.json: unknown field 'depth'"),
        (["space", "show", "FOLDER/kinds.json"], "FOLDER/kinds.json: pattern: 3 is no list of mixers"),
        (["space", "show", "FOLDER/absent.toml"], "absent.toml' is no search space"),
        (["arch", "show", "FOLDER"], "is no checkpoint: manifest.json"),
        (["arch", "show", "FOLDER/absent.json"], "there is no file or folder FOLDER/absent.json"),
        (["arch", "show", "FOLDER/broken.json"], "broken.json: unknown key choices; known keys are attention_dropout, "),
        (["arch", "show", "FOLDER/list.json"], "list.json holds no object of fields, but list"),
        (["arch", "show", "FOLDER/text.json"], "text.json is no JSON"),
        (["arch", "show", "FOLDER/old.json"], "old.json: unknown key 'num_experts' = 8 of an old architecture; known keys are num_layers"),
        (["arch", "show", ""], "'' is no file, no PRESET:SEED and no line of the old format"),
        (["arch", "show", "FOLDER/misspelt.json"], "misspelt.json: unknown key pattern.0.attention.n_head; did you mean 'n_heads'?"),
        (["arch", "show", "FOLDER/odd.json"], "odd.json: n_heads 4 does not divide d_model 130"),
        (["space", "show", "FOLDER/misnamed.json"], "misnamed.json: unknown key base.d_modell; did you mean 'd_model'?"),
        (["arch", "show", "small"], "'small': a random draw needs a seed, a whole number, as in small:7"),
        (["arch", "show", "small:x"], "'small:x': a random draw needs a seed"),
        (["arch", "show", "huge:7"], "no search space is called 'huge'; choose one of tiny"),
        (["arch", "show", "L8 H512 batchnorm"], "is no file, no PRESET:SEED and no line of the old format: unknown word 'batchnorm'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "broken.json").write_text('{"choices": {}}')
    (tmp_path / "depth.json").write_text('{"choices": {"depth": [2]}}')
    (tmp_path / "kinds.json").write_text('{"choices": {"pattern": [3]}}')
    (tmp_path / "misspelt.json").write_text('{"pattern": [{"kind": "attention", "n_head": 8}]}')
    (tmp_path / "odd.json").write_text('{"d_model": 130}')
    (tmp_path / "misnamed.json").write_text('{"base": {"d_modell": 64}, "choices": {"norm": ["rmsnorm", "layernorm"]}}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "old.json").write_text(json.dumps({**LEGACY, "num_experts": 8}))
    done = codenas(*[argument.replace("FOLDER", str(tmp_path)) for argument in arguments])
    assert done.exit_code == 2
    assert message.replace("FOLDER", str(tmp_path)) in done.stderr
    assert done.stderr.startswith("codenas: ") and done.stderr.count("\n") == 1
