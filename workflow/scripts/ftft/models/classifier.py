"""Build a sequence classifier from a prepared source, and save a trained one so that anyone can load it."""

import copy
import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ftft.core import artifacts
from ftft.core.errors import UserError
from ftft.core.files import sha256
from ftft.models import adapters, card, decoders, folders, pretrained, quantization
from ftft.models.changes import set_dropout, truncate
from ftft.models.reading import with_padding

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"  # has those of the files that decide what a saved model predicts
_DECIDING = ("config.json", adapters.CONFIG, quantization.FILE, "*.safetensors", "*.bin", "*.index.json")
REMAKE = "delete the folder models that it is in and run again: it is made anew"
# Settings that a classifier of another task brings along, by which a pipeline would give other scores than a softmax.
_OF_ANOTHER_TASK = ("problem_type", "function_to_apply", "return_all_scores", "task_specific_params")

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
    start: Path | None = None,
    four_bits: torch.dtype | None = None,
) -> PreTrainedModel:
    """A classifier in fp32 with a new head, whose random weights come from ``seed``, or with a trained one.

    Args:
        source: folder written by ``pretrained.prepare``.
        labels: class names, in class order.
        seed: decides the head's weights (for a ``scratch`` model all weights).
        layers: keep only the first so many layers.
        dropout: overrides every dropout rate of the architecture.
        attention: name of the implementation, as transformers has them; None for the architecture's default.
        start: folder of a saved classifier of this source, depth and labels to start from.
        four_bits: hold the encoder's linear layers in four bits and compute with them in this precision.

    Raises:
        UserError: more layers asked for than there are, or weights that are missing or have changed.
    """
    config = read_config(source, layers)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.num_labels = len(labels)
    for key in _OF_ANOTHER_TASK:
        if hasattr(config, key):
            setattr(config, key, None)
    if dropout is not None:
        set_dropout(config, dropout)
    if start is not None:
        _check_saved(start)
    folder = start or pretrained.weights_folder(source)
    if folder is None:
        torch.manual_seed(seed)
        new = AutoModelForSequenceClassification.from_config(
            config, attn_implementation=_attention(config, attention), trust_remote_code=False
        )
        return with_padding(new)
    with pretrained.open_weights(folder) as weights:
        if start is None:
            weights = {name: weights[name] for name in weights.keys() - _own_head(config, weights.keys())}
        torch.manual_seed(seed)
        model, missing = _load(AutoModelForSequenceClassification, config, weights, attention, folder, four_bits)
    _check_whole(model, source, {key for key in missing if key.startswith(f"{model.base_model_prefix}.")})
    return with_padding(model)


def encoder(source: Path, *, layers: int | None = None, attention: str | None = None) -> PreTrainedModel:
    """A pretrained model without a head, in fp32; the arguments are those of ``build``.

    Raises:
        UserError: as ``build``, or the source has random weights.
    """
    folder = pretrained.weights_folder(source)
    if folder is None:
        raise UserError(f"{source.name} has random weights, whose features say nothing; name a pretrained model")
    with pretrained.open_weights(folder) as weights:
        model, missing = _load(AutoModel, read_config(source, layers), weights, attention, folder)
    _check_whole(model, source, missing)
    return model


def architecture(
    source: Path, *, labels: int | None, layers: int | None = None, dropout: float | None = None, device: str = "meta"
) -> PreTrainedModel:
    """A model without its pretrained weights, to count operations and memory with.

    Args:
        source: folder written by ``pretrained.prepare``, of which the configuration is read.
        labels: number of classes of a classifier; None for the encoder alone.
        layers, dropout: as in ``build``.
        device: on ``meta`` nothing is allocated or computed; elsewhere the weights are random.

    Raises:
        UserError: more layers asked for than there are.
    """
    config = read_config(source, layers)
    if labels is not None:
        config.num_labels = labels
    if dropout is not None:
        set_dropout(config, dropout)
    with torch.device(device):
        kind = AutoModel if labels is None else AutoModelForSequenceClassification
        # As weights are loaded, whatever the precision that they are published in.
        how = {"dtype": torch.float32, "attn_implementation": _attention(config, None)}
        model = kind.from_config(config, trust_remote_code=False, **how)
    if not decoders.is_decoder(config):  # the head of a decoder needs it
        model.config.pad_token_id = None  # else a model looks for padding among ids that have no values
    return model


def _attention(config: Any, wanted: str | None) -> str | None:
    """An implementation of attention: the plain one where scores are capped, which others leave out without a word.

    So does PyTorch's own with Gemma 2 in transformers 5.17.
    """
    return "eager" if getattr(config, "attn_logit_softcapping", None) else wanted


def _own_head(config: Any, names: Collection[str]) -> set[str]:
    """Names of those of a model's weights that are a classifier's head, of another task and perhaps another size.

    Such a head has the layer whose size is the number of classes. Where that is not there, what lies outside the
    encoder was pretrained with it, as the head of ModernBERT's language model, and is kept.
    """
    shapes = []
    for classes in (config.num_labels, config.num_labels + 1):
        other = copy.deepcopy(config)
        other.num_labels = classes
        model = _outline(AutoModelForSequenceClassification, other)
        prefix = f"{model.base_model_prefix}."
        shapes.append({key: value.shape for key, value in model.state_dict().items() if not key.startswith(prefix)})
    head, more = shapes
    return set(head) if any(head[key] != more[key] and key in names for key in head) else set()


def _outline(kind: Any, config: Any) -> PreTrainedModel:
    """A model that has shapes and no values."""
    with torch.device("meta"):
        return kind.from_config(copy.deepcopy(config), trust_remote_code=False)


