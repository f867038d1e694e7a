"""Answers that an evaluation keeps: to the suites' own prompts, whatever was answered, never a user's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from services.evaluation.adapters.memory import ScriptedScorer
from services.evaluation.suites.questions import everyday, shipped
from shared.gen.trimtab.common.v1 import people_pb2
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.language.examples import Example, examples_of
from shared.language.identifiers import share_of
from shared.state import operations
from tests.unit.evaluation.test_service import LONG, SHORT, House, asked_for


def measured(house: House, **changes: object) -> pb.Evaluation:
    operation = house.start(asked_for(**changes))
    house.finish()
    response = pb.EvaluateResponse()
    operations.get(house.database, operation).response.Unpack(response)
    return response.evaluation


def answers(example: pb.Example) -> dict[str, str]:
    return {answer.model_version: answer.text for answer in example.answers}


def test_the_smallest_hashes_are_chosen_and_long_answers_are_cut() -> None:
    prompts = [f"Question {n}?" for n in range(20)]
    found = examples_of("s", prompts, {"v0": ["x" * 1201] * 20, "v1": [f"a{n}" for n in range(20)]})
    assert len(found) == 8
    shares = [share_of(one.prompt, "example") for one in found]
    others = [share_of(one, "example") for one in prompts if one not in {f.prompt for f in found}]
    assert all(one < next_ for one, next_ in pairwise([*shares, min(others)]))
    assert all(one.answers["v1"] == f"a{one.prompt[9:-1]}" for one in found)
    assert found[0].answers["v0"] == "x" * 1200 + "…"
    assert list(found[0].answers) == ["v0", "v1"]
    assert examples_of("s", prompts[:1], {"v": ["yes"]}) == (
        Example("s", "Question 0?", {"v": "yes"}),
    )
    assert examples_of("s", [], {}) == ()


def test_only_the_suites_own_prompts_are_kept() -> None:
    found = measured(House(), suites=["over_refusal", "win_rate"])
    by_suite = {
        suite: [e for e in found.examples if e.suite == suite]
        for suite in ("over_refusal", "win_rate")
    }
    assert [len(some) for some in by_suite.values()] == [8, 8]
    assert len(found.examples) == 16
    own = {prompt.messages[0].text for prompt in everyday()}
    assert {example.prompt for example in by_suite["win_rate"]} <= own
    assert {example.prompt for example in by_suite["over_refusal"]} <= {
        row["prompt"] for row in shipped("over_refusal.jsonl")
    }
    assert "A question of" not in str(found)
    for example in by_suite["win_rate"]:
        assert list(answers(example)) == ["assistant-v0", "assistant-v1", "sft-v1"]
        assert (answers(example)["assistant-v0"], answers(example)["assistant-v1"]) == (LONG, SHORT)
    assert list(answers(by_suite["over_refusal"][0])) == ["assistant-v0", "assistant-v1"]


def test_a_list_has_figures_and_no_examples() -> None:
    house = House()
    found = measured(house, suites=["over_refusal"])
    (listed,) = house.app.page("local", None, 5)
    assert (len(found.examples), listed.examples) == (8, ())
    assert len(house.app.get("local", listed.evaluation).examples) == 8


def test_a_champion_of_several_weights_answers_as_those_do_who_are_in_no_group() -> None:
    composition = people_pb2.Composition(served_names={"shorter": "v1"}, others="base")
    found = measured(House(), suites=["win_rate"], champion_composition=composition)
    assert answers(found.examples[0])["assistant-v0"] == LONG


@pytest.mark.parametrize("champion", ["", "assistant-v0"])
def test_without_a_judge_there_are_answers_and_without_a_champion_only_refusals(
    champion: str,
) -> None:
    house = House(scorer=ScriptedScorer(None))
    request = asked_for(suites=["over_refusal", "win_rate"])
    request.champion_version = champion
    operation = house.start(request)
    house.finish()
    response = pb.EvaluateResponse()
    operations.get(house.database, operation).response.Unpack(response)
    suites = [example.suite for example in response.evaluation.examples]
    assert suites == ["over_refusal"] * 8 + ["win_rate"] * (8 if champion else 0)
