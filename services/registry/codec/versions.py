"""Versions and rollouts <-> protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.registry.app.proving import Proof
from services.registry.codec.answers import encode_answers
from services.registry.domain.decisions import better_at, log_e_promote, step_of
from services.registry.domain.groups import said
from services.registry.domain.rollouts import Rollout, RolloutRules, dissatisfaction
from services.registry.domain.versions import Change, Registration, State, Version
from shared.contracts.estimates import encode_estimate
from shared.contracts.people import encode_composition, encode_interests
from shared.gen.trimtab.registry.v1 import proofs_pb2, steps_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.groups import Reach
from shared.language.identifiers import parse_name
from shared.language.policies import PolicyKey, check_policy_id


def encode_version(version: Version) -> pb.ModelVersion:
    encoded = pb.ModelVersion(
        name=f"modelVersions/{version.version}",
        version=version.version,
        served_name=version.served_name,
        state=_state(version.state),
        adapter_path=version.adapter_path,
        adapter_digest=version.adapter_digest,
        snapshot_digest=version.snapshot_digest,
        run=version.run,
        parent=version.parent,
        mlflow_version=version.mlflow_version,
        changes=[_encode_change(change) for change in version.changes],
        tenant=version.key.tenant,
        policy=version.key.policy,
        withdrawn=version.is_gone,
    )
    _write_composition(version, encoded)
    encoded.create_time.FromDatetime(version.create_time)
    return encoded


def encode_proof(proof: Proof) -> proofs_pb2.ReplicaProof:
    return proofs_pb2.ReplicaProof(
        replica=proof.replica,
        serves=proofs_pb2.Serves.Value(f"SERVES_{proof.serves.name}"),
        words=proof.words,
        from_trained=proof.from_trained,
        from_base=proof.from_base,
    )


def encode_rollout(
    rollout: Rollout, champion: Version, canary: Version | None, deployment: RolloutRules
) -> pb.Rollout:
    """`deployment`: the rules of a rollout that does not have its own."""
    encoded = pb.Rollout(
        revision=rollout.revision,
        champion=encode_version(champion),
        canary_share=rollout.canary_share,
        log_e_better=rollout.test.log_e_better,
        log_e_worse=rollout.test.log_e_worse,
        log_threshold=better_at(rollout, rollout.rules or deployment),
        words=rollout.words,
        tenant=rollout.key.tenant,
        policy=rollout.key.policy,
        interests=encode_interests(rollout.interests),
        groups=_encode_groups(rollout, deployment),
        left_out=[
            proofs_pb2.LeftOut(replica=o.replica, served_name=o.served_name, words=o.words)
            for o in rollout.left_out
        ],
    )
    encoded.update_time.FromDatetime(rollout.update_time)
    # After a rollout the champion may not be the one that was compared; `words` says which were.
    if canary:
        encoded.canary.CopyFrom(encode_version(canary))
        encoded.step.CopyFrom(_encode_step(rollout, rollout.rules or deployment))
        encoded.answers.extend(encode_answers(rollout, rollout.rules or deployment))
        encoded.canary_dissatisfaction.CopyFrom(encode_estimate(rollout.on_canary))
        encoded.champion_dissatisfaction.CopyFrom(encode_estimate(rollout.on_champion))
    return encoded


def _encode_step(rollout: Rollout, rules: RolloutRules) -> steps_pb2.Step:
    step = step_of(rollout, rules)
    return steps_pb2.Step(
        number=rollout.step + 1,
        count=len(rules.all_steps),
        users=step.users,
        heard=rollout.heard,
        shadow=rollout.is_shadow,
        max_s=step.max_s,
        held=rollout.is_held,
        promote_when=rules.promote_when,
        log_e_promote=log_e_promote(rollout.test, rules),
    )


def _write_composition(version: Version, into: pb.ModelVersion) -> None:
    if version.composition:
        into.composition.CopyFrom(encode_composition(version.composition))


def _encode_groups(rollout: Rollout, deployment: RolloutRules) -> Iterator[pb.GroupEvidence]:
    """The largest first."""
    alpha = (rollout.rules or deployment).alpha
    placed = sorted(enumerate(rollout.groups), key=lambda found: (-found[1].users, found[0]))
    for place, one in placed:
        yield pb.GroupEvidence(
            group=one.name,
            canary_dissatisfaction=encode_estimate(dissatisfaction(one.test.canary, one.name)),
            champion_dissatisfaction=encode_estimate(dissatisfaction(one.test.champion, one.name)),
            log_e_not_worse=one.test.log_e_not_worse,
            log_e_worse=one.test.log_e_worse,
            verdict=one.verdict(place, alpha),
            words=said(one),
        )


def encode_served(
    key: PolicyKey, rollout: pb.Rollout | None, askable: Iterable[Version] = ()
) -> pb.Served:
    """Without a rollout: the policy was deleted. All policies go into one message, so that their versions are
    only named."""
    served = pb.Served(tenant=key.tenant, policy=key.policy)
    for one in askable:
        named = served.askable.add(
            version=one.version, served_name=one.served_name, state=_state(one.state)
        )
        _write_composition(one, named)
    if rollout is not None:
        served.rollout.CopyFrom(rollout)
    return served


def decode_registration(request: pb.RegisterVersionRequest, tenant: str) -> Registration:
    return Registration(
        key=decode_key(tenant, request.policy),
        request_id=request.request_id,
        adapter_path=request.adapter_path,
        snapshot_digest=request.snapshot_digest,
        run=request.run,
        parent=decode_version_id(request.parent) if request.parent else "",
        control=request.control,
        tags=dict(request.tags),
    )


def decode_reach(request: pb.StartRolloutRequest) -> Reach:
    """InvalidArgument if spared groups are spared nothing, or are to get it, too."""
    reach = Reach(
        tuple(dict.fromkeys(request.only_groups)), tuple(dict.fromkeys(request.spared_groups))
    )
    if reach.spared and not reach.groups:
        raise InvalidArgument(
            "spared_groups are of those in only_groups; name these, too", field="spared_groups"
        )
    if both := set(reach.groups) & set(reach.spared):
        raise InvalidArgument(
            f"{', '.join(sorted(both))}: in only_groups and in spared_groups", field="spared_groups"
        )
    return reach


def decode_key(tenant: str, policy: str) -> PolicyKey:
    return PolicyKey(tenant, check_policy_id(policy))


def decode_version_id(name: str) -> str:
    """Takes `modelVersions/assistant-v3` and `assistant-v3`."""
    return parse_name(name, "modelVersions/*" if "/" in name else "*")[0]


def _encode_change(change: Change) -> pb.StateChange:
    encoded = pb.StateChange(state=_state(change.state), actor=change.actor, reason=change.reason)
    encoded.time.FromDatetime(change.time)
    return encoded


def _state(state: State) -> pb.VersionState.ValueType:
    return pb.VersionState.Value(f"VERSION_STATE_{state.name}")
