"""A checkpoint is a folder: manifest.json, model.safetensors, tokenizer.json and, to resume, training.safetensors.

It is written beside its place and renamed, so it is whole or absent. Weights are stored as float16, int8 or int4: what is
measured and served is what the file holds. The training state keeps float32, so that resuming is exact.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from codenas.arch.cost import tensors
from codenas.arch.spec import ArchSpec
from codenas.arch.storage import SCALE, Storage, StoredTensor, layout
from codenas.compress.quantise import pack
from codenas.compress.stored import StoredModel
from codenas.errors import CheckpointError, ResourceError, first_error, is_out_of_memory
from codenas.files import atomic_folder, readable_disk_errors, recover_folder, sha256_file, write_atomic
from codenas.metrics import Metrics, TrainingCurve
from codenas.model import LanguageModel, uninitialized_model
from codenas.vocab import Vocabulary, load_vocabulary

_TYPES: dict[torch.dtype, Literal["F16", "I8", "U8"]] = {torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8"}
MANIFEST, WEIGHTS, TOKENIZER, TRAINING = "manifest.json", "model.safetensors", "tokenizer.json", "training.safetensors"


class Manifest(BaseModel):
    """The manifest of a checkpoint.

    Attributes:
        arch: of the stored weights.
        trained_arch: of the training state, where the stored weights are pruned; None where both are the same.
        vocabulary: which of its corpus's; None is the corpus's own.
        curve: of the training since the checkpoint that it resumed from, where a search trained it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    arch: ArchSpec
    trained_arch: ArchSpec | None = None
    storage: Storage = "float16"
    vocabulary: str | None = None
    vocab_size: int
    vocab_digest: str
    corpus_digest: str
    step: int
    train_tokens: int
    training: dict[str, Any] = {}
    metrics: Metrics = Metrics()
    curve: TrainingCurve | None = Field(None, validation_alias=AliasChoices("curve", "course"))  # the latter in earlier versions
    weights_sha256: str = ""
    training_sha256: str | None = None
    parent: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _earlier_versions_wrote_compression(cls, fields: Any) -> Any:
        """Drop a key that earlier versions wrote, always null, and no version read."""
        if isinstance(fields, dict) and fields.get("compression", ...) is None:
            return {name: value for name, value in fields.items() if name != "compression"}
        return fields

    @property
    def training_arch(self) -> ArchSpec:
        """The architecture whose training is resumed."""
        return self.trained_arch or self.arch

    @property
    def infills(self) -> bool:
        """Whether its last training moved the middle of documents to their end: it can fill in the middle."""
        return bool(self.training.get("fim_rate"))

    @property
    def infills_suffix_first(self) -> bool:
        """Whether it learned that from prompts that begin with the suffix, too."""
        return self.infills and bool(self.training.get("fim_spm_share"))


