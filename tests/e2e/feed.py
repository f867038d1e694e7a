"""A fixed feed: what users and an assistant said, and what was said of it. No chance in it."""

from __future__ import annotations

from typing import Any

USERS = 11
CONVERSATIONS = 48
_TOPICS = (
    "a garden",
    "an old bicycle",
    "a birthday cake",
    "a noisy fridge",
    "a long train ride",
    "a job interview",
    "a wool jumper",
)
_COMPLAINTS = (
    "That's too long. Please answer in at most 20 words.",
    "No, way too long. Keep it under 20 words.",
    "This is too wordy, please shorten it to 20 words.",
    "Too much text. Say it again in 20 words at most.",
)
_THANKS = ("Thanks, that helps a lot.", "Great, thank you!", "Perfect, thanks.")


def conversation(number: int) -> dict[str, Any]:
    """Two of three end in a complaint, the third in thanks; then one more answer."""
    topic = _TOPICS[number % len(_TOPICS)]
    answer = (
        f"There is a great deal to be said about {topic}. First of all you should look at it"
        " closely and make a list of everything that comes to mind, however small it may seem. Then"
        " put the list in order, talk about it with people whom you trust, and take one step after"
        f" the other until all of it is done. Case {number} is no different from the others."
    )
    reaction = (
        _THANKS[number % len(_THANKS)]
        if number % 3 == 2
        else _COMPLAINTS[number % len(_COMPLAINTS)]
    )
    said = [
        ("user", f"What should I know about {topic}, question {number}?"),
        ("assistant", answer),
        ("user", reaction),
        ("assistant", f"Look at {topic} closely and take one step after the other."),
    ]
    return {
        "id": f"c{number}",
        "user": f"u{number % USERS}",
        "messages": [_message(number, place, *one) for place, one in enumerate(said)],
    }


def feedback(number: int) -> dict[str, Any] | None:
    """For every second conversation: a thumb, a rating, or a better answer."""
    if number % 2:
        return None
    said: dict[str, Any] = {"completion_id": f"c{number}-1", "user": f"u{number % USERS}"}
    match number // 2 % 3:
        case 0:
            return said | {"value": number % 4 == 0}
        case 1:
            return said | {"value": float(number % 5 + 1), "min": 1, "max": 5}
        case _:
            return said | {"demonstration": "Look at it closely, then take one small step a day."}


def _message(number: int, place: int, role: str, text: str) -> dict[str, Any]:
    said: dict[str, Any] = {"role": role, "content": text}
    if role == "user":
        return said
    return said | {"model_version": "assistant-v0", "completion_id": f"c{number}-{place}"}


TURNS = 4 * CONVERSATIONS
FEEDBACK = sum(1 for number in range(CONVERSATIONS) if feedback(number))
