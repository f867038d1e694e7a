"""Policies from the registry service, over gRPC."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

import grpc

from services.retrain.codec import decode_policy
from services.retrain.domain.policies import Policy
from shared.calls.client import metadata, translated
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc
from shared.language.attempts import sorted_out
from shared.language.errors import NotFound, TrimtabError
from shared.language.policies import ASSISTANT, PolicyKey

_log = logging.getLogger(__name__)
_TIMEOUT_S = 5.0
_PAGE = 200


class GrpcPolicies:
    """Asks for all policies at most every `ttl_s` seconds, also while the registry is unavailable."""

    def __init__(
        self, channel: grpc.Channel, ttl_s: float = 3.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)
        self._ttl_s, self._clock = ttl_s, clock
        self._known: dict[PolicyKey, Policy] = {}
        self._asked_at, self._is_away = -ttl_s, False
        self._lock = threading.Lock()

    def known(self) -> Mapping[PolicyKey, Policy]:
        with self._lock:
            if self._clock() - self._asked_at >= self._ttl_s:
                self._asked_at = self._clock()
                self._refresh()
            return self._known

    def get(self, key: PolicyKey) -> Policy:
        request = pb.GetPolicyRequest(name=key.name)
        try:
            with translated("registry"):
                found = self._stub.GetPolicy(
                    request, timeout=_TIMEOUT_S, metadata=tuple(metadata(key.tenant))
                )
        except NotFound:
            raise
        except TrimtabError as error:
            # The last known policy is better than no run.
            if key not in self._known and key.policy != ASSISTANT:
                raise
            _log.warning("%s is used as last known: %s", key.name, error)
            return self._known.get(key, Policy(key))
        return decode_policy(found.policy)

    def _refresh(self) -> None:
        try:
            found, refused = sorted_out(decode_policy, self._all())
            self._known = {policy.key: policy for _, policy in found}
            self._is_away = False
            for _, error in refused:
                _log.error("a policy from the registry is left out: %s", error)
        except TrimtabError as error:
            # A warning once, not every few seconds while it lasts.
            level = logging.DEBUG if self._is_away else logging.WARNING
            _log.log(level, "policies are used as last known: %s", error)
            self._is_away = True

    def _all(self) -> list[pb.Policy]:
        found: list[pb.Policy] = []
        request = pb.ListPoliciesRequest(page_size=_PAGE, all_tenants=True)
        while True:
            with translated("registry"):
                page = self._stub.ListPolicies(
                    request, timeout=_TIMEOUT_S, metadata=tuple(metadata())
                )
            found += page.policies
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token
