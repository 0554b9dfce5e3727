"""Build a sequence classifier from a prepared source, and save a trained one so that anyone can load it."""

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ftft import pretrained
from ftft.errors import UserError

log = logging.getLogger(__name__)

# Bars for loading 22 million weights tell nobody anything.
transformers_logging.disable_progress_bar()


def build(
    source: Path,
    labels: list[str],
    *,
    seed: int,
    layers: int | None = None,
    dropout: float | None = None,
    attention: str | None = None,
) -> PreTrainedModel:
    """A classifier in fp32 with a new head, whose random weights come from ``seed``.

    Args:
        source: folder written by ``pretrained.prepare``.
        labels: class names, in class order.
        seed: decides the head's weights (for a ``scratch`` model all weights).
        layers: keep only the first so many layers.
        dropout: overrides every dropout rate of the architecture.
        attention: name of the implementation, as transformers has them; None for the architecture's default.

    Raises:
        UserError: more layers asked for than there are, or weights that are missing or have changed.
    """
    config = AutoConfig.from_pretrained(source)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.num_labels = len(labels)
    if layers is not None:
        _truncate(config, layers)
    if dropout is not None:
        for key in vars(config):
            if key.endswith(("dropout", "dropout_prob")) and key != "classifier_dropout":
                setattr(config, key, dropout)
        if hasattr(config, "classifier_dropout"):
            config.classifier_dropout = dropout
    torch.manual_seed(seed)
    folder = pretrained.weights_folder(source)
    if folder is None:
        return AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    model, new = _load_pretrained(folder, config, attention)
    missing = sorted(key for key in new if key.startswith(f"{model.base_model_prefix}."))
    missing = [key for key in missing if "pooler" not in key]
    if missing:
        raise UserError(
            f"the weights of {source.name} lack {len(missing)} tensors of its architecture, such as {missing[0]}: "
            "the folder is damaged or of another model"
        )
    return model


def _load_pretrained(folder: Path, config: Any, attention: str | None = None) -> tuple[PreTrainedModel, set[str]]:
    """A classifier with pretrained weights, and the names of its weights that are not: the new head at least."""
    transformers_logging.set_verbosity_error()  # the new head is expected; callers check the rest
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation=attention, output_loading_info=True
    )
    return model, set(info["missing_keys"])


def interpolate(fine_tuned: Path, source: Path, folder: Path, *, share: float) -> None:
    """Save the mean of a model's fine-tuned and pretrained weights, ready for use like the model itself.

    WiSE-FT (Wortsman et al. 2022, section 3): share x fine-tuned + (1 - share) x pretrained. What has no pretrained
    weights, the classifier's head, stays as fine-tuned.

    Args:
        fine_tuned: folder of the saved model.
        source: folder written by ``pretrained.prepare`` that it came from.
        folder: where to; it is made.
        share: of the fine-tuned weights, in (0, 1).

    Raises:
        UserError: the source has random weights.
    """
    weights = pretrained.weights_folder(source)
    if weights is None:
        raise UserError(f"{source.name} has no pretrained weights to interpolate with; leave interpolate out")
    model = load(fine_tuned)
    before, new = _load_pretrained(weights, model.config)
    start = before.state_dict()
    state = {
        name: value if name in new or not value.is_floating_point() else torch.lerp(start[name], value, share)
        for name, value in model.state_dict().items()
    }
    card = (fine_tuned / "README.md").read_text(encoding="utf-8")
    mean = f"The weights are a mean: {share:.15g} parts of fine-tuned and {1 - share:.15g} parts of pretrained ones."
    card = card.replace("\n## Scores", f"\n{mean} The scores are those of the fine-tuned ones.\n\n## Scores", 1)
    save(model, state, source, folder, card)


def _truncate(config: Any, layers: int) -> None:
    if layers > config.num_hidden_layers:
        raise UserError(f"layers: {layers} is more than the {config.num_hidden_layers} layers of {config.model_type}")
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]


def save(model: PreTrainedModel, state: dict[str, torch.Tensor], source: Path, folder: Path, card: str) -> None:
    """Save a trained model with its tokenizer and card, ready for ``pipeline("text-classification", model=folder)``.

    Args:
        model: gives architecture and configuration.
        state: the weights to save, on any device.
        source: folder written by ``pretrained.prepare``, for the tokenizer.
        folder: where to; it is made.
        card: text of the model card.
    """
    model.save_pretrained(folder, state_dict={key: value.contiguous().cpu() for key, value in state.items()})
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def model_card(
    source: dict[str, Any],
    cfg: dict[str, Any],
    *,
    title: str,
    step: int,
    examples: int,
    of: int,
    curve: list[dict[str, Any]],
) -> str:
    """The README that goes with a saved model: what it is, what it was trained on, and its dev scores."""
    base = source["hub"] or source["package"] or source["path"] or "random weights"
    depth = f", first {cfg['layers']} layers" if cfg["layers"] else ""
    settings = "\n".join(f"- {key}: {value}" for key, value in sorted(cfg["training"].items()) if value is not None)
    results = "\n".join(
        f"| {row['dataset']} | {row['split']} | {row['metric']} | {row['value']:.4f} |" for row in curve
    )
    front = ["---", "library_name: transformers", "pipeline_tag: text-classification"]
    front += [f"base_model: {source['hub']}"] if source["hub"] else []
    return "\n".join(
        [
            *front,
            "---",
            f"# {title}",
            "",
            f"Text classifier with the labels {', '.join(cfg['labels'])}, fine-tuned from {base}{depth} on "
            f"{examples:,} of {of:,} training examples; weights of optimizer step {step}.",
            "",
            "## Scores on development data",
            "",
            "| dataset | split | metric | value |",
            "|---|---|---|---|",
            results,
            "",
            "## Training settings",
            "",
            settings,
            "",
        ]
    )


def load(folder: Path, attention: str | None = None) -> PreTrainedModel:
    """A classifier saved by ``save``, in fp32."""
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    )
