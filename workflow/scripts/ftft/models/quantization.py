"""An encoder's frozen linear layers held in four bits beside an adapter, through the library bitsandbytes (QLoRA).

Blocks of 64 numbers share a scale and are rounded to the sixteen values of NF4, whose steps suit normally distributed
weights; the scales are held in eight bits (Dettmers et al. 2023, "QLoRA", section 3). A pass multiplies with the
weights in the precision that it is computed in anyway.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula
from transformers import BitsAndBytesConfig, PreTrainedModel

from ftft.core.errors import UserError
from ftft.models import folders

_FEATURE = "holding weights in four bits (quantize: 4bit)"
FILE = "bitsandbytes.json"  # in the folder of a saved adapter: how its base was held
_BLOCK, _SCALES = 64, 256  # numbers that share a scale, and scales that share one
_LEVELS = 4 * (16 + 256 + 1)  # bytes: the values of a number and of a scale, and the mean of the scales


def check(device: torch.device) -> None:
    """Refuse to train where this cannot be computed in reasonable time.

    Raises:
        UserError: the device is no CUDA device, or bitsandbytes is not installed.
    """
    if device.type != "cuda":
        raise UserError(
            f"quantize: 4bit needs a CUDA device, but this job computes on {device.type}: run it where PyTorch finds "
            "one, or leave quantize out"
        )
    folders.need("bitsandbytes", _FEATURE)


def settings(whole: list[str], dtype: torch.dtype) -> BitsAndBytesConfig:
    """What ``from_pretrained`` is to be told.

    Args:
        whole: names of the modules that stay as they are.
        dtype: to compute in.
    """
    _count_operations()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=whole,
    )


def is_quantized(model: torch.nn.Module) -> bool:
    """Whether a model has weights in four bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def kind(layer: torch.nn.Module) -> type:
    """The class of a layer, or of that whose place one in four bits has taken."""
    return getattr(layer, "source_cls", None) or type(layer)


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write down how a model's frozen weights are held, for ``loading``."""
    text = json.dumps(model.config.quantization_config.to_dict(), indent=2, sort_keys=True) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")


def loading(folder: Path) -> dict[str, Any]:
    """What ``from_pretrained`` is to be told, to load a saved model as it was trained.

    Raises:
        UserError: its base was in four bits, and bitsandbytes is not installed.
    """
    if not (folder / FILE).is_file():
        return {}
    folders.need("bitsandbytes", _FEATURE)
    _count_operations()
    plain = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return {"quantization_config": BitsAndBytesConfig.from_dict(plain)}


def packed(weights: Iterable[torch.Tensor]) -> int:
    """Bytes of these matrices in four bits, with their scales."""
    total = 0
    for weight in weights:
        scales = math.ceil(weight.numel() / _BLOCK)
        total += math.ceil(weight.numel() / 2) + scales + 4 * math.ceil(scales / _SCALES) + _LEVELS
    return total


def _count_operations() -> None:
    """Let PyTorch's counter know the product with such a matrix, which is an operation of bitsandbytes' own."""
    import bitsandbytes  # noqa: F401

    product = torch.ops.bitsandbytes.gemm_4bit
    if product not in flop_registry:

        @register_flop_formula(product)
        def _(inputs: list[int], _: Any, shape: list[int], *__: Any, **___: Any) -> int:
            return 2 * math.prod(inputs) * shape[0]
