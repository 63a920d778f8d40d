"""Checkpoints: what is stored is what is loaded; whatever is broken is one clear line, and never runs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from codenas import checkpoint
from codenas.arch import ArchSpec
from codenas.arch.cost import stored_bytes, tensors
from codenas.arch.storage import STORAGES, Storage
from codenas.checkpoint import MANIFEST, TOKENIZER, TRAINING, WEIGHTS, Checkpoint, Manifest, update_metrics, write_checkpoint
from codenas.compress.quantise import pack, unpack
from codenas.errors import CheckpointError, ResourceError
from codenas.files import sha256_file
from codenas.metrics import Metrics, TrainingCurve
from codenas.vocab import Char
from tests.fakes import drawn_model, small_disk, tiny_arch

ROOT = Path(__file__).parents[1]
VOCABULARY = Char("éü")
ARCH = tiny_arch(position="absolute", tie_embeddings=False)
STATE = {"progress": torch.tensor([3, 12]), "seconds": torch.tensor(1.5, dtype=torch.float64), "weights/x": torch.tensor([0.1, 1e-30])}


def weights(arch: ArchSpec = ARCH, seed: int = 0) -> dict[str, Tensor]:
    return dict(drawn_model(arch, VOCABULARY.size, seed).named_parameters())


def write(
    path: Path, seed: int = 0, state: dict[str, Tensor] | None = STATE, arch: ArchSpec = ARCH, storage: Storage = "float16"
) -> Checkpoint:
    manifest = Manifest(
        arch=ARCH, storage=storage, vocab_size=VOCABULARY.size, vocab_digest=VOCABULARY.digest, corpus_digest="c", step=3, train_tokens=12,
        training={"seed": seed}, metrics=Metrics(params=7),
    )  # fmt: skip
    VOCABULARY.save(path.parent / "vocabulary.json")
    return write_checkpoint(path, weights(arch, seed), manifest, path.parent / "vocabulary.json", state)


@pytest.fixture
def stored(tmp_path: Path) -> Checkpoint:
    return write(tmp_path / "model")


def test_all_files_may_be_read_by_the_same_people(stored: Checkpoint) -> None:
    modes = {path.name: oct(path.stat().st_mode) for path in stored.path.iterdir()}
    assert set(modes) == {MANIFEST, WEIGHTS, TOKENIZER, TRAINING} and len(set(modes.values())) == 1, modes


def forge(stored: Checkpoint) -> Checkpoint:
    """Let the manifest name the weights and the training state that are there now."""
    digests = {"weights_sha256": sha256_file(stored.path / WEIGHTS), "training_sha256": sha256_file(stored.path / TRAINING)}
    manifest = stored.manifest.model_copy(update=digests)
    (stored.path / MANIFEST).write_text(manifest.model_dump_json())
    return Checkpoint.open(stored.path)


def test_what_is_stored_is_what_is_loaded(stored: Checkpoint) -> None:
    opened = Checkpoint.open(stored.path)
    assert opened == stored
    assert opened.manifest.arch == ARCH and opened.manifest.metrics == Metrics(params=7) and opened.manifest.training == {"seed": 0}
    model = opened.load_model()
    assert not model.training
    for name, value in weights().items():
        assert torch.equal(model.get_parameter(name), value.half().float())
    assert opened.load_vocabulary().encode("é = 1") == VOCABULARY.encode("é = 1")


@pytest.mark.parametrize("storage", STORAGES)
def test_what_is_loaded_is_what_the_storage_keeps(storage: Storage, tmp_path: Path) -> None:
    stored = write(tmp_path / "model", storage=storage)
    assert Checkpoint.open(stored.path).manifest.storage == storage
    assert (stored.path / WEIGHTS).stat().st_size == stored_bytes(ARCH, VOCABULARY.size, storage)
    kept = unpack(pack(weights(), storage), tensors(ARCH, VOCABULARY.size), storage)
    model = stored.load_model()
    assert all(torch.equal(model.get_parameter(name), kept[name]) for name in weights())
    assert all(torch.equal(stored.load_training_state()[name], value) for name, value in STATE.items())


def test_a_manifest_of_an_earlier_version_is_one_of_float16(stored: Checkpoint) -> None:
    content = json.loads((stored.path / MANIFEST).read_bytes())
    earlier = {name: value for name, value in content.items() if name not in ("storage", "trained_arch", "vocabulary")}
    (stored.path / MANIFEST).write_text(json.dumps(earlier))
    opened = Checkpoint.open(stored.path)
    assert (opened.manifest.storage, opened.manifest.training_arch, opened.manifest.vocabulary) == ("float16", ARCH, None)
    opened.load_model()


def test_a_manifest_of_an_earlier_version_has_the_training_curve_under_its_old_name(stored: Checkpoint) -> None:
    curve = TrainingCurve(worker="host:1", started=1.0, seconds=2.0, losses=((3, 2.5),))
    content = json.loads((stored.path / MANIFEST).read_text())
    del content["curve"]
    (stored.path / MANIFEST).write_text(json.dumps({**content, "course": curve.model_dump(mode="json")}))
    assert Checkpoint.open(stored.path).manifest.curve == curve


def test_a_manifest_that_says_null_of_compression_still_opens(stored: Checkpoint) -> None:
    content = json.loads((stored.path / MANIFEST).read_text())
    assert "compression" not in content
    (stored.path / MANIFEST).write_text(json.dumps(content | {"compression": None}))
    assert Checkpoint.open(stored.path).manifest == stored.manifest
    (stored.path / MANIFEST).write_text(json.dumps(content | {"compression": "zip"}))
    with pytest.raises(CheckpointError, match="compression"):
        Checkpoint.open(stored.path)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("claimed", STORAGES)
def test_a_file_in_another_storage_than_it_says_is_refused(storage: Storage, claimed: Storage, tmp_path: Path) -> None:
    stored = write(tmp_path / "model", storage=storage)
    (stored.path / MANIFEST).write_text(stored.manifest.model_copy(update={"storage": claimed}).model_dump_json())
    if storage == claimed:
        Checkpoint.open(stored.path).load_model()
        return
    with pytest.raises(CheckpointError, match="does not fit its architecture") as caught:
        Checkpoint.open(stored.path).load_model()
    assert "\n" not in str(caught.value)


def test_the_training_state_keeps_every_bit(stored: Checkpoint) -> None:
    loaded = stored.load_training_state()
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in STATE.items())


def test_a_model_is_loaded_in_the_precision_asked_for(stored: Checkpoint) -> None:
    assert {value.dtype for value in stored.load_model(dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_the_size_is_that_of_the_files_that_a_device_needs(stored: Checkpoint) -> None:
    sizes = {name: (stored.path / name).stat().st_size for name in (WEIGHTS, TOKENIZER, MANIFEST, TRAINING)}
    assert stored.size_bytes == sizes[WEIGHTS] + sizes[TOKENIZER]
    assert sizes[WEIGHTS] > 2 * sum(value.numel() for value in weights().values())


def test_equal_models_are_equal_files(stored: Checkpoint, tmp_path: Path) -> None:
    again, other = write(tmp_path / "again"), write(tmp_path / "other", seed=1)
    assert again.manifest.weights_sha256 == stored.manifest.weights_sha256 != other.manifest.weights_sha256


def test_metrics_are_added_later(stored: Checkpoint) -> None:
    measured = update_metrics(stored, Metrics(params=7, bits_per_byte=1.5))
    assert Checkpoint.open(stored.path) == measured
    assert measured.manifest.metrics.bits_per_byte == 1.5
    measured.load_model()


def test_a_checkpoint_without_training_state_can_only_be_served(tmp_path: Path) -> None:
    served = write(tmp_path / "model", state=None)
    served.load_model()
    with pytest.raises(CheckpointError, match="holds no training state .*: it can be served, not trained on"):
        served.load_training_state()


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, TOKENIZER])
def test_a_missing_file_is_named(name: str, stored: Checkpoint) -> None:
    (stored.path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{stored.path} is no checkpoint: {name} missing; remove {stored.path}, then train"):
        Checkpoint.open(stored.path)


def test_a_missing_folder_and_a_file_in_its_place_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, way_out in ((tmp_path / "nothing", "train one with"), (tmp_path / "file", "remove .*file, then train one with")):
        with pytest.raises(CheckpointError, match=f"{path} is no checkpoint: .*{way_out}"):
            Checkpoint.open(path)


def test_of_a_run_the_message_names_the_model(tmp_path: Path) -> None:
    write(tmp_path / "run" / "model")
    with pytest.raises(CheckpointError, match="run is no checkpoint: .*; the model of this run is .*run/model$"):
        Checkpoint.open(tmp_path / "run")


def test_no_error_advises_to_remove_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(tmp_path)
    assert f"remove {tmp_path}" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"null"])
def test_a_broken_manifest_is_one_clear_line(content: bytes, stored: Checkpoint) -> None:
    (stored.path / MANIFEST).write_bytes(content)
    with pytest.raises(CheckpointError, match="manifest.json cannot be read: .*; restore the folder or train again") as caught:
        Checkpoint.open(stored.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"extra": 1}, {"arch": {"d_model": 3}}])
def test_a_manifest_of_another_kind_is_refused(change: dict[str, object], stored: Checkpoint) -> None:
    content = json.loads((stored.path / MANIFEST).read_bytes())
    (stored.path / MANIFEST).write_text(json.dumps({**content, **change}))
    with pytest.raises(CheckpointError, match="manifest.json cannot be read"):
        Checkpoint.open(stored.path)


def test_a_broken_manifest_names_the_field_the_reason_and_the_folder_to_remove(stored: Checkpoint) -> None:
    content = json.loads((stored.path / MANIFEST).read_bytes())
    (stored.path / MANIFEST).write_text(json.dumps({**content, "step": "many"}))
    with pytest.raises(CheckpointError, match=f"cannot be read: step: Input should be a valid integer.*; .* remove {stored.path}, then"):
        Checkpoint.open(stored.path)


def cut(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def flip(data: bytes, part: float) -> bytes:
    place = int((len(data) - 1) * part)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.9999])
def test_damaged_weights_are_not_loaded(damage: Callable[[bytes, float], bytes], part: float, stored: Checkpoint) -> None:
    path = stored.path / WEIGHTS
    path.write_bytes(damage(path.read_bytes(), part))
    with pytest.raises(CheckpointError, match=f"{path} is not what was written"):
        Checkpoint.open(stored.path).load_model()


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9999])
def test_a_damaged_training_state_is_not_trained_on(damage: Callable[[bytes, float], bytes], part: float, stored: Checkpoint) -> None:
    path = stored.path / TRAINING
    path.write_bytes(damage(path.read_bytes(), part))
    with pytest.raises(CheckpointError, match=f"{path} is not what was written"):
        Checkpoint.open(stored.path).load_training_state()


def test_too_little_memory_to_load_is_one_line(tmp_path: Path) -> None:
    """In a process of its own whose address space is full: what safetensors really raises then."""
    weights = tmp_path / WEIGHTS
    save_file({"large": torch.zeros(8_000_000)}, weights)
    code = """
