"""What a person sees while the demo runs: the time, what it waits for and how far that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from shared.commandline.terminal import Terminal
from shared.language.errors import DeadlineExceeded, TrimtabError, Unavailable

SAY_EVERY_S = 5.0
ASK_EVERY_S = 1.0


class DemoFailed(Exception):
    """The loop did not complete; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look showed: whether the wait is over, and progress in words."""

    done: bool
    words: str


def make_console() -> Terminal:
    """In colour and as wide as the terminal; 120 columns without colour if there is none."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=120)


@dataclass
class Progress:
    """Prints lines with the time since the start. `began` is on the monotonic clock."""

    console: Terminal = field(default_factory=make_console)
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def say(self, words: str) -> None:
        line = f"[{_clock(self.elapsed_s)}] {words}"
        self.console.print(line, soft_wrap=True)

    def headline(self, words: str) -> None:
        self.console.rule(f"{words} · {_clock(self.elapsed_s)}", align="left")

    async def until(
        self,
        what: str,
        look: Callable[[], Awaitable[Seen]],
        limit_s: float,
        quiet_s: float = 0.0,
    ) -> bool:
        """Looks until it is done (True) or time is up (False) and reports progress, unless it is over within
        `quiet_s`.

        A service that is unavailable for a moment is asked again; its words stand in the line.
        """
        began, said = time.monotonic(), 0.0
        while True:
            seen = await _patient(look)
            waited = time.monotonic() - began
            if seen.done or waited > limit_s:
                mark = "ok" if seen.done else "gave up on"
                if waited > quiet_s:
                    self.say(f"{mark}: {what} after {waited:.0f} s: {seen.words}")
                return seen.done
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                self.say(
                    f"waiting for {what}, {waited:.0f} s of at most {limit_s:.0f}: {seen.words}"
                )
            await asyncio.sleep(ASK_EVERY_S)


async def _patient(look: Callable[[], Awaitable[Seen]]) -> Seen:
    try:
        return await look()
    except (Unavailable, DeadlineExceeded) as error:
        return Seen(False, f"no answer yet: {error.message}")
    except TrimtabError as error:
        raise DemoFailed(f"a service refused to report its progress: {error.message}") from error


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:2d}:{int(seconds) % 60:02d}"
