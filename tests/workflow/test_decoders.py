"""The whole workflow with a decoder as the main model, on pairs of texts; an encoder and a decoder select for it."""

import pandas as pd
import pyarrow.parquet as pq
from transformers import pipeline

from workflow.harness import finished, small_config


def test_a_decoder_is_trained_on_what_references_select(tmp_path):
    config = small_config()
    config["data"]["text"] = ["headline", config["data"].pop("group")]
    models = config["models"]
    models["large"]["scratch"] = models["large"]["scratch"] | {"architecture": "qwen2"}
    models["other"]["scratch"] = models["small"]["scratch"] | {"architecture": "gpt2"}
    models["other"]["pair_separator"] = " by "
    config["references"] = ["small", "other"]
    config["methods"] = {name: config["methods"][name] for name in ("erm", "ftft")}
    config["training"] |= {"epochs": 2, "evaluate_every": 100}
    folder = finished(tmp_path, config)
    results = folder / "results/topics"
    table = pd.read_csv(results / "summary.csv")
    assert set(table["main"]) == {"large"}
    assert set(table["reference"].dropna()) == {"small", "other"}
    assert table["flops"].gt(0).all()
    separators = {
        path.parent.name: pq.read_schema(path).metadata.get(b"pair_separator")
        for path in results.glob("tokens/*/train.parquet")
    }
    assert separators == {"small": None, "large": b"\n", "other+pair20627920": b" by "}
    model = next(results.glob("reference/large/seed0/models/final"))
    found = pipeline("text-classification", model=str(model))({"text": "the song", "text_pair": "agency1"})
    assert found["label"] in config["data"]["labels"]