import resource, sys
from pathlib import Path
import psutil
from codenas.checkpoint import _read
from codenas.errors import ResourceError
for spare in (8_000_000, 40_000_000):
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + spare, resource.RLIM_INFINITY))
    try:
        _read(Path(sys.argv[1]))
    except ResourceError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, weights], cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout + done.stderr
    assert all(line.startswith(f"there is no memory to load {weights} (32.0 MB); close something") for line in lines)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9999])
def test_cut_files_with_a_hash_to_match_cannot_be_read(part: float, stored: Checkpoint) -> None:
    for name in (WEIGHTS, TRAINING):
        (stored.path / name).write_bytes(cut((stored.path / name).read_bytes(), part))
    opened = forge(stored)
    for load in (opened.load_model, opened.load_training_state):
        with pytest.raises(CheckpointError, match="safetensors cannot be read: .*; restore the folder") as caught:
            load()
        assert "\n" not in str(caught.value)


def test_a_pickle_is_not_read_and_never_runs(stored: Checkpoint, tmp_path: Path) -> None:
    pickle = f"cos\nsystem\n(S'touch {tmp_path / 'ran'}'\ntR.".encode()
    for name in (WEIGHTS, TRAINING):
        (stored.path / name).write_bytes(pickle)
    with pytest.raises(CheckpointError, match="not what was written"):
        stored.load_model()
    opened = forge(stored)
    for load in (opened.load_model, opened.load_training_state):
        with pytest.raises(CheckpointError, match="cannot be read"):
            load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("other", [{"n_layers": 1}, {"d_model": 32}, {"position": "rope"}, {"tie_embeddings": True}])
