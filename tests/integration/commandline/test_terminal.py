"""What users wrote never drives an operator's terminal; any stream can be printed to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from shared.language.errors import NotFound, TrimtabError
from tests.unit.shared.hostile import DRIVES, TEXTS

REPO = Path(__file__).parents[3]
EVIL = (
    "\x1b]52;c;cm0gLXJm\x07 \x9b31m \u202etxt.exe [red]a[/red] [link=http://evil.example]b \\[bold]"
)
SHOWN = (
    "\\x1b]52;c;cm0gLXJm\\x07 \\x9b31m \\u202etxt.exe [red]a[/red] [link=http://evil.example]b"
    " \\[bold]"
)

# A command line over a twin that holds one conversation; the arguments follow.
PROGRAM = r"""
from services.cli import main
from services.cli.commands.session import Session
from tests.integration.commandline.test_terminal import conversation
from tests.unit.cli.twins import TwinPlatform, TwinProbe, TwinTarget
from services.cli.adapters.files import LocalFiles

def connect(as_json, tenant):
    return Session(
        platform=TwinPlatform({"GetConversation": conversation("satisfi\u00e9 \u4e0d\u6e80 \U0001f986", 2000)}),
        import_target=lambda _: TwinTarget(), files=LocalFiles(), probe=TwinProbe(),
        run_program=lambda module, arguments: 0, wait=lambda s: None, as_json=as_json,
    )

main.connect = connect
main.main()
"""


def conversation(text: str, turns: int = 1) -> dict[str, Any]:
    message = {"role": "ROLE_USER", "parts": [{"text": {"text": text}}]}
    return {
        "conversation": {"name": "tenants/local/conversations/c1", "user_id": text},
        "turns": [{"index": number, "message": message} for number in range(turns)],
    }


def test_a_conversation_is_shown_with_escapes(trimtab: Any) -> None:
    ran = trimtab("conversations", "show", "c1", answers={"GetConversation": conversation(EVIL)})
    assert ran.out == f"tenants/local/conversations/c1  user {SHOWN}\n\n0 user\n{SHOWN}\n"


def test_json_holds_the_exact_text_and_is_inert(trimtab: Any) -> None:
    answers = {"GetConversation": conversation(EVIL)}
    ran = trimtab("conversations", "show", "c1", "--json", answers=answers)
    assert ran.json["conversation"]["user_id"] == EVIL
    assert "\\u001b]52;c;cm0gLXJm\\u0007 \\u009b31m \\u202etxt.exe [red]a" in ran.out
    assert not DRIVES.search(ran.out)


@pytest.mark.parametrize(
    ("arguments", "method", "answer"),
    [
        (
            ("conversations", "list"),
            "ListConversations",
            {"conversations": [{"conversation_id": "c1", "user_id": EVIL}]},
        ),
        (
            ("feedback", "list"),
            "ListFeedback",
            {"feedback": [{"user_id": EVIL, "follow_up": "\x1b[2J"}]},
        ),
        (
            ("feedback", "personas"),
            "ListPersonas",
            {"personas": [{"user_id": "u", "text": EVIL}]},
        ),
        (
            ("personas", "show", "u"),
            "GetPersona",
            {"persona": {"user_id": "u", "lines": [{"line_id": "l1", "text": EVIL}]}},
        ),
        (
            ("deadletters", "list", "--service", "feedback", "--topic", "t"),
            "ListDeadLetters",
            {"dead_letters": [{"event_id": "e", "detail": EVIL}]},
        ),
        (("drift", "list"), "ListAlarms", {"alarms": [{"stream": EVIL}]}),
    ],
)
def test_cells_of_tables_are_shown_with_escapes(
    trimtab: Any, arguments: tuple[str, ...], method: str, answer: dict[str, Any]
) -> None:
    ran = trimtab(*arguments, answers={method: answer})
    assert ran.code == 0
    assert SHOWN in " ".join(ran.out.split())
    assert not DRIVES.search(ran.out)


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_an_error_of_a_service_is_shown_with_escapes(trimtab: Any, flag: tuple[str, ...]) -> None:
    error: TrimtabError = NotFound(f"no \x7f{EVIL}", reason="NO\x1bNE")
    ran = trimtab("conversations", "show", "c1", *flag, answers={"GetConversation": error})
    assert not DRIVES.search(ran.err)
    if flag:
        found = json.loads(ran.err)["error"]
        assert (found["reason"], found["message"]) == ("NO\x1bNE", f"no \x7f{EVIL}")
    else:
        assert ran.err.startswith(f"error: NO\\x1bNE: no \\x7f{SHOWN}. Next: the matching")


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(text=TEXTS)
def test_whatever_a_user_says(trimtab: Callable[..., Any], text: str) -> None:
    said = {"GetConversation": conversation(text)}
    listed = {"ListConversations": {"conversations": [{"conversation_id": "c", "user_id": text}]}}
    assert not DRIVES.search(trimtab("conversations", "show", "c1", answers=said).out)
    assert not DRIVES.search(trimtab("conversations", "list", answers=listed).out)
    ran = trimtab("conversations", "show", "c1", "--json", answers=said)
    assert not DRIVES.search(ran.out)
    assert ran.json["turns"][0]["message"]["parts"] == [{"text": {"text": text}}]


def _program(command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """`$RUN` in the command is the command line over the twin."""
    run = f'{sys.executable} -c "$PROGRAM"'
    given = {**os.environ, "PROGRAM": PROGRAM, "PYTHONUNBUFFERED": "", **variables}
    line = command.replace("$RUN", run)
    return subprocess.run(
        ["bash", "-c", line], cwd=REPO, env=given, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"PYTHONIOENCODING": "latin-1"}, b"user satisfi\xe9 \\u4e0d\\u6e80 \\U0001f986"),
        (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            b"user satisfi\\xe9 \\u4e0d\\u6e80 \\U0001f986",
        ),
        ({"PYTHONIOENCODING": "utf-8"}, "user satisfié 不満 🦆".encode()),
    ],
)
def test_what_the_stream_lacks_is_escaped(variables: dict[str, str], shown: bytes) -> None:
    ran = _program("$RUN conversations show c1", **variables)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert shown in ran.stdout
    ran = _program("$RUN conversations show c1 --json", **variables)
    assert ran.returncode == 0
    text = ran.stdout.decode(variables.get("PYTHONIOENCODING", "ascii"))
    assert json.loads(text)["conversation"]["user_id"].startswith("satisfié 不満 🦆")


@pytest.mark.parametrize("flag", ["", "--json"])
def test_a_reader_that_leaves_ends_it_quietly(flag: str) -> None:
    ran = _program(f"$RUN conversations show c1 {flag} | head -n 1; exit ${{PIPESTATUS[0]}}")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.count(b"\n") == 1


def test_a_short_answer_that_nobody_reads_ends_it_quietly() -> None:
    ran = _program("$RUN status --json | true; exit ${PIPESTATUS[0]}")
    assert (ran.returncode, ran.stderr) == (0, b"")
