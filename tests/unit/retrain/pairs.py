"""Pairs for tests: users u0, u1, ... of whom some are held out."""

from datetime import UTC, datetime, timedelta

from shared.language.messages import text_message
from shared.language.pairs import Pair, PairSource
from shared.language.policies import PolicyKey
from shared.language.splits import is_held_out

LOCAL = PolicyKey("local")
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


def praised(number: int, user: str, **changes: object) -> Pair:
    """An answer that the user praised: a pair without a rejected one."""
    nothing = text_message("assistant", "")
    return pair(number, user, **({"source": None, "rejected": nothing} | changes))


def many(train: int, held_out: int, key: PolicyKey = LOCAL) -> list[Pair]:
    """Of a policy, in words of its own: each answer names it."""
    people = [f"u{n}" for n in range(400)]
    trained = [user for user in people if not is_held_out(key.tenant, user)]
    judges = [user for user in people if is_held_out(key.tenant, user)]
    return [
        *(_of(key, n, trained[n]) for n in range(train)),
        *(_of(key, 500 + n, judges[n]) for n in range(held_out)),
    ]


def _of(key: PolicyKey, number: int, user: str) -> Pair:
    if key == LOCAL:
        return pair(number, user)
    chosen = text_message("assistant", f"Answer {number}, as {key.tenant} {key.policy} likes it.")
    return pair(
        number,
        user,
        pair_id=f"{key.policy}{number:03}",
        tenant=key.tenant,
        policy=key.policy,
        conversation_id=f"{key.policy}-c{number}",
        chosen=chosen,
    )
