"""Estimate <-> trimtab.common.v1.Estimate: the one codec."""

from __future__ import annotations

from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.estimates import Estimate


def encode_estimate(estimate: Estimate) -> pb.Estimate:
    return pb.Estimate(
        name=estimate.name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=estimate.confidence,
        count=estimate.count,
        users=estimate.users,
        suite=estimate.suite,
        method=estimate.method,
        group=estimate.group,
    )


def decode_estimate(estimate: pb.Estimate) -> Estimate:
    return Estimate(
        name=estimate.name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=estimate.confidence,
        count=estimate.count,
        users=estimate.users,
        suite=estimate.suite,
        method=estimate.method,
        group=estimate.group,
    )
