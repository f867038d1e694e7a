"""Versions of two tenants may have one name: nothing of one is taken for the other's."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.evaluation.adapters.memory import ScriptedPolicy
from services.evaluation.adapters.subprocess_logprobs import SubprocessLogprobs
from services.evaluation.app.evaluations import tracked
from services.evaluation.domain import Evaluation, evaluation_id
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.language.estimates import Estimate
from shared.language.messages import text_message
from tests.unit.evaluation.test_service import LONG, SHORT, House

# Writes the base model of its job where the figures belong.
ECHO = (
    "import json, sys; job = json.load(sys.stdin);"
    " json.dump({'found': [[(job['base_model'], 1)]]}, sys.stdout)"
)


@pytest.mark.parametrize(
    ("told", "expected"), [("/models/large", "/models/large"), ("/models/other", "/models/small")]
)
def test_log_probabilities_come_from_the_base_model_that_the_adapter_was_made_for(
    told: str, expected: str, tmp_path: Path
) -> None:
    config = {"base_model_name_or_path": told}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    scorer = SubprocessLogprobs(
        Path("/models/small"), (sys.executable, "-c", ECHO), [Path("/models/large")]
    )
    cases = [((text_message("user", "Hello?"),), "Hello.")]
    assert scorer.logprobs(["", str(tmp_path)], cases) == [[(expected, 1)]]
    assert scorer.logprobs([""], cases) == [[("/models/small", 1)]]


def test_the_tracker_keeps_tenants_apart() -> None:
    found = {}
    for tenant in ("local", "acme"):
        name, time = evaluation_id(tenant, "r1"), datetime(2026, 11, 20, tzinfo=UTC)
        figures = (Estimate("win_rate", 0.6, 0.5, 0.7),)
        ended = Evaluation(name, tenant, "sales-v3", "sales-v2", figures, "reward-1", time, True)
        found[tenant] = tracked(ended)
    assert found["local"].key != found["acme"].key
    assert [one.experiment for one in found.values()] == ["evaluation/local", "evaluation/acme"]
    tags = {"tenant": "acme", "policy": "sales", "model_version": "sales-v3"}
    assert found["acme"].tags == tags


def test_figures_of_two_versions_of_one_name_are_each_its_own() -> None:
    """acme's assistant-v1 answers as its base model does, local's is short, which the judge likes."""
    voices = {"v1": lambda text: SHORT, "acme.v1": lambda text: LONG, "base": lambda text: LONG}
    house = House(ScriptedPolicy(voices=voices))
    request = pb.EvaluateRequest(
        request_id="r1",
        model_version="assistant-v1",
        served_name="v1",
        champion_version="assistant-v0",
        champion_served_name="base",
        suites=["win_rate", "form"],
    )
    local = house.start(request)
    request.served_name = "acme.v1"
    acme = str(house.servicer._start("acme", request).name)
    house.finish()
    assert local != acme
    ours, theirs = house.figures(local), house.figures(acme)
    assert (ours["win_rate"].value, theirs["win_rate"].value) == (1.0, 0.5)
    words = (len(SHORT.split()), len(LONG.split()))
    assert (ours["length_words"].value, theirs["length_words"].value) == words
