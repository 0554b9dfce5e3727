"""LoRA: of an encoder's linear layers, small matrices are trained beside the frozen weights, through the library PEFT.

W x becomes W x + (alpha / rank) B A x, where A (rank, inputs) is random at the start and B (outputs, rank) is zero (Hu
et al. 2022, section 4.1). The head, which is new, is trained in full.
"""

import copy
import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from ftft.core.errors import UserError, named, shown
from ftft.models import folders, pretrained, quantization
from ftft.models.lora import Lora

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as PEFT names them
NAME = "default"  # of the adapter inside the model; PEFT's own, which its files do not have
_PREFIX = "base_model.model."  # of the weights in its files
_LINEAR = (nn.Linear, Conv1D)
_FEATURE = "an adapter (tune: lora)"


def add(model: PreTrainedModel, lora: Lora, *, seed: int) -> PreTrainedModel:
    """Freeze a classifier's encoder and put an adapter beside its linear layers, in place; the head stays trainable.

    Args:
        model: a classifier.
        lora: the adapter.
        seed: decides its random weights.

    Raises:
        UserError: PEFT is not installed, or a target names no linear layer of the encoder.
    """
    folders.need("peft", _FEATURE)
    from peft import LoraConfig, TaskType

    targets = _targets(model, lora.targets)
    torch.manual_seed(seed)
    model.add_adapter(
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            modules_to_save=head(model),
            fan_in_fan_out=issubclass(quantization.kind(model.get_submodule(targets[0])), Conv1D),
        ),
        NAME,
    )
    return model


def has_adapter(model: nn.Module) -> bool:
    """Whether a model has an adapter."""
    return hasattr(model, "peft_config")


