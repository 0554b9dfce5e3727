"""Texts of a pair where a tokenizer puts nothing between them, as those of most decoders: joined by a separator.

The separator becomes part of the tokenizer, so that whoever gives it two texts gets the tokens that a model learnt.
"""

from typing import Any

from ftft.core.errors import UserError, shown

NEWLINE = "\n"  # the separator where the configuration names none


def joined(tokenizer: Any, separator: str | None, name: str) -> tuple[Any, dict[str, str | None]]:
    """A fast tokenizer that puts a separator between the texts of a pair, unless it puts something there itself.

    Args:
        tokenizer: is left as it is.
        separator: as the configuration has it; None for a newline.
        name: of the model, in messages.

    Returns:
        the tokenizer, and what to record: the ``pair_separator`` that it puts there, which is None where it has no
        token of a newline and still runs texts together; nothing where it puts something there itself.

    Raises:
        UserError: a separator is given that it has no use for, or no token of.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    if _has_boundary(backend):
        if separator is not None:
            raise UserError(
                f"pair_separator: the tokenizer of {name} puts tokens of its own between the texts of a pair; leave "
                "pair_separator out"
            )
        return tokenizer, {}
    between = backend.encode(NEWLINE if separator is None else separator, add_special_tokens=False)
    if not between.ids:
        if separator is not None:
            raise UserError(
                f"pair_separator: {shown(separator)} is no token of the tokenizer of {name}; give another text"
            )
        return tokenizer, {"pair_separator": None}
    text = backend.encode("a")
    places = [place for place, sequence in enumerate(text.sequence_ids) if sequence == 0]
    special = [{"id": "separator", "ids": between.ids, "tokens": between.tokens}]
    special += [
        {"id": f"special{place}", "ids": [text.ids[place]], "tokens": [text.tokens[place]]}
        for place in range(len(text))
        if not places[0] <= place <= places[-1]
    ]
    before = " ".join(f"special{place}" for place in range(places[0]))
    after = " ".join(f"special{place}" for place in range(places[-1] + 1, len(text)))
    backend.post_processor = TemplateProcessing(
        single=f"{before} $A {after}".strip(),
        pair=f"{before} $A separator $B:1 {after}".strip(),
        special_tokens=special,
    )
    # The tokenizer of an architecture may make such rules anew when it is loaded; a general one takes them as they are.
    general = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        model_input_names=tokenizer.model_input_names,
        **tokenizer.special_tokens_map,
    )
    return general, {"pair_separator": NEWLINE if separator is None else separator}


def _has_boundary(backend: Any) -> bool:
    """Whether a tokenizer puts tokens between the texts of a pair."""
    sequences = backend.encode("a", "a").sequence_ids
    return 1 not in sequences or sequences[sequences.index(1) - 1] is None
