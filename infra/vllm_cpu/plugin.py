"""A vLLM general plugin, by entry point: the CPU platform's LoRA arithmetic becomes ours."""

WRAPPER = "infra.vllm_cpu.lora.GroupedPunicaWrapper"


def register() -> None:
    """Called by vLLM in each of its processes, possibly twice."""
    from vllm.platforms.cpu import CpuPlatform

    def wrapper_name(_: type[CpuPlatform]) -> str:
        return WRAPPER

    # A class method of the platform is the place vLLM asks; it takes no setting.
    CpuPlatform.get_punica_wrapper = classmethod(wrapper_name)  # type: ignore[method-assign, assignment]
