"""Changes that an experiment makes to an architecture: to its depth and its dropout."""

from typing import Any

from ftft.core.errors import UserError
from ftft.models.folders import loading


def truncate(config: Any, layers: int) -> None:
    """Keep only the first layers of a configuration, and what it says of each of them.

    Raises:
        UserError: it has fewer, or is of an architecture that cannot be cut.
    """
    kind = config.model_type
    depth = getattr(config, "num_hidden_layers", None)
    if not isinstance(depth, int):
        raise UserError(f"layers: {kind} has no number of layers that could be lowered; leave layers out")
    if layers > depth:
        raise UserError(f"layers: {layers} is more than the {depth} layers of {kind}")
    with loading(f"layers: {kind} cannot be cut to its first layers, leave layers out"):
        config.num_hidden_layers = layers
        for key, value in vars(config).items():
            if key.endswith(("layers", "layer_types")) and isinstance(value, list) and len(value) == depth:
                setattr(config, key, value[:layers])
        type(config)(**config.to_dict())  # fails now, if reading the saved model would


def set_dropout(config: Any, rate: float) -> None:
    """Set every dropout rate of an architecture."""
    for key in vars(config):
        if key.endswith(("dropout", "dropout_prob", "pdrop")) and key != "classifier_dropout":
            setattr(config, key, rate)
    if hasattr(config, "classifier_dropout"):
        config.classifier_dropout = rate
