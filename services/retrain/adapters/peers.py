"""The evaluation and registry services, over gRPC."""

from __future__ import annotations

from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from services.retrain.codec import decode_example, encode_contest
from services.retrain.domain.effects import named
from services.retrain.domain.runs import Run
from services.retrain.ports import Candidate, Contest, Evaluated, Waiting
from shared.calls.client import metadata, translated
from shared.contracts.estimates import decode_estimate
from shared.contracts.people import decode_composition
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2, evaluation_pb2_grpc
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc
from shared.language.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    TrimtabError,
    from_code,
)
from shared.language.groups import Composition
from shared.language.policies import PolicyKey

_ACTOR = "retrain"
_TIMEOUT_S = 30.0
# Registration waits for one token from each replica.
_REGISTER_TIMEOUT_S = 180.0


class GrpcEvaluator:
    """Starts an evaluation once per contest and process; the evaluation service recognises a repeated
    request.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._evaluation = evaluation_pb2_grpc.EvaluationServiceStub(channel)
        self._operations = operations_pb2_grpc.OperationsStub(channel)
        self._begun: dict[str, str] = {}

    def evaluate(self, contest: Contest) -> Evaluated:
        operation = self._operation(contest)
        if not operation.done:
            self._begun[contest.request_id] = operation.name
            state = evaluation_pb2.EvaluateMetadata()
            operation.metadata.Unpack(state)
            raise Waiting(state.progress, f"evaluating: {state.step or 'starting'}")
        self._begun.pop(contest.request_id, None)
        if operation.HasField("error"):
            raise _failure(operation.error)
        response = evaluation_pb2.EvaluateResponse()
        operation.response.Unpack(response)
        found = response.evaluation
        return Evaluated(
            tuple(decode_estimate(estimate) for estimate in found.estimates),
            tuple(decode_example(example) for example in found.examples),
        )

    def _operation(self, contest: Contest) -> operations_pb2.Operation:
        name = self._begun.get(contest.request_id)
        with translated("evaluation"):
            if name:
                found: operations_pb2.Operation = self._operations.GetOperation(
                    operations_pb2.GetOperationRequest(name=name),
                    timeout=_TIMEOUT_S,
                    metadata=tuple(metadata(contest.tenant)),
                )
                return found
            begun: operations_pb2.Operation = self._evaluation.Evaluate(
                encode_contest(contest),
                timeout=_TIMEOUT_S,
                metadata=tuple(metadata(contest.tenant)),
            )
            return begun


class GrpcRegistry:
    """Every call is made in the tenant of the policy or run that it is about."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)

    def _ask(self, call: Any, tenant: str, request: Any, timeout_s: float = _TIMEOUT_S) -> Any:
        with translated("registry"):
            return call(request, timeout=timeout_s, metadata=tuple(metadata(tenant)))

    def champion(self, key: PolicyKey) -> Candidate:
        request = pb.GetRolloutRequest(policy=key.policy)
        return _candidate(self._ask(self._stub.GetRollout, key.tenant, request).rollout.champion)

    def champions(self, key: PolicyKey, most: int) -> list[Candidate]:
        request = pb.GetRolloutRequest(policy=key.policy, former=most - 1)
        found = self._ask(self._stub.GetRollout, key.tenant, request)
        return [_candidate(one) for one in (found.rollout.champion, *found.former)][:most]

    def settled(self, run: Run) -> tuple[Composition, str] | None:
        """What answers whom for the run's policy, and the name that its version is served under; None while a
        canary is out."""
        request = pb.GetRolloutRequest(policy=run.policy)
        rollout = self._ask(self._stub.GetRollout, run.tenant, request).rollout
        if rollout.HasField("canary"):
            return None
        champion, own = _candidate(rollout.champion), self.version(run.tenant, run.model_version)
        return champion.serves, own.served_name

    def register(self, request_id: str, adapter_path: str, run: Run, control: bool) -> Candidate:
        request = pb.RegisterVersionRequest(
            request_id=request_id,
            policy=run.policy,
            adapter_path=adapter_path,
            snapshot_digest=run.snapshot.digest if run.snapshot else "",
            run=f"runs/{run.run}",
            parent=run.champion_version,
            control=control,
            tags={"mlflow_run_id": run.mlflow_run_id, "trigger": run.trigger.kind.value},
        )
        call = self._stub.RegisterVersion
        return _candidate(self._ask(call, run.tenant, request, _REGISTER_TIMEOUT_S).version)

    def version(self, tenant: str, version: str) -> Candidate:
        request = pb.GetVersionRequest(name=f"modelVersions/{version}")
        return _candidate(self._ask(self._stub.GetVersion, tenant, request).version)

    def start_rollout(self, run: Run, reason: str) -> None:
        request = pb.StartRolloutRequest(
            request_id=run.run,
            version=run.model_version,
            actor=_ACTOR,
            reason=reason,
            expected_groups=list(dict.fromkeys([*named(run.estimates), *run.only_groups])),
            only_groups=run.only_groups,
            spared_groups=run.spared_groups,
        )
        self._ask(self._stub.StartRollout, run.tenant, request)

    def reject(self, tenant: str, version: str, reason: str) -> None:
        """Rejecting again changes nothing. Raises FailedPrecondition (NO_SUCH_VERSION) for a version that
        does not exist."""
        request = pb.RejectVersionRequest(version=version, actor=_ACTOR, reason=reason)
        try:
            self._ask(self._stub.RejectVersion, tenant, request)
        except NotFound as error:
            if error.reason == "POLICY_NOT_FOUND":
                raise
            raise FailedPrecondition(error.message, reason="NO_SUCH_VERSION") from error


def _failure(status: Any) -> TrimtabError:
    """Why an evaluation ended without figures. Whatever it was, asking for the same one again gives the same
    end: it is never one of the errors that pass by themselves."""
    error = from_code(status.code, f"evaluation: {status.message}", "EVALUATION_FAILED")
    if isinstance(error, InvalidArgument):
        return error
    return Internal(error.message, reason=error.reason)


def _candidate(version: pb.ModelVersion) -> Candidate:
    return Candidate(
        version.version,
        version.served_name,
        version.adapter_path,
        decode_composition(version.composition),
        adapter_digest=version.adapter_digest,
    )
