"""What a follow-up says of the answer before it: logistic regression over sentence vectors.

Input of one follow-up, with unit vectors r (request), a (answer), f (follow-up) of d dimensions:
[f, f*r, f*a, cheap features]: 3d + len(FEATURES) numbers, standardised by the head. The head's
probabilities are softmax((x W + b) / temperature). Pure functions of numpy arrays.

The labels are RLHI's (arXiv 2509.25137) with "none" beside them. Departures: the paper asks a large
language model; here a head on MiniLM does it at hundreds of turns a second, gives calibrated
probabilities and abstains below a threshold, as noisy mined labels harm (arXiv 2507.23158).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.feedback.mining.app.dissatisfaction import ByKind, Dissatisfaction
from services.feedback.mining.app.features import Conversation
from services.feedback.mining.app.own_heads import NamedHead, NoOwnHeads, OwnHeads
from services.feedback.mining.domain import KINDS, Label
from services.feedback.mining.ports import Embedder, Vectors
from shared.language.verdicts import DISSATISFIED

LOW_CONFIDENCE, TOO_SHORT, NON_TEXT = "LOW_CONFIDENCE", "TOO_SHORT", "NON_TEXT"
SIGNALS_DISAGREE = "SIGNALS_DISAGREE"

Floats = NDArray[np.float64]

_WORD = re.compile(r"[a-z0-9']+")
_PATTERNS = {
    "negation": r"\b(no|not|don't|doesn't|didn't|isn't|wasn't|never|nope|without|stop)\b",
    "starts_no": r"^\W*(no|nope|not)\b",
    "thanks": r"\b(thanks?|thank you|thx|ty|cheers|appreciated?)\b",
    "praise": r"\b(perfect|great|awesome|excellent|nice|good|love|lovely|brilliant|helpful|amazing"
    r"|wonderful|exactly|super|cool|well done)\b",
    "blame": r"\b(wrong|incorrect|useless|bad|terrible|confused|vague|generic|nonsense|useful)\b",
    "again": r"\b(again|retry|redo|once more|another|rewrite|rephrase|still|over)\b",
    "length": r"\b(short(er)?|brief(er|ly)?|concise(ly)?|long(er)?|wordy|words?|sentences?|lines?"
    r"|detail(s|ed)?|paragraphs?|condense|trim|cut|elaborate|expand|gist|tl;?dr|wall of text)\b",
    "format": r"\b(list|bullets?|points|table|format|prose|emojis?|headings?|numbered|formal|tone"
    r"|polite|simpler|simple|plain|jargon|specific|concrete|example)\b",
    "too": r"\btoo\b",
    "i_asked": r"\bi (asked|said|meant|wanted|needed|only want|just want|told|already|prefer)\b",
    "your_answer": r"\b(your (answer|reply|answers)"
    r"|you (forgot|left|missed|keep|didn't|already|are))\b",
    "please": r"\bplease\b",
    "instead": r"\b(instead|rather)\b",
    "starts_question": r"^\W*(what|who|when|where|why|how|which|is|are|do|does|did|have)\b",
    "starts_command": r"^\W*(tell|give|write|explain|translate|recommend|suggest|list|show|help"
    r"|make)\b",
    "starts_i": r"^\W*(i|i'm|my|we|me|he|she|it)\b",
    "next": r"\b(now|next|also|and what|what about|another (thing|question))\b",
    "pointing": r"\b(that|this|it|the answer)\b",
    "farewell": r"\b(bye|hello|hi|hey|morning|night)\b",
    "number": r"\d",
}
_COMPILED = tuple(re.compile(pattern) for pattern in _PATTERNS.values())
_APOLOGY = re.compile(r"\b(sorry|apologi[sz]e|i can't|i cannot)\b")
FEATURES = (
    *_PATTERNS,
    "cos_request",
    "cos_answer",
    "cos_request_answer",
    "overlap_request",
    "overlap_answer",
    "log_words",
    "log_answer_words",
    "question_mark",
    "exclamation",
    "apology_before",
    "one_word",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """The three texts that a label rests on, and all that was said before the answer, the request
    included, as (role, text), where it is known."""

    request: str
    answer: str
    follow_up: str
    before: tuple[tuple[str, str], ...] = ()

    @property
    def conversation(self) -> Conversation:
        before = self.before or (("user", self.request),)
        return Conversation((*before, ("assistant", self.answer), ("user", self.follow_up)))


@dataclass(frozen=True, slots=True)
class Head:
    """weights [features, kinds], bias [kinds], mean and scale [features]; kinds as in KINDS."""

    weights: Floats
    bias: Floats
    mean: Floats
    scale: Floats
    temperature: float
    threshold: float

    def probabilities(self, inputs: Floats) -> Floats:
        """[n, kinds] of [n, features]."""
        logits = ((inputs - self.mean) / self.scale) @ self.weights + self.bias
        logits = logits / self.temperature
        odds: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(np.divide(odds, odds.sum(axis=1, keepdims=True)), dtype=np.float64)


class Judged(NamedTuple):
    """A label for each follow-up, the vectors [n, d] of the requests, and how alike each follow-up
    and its request are (cosines)."""

    labels: list[Label]
    requests: Vectors
    similarities: list[float]


class Read(NamedTuple):
    """What judging rests on: vectors [n, d] of requests and follow-ups, and the probabilities of the
    kinds [n, KINDS]."""

    conversations: list[Conversation]
    requests: Vectors
    follow_ups: Vectors
    kinds: Floats


@dataclass(frozen=True, slots=True)
class Classifier:
    """Abstains where the likeliest kind's probability is below `threshold`, and where the kind says
    that the user was dissatisfied and `dissatisfaction` says not, or the other way round. A tenant
    with a head of its `own` has that instead of `dissatisfaction`, which is called `shipped`."""

    embedder: Embedder
    head: Head
    threshold: float
    dissatisfaction: Dissatisfaction = field(default_factory=ByKind)
    own: OwnHeads = field(default_factory=NoOwnHeads)
    shipped: str = "shipped"

    def judge(self, exchanges: Sequence[Exchange], tenants: Sequence[str] = ()) -> Judged:
        """`tenants`: whose each exchange is; without them the shipped head judges."""
        read = self.read(exchanges)
        if not exchanges:
            return Judged([], read.requests, [])
        heads = self._heads(tenants or [""] * len(exchanges))
        bad = _dissatisfaction(heads, read)
        labels = [
            label_of(exchange, row, self.threshold, float(share), head.name)
            for exchange, row, share, head in zip(exchanges, read.kinds, bad, heads, strict=True)
        ]
        return Judged(labels, read.requests, (read.follow_ups * read.requests).sum(1).tolist())

    def read(self, exchanges: Sequence[Exchange]) -> Read:
        requests, answers, follow_ups = embed_exchanges(self.embedder, exchanges)
        kinds = np.zeros((0, len(KINDS)))
        if exchanges:
            inputs = design(exchanges, requests, answers, follow_ups)
            kinds = self.head.probabilities(inputs)
        conversations = [exchange.conversation for exchange in exchanges]
        return Read(conversations, requests, follow_ups, kinds)

    def head_of(self, tenant: str) -> str:
        """The name of what judges the tenant's follow-ups now."""
        return self._heads([tenant])[0].name

    def _heads(self, tenants: Sequence[str]) -> list[NamedHead]:
        shipped = NamedHead(self.shipped, self.dissatisfaction)
        own = self.own.serving({tenant for tenant in tenants if tenant})
        return [own.get(tenant, shipped) for tenant in tenants]


