"""A vLLM general plugin, by entry point: replaces the CPU platform's LoRA arithmetic with this package's."""

WRAPPER = "infra.vllm_cpu.lora.GroupedPunicaWrapper"


def register() -> None:
    """Called by vLLM in each of its processes, possibly twice."""
    from vllm.platforms.cpu import CpuPlatform

    def wrapper_name(_: type[CpuPlatform]) -> str:
        return WRAPPER

    # vLLM asks a class method of the platform; there is no setting for it.
    CpuPlatform.get_punica_wrapper = classmethod(wrapper_name)  # type: ignore[method-assign, assignment]
