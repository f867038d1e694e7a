"""Labelled conversations from a folder of real data, as lines of the offline commands.

What is not there is left out. Nothing that is read here is kept or shipped.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = dict[str, str]
# Ratings from 1 to 5: unsatisfied where their mean is below this.
UNSATISFIED_BELOW = 2.5


@dataclass(frozen=True, slots=True)
class Turn:
    """`label` as a fit takes it; `truth` is what is measured against."""

    messages: tuple[Message, ...]
    label: dict[str, float]
    truth: str
    dialogue: str
    # What the user did about the answer, as `feedback.mined.v1` names it; where people said so.
    step: str = ""


_STEPS = {
    "Repeat or Rephrase": "repeat",
    "Make Aware With Correction": "correction_with_detail",
    "Make Aware Without Correction": "correction_without_detail",
    "Ask for Clarification": "clarification",
}


def corpora(folder: Path) -> dict[str, list[Turn]]:
    """By name, in what somebody was dissatisfied; of USS whichever corpora are there."""
    names = {"MWOZ": "multiwoz"}
    rated = sorted(path.name.partition(".")[0] for path in (folder / "uss").glob("*.txt.gz"))
    found = {names.get(one, one.lower()): satisfaction(folder, one) for one in rated}
    return found | {"convai2": thumbs(folder), "ukp": reactions(folder)}


def satisfaction(folder: Path, name: str) -> list[Turn]:
    """USS: user turns after an answer; the share of raters at 2 or below is the soft label."""
    text = _read(folder / "uss" / f"{name}.txt.gz")
    found = []
    for number, dialogue in enumerate(text.strip().split("\n\n")):
        before: list[Message] = []
        for line in dialogue.split("\n"):
            role, words, _, ratings, *_ = [*line.split("\t"), "", "", ""]
            if words == "OVERALL":
                continue
            before.append(_message("user" if role == "USER" else "assistant", words))
            if role == "USER" and ratings and _has_answer(before):
                found.append(_rated(before, [int(one) for one in ratings.split(",")], number))
    return found


def thumbs(folder: Path) -> list[Turn]:
    """ConvAI2: a thumb down on the bot's message before the user's."""
    found = []
    for name in ("data_volunteers", "data_intermediate"):
        for number, chat in enumerate(json.loads(_read(folder / "convai2" / f"{name}.json.gz"))):
            before: list[Message] = []
            thumb = None
            for one in chat["dialog"]:
                if one["sender_class"] == "Bot":
                    thumb = one["evaluation_score"]
                    before.append(_message("assistant", one["text"]))
                    continue
                before.append(_message("user", one["text"]))
                if thumb is not None:
                    truth = "fine" if thumb else "dissatisfied"
                    found.append(Turn(tuple(before), {truth: 1.0}, truth, f"{name}{number}"))
                thumb = None
    return found


def reactions(folder: Path) -> list[Turn]:
    """UKP feedback: a reaction to an annotated error (other than to go on) is dissatisfied; turns in
    the dialogues before, of which nothing is annotated, are taken as fine, eight for each of those."""
    bad, fine = [], {}
    for line in _read(folder / "ukp_feedback" / "preprocessed_all.jsonl.gz").splitlines():
        row = json.loads(line)
        pieces = re.split(r"<(user|system)>", row["context"])[1:]
        before = [
            _message("user" if role == "user" else "assistant", words.strip())
            for role, words in zip(pieces[::2], pieces[1::2], strict=True)
            if words.strip() not in ("", "<SILENCE>")
        ]
        name = row["context"][:80]
        if row["user_reaction"] and row["user_reaction_type"] != "Ignore and Continue":
            answer, said = row["error_text"].strip(), row["user_reaction"].strip()
            after = [*before, _message("assistant", answer), _message("user", said)]
            step = _STEPS[row["user_reaction_type"]]
            bad.append(Turn(tuple(after), {"dissatisfied": 1.0}, "dissatisfied", name, step))
        if before and before[-1]["role"] == "user" and _has_answer(before):
            fine[str(before)] = Turn(tuple(before), {"fine": 1.0}, "fine", name)
    every = max(len(fine) // (8 * max(len(bad), 1)), 1)
    return bad + list(fine.values())[::every]


def intents(folder: Path) -> list[Turn]:
    """IARD: reject (or any critique) before accept before other, of seekers' turns after an answer."""
    found = []
    for name, chat in json.loads(_read(folder / "iard" / "iard.json.gz")).items():
        before: list[Message] = []
        for one in chat["dialogue_info"].values():
            words = re.sub(r"@\d+ *<([^>]*)>", r"\1", one["utterance_text"])
            seeker = one["role"] == "seeker"
            before.append(_message("user" if seeker else "assistant", words))
            if seeker and _has_answer(before):
                truth = _intent(set(one["sub-intent/action"]))
                found.append(Turn(tuple(before), {truth: 1.0}, truth, name))
    return found


def lines(turns: list[Turn]) -> Iterator[str]:
    for turn in turns:
        yield json.dumps({"messages": turn.messages, "label": turn.label})


def moderated(folder: Path) -> list[tuple[str, bool | None, bool | None]]:
    """OpenAI's moderation set: (text, hateful or harassing, sexual); None: nobody has judged that."""
    rows = map(
        json.loads, _read(folder / "openai_moderation" / "samples-1680.jsonl.gz").splitlines()
    )
    return [(row["prompt"], _any(row, "H", "HR", "H2"), _any(row, "S", "S3")) for row in rows]


def answers(folder: Path) -> list[str]:
    """What models said in real chats: WildChat, Chatbot Arena, OASST."""
    chats = [
        json.loads(line)
        for file in sorted((folder / "real_llm_chats").glob("*.jsonl.gz"))
        for line in _read(file).splitlines()
    ]
    said = (one for chat in chats for one in chat["messages"] if one["role"] == "assistant")
    return [str(one["content"]) for one in said if one["content"]]


def _any(row: dict[str, Any], *labels: str) -> bool | None:
    """Whether any of the labels is set; None where none is judged to be and some are not judged."""
    if any(row.get(label) for label in labels):
        return True
    return False if all(row.get(label) == 0 for label in labels) else None


def _rated(before: list[Message], ratings: list[int], number: int) -> Turn:
    share = sum(one <= 2 for one in ratings) / len(ratings)
    unsatisfied = sum(ratings) / len(ratings) < UNSATISFIED_BELOW
    label = {"dissatisfied": share, "fine": 1 - share}
    return Turn(tuple(before), label, "dissatisfied" if unsatisfied else "fine", str(number))


def _intent(said: set[str]) -> str:
    if said & {"REJ", "CRI-F", "CRI-A", "CRI-C"}:
        return "reject"
    return "accept" if "ACC" in said else "other"


def _has_answer(before: list[Message]) -> bool:
    return any(one["role"] == "assistant" for one in before)


def _message(role: str, words: Any) -> Message:
    return {"role": role, "content": str(words)}


def _read(path: Path) -> str:
    with gzip.open(path, "rt", encoding="utf-8") as source:
        return source.read()
