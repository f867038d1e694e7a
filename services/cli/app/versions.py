"""What a version comes from, and how two of them compare."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from services.cli.app.platform import run_of
from services.cli.domain import Json
from services.cli.ports import Platform
from shared.language.errors import FailedPrecondition, Internal, InvalidArgument, NotFound

# A policy's versions follow one another; no line of them is longer.
_MOST = 1_000
# Those of the evaluation that need no held-out pairs of a run.
_SUITES = ("win_rate", "form", "sycophancy", "over_refusal")


def version_of(platform: Platform, version: str) -> Json:
    name = version if "/" in version else f"modelVersions/{version}"
    found: Json = platform.call("registry", "GetVersion", {"name": name})["version"]
    return found


def lineage(platform: Platform, version: str) -> list[Json]:
    """The version, then what it was trained from, back to the base model; each with its `trained_by`, the run,
    or null if there is none, or none any more."""
    line: list[Json] = []
    while version and len(line) < _MOST:
        found = version_of(platform, version)
        line.append({**found, "trained_by": _run(platform, found["run"])})
        version = found["parent"]
    return line


def _run(platform: Platform, run: str) -> Json | None:
    try:
        return run_of(platform, run) if run else None
    except NotFound:
        return None


def compare(
    platform: Platform,
    version: str,
    other: str,
    progress: Callable[[str], None],
    wait: Callable[[float], None],
) -> Json:
    """The evaluation of `version` with `other` as its champion. `progress` gets words."""
    ours, theirs = version_of(platform, version), version_of(platform, other)
    if ours["version"] == theirs["version"]:
        raise InvalidArgument(f"{other} is the same version: name another", field="other")
    for one in (ours, theirs):
        if one.get("withdrawn"):
            name = one["version"]
            raise FailedPrecondition(
                f"{name} is withdrawn, no replica serves it: trimtab models restore {name} --reason ..."
                " puts it back (with --override-gate, if the gate rejected it)",
                reason="VERSION_WITHDRAWN",
            )
    request = {
        "request_id": f"compare-{uuid.uuid4().hex[:12]}",
        "model_version": ours["version"],
        "served_name": ours["served_name"],
        "adapter_path": ours["adapter_path"],
        "champion_version": theirs["version"],
        "champion_served_name": theirs["served_name"],
        "champion_adapter_path": theirs["adapter_path"],
        "suites": list(_SUITES),
    }
    if theirs.get("composition"):
        request["champion_composition"] = theirs["composition"]
    operation, said = platform.call("evaluation", "Evaluate", request), ""
    while not operation.get("done"):
        told = operation.get("metadata") or {}
        words = f"{float(told.get('progress', 0)):.0%} {told.get('step', '')}".strip()
        if words != said:
            progress(words)
        said = words
        wait(1.0)
        operation = platform.call("evaluation", "GetOperation", {"name": operation["name"]})
    if error := operation.get("error"):
        raise Internal(f"the evaluation failed: {error['message']}")
    evaluation: Json = operation["response"]["evaluation"]
    return evaluation
