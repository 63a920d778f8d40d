"""Whether products of matrices in bfloat16 are faster than in float32: only where the device has instructions for them."""

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # of Intel and AMD, of Intel's tiles, of Arm


def bfloat16_pays(device: str) -> bool:
    """Whether `device` (of torch) multiplies bfloat16 natively; emulated, it takes many times as long as float32."""
    import torch  # not before: settings are read, and refused, by commands that never train

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) is True for name in _INSTRUCTIONS)
