"""Retrain's calls of the registry, over gRPC, with a registry that notes who is asked for what."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from services.retrain.adapters.peers import GrpcRegistry
from services.retrain.adapters.policies import GrpcPolicies
from services.retrain.domain.policies import Policy
from services.retrain.domain.runs import Run, State, Trigger, TriggerKind
from shared.access.headers import TENANT
from shared.calls.client import channel
from shared.contracts.people import encode_composition
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc
from shared.language.errors import NotFound, Unavailable
from shared.language.groups import Composition, Layer, Reach
from shared.language.policies import PolicyKey
from tests.unit.retrain.pairs import START

SALES, ACME = PolicyKey("acme", "sales"), PolicyKey("acme")
RUN = Run(
    run="run-1",
    number=1,
    state=State.EVALUATE,
    trigger=Trigger(TriggerKind.PERSON, ""),
    create_time=START,
    update_time=START,
    tenant="acme",
    policy="sales",
    champion_version="sales-v2",
    model_version="sales-v3",
)


class Noting(registry_pb2_grpc.RegistryServiceServicer):
    """Two policies, a page each."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.has_canary = False
        self.composition = encode_composition(Composition("acme.sales-v2"))
        self.policies = {
            ACME.name: pb.Policy(name=ACME.name),
            SALES.name: pb.Policy(name=SALES.name, triggers=pb.Triggers(volume_pairs=0)),
        }

    def note(self, call: str, context: Any, about: str) -> None:
        told = dict(context.invocation_metadata())
        self.asked.append((call, told.get(TENANT, ""), about))

    def ListPolicies(self, request: Any, context: Any) -> Any:
        self.note("ListPolicies", context, str(request.all_tenants))
        place, names = int(request.page_token or 0), sorted(self.policies)
        more = str(place + 1) if place + 1 < len(names) else ""
        page = [self.policies[name] for name in names[place : place + 1]]
        return pb.ListPoliciesResponse(policies=page, next_page_token=more)

    def GetPolicy(self, request: Any, context: Any) -> Any:
        self.note("GetPolicy", context, request.name)
        if request.name not in self.policies:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such policy")
        return pb.GetPolicyResponse(policy=self.policies[request.name])

    def GetRollout(self, request: Any, context: Any) -> Any:
        self.note("GetRollout", context, f"{request.policy} {request.former}")
        champion = pb.ModelVersion(version="sales-v2", served_name="acme.sales-v2")
        champion.composition.CopyFrom(self.composition)
        former = [pb.ModelVersion(version="sales-v1", adapter_path="a/v1", adapter_digest="d1")]
        rollout = pb.Rollout(champion=champion)
        if self.has_canary:
            rollout.canary.version = "sales-v3"
        return pb.GetRolloutResponse(rollout=rollout, former=former[: request.former])

    def RegisterVersion(self, request: Any, context: Any) -> Any:
        self.note("RegisterVersion", context, f"{request.policy} {request.parent}")
        return pb.RegisterVersionResponse(version=pb.ModelVersion(version="sales-v3"))

    def GetVersion(self, request: Any, context: Any) -> Any:
        self.note("GetVersion", context, request.name)
        version = pb.ModelVersion(version="sales-v3", served_name="acme.sales-v3")
        return pb.GetVersionResponse(version=version)

    def StartRollout(self, request: Any, context: Any) -> Any:
        self.note("StartRollout", context, f"{request.request_id} {request.version}")
        return pb.StartRolloutResponse()

    def RejectVersion(self, request: Any, context: Any) -> Any:
        self.note("RejectVersion", context, request.version)
        return pb.RejectVersionResponse()


class Served:
    def __init__(self) -> None:
        self.noting, self.time = Noting(), 0.0  # type: ignore[abstract]
        self.server = grpc.server(ThreadPoolExecutor(2))
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self.noting, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = channel(f"127.0.0.1:{port}")
        self.registry = GrpcRegistry(self.channel)
        self.policies = GrpcPolicies(self.channel, ttl_s=3.0, clock=lambda: self.time)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.channel.close()
    made.server.stop(None)


def test_every_call_is_made_in_the_tenant_that_it_is_about(served: Served) -> None:
    registry = served.registry
    assert registry.champion(SALES).served_name == "acme.sales-v2"
    [now, before] = registry.champions(SALES, 2)
    assert now == registry.champions(SALES, 1)[0] == registry.champion(SALES)
    assert (before.version, before.adapter_path, before.adapter_digest) == (
        "sales-v1",
        "a/v1",
        "d1",
    )
    served.noting.asked = served.noting.asked[:2]
    registry.register("run-1/dpo", "adapters/x", RUN, control=False)
    registry.version("acme", "sales-v3")
    registry.start_rollout(RUN, "passed")
    registry.reject("acme", "sales-v4", "a control")
    assert served.noting.asked == [
        ("GetRollout", "acme", "sales 0"),
        ("GetRollout", "acme", "sales 1"),
        ("RegisterVersion", "acme", "sales sales-v2"),
        ("GetVersion", "acme", "modelVersions/sales-v3"),
        ("StartRollout", "acme", "run-1 sales-v3"),
        ("RejectVersion", "acme", "sales-v4"),
    ]


def test_who_is_answered_by_what_is_told_once_no_canary_is_out(served: Served) -> None:
    composed = Composition("base", (Layer("acme.sales-v3", Reach(("wants.form=list",))),))
    served.noting.composition = encode_composition(composed)
    assert served.registry.settled(RUN) == (composed, "acme.sales-v3")
    assert served.noting.asked == [
        ("GetRollout", "acme", "sales 0"),
        ("GetVersion", "acme", "modelVersions/sales-v3"),
    ]
    served.noting.has_canary = True
    assert served.registry.settled(RUN) is None


def test_all_policies_are_asked_for_every_few_seconds_and_kept_while_the_registry_is_away(
    served: Served,
) -> None:
    expected = {ACME: Policy(ACME), SALES: Policy(SALES, rules={"volume_pairs": 0})}
    assert served.policies.known() == served.policies.known() == expected
    assert served.noting.asked == [("ListPolicies", "", "True")] * 2
    del served.noting.policies[SALES.name]
    served.noting.policies["b"] = pb.Policy(name="no policy's name")
    served.time += 3.0
    assert served.policies.known() == {ACME: Policy(ACME)}
    served.server.stop(None).wait()
    served.time += 3.0
    assert served.policies.known() == {ACME: Policy(ACME)}


def test_a_policy_is_asked_for_by_itself_and_the_last_known_serves_while_the_registry_is_away(
    served: Served,
) -> None:
    assert served.policies.get(SALES).rules == {"volume_pairs": 0}
    with pytest.raises(NotFound):
        served.policies.get(PolicyKey("acme", "tax"))
    assert served.noting.asked[-1] == ("GetPolicy", "acme", "tenants/acme/policies/tax")
    served.policies.known()
    served.server.stop(None).wait()
    assert served.policies.get(SALES).rules == {"volume_pairs": 0}
    assert served.policies.get(PolicyKey("beta")) == Policy(PolicyKey("beta"))
    with pytest.raises(Unavailable):
        served.policies.get(PolicyKey("acme", "tax"))
