"""Runs command lines over the twins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.cli.adapters.files import LocalFiles
from services.cli.commands.session import Session
from services.cli.main import run
from services.cli.ports import RunProgram
from tests.unit.cli.twins import Answer, TwinPlatform, TwinProbe, TwinTarget


@dataclass
class Ran:
    code: int
    out: str
    err: str
    platform: TwinPlatform
    waited: list[float]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def trimtab(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ran]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run_(
        *arguments: str,
        answers: dict[str, Answer] | None = None,
        target: TwinTarget | None = None,
        down: tuple[str, ...] = (),
        program: RunProgram = lambda module, arguments: 0,
    ) -> Ran:
        platform, waited = TwinPlatform(answers or {}), list[float]()

        def factory(as_json: bool, tenant: str) -> Session:
            return Session(
                platform=platform,
                import_target=lambda _: target or TwinTarget(),
                probe=TwinProbe(down),
                files=LocalFiles(),
                run_program=program,
                wait=waited.append,
                as_json=as_json,
                tenant=tenant,
            )

        code = run(arguments, factory)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err, platform, waited)

    return run_
