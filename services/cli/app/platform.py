"""Queries the services: their health, counts and lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.cli.domain import Json
from services.cli.ports import Platform, Probe
from shared.language.errors import NotFound, TrimtabError, Unavailable

SERVICES = ("interaction", "feedback", "reward", "evaluation", "drift", "retrain", "registry")
_MOST_POLICIES = 100
PROBED = ("gateway", "dashboard", "kafka", "mlflow", "vllm")


@dataclass(frozen=True, slots=True)
class Health:
    name: str
    up: bool
    detail: str = ""


def health(platform: Platform, probe: Probe) -> list[Health]:
    """Every service, and every part below them; all are asked at the same time."""

    def service(name: str) -> Health:
        try:
            answer = platform.call(name, "Check", {}, 3.0)
        except TrimtabError as error:
            return Health(name, False, error.message)
        return Health(name, answer["status"] == "SERVING", answer["status"].lower())

    def part(name: str) -> Health:
        found = probe.trouble(name)
        return Health(name, not found, found)

    with ThreadPoolExecutor(len(SERVICES) + len(PROBED)) as pool:
        return [*pool.map(service, SERVICES), *pool.map(part, PROBED)]


def stage_counts(platform: Platform, up: Sequence[str]) -> tuple[list[Json], list[Json]]:
    """(counts of every stage, lag by service and topic) of the services that are available."""
    with ThreadPoolExecutor(max(len(up), 1)) as pool:
        answers = list(pool.map(lambda name: _counts_of(platform, name), up))
    counts, lags = [], []
    for name, answer in zip(up, answers, strict=True):
        counts += [{"service": name, **count} for count in answer.get("counts", ())]
        lag = answer.get("lag", {})
        lags += [{"service": name, "topic": topic, "lag": lag[topic]} for topic in sorted(lag)]
    return counts, lags


def _counts_of(platform: Platform, name: str) -> Json:
    try:
        return platform.call(name, "GetStageCounts", {})
    except Unavailable:
        return {}  # it became unavailable just now; the next `status` says so in its health line


def rollout(platform: Platform) -> Json | None:
    """None if the registry is unavailable or has no champion."""
    try:
        return platform.call("registry", "GetRollout", {}).get("rollout")
    except (Unavailable, NotFound):
        return None


def run_name(run: str) -> str:
    return run if "/" in run else f"runs/{run}"


def run_of(platform: Platform, run: str) -> Json:
    found: Json = platform.call("retrain", "GetRun", {"name": run_name(run)})["run"]
    return found


def policies(platform: Platform) -> list[Json]:
    """The tenant's; none if the registry is unavailable."""
    try:
        return listed(platform, "registry", "ListPolicies", "policies", {}, _MOST_POLICIES)
    except Unavailable:
        return []


def listed(
    platform: Platform,
    part: str,
    method: str,
    field: str,
    request: Json,
    limit: int,
    keep: Callable[[Json], bool] = lambda _: True,
) -> list[Json]:
    """Up to `limit` items of those to `keep`, page by page."""
    items: list[Json] = told_of(platform, part, method, field, request, limit, keep)[field]
    return items


def told_of(
    platform: Platform,
    part: str,
    method: str,
    field: str,
    request: Json,
    limit: int,
    keep: Callable[[Json], bool] = lambda _: True,
) -> Json:
    """The first page's answer, with up to `limit` items of all pages in `field`, and the last page's token."""
    told: Json = {}
    items: list[Json] = []
    token = ""
    while len(items) < limit:
        page = {**request, "page_size": min(limit - len(items), 500), "page_token": token}
        answer = platform.call(part, method, page)
        told = told or answer
        items += filter(keep, answer[field])
        token = answer.get("next_page_token", "")
        if not token:
            break
    return {**told, field: items[:limit], "next_page_token": token}