def _dissatisfaction(heads: Sequence[NamedHead], read: Read) -> Floats:
    """[n], each row by its own head. Names are a tenant's own: two may call theirs the same."""
    found = np.zeros(len(heads))
    for head in {id(head): head for head in heads}.values():
        which = [number for number, one in enumerate(heads) if one is head]
        conversations = [read.conversations[number] for number in which]
        found[which] = head.head.probabilities(
            conversations, read.follow_ups[which], read.kinds[which]
        )
    return found


def embed_exchanges(
    embedder: Embedder, exchanges: Sequence[Exchange]
) -> tuple[Vectors, Vectors, Vectors]:
    """Each distinct text is embedded once: a follow-up is often the next exchange's request."""
    columns = [
        [e.request for e in exchanges],
        [e.answer for e in exchanges],
        [e.follow_up for e in exchanges],
    ]
    distinct = sorted({text for column in columns for text in column}, key=len)
    rows = {text: number for number, text in enumerate(distinct)}
    vectors = embedder.embed(distinct)
    requests, answers, follow_ups = (vectors[[rows[t] for t in column]] for column in columns)
    return requests, answers, follow_ups


def design(
    exchanges: Sequence[Exchange], requests: Vectors, answers: Vectors, follow_ups: Vectors
) -> Floats:
    """[n, 3d + len(FEATURES)]."""
    cosines = np.stack(
        [
            (follow_ups * requests).sum(1),
            (follow_ups * answers).sum(1),
            (requests * answers).sum(1),
        ],
        axis=1,
    )
    cheap = np.array([cheap_features(e, tuple(c)) for e, c in zip(exchanges, cosines, strict=True)])
    parts = [follow_ups, follow_ups * requests, follow_ups * answers, cheap]
    inputs: Floats = np.concatenate(parts, axis=1).astype(np.float64)
    return inputs


