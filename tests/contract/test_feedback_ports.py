"""One suite over each port's twin and its real adapter."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.local.stack import LocalStack
from services.feedback.mining.adapters.memory import HashingEmbedder, ScriptedChat
from services.feedback.mining.adapters.vllm_chat import VllmChat
from services.feedback.mining.app.classifier import Classifier, Exchange, load_head
from services.feedback.mining.app.dissatisfaction import load_dissatisfaction
from services.feedback.mining.ports import ChatModel, Embedder, Vectors
from services.feedback.training.adapters import bert
from services.feedback.training.adapters.encoder import open_tokenizer
from services.feedback.training.fit import SEEDS, read_seeds
from services.feedback.wiring.heads import DISSATISFACTION, HEAD
from shared.encoding.sentences import SentenceEncoder
from shared.language.errors import Unavailable
from shared.language.messages import text_message
from shared.language.verdicts import FollowUpKind

ENCODER = Path(os.environ.get("TRIMTAB_ENCODER", ".trimtab/parts/models/all-minilm-l6-v2"))


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    if not ENCODER.exists():
        pytest.skip("the encoder is not built")
    return SentenceEncoder(ENCODER, max_tokens=64)


@pytest.fixture(params=["twin", "minilm"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "twin":
        return HashingEmbedder()
    made: Embedder = request.getfixturevalue("minilm")
    return made


def test_vectors_are_of_unit_length_and_do_not_depend_on_neighbours(embedder: Embedder) -> None:
    texts = ["a river is long", "", "shorter please", "a river is long", "word " * 500]
    vectors = embedder.embed(texts)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    assert np.array_equal(vectors[0], vectors[3])
    assert float(embedder.embed(["shorter please"])[0] @ vectors[2]) > 0.999
    assert embedder.embed([]).shape == (0, 384)


def test_what_means_the_same_is_nearer(embedder: Embedder) -> None:
    one, same, other = embedder.embed(["how do I boil an egg", "how to boil an egg", "who won?"])
    assert one @ same > one @ other


ANSWER = (
    "There are many ways to keep bread fresh. Keep it in a paper bag at room temperature, away from "
    "the sun, or freeze it in slices and toast them when you want them. Avoid the fridge, as the "
    "cold makes the starch go stale faster. Buy smaller loaves more often if you live alone."
)


@pytest.mark.parametrize(
    ("kind", "follow_ups"),
    [
        (
            FollowUpKind.REATTEMPT_WITH_FEEDBACK,
            (
                "no, shorter please",
                "too long, I asked for something brief",
                "that's way more than I needed, keep it under 40 words",
                "please use a list",
                "can you be more specific",
                "Ugh, so many words. Just the essentials please.",
            ),
        ),
        (
            FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK,
            ("not what I asked", "try again", "that's not it"),
        ),
        (
            FollowUpKind.POSITIVE,
            ("perfect, thanks", "great, that helps", "Nice and short, thank you!"),
        ),
        (
            FollowUpKind.NEW_REQUEST,
            (
                "what is the shortest river?",
                "Which instrument should I learn first?",
                "Thanks! How do I clean a cast iron pan?",
            ),
        ),
        (FollowUpKind.NONE, ("ok", "lol", "and you?")),
    ],
)
def test_the_committed_heads_know_these(
    minilm: SentenceEncoder, kind: FollowUpKind, follow_ups: tuple[str, ...]
) -> None:
    head = load_head(HEAD)
    classifier = Classifier(minilm, head, head.threshold, load_dissatisfaction(DISSATISFACTION))
    labels = classifier.judge(
        [Exchange("How do I keep bread fresh?", ANSWER, text) for text in follow_ups]
    ).labels
    assert [(label.kind, label.abstained) for label in labels] == [(kind, False)] * len(labels)


@pytest.fixture(scope="module")
def as_float32() -> dict[str, Vectors]:
    """Of every text of the seeds, by the encoder's published weights, as they are."""
    if not ENCODER.exists():
        pytest.skip("the encoder is not built")
    exchanges, _ = read_seeds(SEEDS)
    texts = {text for one in exchanges for text in (one.request, one.answer, one.follow_up)}
    tokenizer, body = open_tokenizer(ENCODER), bert.pretrained(ENCODER).eval()
    # Those of one length together, so that nothing is padded.
    by_length: dict[int, list[tuple[str, list[int]]]] = {}
    for text in sorted(texts):
        ids = tokenizer.encode(text).ids[:48]
        by_length.setdefault(len(ids), []).append((text, ids))
    found: dict[str, Vectors] = {}
    with torch.inference_mode():
        for alike in by_length.values():
            rows = torch.tensor([ids for _, ids in alike])
            rows[:, -1] = 102  # [SEP] ends a text that is cut, too
            states = body(rows, torch.ones_like(rows, dtype=torch.bool))
            vectors = torch.nn.functional.normalize(states.sum(1), dim=1).numpy()
            found |= {text: vector for (text, _), vector in zip(alike, vectors, strict=True)}
    return found


