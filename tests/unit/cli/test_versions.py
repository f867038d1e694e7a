"""What a version comes from, and how two of them compare."""

from __future__ import annotations

from typing import Any

from shared.language.errors import NotFound

VERSIONS: dict[str, dict[str, Any]] = {
    "assistant-v3": {"parent": "assistant-v1", "run": "runs/run-3", "state": 4},
    "assistant-v1": {"parent": "assistant-v0", "run": "run-1", "state": 5},
    "assistant-v0": {"state": 5},
}
TYPE = "type.googleapis.com/trimtab.evaluation.v1"


def get_version(request: dict[str, Any]) -> dict[str, Any]:
    name = request["name"].removeprefix("modelVersions/")
    if name not in VERSIONS:
        raise NotFound(f"there is no version {name!r}", field="version")
    served = {"version": name, "served_name": f"served-{name}", "adapter_path": f"at/{name}"}
    return {"version": {**served, **VERSIONS[name]}}


def get_run(request: dict[str, Any]) -> dict[str, Any]:
    if request["name"] != "runs/run-3":
        raise NotFound("there is no such run")
    effects = ["hurt: people who prefer longer: 10%", "helped: people who prefer shorter: 90%"]
    return {"run": {"name": "runs/run-3", "verdict": "failed", "effects": effects}}


def test_a_lineage_goes_back_to_the_base_model(trimtab: Any) -> None:
    answers = {"GetVersion": get_version, "GetRun": get_run}
    ran = trimtab("models", "lineage", "assistant-v3", answers=answers)
    assert ran.out.splitlines() == [
        "assistant-v3  champion, trained by runs/run-3, whose verdict was failed",
        "  hurt: people who prefer longer: 10%",
        "  helped: people who prefer shorter: 90%",
        "  from",
        "assistant-v1  retired, trained by run-1",
        "  the run is no longer kept",
        "  from",
        "assistant-v0  retired, not trained here",
    ]
    line = trimtab("models", "lineage", "assistant-v3", "--json", answers=answers).json["lineage"]
    assert [one["version"] for one in line] == list(VERSIONS)
    assert [bool(one["trained_by"]) for one in line] == [True, False, False]
    assert trimtab("models", "lineage", "assistant-v9", answers=answers).code == 3


def estimate(name: str, value: float, group: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "count": 60,
        "users": 40,
        "group": group,
    }


def compared(trimtab: Any, value: float, *options: str) -> Any:
    """Over an operation that is under way when it is first asked for."""
    done = {
        "name": "operations/1",
        "done": True,
        "response": {
            "@type": f"{TYPE}.EvaluateResponse",
            "evaluation": {
                "model_version": "assistant-v3",
                "champion_version": "assistant-v1",
                "estimates": [
                    estimate("length_words", 40.0),
                    estimate("length_words@assistant-v1", 88.0),
                    estimate("win_rate", value),
                    estimate("win_rate", 0.2, "longer"),
                ],
            },
        },
    }
    under_way = {
        "name": "operations/1",
        "metadata": {"@type": f"{TYPE}.EvaluateMetadata", "step": "form", "progress": 0.25},
    }
    answers = iter([under_way, under_way, done])
    return trimtab(
        "models",
        "compare",
        "assistant-v3",
        "assistant-v1",
        *options,
        answers={
            "GetVersion": get_version,
            "Evaluate": {"name": "operations/1"},
            "GetOperation": lambda _: next(answers),
        },
    )


def test_two_versions_answer_the_same_questions(trimtab: Any) -> None:
    ran = compared(trimtab, 0.7)
    assert ran.err.splitlines() == ["0%", "25% form"]
    lines = [line.split("  ") for line in ran.out.splitlines()]
    assert [line[0].strip() for line in lines] == [
        "figure",
        "win_rate",
        "win_rate of longer",
        "length_words",
        "The answers of assistant-v3 are preferred over all requests.",
    ]
    assert "40 [40, 40] of 60 from 40 users" in ran.out
    assert "88 [88, 88] of 60 from 40 users" in ran.out
    (request,) = [sent for _, method, sent in ran.platform.asked if method == "Evaluate"]
    assert request.pop("request_id").startswith("compare-")
    assert request == {
        "model_version": "assistant-v3",
        "served_name": "served-assistant-v3",
        "adapter_path": "at/assistant-v3",
        "champion_version": "assistant-v1",
        "champion_served_name": "served-assistant-v1",
        "champion_adapter_path": "at/assistant-v1",
        "suites": ["win_rate", "form", "sycophancy", "over_refusal"],
    }


def test_what_is_not_shown_is_not_said(trimtab: Any) -> None:
    assert "No difference is shown over all requests." in compared(trimtab, 0.52).out
    assert "The answers of assistant-v1 are preferred" in compared(trimtab, 0.3).out
    ran = compared(trimtab, 0.7, "--json")
    assert (ran.err, len(ran.json["estimates"])) == ("", 4)


def test_a_comparison_that_fails_says_why(trimtab: Any) -> None:
    failed = {"name": "operations/1", "done": True, "error": {"code": 9, "message": "not served"}}
    answers = {"GetVersion": get_version, "Evaluate": failed}
    ran = trimtab("models", "compare", "assistant-v3", "assistant-v1", answers=answers)
    assert ran.code == 1
    assert "the evaluation failed: not served" in ran.err
    same = trimtab("models", "compare", "assistant-v1", "assistant-v1", answers=answers)
    assert same.code == 2
    assert "assistant-v1 is the same version: name another" in same.err


def test_a_version_that_is_withdrawn_is_to_be_put_back_first(trimtab: Any) -> None:
    def withdrawn(request: dict[str, Any]) -> dict[str, Any]:
        found = get_version(request)["version"]
        return {"version": {**found, "withdrawn": found["version"] == "assistant-v1"}}

    ran = trimtab(
        "models", "compare", "assistant-v3", "assistant-v1", answers={"GetVersion": withdrawn}
    )
    assert (ran.code, ran.out) == (1, "")
    assert (
        "assistant-v1 is withdrawn" in ran.err and "trimtab models restore assistant-v1" in ran.err
    )
