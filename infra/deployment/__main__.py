"""What a deployment does besides serving: `python -m infra.deployment {migrations,topics,wait,check}`.

The chart's hooks and tests, and infra/compose.yaml, run it in the image without models. It reads the
environment that the services have.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from infra.deployment import checks, databases, topics, waiting
from shared.configuration.settings import CommonSettings, load
from shared.language.errors import TrimtabError

COMMANDS: dict[str, Callable[[], list[str]]] = {
    "migrations": lambda: databases.migrate(os.environ),
    "topics": lambda: topics.create(load(CommonSettings), load(topics.TopicSettings)),
    "wait": lambda: waiting.wait(load(CommonSettings), os.environ),
    "check": lambda: checks.check(load(CommonSettings), load(checks.CheckSettings)),
}


def main(words: list[str]) -> int:
    """Prints what was done, a line each; 1 if anything is not as it must be, 2 for a wrong command."""
    if len(words) != 1 or words[0] not in COMMANDS:
        print(f"usage: python -m infra.deployment {{{','.join(COMMANDS)}}}", file=sys.stderr)
        return 2
    try:
        lines = COMMANDS[words[0]]()
    except (TrimtabError, waiting.NotThere, checks.Unhealthy) as error:
        print(f"{words[0]}: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
