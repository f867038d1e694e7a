"""Pairs for tests: users u0, u1, ... of whom some are held out."""

from datetime import UTC, datetime, timedelta

from shared.language.messages import text_message
from shared.language.pairs import Pair, PairSource
from shared.language.splits import is_held_out

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
TRAINED = [f"u{n}" for n in range(400) if not is_held_out("local", f"u{n}")]
HELD_OUT = [f"u{n}" for n in range(400) if is_held_out("local", f"u{n}")]


def pair(number: int, user: str, **changes: object) -> Pair:
    values: dict[str, object] = {
        "pair_id": f"p{number:03}",
        "tenant": "local",
        "user_id": user,
        "conversation_id": f"c{number}",
        "source": PairSource.USER_GUIDED_REWRITE,
        "prompt": (text_message("user", f"Question {number}?"),),
        "chosen": text_message("assistant", f"Short answer {number}."),
        "rejected": text_message("assistant", f"A much longer answer, number {number}."),
        "create_time": START + timedelta(seconds=number),
    }
    return Pair(**(values | changes))  # type: ignore[arg-type]


def many(train: int, held_out: int) -> list[Pair]:
    return [
        *(pair(n, TRAINED[n]) for n in range(train)),
        *(pair(500 + n, HELD_OUT[n]) for n in range(held_out)),
    ]
