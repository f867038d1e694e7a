"""Converts the GGUF file of SmolLM2-135M-Instruct into a bfloat16 safetensors folder.

`python -m infra.models.smollm2 GGUF DEST` writes weights, tokenizer and chat
template to DEST (created; must not exist). Takes about twenty seconds on two cores.
"""

import os
import sys
from pathlib import Path


def convert(gguf: Path, destination: Path) -> None:
    """Dequantizes `gguf` and saves it so that transformers and vLLM can load `destination` as is."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, quantization_config=GgufConfig(dequantize=True)
    )
    # The config still names GGUF as its origin, which would make loaders look for a quantizer.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.bfloat16().save_pretrained(destination)
    AutoTokenizer.from_pretrained(**source).save_pretrained(destination)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