def _load(
    kind: Any,
    config: Any,
    weights: dict[str, Any],
    attention: str | None,
    folder: Path,
    four_bits: torch.dtype | None = None,
) -> tuple[PreTrainedModel, set[str]]:
    """A model in fp32 with these weights, and the names of those that are not among them and therefore random."""
    transformers_logging.set_verbosity_error()  # a new head is expected; callers check the rest
    with folders.loading(f"the weights in {folder} do not fit its configuration, or are damaged"):
        outline = _outline(kind, config)
        how = {}
        if four_bits is not None:
            how["quantization_config"] = quantization.settings(adapters.head(outline), four_bits)
        # The class itself: an automatic one finds the file that it reads by itself.
        exact: Any = type(outline)
        model, info = exact.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            attn_implementation=_attention(config, attention),
            output_loading_info=True,
            **how,
        )
    return model, set(info["missing_keys"])


def _check_whole(model: PreTrainedModel, source: Path, missing: set[str]) -> None:
    """Refuse an encoder of which weights are missing or are no numbers; a pooler belongs to the head."""
    lacking = sorted(key for key in missing if "pooler" not in key)
    if lacking:
        raise UserError(
            f"the weights of {source.name} lack {len(lacking)} tensors of its architecture, such as {lacking[0]}: "
            "the folder is damaged or of another model"
        )
    # Minimum and maximum are NaN where a number is, and take no memory.
    extremes = {name: value.detach().aminmax() for name, value in model.named_parameters() if value.numel()}
    broken = [name for name, pair in extremes.items() if not all(map(torch.isfinite, pair))]
    if broken:
        raise UserError(
            f"the weights of {source.name} are not finite in {len(broken)} tensors, such as {broken[0]}: the training "
            "that made them diverged, or the file is damaged"
        )


def interpolate(fine_tuned: Path, start: Path, source: Path, folder: Path, *, share: float) -> None:
    """Save the mean of a model's fine-tuned weights and those that it started from, for use like the model itself.

    WiSE-FT (Wortsman et al. 2022, section 3): share x fine-tuned + (1 - share) x pretrained. The pretrained classifier
    is the pretrained encoder with a head trained on its frozen features.

    Args:
        fine_tuned: folder of the saved model.
        start: folder of the saved classifier that it started from.
        source: folder written by ``pretrained.prepare`` that both came from.
        folder: where to; it is made.
        share: of the fine-tuned weights, in (0, 1).
    """
    model = load(fine_tuned)
    before = load(start).state_dict()
    state = {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    with folders.reading(str(fine_tuned)):
        text = (fine_tuned / "README.md").read_text(encoding="utf-8", errors="replace")
    save(model, state, source, folder, card.of_mean(text, share))


def read_config(source: Path, layers: int | None = None) -> Any:
    """The configuration of a source, cut to its first layers.

    Raises:
        UserError: it is damaged, or has fewer layers.
    """
    artifacts.read_json(source / "config.json")
    with folders.loading(f"{source / 'config.json'} is damaged ({artifacts.REMAKE})"):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    config.return_dict, config.output_attentions, config.output_hidden_states = True, False, False
    if layers is not None:
        truncate(config, layers)
    return config


def save(model: PreTrainedModel, state: dict[str, torch.Tensor], source: Path, folder: Path, text: str) -> None:
    """Save a trained model with its tokenizer and card, ready for ``pipeline("text-classification", model=folder)``.

    One with an adapter is saved as that alone, with links to the weights of its base.

    Args:
        model: gives architecture and configuration.
        state: the weights to save, on any device; of a model with an adapter, those of ``adapters.weights``.
        source: folder written by ``pretrained.prepare``, for the tokenizer.
        folder: where to; it is made.
        text: of the model card.
    """
    if adapters.has_adapter(model):
        adapters.save(model, state, source, folder)
    else:
        model.save_pretrained(folder, state_dict={key: value.contiguous().cpu() for key, value in state.items()})
    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(folder)
    (folder / "README.md").write_text(text, encoding="utf-8")
    for path in folder.glob("*.safetensors"):  # which its library lets nobody else read
        if not path.is_symlink():
            path.chmod((folder / "README.md").stat().st_mode & 0o777)
    checksums = {path.name: sha256(path) for pattern in _DECIDING for path in folder.glob(pattern)}
    (folder / CHECKSUMS).write_text(json.dumps(checksums, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path, attention: str | None = None) -> PreTrainedModel:
    """A classifier saved by ``save``, in fp32.

    Raises:
        UserError: it is missing or is not what was saved, or it is an adapter and what that needs is not installed.
    """
    _check_saved(folder)
    how = adapters.loading(folder)
    with folders.loading(f"{folder} is damaged ({REMAKE})"):
        attention = _attention(AutoConfig.from_pretrained(folder, trust_remote_code=False), attention)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, trust_remote_code=False, **how
        )
    adapters.check_head(model, folder)
    return with_padding(model)


def _check_saved(folder: Path) -> None:
    """Refuse a saved model of which a file is missing or is not what was written."""
    if not (folder / CHECKSUMS).is_file():
        raise artifacts.damaged(folder, f"it has no {CHECKSUMS}, so it was not saved, or not as a whole", REMAKE)
    for name, checksum in artifacts.read_json(folder / CHECKSUMS).items():
        with folders.reading(str(folder / name)):
            if not (folder / name).is_file():
                raise artifacts.damaged(folder, f"{name} is missing", REMAKE)
            if sha256(folder / name) != checksum:
                raise artifacts.damaged(folder, f"{name} is not what was written", REMAKE)
