"""Schemas that depend on the data have the columns that they should."""

import pyarrow as pa

from ftft.data.schemas import data_schema, text_columns, tokens_schema
from ftft.dynamics.schemas import dynamics_schema
from ftft.evaluation.schemas import predictions_schema


def test_schemas_that_depend_on_the_data():
    assert data_schema(pairs=False).names == ["uid", "text_a", "label"]
    extra = pa.field("kind", pa.string())
    assert data_schema(pairs=True, extra=[extra]).names == ["uid", "text_a", "text_b", "label", "kind"]
    assert tokens_schema(token_types=False).names == ["uid", "label", "input_ids", "length"]
    assert tokens_schema(token_types=True).names == ["uid", "label", "input_ids", "token_type_ids", "length"]
    for schema in (dynamics_schema(3), predictions_schema(3)):
        assert schema.field("logits").type.list_size == 3
        assert schema.field("logits").type.value_type == pa.float32()


def test_the_columns_of_text_come_in_the_order_of_the_pair():
    assert text_columns(["label", "text_b", "kind", "text_a"]) == ["text_a", "text_b"]
    assert text_columns(["uid", "text_a", "label", "text"]) == ["text_a"]
    assert text_columns(["uid", "label"]) == []
