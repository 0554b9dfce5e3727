"""Which token a classifier reads, whatever pads its text: the last one, for a decoder and for XLNet.

transformers takes the last token of a decoder that is not the padding token, which many decoders share with the end of
a text. Here the attention mask says which tokens are padding.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from ftft.models.decoders import is_decoder


def with_padding(model: PreTrainedModel) -> PreTrainedModel:
    """Make padding no difference to a classifier that reads the last token; others stay as they are."""
    if getattr(model.config, "summary_type", None) == "last":
        model.register_forward_pre_hook(_padded_left, with_kwargs=True)
    elif is_decoder(model.config):
        model.base_model.register_forward_hook(_last_everywhere, with_kwargs=True)
    return model


def last_token(states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The states (B, D) of the last tokens, from those of all (B, L, D) and the attention mask (B, L), if any."""
    if mask is None:
        return states[:, -1]
    places = torch.arange(mask.shape[1], device=mask.device)
    return states[torch.arange(len(states), device=states.device), (mask * places).argmax(1)]


def _last_everywhere(_: Any, __: Any, inputs: dict[str, Any], output: Any) -> Any:
    """Let each position have the state of the last token: the head reads the right one whichever it chooses."""
    states = output.last_hidden_state
    last = last_token(states, inputs.get("attention_mask"))
    output.last_hidden_state = last.unsqueeze(1).expand_as(states)
    return output


def _padded_left(_: Any, positional: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Move the padding of a batch to the left for XLNet's classifier, which reads the last position."""
    mask = inputs.get("attention_mask")
    if mask is None:
        return positional, inputs
    columns = torch.arange(mask.shape[1], device=mask.device) - (mask == 0).sum(1, keepdim=True)
    rectangles = ("input_ids", "attention_mask", "token_type_ids")
    moved = {key: inputs[key].gather(1, columns % mask.shape[1]) for key in rectangles if key in inputs}
    return positional, inputs | moved
