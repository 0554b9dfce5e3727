"""Heads that are trained on the features of a frozen encoder: a small one of our own, or the architecture's.

Both take ``inputs_embeds`` (B, 1, D), the features of B examples, and return logits (B, C) as a transformers classifier
does, so the training loop needs to know nothing of them.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions, SequenceClassifierOutput

from ftft.core.errors import UserError

ON_FEATURES = ("head", "probe")  # values of ``tune`` in the settings of a run that trains on frozen features


class HeadConfig(PretrainedConfig):
    """Configuration of a ``Head``."""

    model_type = "ftft-head"

    def __init__(
        self,
        features: str = "both",
        input_size: int = 2,
        hidden_size: int = 0,
        dropout: float = 0.0,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.features, self.input_size = features, input_size
        self.hidden_size, self.dropout = hidden_size, dropout


class Head(PreTrainedModel):
    """Standardised features, a hidden layer with ReLU and dropout (none where ``hidden_size`` is 0), and the logits."""

    config_class = HeadConfig
    config: HeadConfig
    base_model_prefix = "head"
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.input_size))
        self.register_buffer("scale", torch.ones(config.input_size))
        width = config.hidden_size
        self.hidden = nn.Sequential(nn.Linear(config.input_size, width), nn.ReLU()) if width else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width or config.input_size, int(config.num_labels or 0))
        self.post_init()

    def forward(self, inputs_embeds: torch.Tensor, **_: Any) -> SequenceClassifierOutput:
        """Logits (B, C) of features (B, 1, D)."""
        standardised = (inputs_embeds[:, 0] - self.mean) / self.scale
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(self.hidden(standardised))))


def build(
    train: np.ndarray, features: str, labels: list[str], *, seed: int, hidden_size: int, dropout: float | None
) -> Head:
    """A new head; its random weights come from ``seed``.

    Args:
        train: (N, D) features of the train set, whose means and standard deviations (1 where that is 0) standardise.
        features: their name.
        labels: class names, in class order.
        seed: decides the weights.
        hidden_size: width of the hidden layer; 0 for none.
        dropout: after the hidden layer; None for none.
    """
    names = dict(enumerate(labels))
    config = HeadConfig(
        features=features,
        input_size=train.shape[1],
        hidden_size=hidden_size,
        dropout=dropout or 0.0,
        id2label=names,
        label2id={label: index for index, label in names.items()},
    )
    head = Head(config)
    torch.manual_seed(seed)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()  # they are PyTorch's own: uniform within 1 / sqrt(fan-in)
    values = train.astype(np.float64)
    deviation = values.std(axis=0)
    head.mean.copy_(torch.from_numpy(values.mean(axis=0)))
    head.scale.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))
    return head


class _Features(nn.Module):
    """Stands in the place of an encoder, and passes on the features that the encoder has computed before."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        pooler = getattr(encoder, "pooler", None)
        self.pooler = pooler if isinstance(pooler, nn.Module) else None

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def probe(classifier: PreTrainedModel) -> PreTrainedModel:
    """Take the encoder out of a classifier: what is left, pooler included, is trained on the encoder's features.

    Its weights keep their names, so ``state_dict()`` is the part of the classifier's that was trained.
    """
    prefix = classifier.base_model_prefix
    setattr(classifier, prefix, _Features(getattr(classifier, prefix)))
    return classifier


def features_of(config: Any) -> str:
    """Which features an architecture's own head reads: ``first`` is the last token where it reads that one.

    Raises:
        UserError: it reads each token by itself, as EuroBERT's does.
    """
    pooling = getattr(config, "classifier_pooling", "cls")
    if pooling == "late":
        raise UserError(
            f"head: probe cannot start the head of {config.model_type}, which reads each token by itself; "
            "leave head out"
        )
    return "mean" if pooling == "mean" else "first"
