"""Features of a frozen encoder, against what transformers computes for one text at a time."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import FAMILIES
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel

from ftft.compute import features
from ftft.compute.batching import FeatureDataset, TokenizedDataset
from ftft.compute.schemas import features_schema
from ftft.core.errors import UserError
from ftft.data import tokens

LAYERS = 2


@pytest.fixture(scope="module")
def texts(tmp_path_factory, write_data):
    """Two small data sets, as artifacts: a pair of very different lengths is among them."""
    folder = tmp_path_factory.mktemp("texts")
    first = ["the nurse saw a farmer", "a house", "never in the garden. the tall nurse helped"]
    write_data(folder / "train.parquet", first, [0, 1, 0], ["a nurse", "the house " * 6, "the nurse"])
    write_data(folder / "dev.parquet", first[:1], [1], ["a farmer"])
    return folder


def embedded(texts, source, folder, **changes):
    """The features of both sets in ``folder``, and the cost table's path."""
    paths = {}
    for name in ("train", "dev"):
        paths[name] = folder / f"tokens-{name}.parquet"
        inputs = (texts / f"{name}.parquet", source / "tokenizer.json", source / "source.json")
        tokens.tokenize(*inputs, paths[name], max_length=32)
    AcceleratorState._reset_state(reset_partial_state=True)
    settings = {"layers": LAYERS, "precision": "fp32", "device": "cpu", "threads": 1} | changes
    outputs = {name: folder / f"{name}.parquet" for name in paths}
    features.embed(source, paths, outputs, folder / "cost.parquet", **settings)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def found(request, texts, pretrained_sources, saved, tmp_path_factory):
    """What was embedded, and the truncated model by transformers alone."""
    folder = embedded(texts, pretrained_sources[request.param], tmp_path_factory.mktemp(request.param))
    config = AutoConfig.from_pretrained(saved[request.param])
    config.num_hidden_layers = LAYERS
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:LAYERS]
    return folder, AutoModel.from_pretrained(saved[request.param], config=config).eval()


def test_features_are_the_first_tokens_state_and_the_mean_over_tokens(found):
    folder, model = found
    table = pq.read_table(folder / "train.parquet")
    encoded = pq.read_table(folder / "tokens-train.parquet").to_pylist()
    assert table["uid"].to_pylist() == [row["uid"] for row in encoded]
    for place, row in enumerate(encoded):
        inputs = {key: torch.tensor([row[key]]) for key in ("input_ids", "token_type_ids") if key in row}
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0].numpy()
        np.testing.assert_allclose(table["first"][place].as_py(), states[0], atol=2e-6)
        np.testing.assert_allclose(table["mean"][place].as_py(), states.mean(axis=0), atol=2e-6)


def test_the_pass_is_counted_like_any_other(found):
    folder, model = found
    cost = pq.read_table(folder / "cost.parquet").to_pandas().set_index("stage")
    lengths = pq.read_table(folder / "tokens-train.parquet")["length"].to_numpy()
    assert cost.loc["embed", ["examples", "tokens", "tokens_padded"]].tolist() == [3, lengths.sum(), 3 * lengths.max()]
    ids = torch.ones(3, lengths.max(), dtype=torch.long)
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=ids)
    assert cost.loc["embed", "flops"] == counter.get_total_flops()
    assert cost.loc["evaluate", "examples"] == 1  # the dev set, which no method is charged for


def test_two_calls_give_the_same_bytes(texts, pretrained_sources, tmp_path):
    once, twice = (embedded(texts, pretrained_sources["bert"], tmp_path / name) for name in ("once", "twice"))
    assert (once / "train.parquet").read_bytes() == (twice / "train.parquet").read_bytes()


def test_a_dataset_of_features_is_like_one_of_tokens_of_length_one(texts, pretrained_sources, tmp_path):
    folder = embedded(texts, pretrained_sources["bert"], tmp_path)
    plain = TokenizedDataset.read(folder / "tokens-train.parquet")
    both = FeatureDataset.read(folder / "train.parquet", "both")
    assert (both.uids, both.labels.tolist()) == (plain.uids, plain.labels.tolist())
    assert both.lengths.tolist() == [1, 1, 1]
    table = pq.read_table(folder / "train.parquet")
    expected = [first + mean for first, mean in zip(table["first"].to_pylist(), table["mean"].to_pylist(), strict=True)]
    batch = both.collate(np.array([2, 0]))
    assert list(batch) == ["inputs_embeds"]
    assert batch["inputs_embeds"].dtype == np.float32
    assert batch["inputs_embeds"].tolist() == [[expected[2]], [expected[0]]]
    assert FeatureDataset.read(folder / "train.parquet", "mean").values.tolist() == table["mean"].to_pylist()


def test_random_weights_have_no_features(texts, sources, tmp_path):
    with pytest.raises(UserError, match="bert has random weights, whose features say nothing; name a pretrained model"):
        embedded(texts, sources["bert"], tmp_path)


def test_the_artifact_has_its_schema(texts, pretrained_sources, tmp_path):
    folder = embedded(texts, pretrained_sources["bert"], tmp_path)
    assert pq.read_schema(folder / "dev.parquet").remove_metadata().equals(features_schema(16))
