"""What the plan tells the stages: the types that both know have the keys of the configuration's sections.

That the plan fills in every key, and a stage asks for no other, is what mypy checks.
"""

from dataclasses import fields
from typing import Any

import pytest

from ftft.data.settings import Source
from ftft.dynamics.datamap import DataMapSettings
from ftft.dynamics.selection import SelectSettings
from ftft.experiment import config
from ftft.jobs.environment import Runtime
from ftft.training.settings import ExpertSettings, Optimization, SettleRule, StopRule, UpweightSettings


@pytest.mark.parametrize(
    ("record", "section", "differs"),
    [
        (Source, config.Source, set()),
        (DataMapSettings, config.DataMap, set()),
        (SelectSettings, config.Select, {"mean_over"}),  # which data maps: the inputs say that
        (StopRule, config.Stop, set()),
        (SettleRule, config.ReferenceStop, {"name", "least"}),  # saved model; epochs that others need
        (UpweightSettings, config.Upweight, set()),
        (ExpertSettings, config.ProductOfExperts, set()),
        (Optimization, config.Training, set()),
        (Runtime, config.Runtime, set()),
    ],
)
def test_a_record_has_the_keys_of_its_section(record: Any, section: Any, differs: set[str]):
    keys = (
        {field.name for field in fields(record)}
        if hasattr(record, "__dataclass_fields__")
        else set(record.__annotations__)
    )
    assert keys ^ set(section.model_fields) == differs
