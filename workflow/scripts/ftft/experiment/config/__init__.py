"""One configuration file is one experiment: its keys, types, defaults and the errors a wrong one gets.

``load`` turns the parsed YAML into a validated, frozen ``Config``. ``docs/configuration.md`` and ``config/schema.json``
are generated from the descriptions in these modules.
"""

from ftft.experiment.config.data import Data, OodSet, Source
from ftft.experiment.config.experiment import Config, Report, Runtime
from ftft.experiment.config.load import load, plain
from ftft.experiment.config.methods import DataMap, Method, ProductOfExperts, Select, Stop, Upweight
from ftft.experiment.config.models import HEAD, Lora, Model, ReferenceStop, Scratch, Training
from ftft.experiment.config.resources import Resources
from ftft.experiment.config.sections import NAME, SELF, Metric, Name
from ftft.results.schemas import ERM

__all__ = [
    "ERM",
    "HEAD",
    "NAME",
    "SELF",
    "Config",
    "Data",
    "DataMap",
    "Lora",
    "Method",
    "Metric",
    "Model",
    "Name",
    "OodSet",
    "ProductOfExperts",
    "ReferenceStop",
    "Report",
    "Resources",
    "Runtime",
    "Scratch",
    "Select",
    "Source",
    "Stop",
    "Training",
    "Upweight",
    "load",
    "plain",
]
