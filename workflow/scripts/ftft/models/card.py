"""The card of a saved model: the README that goes with it."""

import json
import re
from typing import Any

import yaml

from ftft.core.errors import one_line
from ftft.models import quantization

SCORES = "## Scores on development data"


def text(
    source: dict[str, Any],
    cfg: dict[str, Any],
    *,
    title: str,
    step: int,
    examples: int,
    of: int,
    curve: list[dict[str, Any]],
    precision: str,
) -> str:
    """The README that goes with a saved model: what it is, what it was trained on, and its dev scores.

    Names and labels are shown as they are: none of them becomes Markdown, HTML or YAML.
    """
    origin = source["hub"] or source["package"] or source["path"]
    base = _literal(origin) if origin else "random weights"
    depth = f", first {cfg['layers']} layers" if cfg["layers"] else ""
    lora: dict[str, Any] = cfg.get("lora") or {}
    adapter = lora.get("merge") is False
    of_what = "" if cfg["tune"] == "all" else ", its encoder frozen and only the head trained"
    if lora:
        of_what = f", its encoder frozen and an adapter (LoRA, rank {lora['rank']}) and the head trained"
    four_bits = bool(lora.get("quantize"))
    kind = "A head on frozen features" if cfg["tune"] == "head" else "Text classifier"
    used = dict(cfg["training"])
    if used["precision"] != precision:
        used["precision"] = f"{precision} ({used['precision']} was asked for, and the device has none)"
    settings = "\n".join(f"- {key}: {value}" for key, value in sorted(used.items()) if value is not None)
    results = "\n".join(
        f"| {row['dataset']} | {row['split']} | {row['metric']} | {row['value']:.4f} |" for row in curve
    )
    labels = ", ".join(map(_literal, cfg["labels"]))
    front = ["---", f"library_name: {'peft' if adapter else 'transformers'}", "pipeline_tag: text-classification"]
    if source["hub"]:
        front.append(yaml.safe_dump({"base_model": source["hub"]}, width=1000).strip())
    return "\n".join(
        [
            *front,
            "---",
            f"# {_literal(title)}",
            "",
            f"{kind} with the labels {labels}, fine-tuned from {base}{depth}{of_what} on "
            f"{examples:,} of {of:,} training examples; weights of optimizer step {step}.",
            "",
            *_of_pairs(source.get("pair_separator")),
            *(_loading(source, base, four_bits=four_bits) if adapter else []),
            SCORES,
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


def of_mean(text: str, share: float) -> str:
    """The card of the mean of a model's fine-tuned weights and those that it started from.

    Args:
        text: the card of the fine-tuned model.
        share: of its weights in the mean.
    """
    before, heading, scores = text.partition(f"\n{SCORES}\n")
    mean = f"The weights are a mean: {share:.15g} parts of fine-tuned and {1 - share:.15g} parts of pretrained ones."
    return f"{before}\n{mean} The scores are those of the fine-tuned ones.\n{heading}{scores}"


def _of_pairs(separator: str | None) -> list[str]:
    if separator is None:
        return []
    shown = json.dumps(separator, ensure_ascii=False)
    text = f"Give the texts of a pair as `text` and `text_pair`: the tokenizer joins them by {_literal(shown)}."
    return [text, ""]


def _loading(source: dict[str, Any], base: str, *, four_bits: bool) -> list[str]:
    """How an adapter becomes a classifier: with its base, which the card's folder only links to."""
    name, revision = (source["hub"], source["revision"]) if source["hub"] else ("FOLDER OF THE BASE", None)
    argument = f", revision={json.dumps(revision)}" if revision else ""
    how = ", quantization_config=quantization" if four_bits else ""
    return [
        "## How to load it",
        "",
        f"These are the weights of the adapter and the head; those of {base} and the Python package peft are needed "
        "too. Where this folder was made, it has links to the former, and "
        '`pipeline("text-classification", model=FOLDER)` is enough; where the base has a classifier of another size '
        'it wants `model_kwargs={"ignore_mismatched_sizes": True}`. Without peft, that would be the base with a '
        "random head. Elsewhere, where the links lead nowhere:",
        "",
        *(_OF_FOUR_BITS if four_bits else []),
        "```python",
        *(["import json", ""] if four_bits else []),
        "from transformers import AutoConfig, AutoModelForSequenceClassification"
        + (", BitsAndBytesConfig" if four_bits else ""),
        "",
        "config = AutoConfig.from_pretrained(FOLDER)  # of this card: the labels and the depth",
        *(_READ_FOUR_BITS if four_bits else []),
        "model = AutoModelForSequenceClassification.from_pretrained(",
        f"    {json.dumps(name)}{argument}, config=config, ignore_mismatched_sizes=True{how}",
        ")",
        "model.load_adapter(FOLDER)",
        "```",
        "",
    ]


_OF_FOUR_BITS = [
    "While it was trained and evaluated, the base's linear layers were held in four bits, by the Python package "
    f"bitsandbytes and the settings in `{quantization.FILE}`. Loaded without them, also by `pipeline` unless its "
    "`model_kwargs` have this `quantization_config`, the base is more exact, and predictions differ a little.",
    "",
]
_READ_FOUR_BITS = [
    f'with open(f"{{FOLDER}}/{quantization.FILE}") as file:',
    "    quantization = BitsAndBytesConfig.from_dict(json.load(file))",
]


def _literal(text: str) -> str:
    """A text of which Markdown takes nothing as its own: as code, between more backticks than it has in a row."""
    shown = one_line(text, 200)
    if re.fullmatch(r"[^\W_]+((, |[ ,.:/+_-])[^\W_]+)*", shown):
        return shown
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}"
