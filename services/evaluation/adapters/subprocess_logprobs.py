"""The LogprobModel in a child process: evaluations are rare, so the service itself never loads torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.encoding.base_models import CONFIG, NAMED
from shared.language.errors import Internal, NotFound
from shared.language.messages import Message, message_row

_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class SubprocessLogprobs:
    """`command` runs logprobs.py. The base model is the one that the adapters were made for, if it is one of
    `bases`, otherwise `base_model`. Raises Internal with the end of the child's error output if it fails."""

    base_model: Path
    command: Sequence[str] = (sys.executable, "-m", "services.evaluation.logprobs")
    bases: Collection[Path] = ()

    def logprobs(
        self, adapter_paths: Sequence[str], cases: Sequence[tuple[Sequence[Message], str]]
    ) -> list[list[tuple[float, int]]]:
        job = {
            "parent": os.getpid(),
            "base_model": str(self._base(adapter_paths)),
            "adapter_paths": list(adapter_paths),
            "cases": [([*map(message_row, prompt)], answer) for prompt, answer in cases],
        }
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        try:
            done = subprocess.run(  # noqa: S603
                self.command,
                input=json.dumps(job),
                capture_output=True,
                text=True,
                env=environment,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Internal(
                f"the log-probability process took longer than {_TIMEOUT_S:.0f} s"
            ) from error
        if done.returncode:
            raise Internal(
                f"the log-probability process ended with {done.returncode}: {done.stderr[-500:]}"
            )
        answer = json.loads(done.stdout)
        if "not_found" in answer:
            raise NotFound(answer["not_found"], reason=answer["reason"])
        return [[(value, tokens) for value, tokens in one] for one in answer["found"]]

    def _base(self, adapter_paths: Sequence[str]) -> Path:
        """All versions of an evaluation are of one policy, which has one base model."""
        for file in (Path(path) / CONFIG for path in adapter_paths if path):
            if file.is_file():
                told = json.loads(file.read_text()).get(NAMED) or ""
                return Path(told) if Path(told) in self.bases else self.base_model
        return self.base_model
