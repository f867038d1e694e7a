"""What the gateway remembers of spans and answers: a tenant that floods loses only its own."""

from __future__ import annotations

from services.gateway.app.answers import NewestAnswers
from services.gateway.app.newest import Newest
from shared.language.messages import text_message
from shared.language.turns import Turn


def kept(memory: Newest[int, str], tenant: str) -> list[int]:
    return [number for number in range(100) if memory.get(tenant, number) is not None]


def test_a_flood_leaves_the_others_theirs_and_a_tenant_alone_may_have_all() -> None:
    memory = Newest[int, str](10)
    for number in range(20):
        memory.put("flood", number, "")
    assert kept(memory, "flood") == list(range(10, 20))
    for number in range(3):
        memory.put("quiet", number, "")
    for number in range(20, 60):
        memory.put("flood", number, "")
    assert (kept(memory, "quiet"), kept(memory, "flood")) == ([0, 1, 2], list(range(53, 60)))
    for number in range(3, 40):
        memory.put("quiet", number, "")
    assert (len(kept(memory, "quiet")), len(kept(memory, "flood"))) == (5, 5)


def test_what_is_put_again_is_the_newest_and_counts_once() -> None:
    memory = Newest[int, str](3)
    for number in (1, 2, 3, 1, 4):
        memory.put("t", number, "")
    assert kept(memory, "t") == [1, 3, 4]


def answer(tenant: str, number: int) -> Turn:
    traced = {"trace_id": f"t{number}", "span_id": f"s{number}"}
    said = text_message("assistant", "marmalade")
    return Turn(tenant, f"c{number}", 1, said, "ada", metadata=traced)


def test_scores_find_answers_whatever_another_tenant_sends_and_not_those_of_the_erased() -> None:
    answers = NewestAnswers(most=20)
    for number in (0, 1):
        answers.note(answer("quiet", number))
    for number in range(1000):
        answers.note(answer("flood", number))
    found = answers.find("quiet", "t0", "s0")
    assert found is not None
    assert (found.conversation_id, found.index) == ("c0", 1)
    answers.forget("quiet", {"c0"})
    assert answers.find("quiet", "t0", "s0") is None
    assert answers.find("quiet", "t1", "") is not None
