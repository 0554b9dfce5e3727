"""The schema that editors read: as the models are, named by each configuration, and never stricter than the reader."""

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError
from test_docs import EXPERIMENTS, ROOT

from ftft.experiment import config, describe, schema

CONFIGS = sorted((ROOT / "config").rglob("*.yaml"))
SCHEMA = schema.schema()
VALUES: list[Any] = [
    *(0, 1, 3, -1, 2.0, 0.5, 1e-5, 10**6, True, False, None, "", "0", "1", " 2 ", "-1", "0.5", "1e-5", "2.", "yes"),
    *("False", "on", "auto", "a name", "name", "ambiguous", "aum-low", "8h", "12:30:00", "planted", "none", "linear"),
    *(
        [],
        [0],
        ["1"],
        [0.2, "0.9"],
        ["a", 1],
        ["a", "b"],
        {},
        {"a": "b"},
        {"a": None},
        {"a": 1},
        {"a b": {}},
        {"a": {}},
    ),
]


def mistakes(raw: Any, section: str | None = None) -> list[str]:
    """What the schema says against a configuration, or against one of its sections."""
    part = SCHEMA if section is None else {"$ref": f"#/$defs/{section}", "$defs": SCHEMA["$defs"]}
    return [error.message for error in jsonschema.Draft7Validator(part).iter_errors(raw)]


def test_the_schema_is_up_to_date():
    assert (ROOT / "config" / "schema.json").read_text(encoding="utf-8") == schema.page(), (
        "run: PYTHONPATH=workflow/scripts python -m ftft.experiment.schema > config/schema.json"
    )


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_names_the_schema_and_is_as_it_says(path):
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n# ", text)
    assert named, "the first line is for editors"
    assert (path.parent / named[1]).resolve() == ROOT / "config" / "schema.json"
    assert mistakes(yaml.safe_load(text)) == []


@pytest.mark.parametrize("block", EXPERIMENTS)
def test_every_experiment_in_the_documents_is_as_the_schema_says(block):
    assert mistakes(yaml.safe_load(block)) == []


@pytest.mark.parametrize(("heading", "section"), describe.SECTIONS.items(), ids=describe.SECTIONS)
def test_the_schema_accepts_every_value_that_the_reader_accepts(heading, section):
    name = None if section is config.Config else section.__name__
    accepted = 0
    for key in section.model_fields:
        for value in VALUES:
            try:
                section.model_validate({key: value})
                wrong = False
            except ValidationError as failure:
                # Others may be missing, or not fit together.
                wrong = any(error["loc"][:1] == (key,) for error in failure.errors())
            if not wrong:
                accepted += 1
                assert mistakes({key: value}, name) == [], (key, value)
    assert accepted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainin: {}", "Additional properties are not allowed"),
        ("training: {epoch: 3}", "Additional properties are not allowed"),
        ("training: {schedule: lineal}", "'lineal' is not one of"),
        ("training: {batch_size: 0}", "0 is less than the minimum of 1"),
        ("training: {warmup: much}", "'much' does not match"),
        ("training: {gradient_checkpointing: maybe}", "'maybe' does not match"),
        ("methods: {ftft: {select: {by: ambigous}}}", "is not valid under any of the given schemas"),
        ("methods: {my method: {}}", "'my method' does not match"),
        ("models: {a: {hub: x/y, resources: {gpu: -1}}}", "-1 is less than the minimum of 0"),
        ("data: {train: {path: a.csv, part: [0, 0.5, 1]}}", "is not valid under any of the given schemas"),
        ("data: {labels: [one]}", "is not valid under any of the given schemas"),
        ("seeds: all", "is not valid under any of the given schemas"),
    ],
)
def test_the_schema_refuses_mistakes_of_one_key(text, message):
    [found] = mistakes(yaml.safe_load(text))
    assert message in found


def test_every_key_has_its_meaning_in_the_schema_and_none_is_required():
    """An overlay has some keys alone."""
    text = schema.page()
    assert '"required"' not in text
    for section in describe.SECTIONS.values():
        part = SCHEMA if section is config.Config else SCHEMA["$defs"][section.__name__]
        for key in section.model_fields:
            assert part["properties"][key]["description"], key
    assert json.loads(text) == SCHEMA
