"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

PolicyName = Annotated[
    str, typer.Option("--policy", help="The policy, such as support; default: assistant.")
]
OnePolicy = Annotated[
    str, typer.Option("--policy", help="Only this policy, such as support; default: all of them.")
]
