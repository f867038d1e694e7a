"""The page of a report: escaped, self-contained, and whole for every kind of run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from services.retrain.adapters.pages.report import chart_of, duration, page_of
from services.retrain.domain.ngrams import Phrase, Phrases
from services.retrain.domain.report import report_of
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run, State, Trigger, TriggerKind
from shared.language.estimates import Estimate
from shared.language.examples import Example
from tests.unit.retrain.test_report import CONTROL, SNAPSHOT, WIN, line, rate, run

EVIL = "<script>alert('x')</script>&\"'<img src=//evil>"


class Reader(HTMLParser):
    """Tags, attributes and words of a page; `open` is what was not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(found: Run, phrases: Phrases | None = None) -> Reader:
    page = page_of(report_of(found, phrases))
    reader = Reader(page)
    assert not reader.open
    assert not reader.addresses
    assert not reader.tags & {"script", "img", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?:", page)
    return reader


def test_whatever_others_wrote_is_only_text() -> None:
    snapshot = replace(
        SNAPSHOT,
        pairs_by_group={EVIL: 3},
        users_by_group={EVIL: 3},
        pairs_by_source={EVIL: 3},
        left_out={EVIL: 1},
    )
    evil = run(
        WIN,
        rate("win_rate", 0.2, 0.1, 0.3, group=EVIL),
        rate(EVIL, 0.2, 0.1, 0.3),
        trigger=Trigger(TriggerKind.DRIFT, EVIL),
        error=EVIL,
        snapshot=snapshot,
        gate=(line("win_rate", "fail", group=EVIL),),
        examples=(Example(EVIL, EVIL, {"assistant-v1": EVIL, EVIL: EVIL}),),
        policy=EVIL,
        base_digest=EVIL,
    )
    phrases = Phrases(9, 9, 3, (Phrase(EVIL, 9, 0, 3, 2.5),), 1)
    shown = read(evil, phrases).text
    assert shown.count(EVIL) > 12
    assert f"An alarm about the champion started it: {EVIL}" in shown


def test_a_page_says_it_all_in_order() -> None:
    phrases = Phrases(
        38,
        10,
        3,
        (Phrase("open sesame", 9, 0, 3, 2.5),),
        4,
        (Phrase("in short", 20, 1, 9, 3.5),),
        1,
        2,
    )
    said = {"assistant-v0": "So.", "assistant-v1": "No.", "in_context": "Well.", "other-v9": "Hm."}
    example = Example("win_rate", "Why?", said)
    shown = read(run(WIN, CONTROL, examples=(example,)), phrases).text
    parts = [
        "Yes: the reward model prefers its answers to the champion's 74% of the time [60%, 85%]",
        "A person started it: ann: new guideline",
        "From 40 pairs of answers of 10 users; the user with the most has 15% of them, the one with",
        "the fewest 2.5%. 8 of them are of before the last snapshot, and are trained on again.",
        "12 pairs of 4 further users were held out to judge by.",
        "does as well as far as can be told",
        "74% [60%, 85%] 60 cases, 25 users",
        "champion assistant-v0 So. candidate assistant-v1 No. in context assistant-v0 Well. other-v9 Hm.",
        "open sesame 9 0 3 2.5 And 3 more from few users",
        "2 more phrases are of one or two users and not printed",
        "in short 20 1 9 3.5",
        "2 pairs were erased since.",
        "What it cost",
        "python -m services.retrain.train --job FOLDER/job.json",
    ]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)


def test_a_page_says_what_users_ask_for_and_whose_pairs_alone_were_taken() -> None:
    wished = replace(SNAPSHOT, users_by_wish={"wants.form=list": 9})
    whole = "Of what users ask for: wants.form=list (9 users)."
    assert whole in read(run(WIN, snapshot=wished), None).text
    assert "No pairs were taken" not in read(run(WIN, snapshot=wished), None).text
    alone = run(WIN, snapshot=wished, rules=Rules().only_for("wants.form=list"))
    said = "No pairs were taken of users who ask for anything else than wants.form=list."
    assert f"{said} {whole}" in read(alone, None).text
    assert "ask for" not in read(run(WIN), None).text


def test_the_first_version_is_told_from_the_champion() -> None:
    said = {"assistant-v3": "So.", "assistant-v0": "Oh."}
    example = Example("win_rate", "Why?", said)
    later = run(WIN, examples=(example,), champion_version="assistant-v3")
    shown = read(later, None).text
    assert "the first, which served before any training, is assistant-v0" in shown
    assert "champion assistant-v3 So. first assistant-v0 Oh." in shown


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("empty", [True, False])
def test_every_kind_of_run_has_a_page(state: State, empty: bool) -> None:
    none = {"champion_version": "", "model_version": "", "control_version": "", "snapshot": None}
    shown = read(run(state=state, attempt=0, **none) if empty else run(WIN, state=state)).text
    has_ended = state in (State.SUCCEEDED, State.REJECTED, State.FAILED, State.CANCELLED)
    assert ("this is what is known so far" in shown) != has_ended


def test_dots_and_lines_lie_on_the_scale() -> None:
    shares, numbers = (
        report_of(run(one), None).figures[0]
        for one in (WIN, Estimate("length_words", 20, 10, 30, count=9))
    )
    # 4 + 92 * share
    (dot,) = chart_of(shares).whiskers
    assert (dot.low, dot.dot, dot.high) == (59.2, 72.08, 82.2)
    assert chart_of(shares).marks == ((4.0, "0%"), (50.0, "50%"), (96.0, "100%"))
    (dot,) = chart_of(numbers).whiskers
    assert (dot.low, dot.dot, dot.high, dot.figure) == (4.0, 50.0, 96.0, "20 [10, 30]")
    still = report_of(run(Estimate("length_words", 20, 20, 20, count=1)), None).figures[0]
    assert chart_of(still).whiskers[0].dot == 50.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (125, "2 min"), (7199, "120 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
