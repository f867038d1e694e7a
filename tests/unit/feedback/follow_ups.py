"""Made-up follow-ups with their labels, for the offline judge."""

from __future__ import annotations

import json
from pathlib import Path

from services.feedback.mining.app.features import Conversation

BAD = ("No, that is wrong, I asked for {}.", "not what i meant, {} please", "still no {}, useless")
GOOD = ("Perfect, thanks for {}!", "great, i will try {}", "Thank you, {} sounds good.")
TOPICS = ("tea", "trains", "a hotel", "films", "maps", "soup", "taxes", "poems", "shoes", "wine")


def conversation(*texts: str) -> Conversation:
    roles = ("user", "assistant")
    return Conversation(tuple((roles[n % 2], text) for n, text in enumerate(texts)))


def labelled(topic: str, follow_up: str, label: object) -> str:
    messages = [
        {"role": "user", "content": f"Tell me of {topic}."},
        {"role": "assistant", "content": f"Here is something of {topic}."},
        {"role": "user", "content": follow_up.format(topic)},
    ]
    return json.dumps({"messages": messages, "label": label})


def synthetic() -> list[str]:
    pairs = [(text, "dissatisfied") for text in BAD] + [(text, "fine") for text in GOOD]
    return [labelled(topic, text, label) for topic in TOPICS for text, label in pairs]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)