def test_weights_of_another_architecture_are_refused(other: dict[str, object], storage: Storage, tmp_path: Path) -> None:
    stored = write(tmp_path / "model", arch=ArchSpec.model_validate({**ARCH.model_dump(), **other}), storage=storage)
    with pytest.raises(CheckpointError, match="does not fit its architecture") as caught:
        stored.load_model()
    assert "\n" not in str(caught.value)


def test_another_vocabulary_is_refused(stored: Checkpoint) -> None:
    Char("é").save(stored.path / TOKENIZER)
    with pytest.raises(CheckpointError, match=f"{stored.path / TOKENIZER} is not the vocabulary that the model was trained with"):
        stored.load_vocabulary()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_as_stored_are_refused_and_the_old_stay(value: float, stored: Checkpoint) -> None:
    broken = weights()
    broken["blocks.0.mixer.query.weight"] = torch.full((16, 16), value)
    broken["embedding.weight"] = torch.full((VOCABULARY.size, 16), value)
    with pytest.raises(CheckpointError, match="embedding.weight and 1 more weights are not finite; the model diverged"):
        write_checkpoint(stored.path, broken, stored.manifest, stored.path / TOKENIZER)
    assert Checkpoint.open(stored.path) == stored
    stored.load_model()


@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_a_matrix_whose_scale_is_not_finite_is_named(value: float, storage: Storage, stored: Checkpoint) -> None:
    broken = {**weights(), "embedding.weight": torch.full((VOCABULARY.size, 16), value)}
    manifest = stored.manifest.model_copy(update={"storage": storage})
    with pytest.raises(CheckpointError, match="embedding.weight and 0 more weights are not finite; the model diverged"):
        write_checkpoint(stored.path, broken, manifest, stored.path / TOKENIZER)
    assert Checkpoint.open(stored.path) == stored