def loading(folder: Path) -> dict[str, Any]:
    """What ``from_pretrained`` is to be told, to load a saved model that may be an adapter; a whole one needs nothing.

    Raises:
        UserError: it is an adapter, and PEFT is not installed, or what else it needs.
    """
    if not (folder / CONFIG).is_file():
        return {}
    folders.need("peft", _FEATURE)
    # The adapter brings the head; that its base has none, or one of another task and size, is nothing to warn of.
    transformers_logging.set_verbosity_error()
    return {"ignore_mismatched_sizes": True} | quantization.loading(folder)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a run keeps of a model: all its weights, or of one with an adapter what is trained, adapter and head."""
    if not has_adapter(model):
        return model.state_dict()
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def restore(model: nn.Module, kept: dict[str, torch.Tensor]) -> None:
    """Give a model the weights that ``weights`` has kept of it."""
    unknown = model.load_state_dict(kept, strict=not has_adapter(model)).unexpected_keys
    assert not unknown, unknown


def compute_in_bf16(model: nn.Module) -> None:
    """Hold the frozen weights of linear layers in the precision that they are computed in anyway, in place.

    For passes under bf16 mixed precision: it changes no result, and saves memory and a conversion in every pass. What
    an adapter trains stays as it is, also in a model that was loaded to predict.
    """
    for layer in frozen_layers(model):
        if layer.weight.is_floating_point():  # else it is in four bits
            layer.to(torch.bfloat16)


def without_adapter(model: nn.Module) -> list[str]:
    """Names of frozen weights that are many matrices in one, as the experts of a mixture: they get no adapter."""
    return [
        name
        for name, weight in model.named_parameters()
        if weight.ndim == 3
        and not weight.requires_grad
        and not isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Conv1d)
    ]


def frozen_layers(model: nn.Module) -> Iterator[Any]:
    """The linear layers that an adapter leaves as they are: those of the encoder."""
    for name, module in model.named_modules():
        parts = name.split(".")
        of_adapter = any(part.startswith("lora_") for part in parts)
        of_head = "modules_to_save" in parts or "original_module" in parts
        if isinstance(module, _LINEAR) and not (of_adapter or of_head or module.weight.requires_grad):
            yield module


def save(model: PreTrainedModel, kept: dict[str, torch.Tensor], source: Path, folder: Path) -> None:
    """Save an adapter and its head as PEFT does, with the classifier's configuration and links to its base's weights.

    With these beside it, transformers makes the classifier of the folder: its labels, its depth, and the base.

    Args:
        model: has the adapter.
        kept: its weights, on any device.
        source: folder written by ``pretrained.prepare``.
        folder: where to; it is made.
    """
    from peft import get_peft_model_state_dict

    identity = pretrained.read_source(source)
    base = pretrained.locate(identity)
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    if quantization.is_quantized(model):
        quantization.save(model, folder)
        del config.quantization_config  # or transformers would take the base's own weights for such
    config.save_pretrained(folder)
    tensors = get_peft_model_state_dict(model, kept, NAME, save_embedding_layers=False)
    named_by_peft = {_PREFIX + name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    # Transformers 5.17 finds the head by its name inside the model alone, and PEFT by its own.
    of_head = {inside: kept[inside].clone().contiguous().cpu() for inside in _of_head(model, named_by_peft).values()}
    save_file(named_by_peft | of_head, folder / WEIGHTS, metadata={"format": "pt"})
    settings = _config(model).to_dict() | {
        "base_model_name_or_path": identity["hub"] or str(base.absolute()),
        "revision": identity["revision"],
        "inference_mode": True,
    }
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    (folder / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folders.weights_and_index(base):
        link = folder / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.absolute())


def check_head(model: PreTrainedModel, folder: Path) -> None:
    """Make sure that a saved adapter was loaded with its head, of which other versions of transformers think otherwise.

    Raises:
        UserError: the head is another than the one in ``folder``.
    """
    if not has_adapter(model):
        return
    saved, loaded = load_file(folder / WEIGHTS), model.state_dict()
    for name, inside in _of_head(model, saved).items():
        if not torch.equal(saved[name], loaded[inside].to(saved[name].dtype)):
            raise UserError(
                f"transformers {version('transformers')} does not load the head in {folder / WEIGHTS}: install the "
                "versions of requirements.lock, or make this model again"
            )


def _of_head(model: PreTrainedModel, names: Iterable[str]) -> dict[str, str]:
    """Of the weights that a file of PEFT names, those of the head: how they are called inside the model."""
    found: dict[str, str] = {}
    for module in _config(model).modules_to_save:
        prefix = f"{_PREFIX}{module}."
        found |= {
            name: f"{module}.modules_to_save.{NAME}.{name.removeprefix(prefix)}"
            for name in names
            if name.startswith(prefix)
        }
    return found


def merged(model: PreTrainedModel, kept: dict[str, torch.Tensor], whole: PreTrainedModel) -> PreTrainedModel:
    """A plain classifier that computes what one with an adapter does.

    Args:
        model: has the adapter.
        kept: its weights.
        whole: the classifier that the adapter was put into, in fp32; it is changed.
    """
    from peft import LoraModel

    adapted: Any = LoraModel(whole, copy.deepcopy(_config(model)), NAME)
    restore(whole, kept)
    return adapted.merge_and_unload()


def _config(model: PreTrainedModel) -> Any:
    return model.peft_config[NAME]


def head(model: PreTrainedModel) -> list[str]:
    """Names of the modules that are no part of the pretrained encoder; a pooler belongs to the head."""
    prefix = model.base_model_prefix
    names = [
        name for name, module in model.named_children() if name != prefix and any(True for _ in module.parameters())
    ]
    pooler = f"{prefix}.pooler"
    return names + [pooler] * isinstance(getattr(getattr(model, prefix), "pooler", None), nn.Module)


def _targets(model: PreTrainedModel, wanted: tuple[str, ...] | None) -> list[str]:
    """Names of the encoder's linear layers that get an adapter: all, or those whose names end in one of ``wanted``."""
    of_head = tuple(f"{name}." for name in head(model))
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _LINEAR) and not f"{name}.".startswith(of_head)
    ]
    if wanted is None:
        return layers
    for target in wanted:
        if not any(_ends_in(name, target) for name in layers):
            endings = sorted({name.rpartition(".")[2] for name in layers})
            raise UserError(
                f"lora.targets names {shown(target)}, in which the name of no linear layer of this encoder "
                f"({model.config.model_type}) ends; allowed: {named(endings)}, or more of a name, such as {layers[0]}"
            )
    return [name for name in layers if any(_ends_in(name, target) for target in wanted)]


def _ends_in(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
