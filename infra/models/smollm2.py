"""Turn the GGUF file of SmolLM2-135M-Instruct into a bfloat16 safetensors folder.

`python -m infra.models.smollm2 GGUF DEST` writes weights, tokenizer and chat
template to DEST (created; must not exist). About twenty seconds on two cores.
"""

import os
import sys
from pathlib import Path


def convert(gguf: Path, destination: Path) -> None:
    """Dequantize `gguf` and save it so that transformers and vLLM load `destination` as is."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, quantization_config=GgufConfig(dequantize=True)
    )
    # The GGUF origin lingers in the config and would send loaders looking for a quantizer.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.bfloat16().save_pretrained(destination)
    AutoTokenizer.from_pretrained(**source).save_pretrained(destination)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
