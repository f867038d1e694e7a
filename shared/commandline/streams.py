"""Standard output and error of a command: any text can be written, and a reader may leave."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any, NoReturn, TextIO

from shared.language.visible import visible_json


def forgive() -> None:
    """What the locale's encoding lacks is written as a backslash escape instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_json(value: Any, target: TextIO, indent: int | None = None) -> None:
    """One document and a newline. In ASCII where the stream's encoding lacks a character: a backslash escape
    of the stream's would not be JSON."""
    text = visible_json(value, indent=indent)
    try:
        text.encode(target.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    target.write(text + "\n")


def reader_left() -> NoReturn:
    """After a BrokenPipeError (`| head -1`): drops what is still to be written and ends the process with 0,
    without a word about it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    raise SystemExit(0)