@dataclass(slots=True, frozen=True)
class Checkpoint:
    """An existing checkpoint folder."""

    path: Path
    manifest: Manifest = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the manifest and check that all files are there.

        Raises:
            CheckpointError: the folder is missing, incomplete, or its manifest cannot be read.
        """
        recover_folder(path)
        missing = [name for name in (MANIFEST, WEIGHTS, TOKENIZER) if not (path / name).is_file()]
        if missing:
            broken = path.exists() and (len(missing) < 3 or not path.is_dir() or not any(path.iterdir()))
            first = f"remove {path}, then " if broken else ""  # never advise to remove a folder that holds something else
            way_out = f"{first}train one with `codenas train`"
            if (path / "model" / MANIFEST).is_file():
                way_out = f"the model of this run is {path / 'model'}"
            raise CheckpointError(f"{path} is no checkpoint: {', '.join(missing)} missing; {way_out}")
        try:
            return cls(path, Manifest.model_validate_json((path / MANIFEST).read_bytes()))
        except ValidationError as error:
            raise CheckpointError(f"{path / MANIFEST} cannot be read: {first_error(error)}; {_way_out(path)}") from error

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that a device needs to run the model: weights and tokenizer, as stored."""
        return sum((self.path / name).stat().st_size for name in (WEIGHTS, TOKENIZER))

    def verify(self) -> None:
        """Check that the weights are those that were written, and that the vocabulary is that of the training.

        Raises:
            CheckpointError: they are not.
        """
        self._verified(WEIGHTS, self.manifest.weights_sha256)
        self.load_vocabulary()

    def load_model(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LanguageModel:
        """The stored model, ready to decode.

        Raises:
            CheckpointError: the weights are not those that were written, or not those of the architecture.
            ResourceError: there is no memory for them.
        """
        stored = self.load_stored()
        model = uninitialized_model(stored.arch, stored.vocab_size)
        model.load_state_dict(stored.weights())
        return model.to(device=device, dtype=dtype).eval()

    def load_stored(self) -> StoredModel:
        """The model as it is stored.

        Raises:
            CheckpointError: the weights are not those that were written, or not those of the architecture.
            ResourceError: there is no memory for them.
        """
        manifest, file = self.manifest, self._verified(WEIGHTS, self.manifest.weights_sha256)
        stored = StoredModel(manifest.arch, manifest.vocab_size, manifest.storage, _read(file))
        wrong = _other_tensor(stored)
        if wrong is not None:
            raise CheckpointError(f"{file} does not fit its architecture: {wrong}; {_way_out(self.path)}")
        return stored

    def _verified(self, name: str, sha256: str | None) -> Path:
        path = self.path / name
        if sha256_file(path) != sha256:
            raise CheckpointError(f"{path} is not what was written (its SHA-256 differs); {_way_out(self.path)}")
        return path

    def load_vocabulary(self) -> Vocabulary:
        """The vocabulary that the model was trained with.

        Raises:
            CheckpointError: tokenizer.json is another vocabulary than the manifest names.
        """
        vocabulary = load_vocabulary(self.path / TOKENIZER)
        if vocabulary.digest != self.manifest.vocab_digest:
            raise CheckpointError(f"{self.path / TOKENIZER} is not the vocabulary that the model was trained with; {_way_out(self.path)}")
        return vocabulary

    @property
    def holds_training_state(self) -> bool:
        """Whether its training can be resumed."""
        return (self.path / TRAINING).is_file()

    def load_training_state(self) -> dict[str, Tensor]:
        """What `Trainer.state` gave.

        Raises:
            CheckpointError: the checkpoint was stored without it, or it is not what was written.
            ResourceError: there is no memory for it.
        """
        if not self.holds_training_state:
            raise CheckpointError(f"{self.path} holds no training state ({TRAINING}): it can be served, not trained on")
        return _read(self._verified(TRAINING, self.manifest.training_sha256))


def stored_at(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none.

    Raises:
        CheckpointError: what is there is broken.
    """
    recover_folder(path)
    return Checkpoint.open(path) if path.exists() else None


def write_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    manifest: Manifest,
    tokenizer: Path,
    training_state: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    """Store a checkpoint at `path`, its weights in the storage of `manifest`, replacing what is there at once.

    Raises:
        CheckpointError: a weight is not finite, also after rounding.
        ResourceError: the disk is full.
    """
    stored = pack({name: value.detach().cpu() for name, value in weights.items()}, manifest.storage)
    broken = [name.removesuffix(SCALE) for name, value in stored.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} and {len(broken) - 1} more weights are not finite; the model diverged")
    with atomic_folder(path) as folder, readable_disk_errors(path):
        _write(stored, folder / WEIGHTS)
        (folder / TOKENIZER).write_bytes(tokenizer.read_bytes())
        if training_state is not None:
            _write({name: value.cpu().contiguous() for name, value in training_state.items()}, folder / TRAINING)
        training_sha256 = sha256_file(folder / TRAINING) if training_state is not None else None
        manifest = manifest.model_copy(update={"weights_sha256": sha256_file(folder / WEIGHTS), "training_sha256": training_sha256})
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return Checkpoint(path, manifest)


def update_metrics(checkpoint: Checkpoint, metrics: Metrics) -> Checkpoint:
    """Store what was measured of `checkpoint` in its manifest."""
    manifest = checkpoint.manifest.model_copy(update={"metrics": metrics})
    write_atomic(checkpoint.path / MANIFEST, manifest.model_dump_json(indent=2))
    return Checkpoint(checkpoint.path, manifest)


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    """`save_file`, but a disk error is an `OSError` as everywhere else; safetensors has its number in the message only."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            megabytes = path.stat().st_size / 1e6
            raise ResourceError(
                f"there is no memory to load {path} ({megabytes:.1f} MB); close something or raise the limit (ulimit -v), then run it again"
            ) from error
        raise CheckpointError(f"{path} cannot be read: {_first_line(error)}; {_way_out(path.parent)}") from error


def _other_tensor(stored: StoredModel) -> str | None:
    """What is wrong with the tensors of a file: they are others than its architecture and its storage ask for; None where nothing is."""
    planned = layout(tensors(stored.arch, stored.vocab_size), stored.storage)
    found = {name: StoredTensor(_TYPES[each.dtype], tuple(each.shape)) for name, each in stored.tensors.items() if each.dtype in _TYPES}
    other = [name for name in {**planned, **stored.tensors} if planned.get(name) != found.get(name)]
    return f"{len(other)} tensors are others than {stored.storage} makes of it, {other[0]} the first" if other else None


def _way_out(path: Path) -> str:
    return f"restore the folder or train again: remove {path}, then run the command that made it again"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
