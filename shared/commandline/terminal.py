"""The console that every command prints through."""

from __future__ import annotations

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
from rich.style import Style
from rich.text import Text

from shared.commandline.streams import reader_left
from shared.language.visible import visible


class Terminal(Console):
    """Prints every string as it is: markup, links and emoji codes in it are only text, and control characters
    are shown as escapes. Ends the process with 0, in silence, when the reader has seen enough."""

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """Rich calls this for every string: lines, cells, headers and titles."""
        return Text(visible(text), style=style, justify=justify, overflow=overflow)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        reader_left()