class Kept:
    """An Embedder of texts whose vectors are known."""

    def __init__(self, vectors: Mapping[str, Vectors]) -> None:
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vectors[text] for text in texts])


@pytest.mark.parametrize(
    ("int8", "closest", "most_changed"), [(False, 0.9998, 0), (True, 0.995, 3)]
)
def test_the_encoder_labels_every_seed_as_float32_does(
    as_float32: dict[str, Vectors], int8: bool, closest: float, most_changed: int
) -> None:
    """In int8 three labels in a thousand may appear, go, or be none for another reason; none becomes
    another."""
    exchanges, _ = read_seeds(SEEDS)
    served, exact = SentenceEncoder(ENCODER, max_tokens=48, int8=int8), Kept(as_float32)
    texts = list(as_float32)
    assert float((served.embed(texts) * exact.embed(texts)).sum(1).min()) > closest
    found, wanted = (labels(one, exchanges) for one in (served, exact))
    changed = [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]]
    assert len(found) == 1045
    assert len(changed) <= most_changed
    assert all(one[1] or other[1] for one, other in changed)


def labels(embedder: Embedder, exchanges: Sequence[Exchange]) -> list[tuple[str, str]]:
    """Each one's kind and why there is none."""
    head = load_head(HEAD)
    judge = Classifier(embedder, head, head.threshold, load_dissatisfaction(DISSATISFACTION))
    return [(one.kind, one.abstain_reason) for one in judge.judge(exchanges).labels]


@pytest.fixture(params=["twin", "vllm"])
def chat(request: pytest.FixtureRequest) -> ChatModel:
    if request.param == "twin":
        return ScriptedChat(lambda messages: "An answer.")
    stack: LocalStack = request.getfixturevalue("vllm_stack")
    return VllmChat((stack.env()["TRIMTAB_VLLM_URLS"],), stack.settings.models.base_name)


def test_a_model_gives_as_many_answers_as_were_asked(chat: ChatModel) -> None:
    answers = chat.complete([text_message("user", "Say hello.")], 3, 0.7, 16)
    assert len(answers) == 3
    assert all(isinstance(answer, str) for answer in answers)


def test_a_model_chooses_among_what_is_offered(chat: ChatModel) -> None:
    asked = [text_message("user", "Say a letter between A and E, whichever you like best.")]
    said = chat.choose(asked, "ABCDE", 8, 1.0)
    assert len(said) == 8
    assert set(said) <= set("ABCDE")
    assert chat.choose(asked, ("maybe",), 2, 1.0) == ("maybe", "maybe")
    assert chat.name


@pytest.mark.parametrize("kind", ["twin", "vllm"])
def test_a_model_that_is_away_is_unavailable(kind: str) -> None:
    if kind == "twin":
        scripted = ScriptedChat(lambda messages: "An answer.")
        scripted.away = True
        model: ChatModel = scripted
    else:
        model = VllmChat(("http://127.0.0.1:9",), "nobody")
    with pytest.raises(Unavailable):
        model.complete([text_message("user", "Say hello.")], 1, 0.0, 16)
    with pytest.raises(Unavailable):
        model.choose([text_message("user", "Say hello.")], "AB", 1, 0.0)
