"""Adapters on the CPU, by values: each row its own adapter, and none for a row without."""

import pytest
import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from infra.vllm_cpu.lora import GroupedPunicaWrapper, add_delta, grouped

SLOTS, RANK, INPUTS, OUTPUTS = 2, 3, 5, 4


@pytest.fixture
def weights() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(SLOTS, 1, RANK, INPUTS, generator=generator)
    b = torch.randn(SLOTS, 1, OUTPUTS, RANK, generator=generator)
    return a, b


@pytest.mark.parametrize("slots", [[0, -1, 1, 0], [1, 1, 1, 1], [-1, -1, -1, -1], [-1, 1, -1, -1]])
def test_each_row_gets_its_own_adapter_and_no_other(
    slots: list[int], weights: tuple[torch.Tensor, torch.Tensor]
) -> None:
    a, b = weights
    x = torch.arange(4 * INPUTS, dtype=torch.float32).reshape(4, INPUTS) / 10
    y = torch.ones(4, OUTPUTS)
    add_delta(y, x, a, b, 2.0, grouped(torch.tensor(slots)))
    for row, slot in enumerate(slots):
        added = 2.0 * b[slot, 0] @ (a[slot, 0] @ x[row]) if slot >= 0 else torch.zeros(OUTPUTS)
        torch.testing.assert_close(y[row], 1.0 + added)


def test_a_view_of_some_columns_is_changed_in_place(
    weights: tuple[torch.Tensor, torch.Tensor],
) -> None:
    a, b = weights
    wide = torch.zeros(2, OUTPUTS + 2)
    x = torch.ones(2, INPUTS)
    add_delta(wide[:, 1:-1], x, a, b, 1.0, grouped(torch.tensor([1, -1])))
    torch.testing.assert_close(wide[0, 1:-1], b[1, 0] @ (a[1, 0] @ x[0]))
    assert wide[:, [0, -1]].abs().sum() == 0
    assert wide[1].abs().sum() == 0


def test_groups_leave_out_rows_without_an_adapter() -> None:
    found = {slot: rows.tolist() for slot, rows in grouped(torch.tensor([-1, 2, 0, 2]))}
    assert found == {0: [2], 2: [1, 3]}


def test_rows_of_a_prompt_get_no_adapter_of_those_that_are_sampled(
    weights: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM asks for their logits, too, where a request wants the log-probabilities of its prompt."""
    wrapper = object.__new__(GroupedPunicaWrapper)
    wrapper.indices_len = [4, 4, 4, 4]
    wrapper._token_lora_indices = wrapper._sampler_indices = torch.tensor([0, -1, 1, 1])
    with monkeypatch.context() as patch:
        patch.setattr(PunicaWrapperCPU, "update_metadata", lambda *_, **__: None)
        wrapper.update_metadata()
    for rows, is_sampled in ((3, False), (5, False), (4, True)):
        y = torch.zeros(rows, OUTPUTS)
        wrapper.add_lora_logits(y, torch.ones(rows, INPUTS), *weights, 1.0)
        assert (y.abs().sum(dim=1) > 0).tolist() == (
            [True, False, True, True] if is_sampled else [False] * rows
        )
