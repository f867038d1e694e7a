"""A report as one HTML file: no script, and no font, style or picture from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from services.retrain.domain.report import Measured, Report, Row
from services.retrain.domain.report_words import line_name

# Of the width of a picture, what stays empty on either side so that no dot is cut off.
_EDGE = 4.0
_MINUTE_S, _HOUR_S = 60, 3600


@dataclass(frozen=True, slots=True)
class Whisker:
    """A figure as a dot on the line of its interval; places in percent of the picture's width."""

    role: str
    low: float
    dot: float
    high: float
    figure: str
    cases: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`marks` are (place, words) of the scale."""

    whiskers: tuple[Whisker, ...]
    marks: tuple[tuple[float, str], ...]


def page_of(report: Report) -> str:
    """All that the report says is escaped: triggers, groups, answers and phrases are other people's words."""
    return _template().render(report=report)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        chart=chart_of,
        percent=lambda share: f"{share:.0%}",
        duration=duration,
        named=lambda name: name.replace("_", " "),
        line_name=line_name,
        indented=lambda content: json.dumps(content, indent=1),
    )
    return environment.get_template("report.html")


def chart_of(row: Row) -> Chart:
    """Shares from 0 to 100%; of others the scale spans all intervals."""
    low, high = (0.0, 1.0) if row.is_share else _span(row.measured)

    def place(value: float) -> float:
        inside = min(max((value - low) / (high - low), 0.0), 1.0)
        return round(_EDGE + (100 - 2 * _EDGE) * inside, 2)

    whiskers = tuple(
        Whisker(
            one.role,
            place(one.low),
            place(one.value),
            place(one.high),
            _figure(one, row.is_share),
            f"{one.count} cases" + (f", {one.users} users" if one.users else ""),
        )
        for one in row.measured
    )
    marks = tuple((place(value), _said(value, row.is_share)) for value in _marks(row, low, high))
    return Chart(whiskers, marks)


def _span(measured: Sequence[Measured]) -> tuple[float, float]:
    low, high = min(one.low for one in measured), max(one.high for one in measured)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _marks(row: Row, low: float, high: float) -> Iterator[float]:
    yield low
    if row.is_share:
        yield 0.5
    elif low < 0 < high:
        yield 0.0
    yield high


def _figure(one: Measured, is_share: bool) -> str:
    value, low, high = (_said(part, is_share) for part in (one.value, one.low, one.high))
    return f"{value} [{low}, {high}]"


def _said(value: float, is_share: bool) -> str:
    return f"{value:.0%}" if is_share else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 20 min."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    hours, minutes = divmod(round(seconds / _MINUTE_S), 60)
    return f"{hours} h {minutes} min"
