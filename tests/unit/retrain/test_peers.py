"""What the end of an evaluation means to a run."""

from __future__ import annotations

import grpc
import pytest
from google.longrunning import operations_pb2

from services.retrain.adapters.peers import GrpcEvaluator
from services.retrain.app.runner import PASSING, is_final
from services.retrain.ports import Candidate, Contest, Evaluated, Waiting
from shared.contracts.estimates import encode_estimate
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.language.errors import Internal, InvalidArgument
from shared.language.estimates import Estimate
from shared.language.examples import Example

ONE = Candidate("assistant-v1", "assistant-v1", "adapters/assistant-v1")
CONTEST = Contest("local", "run-1", ONE, ONE, (), (), 0.975)


def evaluator(
    monkeypatch: pytest.MonkeyPatch, operation: operations_pb2.Operation
) -> GrpcEvaluator:
    found = GrpcEvaluator(grpc.insecure_channel("127.0.0.1:9"))
    monkeypatch.setattr(found, "_operation", lambda contest: operation)
    return found


def test_an_evaluation_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = operations_pb2.Operation(name="operations/evaluate-1")
    operation.metadata.Pack(pb.EvaluateMetadata(step="form", progress=0.6))
    with pytest.raises(Waiting) as waiting:
        evaluator(monkeypatch, operation).evaluate(CONTEST)
    assert (waiting.value.progress, waiting.value.words) == (0.6, "evaluating: form")


def test_figures_come_as_they_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = Estimate("win_rate", 0.6, 0.5, 0.7, 0.975, 63, 20, "win_rate", "wilson")
    operation = operations_pb2.Operation(done=True)
    example = Example("win_rate", "Why?", {"assistant-v0": "So.", "assistant-v1": "No."})
    said = [pb.ExampleAnswer(model_version=one, text=text) for one, text in example.answers.items()]
    evaluation = pb.Evaluation(
        estimates=[encode_estimate(estimate)],
        examples=[pb.Example(suite="win_rate", prompt="Why?", answers=said)],
    )
    operation.response.Pack(pb.EvaluateResponse(evaluation=evaluation))
    assert evaluator(monkeypatch, operation).evaluate(CONTEST) == Evaluated((estimate,), (example,))


@pytest.mark.parametrize("code", [4, 5, 7, 8, 9, 12, 13, 14, 16])
def test_a_failed_evaluation_is_tried_anew_and_never_waited_for(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A run that waited for the end of what has ended would wait for ever."""
    operation = operations_pb2.Operation(done=True)
    operation.error.code, operation.error.message = code, "why"
    with pytest.raises(Internal, match="evaluation: why") as raised:
        evaluator(monkeypatch, operation).evaluate(CONTEST)
    assert not isinstance(raised.value, PASSING)
    assert not is_final(raised.value)


def test_a_request_that_is_wrong_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = operations_pb2.Operation(done=True)
    operation.error.code, operation.error.message = 3, "no such suite"
    with pytest.raises(InvalidArgument) as raised:
        evaluator(monkeypatch, operation).evaluate(CONTEST)
    assert is_final(raised.value)
