"""Votes brought in, and where they and answers are in the loop: both by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.commands.session import NOT_FOUND, OK
from services.cli.main import connect, run

# Stage, outcome, reason.
Place = tuple[str, str, str]
# A vote as far as it comes while there is no reward model: its two turns stored and to be scored, its
# pair kept for reward models to learn from, and waiting for one that judges it.
VOTE_TRACED = {
    ("interaction", "made", ""),
    ("feedback.turns", "waiting", "NO_FOLLOW_UP"),
    ("feedback.pairs", "waiting", "REWARD"),
    ("reward.answers", "waiting", "UNSCORED"),
    ("reward.pairs", "made", ""),
}
# An answer that was complained of and corrected: judged by the follow-up and by the correction, which
# made a pair and a rating.
ANSWER_TRACED = {
    ("interaction", "made", ""),
    ("feedback.turns", "made", ""),
    ("feedback.explicit", "made", ""),
    ("feedback.pairs", "waiting", "REWARD"),
    ("reward.answers", "waiting", "UNSCORED"),
    ("reward.pairs", "made", ""),
    ("reward.ratings", "made", ""),
}


def vote(user: str, question: str, words: tuple[str, str], tenant: str, folder: Path) -> None:
    """Between two answers in an arena, by the user, from a file; for the one in `QUESTION-a`."""
    first, second = words
    asked = {"role": "user", "content": f"Which {first} is the best {second}?"}
    said = (f"The {first} of the north, which is every {second}'s own.", f"No {second} at all.")
    sides = [[asked, {"role": "assistant", "content": text}] for text in said]
    record = {
        "question_id": question,
        "judge": user,
        "winner": "model_a",
        **{"model_a": "assistant-v0", "conversation_a": sides[0]},
        **{"model_b": "other-v1", "conversation_b": sides[1]},
    }
    file = folder / f"{question}.jsonl"
    file.write_text(json.dumps(record))
    line = ["import", str(file), "--through", "grpc", "--tenant", tenant]
    state = ["--state", str(folder / "state"), "--refused", str(folder / "refused")]
    assert run([*line, *state], connect) == OK


def places_of(tenant: str, capsys: pytest.CaptureFixture[str], said: str) -> set[Place]:
    """Where the turns of a conversation, or of a completion, are; nowhere if no service knows any."""
    capsys.readouterr()
    code = run(["--json", "conversations", "trace", said, "--tenant", tenant], connect)
    told = capsys.readouterr().out
    if code == NOT_FOUND:
        return set()
    assert code == OK
    traced = json.loads(told)
    assert traced["away"] == {}
    return {(step["stage"], step["outcome"], step["reason"]) for step in traced["steps"]}