def test_a_new_checkpoint_takes_the_place_of_the_old(stored: Checkpoint, tmp_path: Path) -> None:
    new = write(stored.path, seed=1, state=None)
    assert Checkpoint.open(stored.path) == new != stored
    assert not (stored.path / TRAINING).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "vocabulary.json"]


@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupted_write_leaves_the_old(call: int, stored: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "save_file", failing(KeyboardInterrupt(), call))
    with pytest.raises(KeyboardInterrupt):
        write(stored.path, seed=1)
    assert Checkpoint.open(stored.path) == stored
    stored.load_model()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "vocabulary.json"]


@pytest.mark.parametrize("call", [1, 2])
def test_no_space_is_said_in_one_line(call: int, stored: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(checkpoint, "save_file", failing(error, call))
    with pytest.raises(ResourceError, match=f"cannot write {stored.path}: no space is left .*; free some space"):
        write(stored.path, seed=1)
    assert Checkpoint.open(stored.path) == stored


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        old = write(disk / "model")
        with pytest.raises(ResourceError, match="no space is left"):
            write(disk / "model", state={"large": torch.zeros(100_000)})
        assert Checkpoint.open(disk / "model") == old
        assert sorted(path.name for path in disk.iterdir()) == ["model", "vocabulary.json"]


def failing(error: BaseException, times: int) -> Callable[[dict[str, Tensor], Path], None]:
    """`save_file`, but call number `times` raises `error`."""
    calls = 0

    def call(tensors: dict[str, Tensor], path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == times:
            raise error
        save_file(tensors, path)

    return call
