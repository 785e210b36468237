"""The precision that a processor computes a model's weights in."""

import torch


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself. Elsewhere it is emulated, twenty times slower than float32."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def processor_dtype() -> torch.dtype:
    """The faster precision for weights that are stored as bfloat16; float32 holds them exactly."""
    return torch.bfloat16 if has_bfloat16() else torch.float32
