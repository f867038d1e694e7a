"""Adapters by name on the real vLLM: dropped in, served, and kept out of other answers."""

import asyncio
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from infra.local.settings import StackSettings
from infra.local.stack import LocalStack

Logprobs = list[float]
BESIDE = 3


def loud_adapter(settings: StackSettings, name: str) -> None:
    """A random adapter that turns every answer into noise, put in place with one rename."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(settings.base_model)
    targets = ["q_proj", "v_proj", "o_proj", "down_proj"]
    lora = LoraConfig(r=16, lora_alpha=128, target_modules=targets, init_lora_weights=False)
    fresh = settings.data / f"{name}.fresh"
    get_peft_model(model, lora).save_pretrained(str(fresh))
    fresh.rename(settings.adapters / name)


class Asker:
    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url, self._client = f"{url}/v1/chat/completions", client

    async def post(self, model: str, question: str) -> httpx.Response:
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "messages": messages, "max_tokens": 8}
        asked = body | {"temperature": 0, "logprobs": True}
        return await self._client.post(self._url, json=asked)

    async def logprobs(self, model: str, question: str) -> Logprobs:
        reply = (await self.post(model, question)).raise_for_status().json()
        return [one["logprob"] for one in reply["choices"][0]["logprobs"]["content"]]


@pytest.mark.timeout(600)
async def test_an_adapter_serves_by_name_and_leaves_the_base_alone(vllm_stack: LocalStack) -> None:
    stack = vllm_stack
    settings, base = stack.settings, stack.settings.models.base_name
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        asker = Asker(stack.env()["TRIMTAB_VLLM_URLS"], client)
        assert (await asker.post("loud-v1", "Hello")).status_code == httpx.codes.NOT_FOUND
        loud_adapter(settings, "loud-v1")
        assert (await asker.post("loud-v1", "Hello")).status_code == httpx.codes.OK

        question = "Tell me about cats"
        alone = await asker.logprobs(base, question)
        noise = await asker.logprobs("loud-v1", question)
        assert noise != pytest.approx(alone, abs=0.3)
        others = [asker.logprobs("loud-v1", f"Explain rain {n}") for n in range(BESIDE)]
        beside, *_ = await asyncio.gather(asker.logprobs(base, question), *others)
    # A batch of another size moves the logits a little; an adapter moves them by whole units.
    assert beside[:4] == pytest.approx(alone[:4], abs=0.3)


@pytest.mark.timeout(600)
async def test_a_prompts_log_probabilities_are_told_beside_more_requests_than_it_has_tokens(
    vllm_stack: LocalStack,
) -> None:
    """As a proof asks for them while users chat. Logits are computed of the prompt's rows, and of the sampled
    ones, which are others."""
    stack = vllm_stack
    if not (stack.settings.adapters / "loud-v2").exists():
        loud_adapter(stack.settings, "loud-v2")
    url = f"{stack.env()['TRIMTAB_VLLM_URLS']}/v1/completions"
    body = {"model": "loud-v2", "prompt": "Tell me about", "max_tokens": 1, "prompt_logprobs": 0}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        asker = Asker(stack.env()["TRIMTAB_VLLM_URLS"], client)
        alone = (await client.post(url, json=body)).raise_for_status().json()
        chats = asyncio.gather(*(asker.logprobs("loud-v2", f"Explain rain {n}") for n in range(24)))
        beside = await asyncio.gather(*(client.post(url, json=body) for _ in range(8)))
        await chats
    first = _told(alone)
    assert len(first) > 1
    for reply in beside:
        assert _told(reply.raise_for_status().json()) == pytest.approx(first, abs=0.5)


def _told(reply: dict[str, Any]) -> Logprobs:
    """Of the prompt's tokens, but for the first."""
    each = filter(None, reply["choices"][0]["prompt_logprobs"])
    return [next(iter(one.values()))["logprob"] for one in each]
