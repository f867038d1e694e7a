"""The retrain service, over gRPC."""

from __future__ import annotations

import grpc

from shared.calls.client import metadata, translated
from shared.gen.trimtab.retrain.v1 import retrain_pb2 as pb
from shared.gen.trimtab.retrain.v1.retrain_pb2_grpc import RetrainServiceStub
from shared.language.policies import PolicyKey

_TIMEOUT_S = 10.0


class RetrainRuns:
    """The Runs port. Raises what retrain raises; Unavailable if it cannot be reached."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = RetrainServiceStub(channel)

    def under_way(self, key: PolicyKey) -> str:
        request = pb.ListRunsRequest(page_size=1, policy=key.policy, under_way=True)
        with translated("retrain"):
            headers = tuple(metadata(key.tenant))
            found = self._stub.ListRuns(request, metadata=headers, timeout=_TIMEOUT_S)
        return found.runs[0].name if found.runs else ""
