"""The adapters of a policy's champions, as far as a training needs them: in its run's own folder.

There they stay when the registry withdraws a version, and a job of a cluster finds them on the volume that it
has anyway.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from services.retrain.domain.training import PastPolicy
from shared.encoding.base_models import (
    BASE,
    CONFIG,
    NAMED,
    WEIGHTS,
    base_digest,
    is_for,
    read_base,
)
from shared.language.errors import FailedPrecondition


def bring(past: PastPolicy, to: Path, base: Path) -> None:
    """Copies the champion's adapter, whole or not at all; what is there already stays. Raises
    FailedPrecondition (NO_SUCH_ADAPTER, FOREIGN_BASE) that names the version."""
    if not past.adapter_path or to.is_dir():
        return
    source = Path(past.adapter_path)
    _check(past, source, base)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=to.parent) as parent:
        staging = Path(parent) / to.name
        staging.mkdir()
        for name in (WEIGHTS, CONFIG, BASE):
            if (source / name).is_file():
                shutil.copyfile(source / name, staging / name)
        staging.rename(to)


def _check(past: PastPolicy, source: Path, base: Path) -> None:
    for name in (WEIGHTS, CONFIG):
        if not (source / name).is_file():
            raise FailedPrecondition(
                f"the training is held to {past.version}, but there is no {name} in {source}: bring its adapter"
                f" back (trimtab models restore {past.version} --reason WHY), or train by another objective",
                reason="NO_SUCH_ADAPTER",
            )
    said = read_base(source)
    named = str(json.loads((source / CONFIG).read_text()).get(NAMED, ""))
    if not is_for(base, base_digest(base), said, named):
        raise FailedPrecondition(
            f"the training is held to {past.version}, but its adapter is for another base model than {base}:"
            f" {said[:12] or named}; train by another objective until a version of this one serves",
            reason="FOREIGN_BASE",
        )
