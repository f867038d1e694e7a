"""What users wrote, as it is shown on a terminal, in JSON and in logs."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from hypothesis import given
from rich.table import Table

from shared.commandline.line_files import tell
from shared.commandline.offline import summary
from shared.commandline.streams import write_json
from shared.commandline.terminal import Terminal
from shared.language.visible import visible, visible_json
from shared.telemetry.logs import JsonFormatter
from tests.unit.shared.hostile import DRIVES, TEXTS

CLIPBOARD = "\x1b]52;c;cm0gLXJm\x07"
SHOWN = "\\x1b]52;c;cm0gLXJm\\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CLIPBOARD, SHOWN),
        ("a\tb\nc", "a\tb\nc"),
        ("over\rwritten\x08", "over\\x0dwritten\\x08"),
        ("\x7f \x80 \x9b31m \x9f \xa0", "\\x7f \\x80 \\x9b31m \\x9f \xa0"),
        ("\u202a\u202e \u2066\u2069", "\\u202a\\u202e \\u2066\\u2069"),
        ("\u2029 \u202f \u2065 \u206a é 不 🦆", "\u2029 \u202f \u2065 \u206a é 不 🦆"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_control_characters_are_escapes_to_read(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_json_is_escaped_and_means_the_same() -> None:
    text = f"{CLIPBOARD}\x7f\x9b\u202e é"
    document = {text: [text]}
    made = visible_json(document)
    assert made.count("\\u001b]52;c;cm0gLXJm\\u0007\\u007f\\u009b\\u202e é") == 2
    assert json.loads(made) == document


@given(text=TEXTS)
def test_any_json_is_inert_and_parses_back(text: str) -> None:
    made = visible_json({"text": text}, indent=2)
    assert not DRIVES.search(made)
    assert json.loads(made) == {"text": text}


@given(text=TEXTS)
def test_no_text_drives_the_terminal(text: str) -> None:
    shown = io.StringIO()
    terminal = Terminal(file=shown, width=200)
    table = Table(text, title=text)
    table.add_row(text)
    terminal.print(table)
    terminal.print(text)
    assert not DRIVES.search(shown.getvalue())


def test_markup_links_and_emoji_codes_are_only_text() -> None:
    shown = io.StringIO()
    terminal = Terminal(file=shown, width=80, force_terminal=True, color_system="truecolor")
    text = "[red]a[/red] [link=http://evil.example]b[/link] \\[bold]c :warning: 42"
    terminal.print(text)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row(text)
    terminal.print(table)
    assert [line.rstrip() for line in shown.getvalue().splitlines()] == [text, text]


def test_a_stream_that_lacks_characters_gets_json_in_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1", errors="backslashreplace")
    write_json({"é": "🦆\x9b"}, stream)
    write_json({"é": "\x9b"}, stream)
    stream.flush()
    expected = b'{"\\u00e9": "\\ud83e\\udd86\\u009b"}\n' + '{"é": "\\u009b"}\n'.encode("latin-1")
    assert raw.getvalue() == expected


def test_offline_commands_show_labels_and_problems_as_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(f"line 1: {CLIPBOARD}")
    summary({"labels": [CLIPBOARD, "é"]}, False, sys.stdout)
    ran = capsys.readouterr()
    assert ran.err == f"line 1: {SHOWN}\n"
    assert ran.out == f"labels                 {SHOWN}; é\n"


def test_a_log_line_is_inert() -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, f"{CLIPBOARD}\x7f\x9b\u202e", None, None)
    line = JsonFormatter("gateway").format(record)
    assert '"message": "\\u001b]52;c;cm0gLXJm\\u0007\\u007f\\u009b\\u202e"' in line
    assert json.loads(line)["message"] == record.msg