def cheap_features(exchange: Exchange, cosines: tuple[float, ...]) -> list[float]:
    """In the order of FEATURES."""
    text = exchange.follow_up.lower().replace("’", "'").strip()
    words, answer = _WORD.findall(text), exchange.answer.lower()
    return [
        *(float(bool(pattern.search(text))) for pattern in _COMPILED),
        *(float(cosine) for cosine in cosines),
        _share(words, exchange.request),
        _share(words, exchange.answer),
        float(np.log1p(len(words))),
        float(np.log1p(len(_WORD.findall(answer)))),
        float("?" in text),
        float("!" in text),
        float(bool(_APOLOGY.search(answer))),
        float(len(words) <= 1),
    ]


def label_of(
    exchange: Exchange, row: Floats, threshold: float, dissatisfaction: float, head: str = ""
) -> Label:
    """`head`: the one that `dissatisfaction` is of."""
    kind = KINDS[int(np.argmax(row))]
    probabilities = {kind.value: float(p) for kind, p in zip(KINDS, row, strict=True)}
    reason = ""
    if not exchange.follow_up.strip():
        reason = NON_TEXT
    elif not any(character.isalnum() or character == "?" for character in exchange.follow_up):
        reason = TOO_SHORT
    elif probabilities[kind.value] < threshold:
        reason = LOW_CONFIDENCE
    elif (kind in DISSATISFIED) != (dissatisfaction >= 0.5):
        reason = SIGNALS_DISAGREE
    return Label(kind, probabilities, dissatisfaction, reason, head)


def save_head(head: Head, path: Path) -> None:
    """Arrays only (float32): nothing in it can run."""
    np.savez_compressed(
        path,
        weights=head.weights.astype(np.float32),
        bias=head.bias.astype(np.float32),
        mean=head.mean.astype(np.float32),
        scale=head.scale.astype(np.float32),
        meta=np.frombuffer(
            json.dumps([head.temperature, head.threshold, list(FEATURES), list(KINDS)]).encode(),
            dtype=np.uint8,
        ),
    )


def load_head(path: Path) -> Head:
    """Raises ValueError if the head was fitted for other features or kinds."""
    with np.load(path, allow_pickle=False) as kept:
        arrays = {name: kept[name].astype(np.float64) for name in kept.files if name != "meta"}
        temperature, threshold, features, kinds = json.loads(kept["meta"].tobytes())
    if tuple(features) != FEATURES or tuple(kinds) != tuple(KINDS):
        raise ValueError(
            f"{path} was fitted for other features: run services.feedback.training.fit"
        )
    weights, bias, mean, scale = (arrays[n] for n in ("weights", "bias", "mean", "scale"))
    return Head(weights, bias, mean, scale, temperature=temperature, threshold=threshold)


def _share(words: list[str], other: str) -> float:
    """The share of `words` that occur in `other`."""
    theirs = set(_WORD.findall(other.lower()))
    return sum(word in theirs for word in words) / len(words) if words else 0.0
