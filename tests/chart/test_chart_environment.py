"""Each service is told what it reads, under the names that its settings have, as in the local stack."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from infra.local.environment import OFFLINE, common, own
from infra.local.paths import REPO
from infra.local.programs import programs
from infra.local.settings import load
from shared.configuration.settings import CommonSettings
from shared.language.topics import USER_ERASURE_REQUESTED
from tests.chart.rendering import FILES, environment_of, of_kind, rendered
from tests.settings import SERVICES, settings_of, variables_of

# Where the local stack built its parts; the images bring those that are read.
LOCAL_ONLY = {"TRIMTAB_PARTS"}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_nothing_that_it_does_not_know(file: str, service: str) -> None:
    told = {name for name in environment_of(rendered(file), service) if name.startswith("TRIMTAB_")}
    others = {"TRIMTAB_DASHBOARD_URL"}  # the command line's
    assert told - others <= variables_of(CommonSettings) | variables_of(settings_of(service))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_all_that_the_local_stack_tells_it(tmp_path: Path, service: str) -> None:
    stack = load(tmp_path)
    local = common(stack) | own(stack, service) | OFFLINE
    if service == "gateway":
        local |= {"TRIMTAB_GATEWAY_KEYS": "", "TRIMTAB_GATEWAY_LINK_SECRET": ""}
    known = variables_of(CommonSettings) | variables_of(settings_of(service)) | set(OFFLINE)
    read = {name for name in local if name in known} - LOCAL_ONLY
    # Not those that only some read: who opens the event log, who asks engines.
    if service == "dashboard":
        read.discard("TRIMTAB_KEYRING_URL")
    if service in ("interaction", "reward", "drift", "retrain", "dashboard"):
        read.discard("TRIMTAB_VLLM_URLS")
    assert read - set(environment_of(rendered("small"), service)) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_those_of_the_local_stack(tmp_path: Path, service: str) -> None:
    stack = load(tmp_path).services[service]
    ports = of_kind(rendered("small"), "Service")[service]["spec"]["ports"]
    assert sorted(one["port"] for one in ports) == sorted(stack.ports)
    environment = environment_of(rendered("small"), service)
    key = f"TRIMTAB_{service.upper()}"
    assert environment[f"{key}_PORT"] == str(stack.port)
    assert environment[f"{key}_METRICS_PORT"] == str(stack.metrics_port)


def test_services_are_told_where_each_other_is() -> None:
    environment = environment_of(rendered("small"), "dashboard")
    assert environment["TRIMTAB_REGISTRY_ADDRESS"] == "trial-trimtab-registry:21007"
    assert environment["TRIMTAB_GATEWAY_URL"] == "http://trial-trimtab-gateway:8080"
    services = of_kind(rendered("small"), "Service")
    addresses = {
        value.rpartition("//")[2].partition(":")[0]
        for name, value in environment.items()
        if re.fullmatch(r"TRIMTAB_[A-Z]+_(ADDRESS|URL)", name) and "VLLM" not in name
    }
    assert {one.removeprefix("trial-trimtab-") for one in addresses} <= set(services)


def test_every_replica_of_vllm_has_an_address_of_its_own() -> None:
    environment = environment_of(rendered("several-nodes"), "registry")
    assert environment["TRIMTAB_VLLM_URLS"].split(",") == [
        f"http://trial-trimtab-vllm-base-{number}.trial-trimtab-vllm-base.trials.svc:8000"
        for number in range(3)
    ]


def test_a_router_gets_chats_and_the_registry_asks_the_replicas() -> None:
    pool = ("vllm.inferencePool.enabled=true", "vllm.inferencePool.picker.name=picker")
    objects = rendered("one-gpu", *pool, "vllm.inferencePool.url=http://router:80")
    assert environment_of(objects, "gateway")["TRIMTAB_VLLM_URLS"] == "http://router:80"
    assert "vllm-base-0" in environment_of(objects, "registry")["TRIMTAB_VLLM_URLS"]
    pool_made = of_kind(objects, "InferencePool")["vllm"]
    pods = of_kind(objects, "StatefulSet")["vllm-base"]["spec"]["template"]["metadata"]["labels"]
    assert pool_made["spec"]["selector"]["matchLabels"].items() <= pods.items()


def flags(words: list[str]) -> dict[str, str]:
    """`--a b` and `--a=b` alike; a flag without a value has none."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found[name] = value
        elif name:
            found[name] = word
    return found


ONLY_CPU = {"--enforce-eager", "--distributed-executor-backend", "--block-size"}


@pytest.mark.parametrize(("file", "only_cpu"), [("small", set()), ("one-gpu", ONLY_CPU)])
def test_vllm_gets_the_local_stacks_flags(tmp_path: Path, file: str, only_cpu: set[str]) -> None:
    local = flags(list(programs(load(tmp_path))["vllm"].command))
    pod = of_kind(rendered(file), "StatefulSet")["vllm-base"]["spec"]["template"]["spec"]
    here = flags(pod["containers"][0]["args"])
    assert set(local) - only_cpu <= set(here)
    assert not only_cpu & set(here)
    assert here["--model"] == environment_of(rendered(file), "registry")["TRIMTAB_BASE_MODEL"]


def test_vllm_gets_the_local_stacks_environment(tmp_path: Path) -> None:
    local = {
        name: value
        for name, value in programs(load(tmp_path))["vllm"].environment.items()
        if name.startswith("VLLM")
    }
    pod = of_kind(rendered("small"), "StatefulSet")["vllm-base"]["spec"]["template"]["spec"]
    here = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    moved = "VLLM_LORA_RESOLVER_CACHE_DIR"
    assert {name: here.get(name) for name in local} == local | {moved: "/adapters"}
    gpu = of_kind(rendered("one-gpu"), "StatefulSet")["vllm-base"]["spec"]["template"]["spec"]
    told = {one["name"]: one["value"] for one in gpu["containers"][0]["env"]}
    assert told["VLLM_PLUGINS"] == "lora_filesystem_resolver"
    assert not [name for name in told if "CPU" in name or name == "VLLM_TARGET_DEVICE"]


def groups_in_code() -> dict[str, dict[str, tuple[str, ...]]]:
    """The consumer groups of each service, and what each reads. Those of erasures stand in no table."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for file in sorted((REPO / "services").rglob("stages.py")):
        module = import_module(".".join(file.relative_to(REPO).with_suffix("").parts))
        service = file.relative_to(REPO / "services").parts[0]
        for group, topics in getattr(module, "GROUPS", {}).items():
            found.setdefault(service, {})[group] = tuple(topics)
        if service == "interaction" and hasattr(module, "ANNOTATED"):
            found[service][module.STAGE] = ("interaction.logged.v1",)
            found[service][module.ANNOTATIONS] = tuple(module.ANNOTATED)
    for service in ("gateway", "evaluation", *found):
        if service != "registry":
            erasures = {f"{service}.erasures": (USER_ERASURE_REQUESTED,)}
            found[service] = found.get(service, {}) | erasures
    return found


def test_workers_follow_the_lag_of_their_own_groups() -> None:
    scaled = of_kind(rendered("several-nodes"), "ScaledObject")
    assert set(scaled) == {"interaction", "feedback", "reward", "drift"}
    code = groups_in_code()
    for service, one in scaled.items():
        asked: dict[str, set[str]] = {}
        for trigger in one["spec"]["triggers"]:
            asked.setdefault(trigger["metadata"]["consumerGroup"], set()).add(
                trigger["metadata"]["topic"]
            )
        assert asked == {group: set(topics) for group, topics in code[service].items()}
