"""The commands that the chart's README and notes give, on the real node; the last one deletes everything."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest

from infra.kubernetes.real_cluster import RealCluster
from infra.local.ports import free_ports
from tests.chart.on_the_node import NAMESPACE, in_a_shell, left_of, of_the_readme
from tests.polling import until

pytestmark = [pytest.mark.real_node, pytest.mark.platform, pytest.mark.timeout(3600)]

CLAIMS = "trimtab-adapters trimtab-training trimtab-archive"
TRIAL_CLAIMS = "data-trimtab-kafka-0 data-trimtab-postgresql-0 data-trimtab-mlflow-0"


def test_secrets_of_ones_own_have_the_keys_that_services_read(platform: RealCluster) -> None:
    named = ("create namespace trimtab", "--namespace trimtab create secret generic trimtab-secrets",
             "--namespace trimtab create secret generic trimtab-postgresql")  # fmt: skip
    commands = "\n".join(of_the_readme(f"kubectl {one}") for one in named)
    in_a_shell(platform, commands.replace("namespace trimtab", "namespace own"))
    mine = platform.get("secret", "trimtab-secrets", "own")["data"]
    of_a_trial = platform.get("secret", "trimtab-secrets", NAMESPACE)["data"]
    assert set(mine) == set(of_a_trial) - {"api-key"}
    (tenant,) = json.loads(base64.b64decode(mine["gateway-keys"])).values()
    assert tenant == "local"
    passwords = [platform.get("secret", "trimtab-postgresql", one) for one in ("own", NAMESPACE)]
    assert set(passwords[0]["data"]) == set(passwords[1]["data"]) == {"password"}


def test_the_notes_lead_to_an_answer_and_to_the_page(platform: RealCluster) -> None:
    told = platform.helm("status", "trimtab", "--namespace", NAMESPACE)
    _, chat = told.split("Then chat through it:")
    chat, page = chat.split("The page for whoever is on call:")
    gateway, dashboard = free_ports(2)
    chat = chat.replace("8080:8080", f"{gateway}:8080").replace("1:8080", f"1:{gateway}")
    forwarded, asked = chat.split("&\n", 1)
    answer = in_a_shell(platform, _while_forwarding(forwarded, gateway, asked))
    assert json.loads(answer.splitlines()[-1])["choices"][0]["message"]["content"]
    forwarded = page.strip().splitlines()[0].replace("8090:8090", f"{dashboard}:8090")
    seen = f"curl -sS --max-time 60 http://127.0.0.1:{dashboard}/"
    assert "<html" in in_a_shell(platform, _while_forwarding(forwarded, dashboard, seen))


def test_an_uninstall_leaves_what_it_says_and_that_can_be_deleted(platform: RealCluster) -> None:
    in_a_shell(platform, of_the_readme("helm uninstall trimtab") + " --wait")
    kept = {f"persistentvolumeclaim/{one}" for one in f"{CLAIMS} {TRIAL_CLAIMS}".split()}
    kept |= {"secret/trimtab-secrets", "secret/trimtab-postgresql"}
    assert _left_at_last(platform, kept) == kept
    in_a_shell(platform, of_the_readme("kubectl --namespace trimtab delete pvc,secret"))
    assert _left_at_last(platform, set()) == set()


def _left_at_last(platform: RealCluster, wanted: set[str]) -> set[str]:
    """What is left of the release once it is no more than `wanted`, or after two minutes."""
    with suppress(AssertionError):
        until(lambda: _left(platform) == wanted, "the end of the rest", 120)
    return _left(platform)


def _left(platform: RealCluster) -> set[str]:
    """Without what Kubernetes itself keeps of things for a while, and the pods of `helm test`."""
    return {one for one in left_of(platform) if not one.startswith(("event", "pod/trimtab-test"))}


def _while_forwarding(forwarded: str, port: int, commands: str) -> str:
    ready = f"until (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.2; done"
    begun = f"{forwarded.strip()} >/dev/null 2>&1 &"
    return "\n".join([begun, "trap 'kill $(jobs -p)' EXIT", ready, commands])
