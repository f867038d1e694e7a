"""The folder where vLLM's filesystem resolver finds LoRA adapters by name, and what may go into it.

Only safetensors files are accepted (nothing is unpickled). Every tensor must match a projection of the
base model in name and shape, have a supported rank, and be finite.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from shared.encoding.base_models import (
    BASE,
    CONFIG,
    NAMED,
    WEIGHTS,
    base_digest,
    is_for,
    read_base,
    write_base,
)
from shared.language.errors import FailedPrecondition, InvalidArgument, TrimtabError, Unavailable
from shared.language.known_answers import KNOWN_ANSWERS, KnownAnswers, load

# What the volume is to blame for, not who asked.
_OF_THE_VOLUME = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_log = logging.getLogger(__name__)
_KEY = re.compile(
    r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight"
)
_KINDS = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Tensor:
    kind: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """`bases`: by its served name, the path of each base model, exactly the one that the replicas were started
    with: the resolver compares strings. So that is the path that placed adapters name, whatever their trainer
    wrote; whether they are for that base model is told by its digest (shared/encoding/base_models.py)."""

    root: Path
    bases: Mapping[str, Path]
    max_rank: int = 16

    def inspect(self, folder: str, base_model: str) -> str:
        source, base = Path(folder), self._base(base_model)
        for name in (CONFIG, WEIGHTS):
            if not (source / name).is_file():
                raise _refused(f"there is no {name} in {folder}")
        config = _json(source / CONFIG)
        self._check_config(config)
        digest = self._check_base(source, config, base)
        tensors = read_safetensors(source / WEIGHTS)
        shapes = projection_shapes(_json(base / "config.json"))
        check_tensors(tensors, shapes, int(config["r"]))
        _known_answers(source)
        return _digest(source, digest or str(base))

    def place(self, folder: str, served_name: str, digest: str) -> str:
        """Copies next to the target, then renames, so that nobody sees half an adapter; if two processes
        place the same name, one wins. Placing the same adapter again changes nothing. Raises
        InvalidArgument if the adapter has changed since it was inspected, or if another one is already
        there, and Unavailable (ADAPTER_VOLUME) while nothing can be written there."""
        source, target = Path(folder), self.root / served_name
        if not target.is_dir():
            with writing(self.root):
                self._publish(source, target, digest)
        if _digest(target, self._of_base(target)) != digest:
            raise _refused(
                f"{target} holds another adapter, and versions are never replaced; "
                "register this one with a new request_id"
            )
        return str(target)

    def known_answers(self, served_name: str) -> KnownAnswers | None:
        return _known_answers(self.root / served_name)

    def remove(self, served_name: str) -> None:
        remove(self.root, served_name)

    def settle(self) -> str:
        by_digest = {found: path for path in self.bases.values() if (found := base_digest(path))}
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if not folder.name.startswith("."):
                _settle(folder, by_digest, {str(path) for path in self.bases.values()})
        return str(self.root)

    def _base(self, name: str) -> Path:
        if name not in self.bases:
            raise FailedPrecondition(
                f"the deployment has no weights of {name[:80]!r}; name their path in TRIMTAB_BASE_MODELS",
                reason="NO_SUCH_BASE",
            )
        return self.bases[name]

    def _publish(self, source: Path, target: Path, digest: str) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=self.root) as parent:
            staging = Path(parent) / target.name
            staging.mkdir()
            for name in (CONFIG, WEIGHTS, KNOWN_ANSWERS, BASE):
                if name in (CONFIG, WEIGHTS) or (source / name).is_file():
                    shutil.copyfile(source / name, staging / name)
            if _digest(staging, self._of_base(staging)) != digest:
                raise _refused(
                    f"{source} has changed since it was inspected; register it again",
                    "ADAPTER_CHANGED",
                )
            self._name_base(staging)
            try:
                staging.rename(target)
            except OSError as error:
                # Another process was first: rename never replaces a folder that is not empty.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise

    def _check_base(self, source: Path, config: Mapping[str, Any], base: Path) -> str:
        """The base model's digest. By its path alone if the adapter does not say for which weights it is, or
        those of the base model cannot be read."""
        digest, said = base_digest(base), _said_base(source)
        named = str(config.get(NAMED, ""))
        if is_for(base, digest, said, named):
            return digest
        if digest and said:
            other = f"other weights than those in {base}: {said[:12]} instead of {digest[:12]}"
        else:
            other = f"another base model: {named!r}"
        raise _refused(f"the adapter is for {other}", "FOREIGN_BASE")

    def _of_base(self, folder: Path) -> str:
        """What tells the base model of an adapter that was inspected."""
        named = str(_json(folder / CONFIG).get(NAMED, ""))
        return _said_base(folder) or base_digest(Path(named)) or named

    def _name_base(self, staging: Path) -> None:
        """By the path that the replicas were started with, and by its digest."""
        of_base = self._of_base(staging)
        for path in self.bases.values():
            if base_digest(path) == of_base:
                _write_named(staging, str(path))
                write_base(staging, of_base)
                return

    def _check_config(self, config: Mapping[str, Any]) -> None:
        if config.get("peft_type") != "LORA":
            raise _refused("adapter_config.json does not describe a LoRA adapter")
        rank = config.get("r")
        if not isinstance(rank, int) or not 1 <= rank <= self.max_rank:
            raise _refused(f"rank must be 1 to {self.max_rank}, got {rank!r}", "WRONG_RANK")


def remove(root: Path, name: str) -> None:
    """The adapter of this name disappears at once and whole. Repeating changes nothing. Raises as `writing`."""
    target, gone = root / name, root / f".gone-{name}"
    with writing(root), suppress(FileNotFoundError):  # another process may remove it, too
        if target.is_dir():
            shutil.rmtree(gone, ignore_errors=True)
            # At once: a replica never finds half of it.
            target.rename(gone)
        if gone.is_dir():
            shutil.rmtree(gone)


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Raises Unavailable (ADAPTER_VOLUME) if the volume of `root` cannot be written: once it can, whoever asked
    asks again."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_VOLUME:
            raise
        raise Unavailable(
            f"the adapters in {root} cannot be changed: {error.strerror}; free space on that volume, "
            "or mount it for writing",
            reason="ADAPTER_VOLUME",
            retry_after_s=10.0,
        ) from error


def check_tensors(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, int, int]], rank: int
) -> None:
    """Each key names a projection of the base (`shapes`: layers, inputs, outputs); each has A and
    B.
    """
    if not tensors:
        raise _refused("the adapter holds no tensors")
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if not match or match.group(2) not in shapes:
            raise _refused(f"the base model has no layer for {key}", "UNKNOWN_KEY")
        layers, inputs, outputs = shapes[match.group(2)]
        if int(match.group(1)) >= layers:
            raise _refused(f"the base model has {layers} layers, none for {key}", "UNKNOWN_KEY")
        wanted = (rank, inputs) if match.group(3) == "A" else (outputs, rank)
        if tensor.shape != wanted:
            raise _refused(f"{key} must be {wanted}, but is {tensor.shape}", "WRONG_SHAPE")
        other = "B" if match.group(3) == "A" else "A"
        if key.replace(f"lora_{match.group(3)}", f"lora_{other}") not in tensors:
            raise _refused(f"{key} has no lora_{other} beside it", "UNKNOWN_KEY")
        if not is_finite(tensor):
            raise _refused(f"{key} holds NaN or infinite numbers", "NOT_FINITE")


def is_finite(tensor: Tensor) -> bool:
    """numpy has no bfloat16: an exponent of all ones means infinite or NaN."""
    if tensor.kind == "BF16":
        bits = np.frombuffer(tensor.data, np.uint16)
        return not bool(((bits & 0x7F80) == 0x7F80).any())
    kind = np.float32 if tensor.kind == "F32" else np.float16
    return bool(np.isfinite(np.frombuffer(tensor.data, kind)).all())


def projection_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """(layers, inputs, outputs) of each projection of a Llama-like base model."""
    layers, hidden = int(config["num_hidden_layers"]), int(config["hidden_size"])
    heads, inner = int(config["num_attention_heads"]), int(config["intermediate_size"])
    width = int(config.get("head_dim") or hidden // heads)
    queries, keys = heads * width, int(config.get("num_key_value_heads") or heads) * width
    return {
        "q_proj": (layers, hidden, queries),
        "k_proj": (layers, hidden, keys),
        "v_proj": (layers, hidden, keys),
        "o_proj": (layers, queries, hidden),
        "gate_proj": (layers, hidden, inner),
        "up_proj": (layers, hidden, inner),
        "down_proj": (layers, inner, hidden),
    }


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, all of supported types."""
    try:
        read: Any = safetensors.deserialize  # has no type hints
        entries = read(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise _refused(f"{path.name} is not a safetensors file: {error}", "MALFORMED") from error
    return {key: _tensor(key, entry) for key, entry in entries}


def _tensor(key: str, entry: Mapping[str, Any]) -> Tensor:
    kind = str(entry["dtype"])
    if kind not in _KINDS:
        raise _refused(f"{key} is {kind}; it must be one of {', '.join(_KINDS)}", "MALFORMED")
    return Tensor(kind, tuple(entry["shape"]), bytes(entry["data"]))


def _known_answers(folder: Path) -> KnownAnswers | None:
    file = folder / KNOWN_ANSWERS
    try:
        return load(file.read_text()) if file.is_file() else None
    except ValueError as error:
        raise _refused(f"{KNOWN_ANSWERS} cannot be read: {error}", "MALFORMED") from error


def _said_base(folder: Path) -> str:
    try:
        return read_base(folder)
    except ValueError as error:
        raise _refused(f"{BASE} cannot be read: {error}", "MALFORMED") from error


def _write_named(folder: Path, base: str) -> None:
    """Atomic: a replica may be reading it."""
    config = {**_json(folder / CONFIG), NAMED: base}
    staging = folder / f".{CONFIG}"
    staging.write_text(json.dumps(config, indent=2, sort_keys=True))
    staging.replace(folder / CONFIG)


def _settle(folder: Path, by_digest: Mapping[str, Path], paths: Collection[str]) -> None:
    """Makes a placed adapter name the base model where it is now."""
    try:
        said, named = _said_base(folder), str(_json(folder / CONFIG).get(NAMED, ""))
        base = by_digest.get(said)
        if base is not None and named != str(base):
            _write_named(folder, str(base))
            _log.info("%s names its base model by %s now, formerly %s", folder.name, base, named)
        elif not said and named in paths:
            write_base(folder, base_digest(Path(named)))
        elif base is None:
            words = "other weights are there now" if named in paths else "which is not here"
            _log.error(
                "%s is not to be served: its base model was %s, %s", folder.name, named, words
            )
    except (OSError, TrimtabError) as error:
        _log.error("the adapter in %s cannot be read, or not be changed: %s", folder, error)


def _digest(folder: Path, base: str) -> str:
    """Over everything that decides what the adapter does: its weights, its configuration (rank, scale, targets)
    independent of formatting, and its base model, by its digest instead of its place."""
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    config = json.dumps({**_json(folder / CONFIG), NAMED: base}, sort_keys=True)
    return hashlib.sha256(f"{weights}\n{config}".encode()).hexdigest()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise _refused(f"{path.name} is not JSON", "MALFORMED") from error


def _refused(message: str, reason: str = "BAD_ADAPTER") -> InvalidArgument:
    return InvalidArgument(message, reason=reason, field="adapter_path")
