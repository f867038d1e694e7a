"""Log-probabilities in a process of its own: `python -m services.evaluation.logprobs`.

Reads one job as JSON from its standard input and writes the answer to its standard output (see
adapters/subprocess_logprobs.py). Torch and the weights are in memory only while it runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shared.language.errors import NotFound
from shared.language.messages import message_of
from shared.serving.child import die_with


def main() -> None:
    job = json.load(sys.stdin)
    die_with(int(job["parent"]))
    from services.evaluation.adapters.torch_logprobs import TorchLogprobs

    cases = [([*map(message_of, prompt)], answer) for prompt, answer in job["cases"]]
    scorer = TorchLogprobs(Path(job["base_model"]))
    try:
        answer: object = {"found": scorer.logprobs(job["adapter_paths"], cases)}
    except NotFound as error:
        answer = {"not_found": error.message, "reason": error.reason}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
