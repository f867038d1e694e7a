"""The offline commands as a person runs them, up to the fit: lines, users' caps, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.reward import offline
from services.reward.domain import Answer
from services.reward.learning.fitting import newest
from services.reward.learning.lines import Preference, read_answers, read_learnt
from shared.commandline.offline import NOT_FOUND, REFUSED
from shared.language.refused_lines import Refused
from tests.unit.reward.people import asked, population


def test_preferences_are_read_as_trl_writes_them() -> None:
    messages = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello"}],
        "rejected": [{"role": "assistant", "content": "No"}],
        "user": "u1",
        "confidence": 0.8,
    }
    strings = {"prompt": "Hi", "chosen": "Hello", "rejected": "No", "user": "u1", "confidence": 0.8}
    whole = [*messages["prompt"], *messages["chosen"]], [*messages["prompt"], *messages["rejected"]]  # type: ignore[misc]
    implicit = {"chosen": whole[0], "rejected": whole[1], "user": "u1", "confidence": 0.8}
    read = read_learnt(map(json.dumps, (messages, strings, implicit)))
    assert read == [Preference(Answer("Hi", "Hello"), Answer("Hi", "No"), "Hi", "u1", 0.8)] * 3
    (plain,) = read_learnt([json.dumps({"chosen": "Q: hi A: yes", "rejected": "Q: hi A: no way"})])
    assert isinstance(plain, Preference)
    assert (plain.better.request, plain.better.text, plain.worse.text) == (
        "Q: hi A:",
        "yes",
        "no way",
    )


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("nonsense", "line", "not JSON"),
        ("[1]", "line", "not a JSON object"),
        ('{"prompt": "a", "chosen": "b"}', "rejected", "missing"),
        ('{"prompt": "a", "chosen": "b", "rejected": "b"}', "rejected", "same"),
        ('{"prompt": "a", "chosen": "b", "rejected": 3}', "rejected", "list of messages"),
        ('{"prompt": [{"role": "king"}], "chosen": "b", "rejected": "c"}', "prompt[0].role", "one"),
        (
            '{"prompt": "a", "chosen": [{"role": "user", "content": "b"}], "rejected": "c"}',
            "chosen",
            "assistant",
        ),
        (
            '{"prompt": "a", "chosen": "b", "rejected": "c", "confidence": 2}',
            "confidence",
            "[0, 1]",
        ),
        ('{"prompt": "a", "chosen": "b", "rejected": "c", "user": ["x"]}', "user", "string"),
    ],
)
def test_a_bad_line_is_told_with_line_and_field(line: str, field: str, words: str) -> None:
    (_, refused) = read_learnt(["", '{"prompt": "a", "chosen": "b", "rejected": "c"}', line])
    assert isinstance(refused, Refused)
    assert (refused.line, refused.field) == (3, field)
    assert words in refused.problem


def test_the_newest_of_a_user_count() -> None:
    pairs = [Preference(Answer("", f"{n}"), Answer("", "x"), f"{n}", "u") for n in range(5)]
    nobody = Preference(Answer("", "a"), Answer("", "b"), "t")
    kept, dropped = newest([*pairs, nobody, nobody, nobody], 2)
    assert kept == [*pairs[3:], nobody, nobody, nobody]
    assert dropped == {"USER_CAP": 3}


def test_what_is_missing_or_too_little_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--input", str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "m")]
    assert offline.main(["fit", *given]) == NOT_FOUND
    assert "none.jsonl" in capsys.readouterr().err
    assert offline.main(["score", "--model", str(tmp_path), *given]) == NOT_FOUND
    (tmp_path / "few.jsonl").write_text(population(2, 0, 1)[0])
    given = ["--input", str(tmp_path / "few.jsonl"), "--output", str(tmp_path / "m")]
    assert offline.main(["fit", *given, "--features", "surface"]) == REFUSED
    assert "TOO_FEW_PAIRS" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_answers_keep_their_line_numbers() -> None:
    read = read_answers(["", asked("Yes."), "{}"], first=11)
    assert read[0] == Answer("May I?", "Yes.")
    assert isinstance(read[1], Refused)
    assert read[1].line == 13
