"""TRL's DPOTrainer on pairs of token ids; run by the peer's own Python.

    dpo.py JOB.json     prints JSON: loss of each step; seconds, and the processor's seconds, of all steps
                        and of the references before them; peak memory

The job says which settings of TRL's differ from its own defaults. Two always do: it computes in float32, which
is several times as fast as its default on a processor without bfloat16 instructions, and it reads
the pairs in the order in which they come.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


class OnIds(DPOTrainer):
    """The pairs are token ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def main(job: dict[str, Any], folder: Path) -> None:
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    began, cpu = time.perf_counter(), time.process_time()
    lora = LoraConfig.from_pretrained(job["adapter"])
    lora.inference_mode = False  # as saved, it would train nothing
    trainer = OnIds(
        model=model,
        args=config(job, folder),
        train_dataset=Dataset.from_list(job["pairs"]),
        processing_class=tokenizer,
        peft_config=lora,
    )
    before = time.perf_counter() - began, time.process_time() - cpu
    if not job["settings"].get("precompute_ref_log_probs"):
        before = 0.0, 0.0  # nothing but setting up
    start = load_file(Path(job["adapter"]) / "adapter_model.safetensors")
    wrong: Any = set_peft_model_state_dict(trainer.model, start)
    assert not wrong.unexpected_keys, wrong
    began, cpu = time.perf_counter(), time.process_time()
    trainer.train()
    said = {
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "before": before[0],
        "cpu_before": before[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(said))


def config(job: dict[str, Any], folder: Path) -> DPOConfig:
    return DPOConfig(
        output_dir=str(folder / "out"),
        bf16=False,
        use_cpu=True,
        train_sampling_strategy="sequential",
        max_length=None,
        beta=job["beta"],
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=job["clip_norm"],
        max_steps=job["steps"],
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **job["settings"],
    )


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    path = Path(sys.argv[1])
    main(json.loads(path.read_text()), path.parent)
