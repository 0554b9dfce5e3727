"""Configurations: the shipped ones say what they should, and each kind of mistake gets exactly one useful line."""

import re
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import TOY_DATA
from snakemake.utils import update_config

from ftft.core.errors import UserError
from ftft.experiment.config import Config, Model, Resources, Source, load, plain
from ftft.experiment.provenance import resolve

ROOT = Path(__file__).parents[1]
# An overlay is laid over the configuration that its command names before it.
OVERLAYS = sorted((ROOT / "config" / "overlays").glob("*.yaml"))
SHIPPED = [path for path in sorted((ROOT / "config").rglob("*.yaml")) if path not in OVERLAYS]
CORPORA = ROOT.parent / "shared" / "data"

MINIMAL = {
    "task": "toy",
    "data": TOY_DATA,
    "models": {
        "big": {"hub": "someone/big"},
        "small": {"hub": "someone/small", "learning_rate": 1e-3, "batch_size": 8},
    },
    "references": ["small"],
    "mains": ["big"],
    "methods": {"erm": {}, "ftft": {"select": {"by": "ambiguous"}, "stop": {"patience": 2}}},
    "seeds": [0, 1],
    "training": {"steps": 10},
}


def shipped(name: str) -> Config:
    return load(yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8")))


def changed(path: str, value: Any, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """MINIMAL with the key at ``path`` (parts separated by slashes) set to ``value``, and ``more`` paths to theirs."""
    raw: dict[str, Any] = deepcopy(MINIMAL)
    for where, what in ({path: value} | (more or {})).items():
        *parents, last = where.split("/")
        section = raw
        for key in parents:
            section = section.setdefault(key, {})
        section[last] = what
    return raw


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT / "config")))
def test_shipped_configuration_is_valid_and_says_how_to_run_it(path):
    text = path.read_text(encoding="utf-8")
    load(yaml.safe_load(text))
    head = text.split("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "snakemake --" in head


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_is_valid_over_the_configuration_that_it_names(path):
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    files = re.findall(r"config/\S+\.yaml", re.search("snakemake .*", head)[0])
    assert files[-1] == f"config/overlays/{path.name}"
    merged: dict[str, Any] = {}
    for file in files:
        update_config(merged, yaml.safe_load((ROOT / file).read_text(encoding="utf-8")))
    base = shipped(files[0].removeprefix("config/"))
    found = load(merged)
    # It adds to the experiment, or changes it and is one of its own.
    adds = {*base.methods, *base.models} < {*found.methods, *found.models}
    assert adds == (found.task == base.task)


def test_shipped_tasks_have_folders_of_their_own():
    tasks = [yaml.safe_load(path.read_text(encoding="utf-8"))["task"] for path in SHIPPED]
    assert len(set(tasks)) == len(tasks)


@pytest.mark.parametrize(("name", "steps", "every"), [("paper/nli.yaml", 49088, 4090), ("paper/hsd.yaml", 1620, 180)])
def test_paper_settings(name, steps, every):
    config = shipped(name)
    assert config.seeds == [0, 1, 2, 3]
    assert config.mains == ["deberta-v3-large"]
    assert set(config.references) == set(config.models) - {"deberta-v3-large"}
    for model in config.models:
        training = config.training_of(model)
        assert training.learning_rate == (1e-5 if model.endswith("-large") else 2e-5)
        assert (training.steps, training.evaluate_every, training.batch_size) == (steps, every, 32)
        assert (training.warmup, training.schedule, training.max_length) == (0.1, "linear", 300)
        assert (training.optimizer, training.adam_epsilon, training.weight_decay) == ("adamw", 1e-6, 0.0)
        assert (training.precision, training.max_grad_norm) == ("bf16", 1.0)
        assert config.models[model].resources.gpu == 1


@pytest.mark.parametrize("path", sorted((ROOT / "config/paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_batches_of_the_paper_are_plainly_random(path):
    config = load(yaml.safe_load(path.read_text(encoding="utf-8")))
    windows = {config.training_of(name).length_window for name, model in config.models.items() if model.tune != "head"}
    assert windows == {0}


@pytest.mark.parametrize("name", ["paper/nli.yaml", "paper/hsd.yaml", "hsd-cad-minilm.yaml", "nli-minilm.yaml"])
def test_methods_are_the_papers(name):
    methods = shipped(name).methods
    assert [name for name in methods if not name.endswith("_stop")] == ["erm", "random", "dm", "ftft"]
    # Early-stopped results of runs that are made anyway.
    for name, method in methods.items():
        if name.endswith("_stop"):
            assert (method.select, method.stop) == (methods[name.removesuffix("_stop")].select, methods["ftft"].stop)
    assert (methods["erm"].select, methods["erm"].stop) == (None, None)
    assert [methods[m].select.by for m in ("random", "dm", "ftft")] == ["random", "ambiguous", "ambiguous"]
    assert {methods[m].select.fraction for m in ("random", "dm", "ftft")} == {0.33}
    assert (methods["dm"].references, methods["ftft"].references) == (["self"], None)
    assert (methods["ftft"].stop.monitor, methods["ftft"].stop.patience) == ("ood_dev", 2)
    assert methods["random"].stop is methods["dm"].stop is None


@pytest.mark.parametrize("name", ["paper/hsd.yaml", "hsd-cad-minilm.yaml"])
def test_hate_speech_has_dynahates_six_sets(name):
    data = shipped(name).data
    assert data.metric == "macro_f1"
    assert list(data.ood) == [f"r{n}_{kind}" for n in (2, 3, 4) for kind in ("original", "perturbation")]
    for ood_name, ood in data.ood.items():
        assert ood.dev.path == f"dynahate/{ood_name}_dev.parquet"
        assert ood.test.path == f"dynahate/{ood_name}_test.parquet"
        assert ood.dev.relabel == ood.test.relabel == {"nothate": "not_abusive", "hate": "abusive"}


def test_paper_revisions():
    models = shipped("paper/nli.yaml").models
    assert {name: model.revision for name, model in models.items() if model.revision} == {
        "deberta-v3-small": "a36c739020e01763fe789b4b85e2df55d6180012",
        "deberta-v3-base": "8ccc9b6f36199bec6961081d44eb72fb3f7353f3",
        "deberta-v3-large": "64a8c8eab3e352a784c658aef62be1662607476f",
        "electra-base": "1ae76a97c7e84a4e640876a07453fccd636f0667",
    }
    assert models == {
        name: model.model_copy(update={"resources": models[name].resources})
        for name, model in shipped("paper/hsd.yaml").models.items()
    }


@pytest.mark.parametrize(
    ("name", "reference", "differs"),
    [
        ("hsd-cad-minilm.yaml", "minilm-l3", {"layers": 3}),
        ("nli-minilm.yaml", "minilm-l4", {"layers": 4, "learning_rate": 1e-4}),
    ],
)
def test_minilm_reference_is_the_main_model_cut_to_its_first_layers(name, reference, differs):
    models = shipped(name).models
    assert models[reference] == models["minilm-l6"].model_copy(update=differs)
    assert models["minilm-l6"].sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.mark.data
@pytest.mark.skipif(not CORPORA.is_dir(), reason=f"needs the corpora in {CORPORA}")
@pytest.mark.parametrize("name", ["paper/hsd.yaml", "hsd-cad-minilm.yaml", "nli-minilm.yaml"])
def test_corpora_have_the_columns_and_labels_of_the_configuration(name):
    data = shipped(name).data
    in_distribution = [source for source in (data.train, data.dev, data.test) if source]
    for source in [*in_distribution, *(split for ood in data.ood.values() for split in (ood.dev, ood.test))]:
        (file,) = resolve(source.path, CORPORA)
        table = pq.read_table(file, columns=[*data.text, data.uid, data.label])
        labels = pc.unique(table[data.label]).to_pylist()
        assert {source.relabel.get(label, label) for label in labels} == set(data.labels)
        assert pc.count_distinct(table[data.uid]).as_py() == table.num_rows


def test_minimal_configuration():
    config = load(MINIMAL)
    assert config.data.text == ["text"]
    assert config.methods["ftft"].select.fraction == 0.33
    assert config.methods["ftft"].stop.monitor == "ood_dev"
    assert config.runtime.device == "auto"


def test_an_empty_method_and_single_values_are_allowed():
    raw = yaml.safe_load("methods: {erm: }\nmains: big\nseeds: 3")
    config = load(MINIMAL | raw)
    assert (config.mains, config.seeds) == (["big"], [3])
    assert (config.methods["erm"].select, config.methods["erm"].stop) == (None, None)


MISTAKES = {
    "unknown key": ("taks", "toy", "taks", "'task'", "data_dir"),
    "unknown nested key": ("data/ood/far/tset", {}, "data.ood.far.tset", "'test'", "dev, test"),
    "unknown key of a model": ("models/small/learnig_rate", 1, "models.small.learnig_rate", "'learning_rate'"),
    "unknown key of resources": ("models/big/resources", {"gpus": 1}, "models.big.resources.gpus", "'gpu'", "mem_mb"),
    "unknown key of select": ("methods/ftft/select/share", 1, "methods.ftft.select.share", "by, fraction"),
    "text for a number": ("training/batch_size", "many", "training.batch_size", "whole number", "'many'"),
    "fractional count": ("methods/ftft/stop/patience", 2.5, "methods.ftft.stop.patience", "integer", "2.5"),
    "value for a section": ("data/train", "train.csv", "data.train", "section", "'train.csv'"),
    "section for a value": ("data/label", ["a", "b"], "data.label", "string", "['a', 'b']"),
    "wrong word": ("data/metric", "f1", "data.metric", "'f1'", "'accuracy' or 'macro_f1'"),
    "wrong criterion": (
        "methods/ftft/select/by",
        "hardest",
        "methods.ftft.select.by",
        "'hardest' is no criterion; did you mean 'hard'?",
        "allowed: ambiguous, hard, easy, random, confidence-high and ",
    ),
    "easy share of everything": ("methods/ftft/select/easy_share", 1, "ftft.select.easy_share", "less than 1"),
    "easy share of a random subset": (
        "methods/ftft/select",
        {"by": "random", "easy_share": 0.1},
        "methods.ftft.select",
        "no data map",
    ),
    "mean of a random subset": (
        "methods/ftft/select",
        {"by": "random", "mean_over": "seeds"},
        "methods.ftft.select",
        "no data map",
    ),
    "easy share of the easiest": (
        "methods/ftft/select",
        {"by": "confidence-high", "easy_share": 0.1},
        "methods.ftft.select",
        "easiest examples already",
    ),
    "mean over one reference": (
        "methods/ftft/select/mean_over",
        "both",
        "methods.ftft.select.mean_over",
        "two or more references; found small",
    ),
    "balance true": ("methods/ftft/select/balance", True, "select.balance", "'equal' or 'proportional'", "True"),
    "burn-in of all epochs": ("datamap", {"burn_in": 3, "max_epochs": 4}, "datamap", "burn_in 3 and max_epochs 4"),
    "EL2N in the burn-in": ("datamap", {"burn_in": 3, "el2n_epoch": 2}, "datamap", "el2n_epoch 2", "leaves out"),
    "EL2N after the last epoch": ("datamap", {"max_epochs": 3, "el2n_epoch": 3}, "datamap", "el2n_epoch 3"),
    "unknown correction": ("datamap/correction", "ddof", "datamap.correction", "'sample' or 'active_bias'", "'ddof'"),
    "undefined main": ("mains", ["huge"], "mains", "'huge'", "big, small"),
    "undefined reference": ("references", ["smal"], "references", "'smal'", "did you mean 'small'?", "big, small"),
    "undefined reference of a method": (
        "methods/ftft/references",
        ["tiny"],
        "methods.ftft.references",
        "'tiny'",
        "big, small",
    ),
    "no reference": ("references", [], "methods.ftft", "references is empty"),
    "reference without use": ("methods/erm", {"references": ["small"]}, "methods.erm", "without select"),
    "fraction 0": ("methods/ftft/select/fraction", 0, "methods.ftft.select.fraction", "greater than 0", "found 0"),
    "fraction above 1": (
        "methods/ftft/select/fraction",
        1.5,
        "methods.ftft.select.fraction",
        "less than or equal to 1",
        "found 1.5",
    ),
    "monitor without dev split": (
        "methods/ftft/stop/monitor",
        "ood_dev/near",
        "methods.ftft.stop.monitor",
        "'ood_dev/near'",
        "dev, ood_dev, ood_dev/far",
    ),
    "monitor without OOD sets": ("data/ood", {}, "methods.ftft.stop.monitor", "'ood_dev'", "allowed: dev"),
    "a reference's monitor": (
        "methods/ftft/stop",
        {"monitor": "ranking"},
        "methods.ftft.stop.monitor",
        "'ranking'",
        "set models.NAME.stop",
    ),
    "a method's monitor": ("models/small/stop", {"monitor": "ood_dev"}, "models.small.stop.monitor", "'ranking' or"),
    "a random ranking": ("models/small/stop", {"monitor": "ranking", "by": "random"}, "small.stop", "never settles"),
    "a ranking of a part": (
        "models/small/stop",
        {"monitor": "ranking", "fraction": 0.5},
        "small.stop",
        "of monitor: subset",
    ),
    "an agreement of all": ("models/small/stop", {"monitor": "subset", "bound": 1}, "stop.bound", "less than 1"),
    "two uses of the data": (
        "methods/ftft/upweight",
        {"factor": 2},
        "methods.ftft",
        "one of select, upweight, product_of_experts at most; found select, upweight",
    ),
    "upweighting by nothing": ("methods/ftft", {"upweight": {"factor": 1}}, "ftft.upweight.factor", "equal to 2"),
    "interpolation with nothing": ("methods/erm", {"interpolate": 0}, "methods.erm.interpolate", "greater than 0"),
    "a mean with a classifier that is not pretrained": (
        "methods/wise",
        {"interpolate": 0.5},
        "methods.wise.interpolate",
        "'big' has a new head",
        "add head: probe to methods.wise or to models.big",
    ),
    "a head on random features": (
        "models/small",
        {"scratch": {"architecture": "bert"}, "tune": "head"},
        "models.small",
        "tune: head needs pretrained features",
        "name a pretrained model",
    ),
    "a probe of random features": (
        "models/big",
        {"scratch": {"architecture": "bert"}, "head": "probe"},
        "models.big",
        "head: probe needs pretrained features",
    ),
    "a method's probe of random features": (
        "models/big",
        {"scratch": {"architecture": "bert"}},
        {"methods/lpft": {"head": "probe"}},
        "methods.lpft.head",
        "'big' (scratch) has none of",
    ),
    "a head as main model": ("models/big/tune", "head", "mains names the model 'big'", "leave tune out"),
    "a head with a probe": ("models/small", {"hub": "a", "tune": "head", "head": "probe"}, "models.small", "leave out"),
    "features of a whole model": ("models/small/features", "mean", "models.small", "add tune: head"),
    "an unknown part to tune": ("models/small/tune", "tail", "models.small.tune", "'all', 'lora' or 'head'", "'tail'"),
    "four bits of what is trained as a whole": (
        "models/small",
        {"hub": "a", "quantize": "4bit"},
        "models.small",
        "add tune: lora",
    ),
    "an adapter added into weights in four bits": (
        "models/small",
        {"hub": "a", "tune": "lora", "lora": {"merge": True}, "quantize": "4bit", "resources": {"gpu": 1}},
        "models.small",
        "leave one of the two out",
    ),
    "four bits without a GPU": (
        "models/small",
        {"hub": "a", "tune": "lora", "quantize": "4bit"},
        "models.small",
        "add resources: {gpu: 1}",
    ),
    "another number of bits": (
        "models/small",
        {"hub": "a", "tune": "lora", "quantize": "8bit"},
        "models.small.quantize",
        "'4bit'",
        "'8bit'",
    ),
    "an adapter of what is trained as a whole": ("models/small/lora", {"rank": 4}, "models.small", "add tune: lora"),
    "an adapter of random weights": (
        "models/small",
        {"scratch": {"architecture": "bert"}, "tune": "lora"},
        "models.small",
        "tune: lora needs pretrained features",
    ),
    "an unknown key of an adapter": (
        "models/small",
        {"hub": "a", "tune": "lora", "lora": {"r": 4}},
        "models.small.lora.r",
        "unknown",
    ),
    "an adapter of rank 0": (
        "models/small",
        {"hub": "a", "tune": "lora", "lora": {"rank": 0}},
        "models.small.lora.rank",
        "greater than or equal to 1",
    ),
    "an adapter beside nothing": (
        "models/small",
        {"hub": "a", "tune": "lora", "lora": {"targets": []}},
        "models.small.lora.targets",
    ),
    "a mean of an adapter": (
        "models/big/tune",
        "lora",
        {"methods/wise": {"interpolate": 0.5, "head": "probe"}},
        "methods.wise.interpolate",
        "tune: lora",
    ),
    "a method without settings": ("methods/ftft", None, "methods.ftft is empty, which is plain training, as erm is"),
    "an empty source": (
        "data/train",
        {"hub": "", "split": "train"},
        "data.train.hub is empty; leave it out or fill it",
    ),
    "a checksum of nothing": ("data/train/sha256", "", "data.train.sha256", "found ''"),
    "a checksum that is none": ("data/train/sha256", "abc", "data.train.sha256", "found 'abc'"),
    "a set named like a heading": (
        "data/ood",
        {"Method": {"test": {"path": "a.csv"}}},
        "data.ood: the name 'Method' is taken",
    ),
    "a set named like another in other case": (
        "data/ood",
        {"In_Distribution": {"test": {"path": "a.csv"}}},
        "data.ood: the name 'In_Distribution' is taken",
    ),
    "compile as a word": ("runtime", {"compile": "never"}, "runtime.compile: auto, true or false is expected"),
    "half a part": ("data/train/part", [0.5], "data.train.part: two numbers [start, end]", "found [0.5]"),
    "a part as a number": ("data/train/part", 0.5, "data.train.part: two numbers [start, end]", "found 0.5"),
    "a budget of nothing": ("methods/erm", {"budget": 0}, "methods.erm.budget", "greater than 0", "found 0"),
    "a budget above 1": ("methods/erm", {"budget": 1.5}, "methods.erm.budget", "less than or equal to 1", "found 1.5"),
    "a budget of less than one evaluation": (
        "training/evaluate_every",
        4,
        {"methods/third": {"budget": 0.3}},
        "methods.third.budget is 0.3 of the 10 steps of 'big'",
        "fewer than the 4 to the first evaluation",
    ),
    "a look that does not divide": (
        "training/evaluate_every",
        20,
        {"methods/ftft/stop": {"every": 3}},
        "methods.ftft.stop.every is 3",
        "the evaluate_every of 'big', 20",
        "allowed: 1, 2, 4, 5, 10 and 1 more",
    ),
    "a look without an interval": (
        "methods/ftft/stop",
        {"every": 3},
        "methods.ftft.stop.every is 3",
        "no training.evaluate_every",
        "set that too",
    ),
    "two sources": ("data/train", {"path": "a.csv", "hub": "b", "split": "c"}, "data.train", "found hub, path"),
    "no source": ("data/dev", {}, "data.dev", "exactly one of hub, path, builtin", "found none"),
    "two model sources": ("models/big", {"hub": "a", "path": "b"}, "models.big", "found hub, path"),
    "hub without split": ("data/train", {"hub": "a"}, "data.train", "needs split"),
    "package without path": ("models/big", {"package": "a"}, "models.big", "needs path"),
    "relabel to unknown label": (
        "data/train/relabel",
        {"hate": "awful"},
        "train.relabel",
        "'hate'",
        "'awful'",
        "'bad', 'good'",
    ),
    "neither steps nor epochs": ("training", {}, "training", "steps or epochs", "found neither"),
    "both steps and epochs": ("training/epochs", 2, "training", "steps or epochs", "found both"),
    "task that is no file name": ("task", "a/b", "task", "'a/b'", "letters, digits"),
    "model that is no file name": ("models/to p", {"hub": "a"}, "models.to p", "'to p'", "letters, digits"),
    "duplicate seeds": ("seeds", [1, 1], "seeds", "differ", "found 1, 1"),
    "negative seed": ("seeds", [-1], "seeds", "from 0 to 2147483647", "found -1"),
    "a seed beyond 31 bits": ("seeds", [2**31], "seeds", "at most 2147483647", "found 2147483648"),
    "a seed beyond all bits": ("seeds", [0, 10**40], "seeds", "at most 2147483647"),
    "a range as seeds": ("seeds", "0-3", "seeds", "or several as in [0, 1, 2, 3]", "found '0-3'"),
    "seeds without brackets": ("seeds", "0, 1", "seeds", "or several as in [0, 1, 2, 3]", "found '0, 1'"),
    "a range within the seeds": ("seeds", ["0-3"], "seeds", "whole number", "found '0-3'"),
    "a range as a number": ("training/steps", "0+3", "training.steps", "whole number", "found '0+3'"),
    "true as a seed": ("seeds", [True], "seeds", "truth value true", "number is expected"),
    "true as the only seed": ("seeds", True, "seeds", "truth value true"),
    "true as a batch size": ("training/batch_size", True, "training.batch_size", "truth value true"),
    "true as a rate": ("models/big/learning_rate", True, "models.big.learning_rate", "truth value true"),
    "true as a budget": ("methods/half", {"budget": True}, "methods.half.budget", "truth value true"),
    "true as a part": ("data/train/part", [False, 0.5], "data.train.part", "truth value false"),
    "true as a time": ("models/big/resources", {"runtime": True}, "resources.runtime", "number of minutes"),
    "steps beyond all memory": ("training/steps", 2**31, "training.steps", "at most 2147483647"),
    "a rate beyond all use": ("training/learning_rate", 1e300, "training.learning_rate", "at most 2147483647"),
    "a rate beyond all use as text": ("models/big/learning_rate", "1e300", "models.big", "at most 2147483647"),
    "more GPUs than there are": ("models/big/resources", {"gpu": 1e20}, "resources.gpu", "at most 2147483647"),
    "an infinite rate": ("training/learning_rate", float("inf"), "training.learning_rate", "finite", "inf"),
    "a rate that is no number": ("models/small/learning_rate", float("nan"), "models.small.learning_rate", "finite"),
    "infinity as text": ("methods/ftft/stop/min_delta", "inf", "methods.ftft.stop.min_delta", "finite", "'inf'"),
    "an infinite batch": ("training/batch_size", float("inf"), "training.batch_size", "whole number"),
    "an infinite part": ("data/train/part", [0.0, float("nan")], "data.train.part.1", "finite"),
    "a null label": ("data/labels", [None, "good"], "data.labels.0", "as nothing", "between quote marks"),
    "a truth value as label": ("data/labels", ["bad", False], "data.labels.1", "truth value false", "quote marks"),
    "a fraction as label": ("data/labels", [1.5, "b"], "data.labels.0", "the number 1.5", "quote marks"),
    "a date as label": ("data/labels", [date(2024, 1, 2), "b"], "data.labels.0", "date 2024-01-02", "quote marks"),
    "a date as revision": ("models/big/revision", date(2024, 1, 2), "models.big.revision", "2024-01-02", "quote marks"),
    "a number as revision": ("models/big/revision", 1234567, "models.big.revision", "1234567", "between quote marks"),
    "a truth value as a name": ("methods", {"erm": {}, False: {}}, "methods.", "truth value false", "quote marks"),
    "more classes than 16 bits": ("data/labels", [f"c{n}" for n in range(2**15)], "data.labels", "at most 32767"),
    "a pair in one set alone": (
        "data/ood/far/test/text",
        ["a", "b"],
        "data: every set has as many columns of text as the train set",
        "found a, b (of ood.far.test) and text (of train)",
    ),
    "one column as a pair": ("data/text", ["a", "a"], "data: the columns of text (of train)", "found 'a', 'a'"),
    "one column as a pair of one set": (
        "data/ood/far/test/text",
        ["a", "a"],
        "data: the columns of text (of ood.far.test) must differ",
    ),
    "the label as text": ("data/label", "text", "data: 'text' is a column of text and that of the label (of train)"),
    "one name for two columns": ("data/train/columns", ["a", "b", "a"], "data.train: columns must differ"),
    "no erm": ("methods", {"plain": {}}, "methods has no erm", "add erm: {}"),
    "erm on a part": ("methods/erm", {"select": {"by": "random"}}, "methods.erm is plain", "select", "another name"),
    "erm that stops": ("methods/erm", {"stop": {"patience": 2}}, "methods.erm is plain", "found stop"),
    "erm on a budget": ("methods/erm", {"budget": 0.5}, "methods.erm is plain", "found budget"),
    "an empty select": ("methods/ftft/select", None, "methods.ftft.select is empty; leave it out or fill it"),
    "an empty stop": ("methods/ftft/stop", None, "methods.ftft.stop is empty; leave it out or fill it"),
    "an empty budget": ("methods/half", {"budget": None}, "methods.half.budget is empty"),
    "empty references": ("methods/ftft/references", [], "methods.ftft.references", "at least 1"),
    "models that differ in case": ("models/BIG", {"hub": "a"}, "models: 'big' and 'BIG' differ in case alone"),
    "methods that differ in case": ("methods/FTFT", {}, "methods: 'ftft' and 'FTFT' differ in case alone"),
    "sets that differ in case": ("data/ood/Far", {"test": {"path": "a"}}, "data.ood: 'far' and 'Far' differ in case"),
    "a name that is a folder": ("models/..", {"hub": "a"}, "models...", "'..'", "begin with a letter or digit"),
    "a long name": ("models/" + "m" * 101, {"hub": "a"}, "has 101 characters", "at most 100"),
    "no seed": ("seeds", [], "seeds", "at least 1", "found []"),
    "no method": ("methods", {}, "methods", "at least 1", "found {}"),
    "one label": ("data/labels", ["bad"], "data.labels", "at least 2", "['bad']"),
    "equal labels": ("data/labels", ["bad", "bad"], "labels must differ", "'bad', 'bad'"),
    "one label in two Unicode forms": (
        "data/labels",
        ["caf\u00e9", "cafe\u0301"],
        "labels must differ",
        "'caf\u00e9', 'caf\u00e9'",
    ),
    "one label of the source in two Unicode forms": (
        "data/train/relabel",
        {"caf\u00e9": "bad", "cafe\u0301": None},
        "data.train.relabel: labels of the source must differ",
        "'caf\u00e9', 'caf\u00e9'",
    ),
    "three text columns": ("data/text", ["a", "b", "c"], "data.text", "at most 2", "['a', 'b', 'c']"),
    "part outside [0, 1]": ("data/train/part", [0.5, 0.1], "data.train", "0 <= start < end <= 1", "[0.5, 0.1]"),
    "heads that do not divide": (
        "models/big",
        {"scratch": {"architecture": "bert", "hidden_size": 30, "heads": 4}},
        "models.big.scratch",
        "30",
        "multiple of heads 4",
    ),
    "time without a number": ("models/big/resources", {"runtime": "soon"}, "resources.runtime", "'soon'", "90m, 8h"),
    "a time in base 60": ("models/big/resources", {"runtime": 43200}, "resources.runtime", "14 days", "write 12h"),
    "a long time as text": ("models/big/resources", {"runtime": "43200"}, "resources.runtime", "more than 14 days"),
    "hours or minutes": ("models/big/resources", {"runtime": "12:00"}, "resources.runtime", "'12:00' may be hours or"),
    "half a time": ("models/big/resources", {"runtime": 1.5}, "resources.runtime", "number of minutes", "found 1.5"),
    "an endless time": ("models/big/resources", {"runtime": "9" * 400 + "h"}, "resources.runtime", "number of minutes"),
    "negative time": ("models/big/resources", {"runtime": -5}, "models.big.resources.runtime", "-5", "not negative"),
    "layers of scratch": (
        "models/big",
        {"scratch": {"architecture": "bert"}, "layers": 1},
        "models.big",
        "layers truncates a pretrained model",
    ),
}


SOURCES = {
    "hub": {"hub": "someone/data", "split": "train"},
    "path": {"path": "a.csv"},
    "builtin": {"builtin": "planted"},
}
# What each key of a source may be, and the kinds of source that read it.
READ = {
    "name": ("plain", "hub"),
    "split": ("train", "hub or builtin"),
    "revision": ("0123abc", "hub"),
    "seed": (3, "builtin"),
    "format": ("csv", "path"),
    "encoding": ("cp1252", "path"),
    "columns": (["text", "label"], "path"),
    "delimiter": (";", "path"),
    "quoting": (False, "path"),
    "escape": ("\\", "path"),
    "sha256": ("0" * 64, "path"),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("key", READ)
def test_a_source_takes_only_keys_that_its_kind_reads(kind, key):
    value, kinds = READ[key]
    raw = changed("data/train", SOURCES[kind] | {key: value})
    if kind in kinds.split(" or "):
        assert getattr(load(raw).data.train, key) == value
        return
    with pytest.raises(UserError) as failure:
        load(raw)
    assert str(failure.value) == (f"config: data.train: {key} is for {kinds}, and this has {kind}: leave {key} out")


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_takes_what_all_kinds_read(kind):
    common = {"rows": 5, "part": [0, 0.5], "text": "a", "label": "b", "uid": "c", "relabel": {"x": "good"}}
    source = load(changed("data/train", SOURCES[kind] | common)).data.train
    assert (source.rows, source.part, source.text, source.uid) == (5, (0, 0.5), ["a"], "c")
    assert {*common, *READ, *SOURCES} == set(Source.model_fields)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"path": "a", "revision": "b"}, "revision is for hub, and this has path: leave revision out"),
        ({"package": "a", "path": "b", "revision": "c"}, "revision is for hub, and this has package: leave revision"),
        ({"scratch": {"architecture": "bert"}, "revision": "b"}, "revision is for hub, and this has scratch"),
        (
            {"scratch": {"architecture": "bert"}, "sha256": "0" * 64},
            "sha256 is for hub or package or path, and this has scratch: leave sha256 out",
        ),
        ({"hub": "a", "revision": "b", "sha256": "0" * 64}, None),
        ({"package": "a", "path": "b", "sha256": "0" * 64}, None),
        ({"path": "a", "sha256": "0" * 64, "revision": None}, None),
        ({"scratch": {"architecture": "llama"}, "pair_separator": " | "}, None),
    ],
)
def test_a_model_takes_only_keys_that_its_source_reads(model, expected):
    raw = changed("models/small", model)
    if expected is None:
        assert load(raw).models["small"].pair_separator == model.get("pair_separator")
        return
    with pytest.raises(UserError) as failure:
        load(raw)
    assert str(failure.value).startswith(f"config: models.small: {expected}")


@pytest.mark.parametrize(
    ("runtime", "minutes"),
    [
        *[(30, 30), ("30", 30), ("90m", 90), ("8h", 480), ("1.5 hours", 90), ("2d", 2880), ("5s", 1)],
        *[("12:00:00", 720), ("0:30:00", 30), ("1-12:30:00", 2190), ("00:00:10", 1), ("20d", 28800), (20160, 20160)],
    ],
)
def test_times_are_read_as_snakemake_reads_them(runtime, minutes):
    assert Resources(runtime=runtime).minutes == minutes


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_with_key_found_and_allowed(mistake):
    path, value, *expected = MISTAKES[mistake]
    changes = expected.pop(0) if isinstance(expected[0], dict) else {}
    with pytest.raises(UserError) as failure:
        load(changed(path, value, changes))
    message = str(failure.value)
    assert "\n" not in message
    assert message.startswith("config: ")
    assert len(message) <= 400
    assert [part for part in expected if part not in message] == []


def test_random_weights_are_nothing_to_interpolate_with():
    raw = changed("methods/wise", {"interpolate": 0.5, "head": "probe"})
    load(raw)
    raw["models"]["big"] = {"scratch": {"architecture": "bert"}}
    with pytest.raises(UserError, match=r"^config: methods.wise.interpolate is about .* 'big' \(scratch\) has none of"):
        load(raw)


def test_joint_references_have_no_plus_in_their_names():
    raw = changed("models/small+", {"hub": "someone/other"})
    raw["references"] = ["small", "small+"]
    load(raw)
    raw["methods"]["ftft"]["select"]["mean_over"] = "references"
    with pytest.raises(UserError, match=r"^config: methods.ftft.select.mean_over joins .* 'small\+' has one: rename"):
        load(raw)


def test_numbers_that_are_text_are_read_as_yaml_means_them():
    """The command line gives text, and YAML takes 1e-5 without a dot for text."""
    raw = changed("training/learning_rate", "1e-5", {"seeds": ["0", "12"], "data/labels": [0, 10]})
    config = load(raw)
    assert (config.training.learning_rate, config.seeds, config.data.labels) == (1e-5, [0, 12], ["0", "10"])
    assert load(changed("seeds", [0, 2**31 - 1])).seeds[1] == 2**31 - 1
    assert len(load(changed("data/labels", [f"c{n}" for n in range(2**15 - 1)])).data.labels) == 2**15 - 1


def test_labels_are_compared_in_one_unicode_form():
    relabel = {"tre\u0300s": "cafe\u0301"}
    data = load(changed("data/labels", ["caf\u00e9", "the\u0301"], {"data/train/relabel": relabel})).data
    assert data.labels == ["caf\u00e9", "th\u00e9"]
    assert data.train.relabel == {"tr\u00e8s": "caf\u00e9"}


def test_hostile_values_give_short_messages():
    long = "\x1b[31m" + "x" * 10**6
    for path in (
        "task",
        "data/metric",
        "training/schedule",
        f"models/{long}",
        f"training/{long}",
        "mains",
        "data/label",
    ):
        raw = changed(path, {long: [long] * 9} if path == "data/label" else long)
        with pytest.raises(UserError) as failure:
            load(raw)
        assert "\x1b" not in str(failure.value)
        assert all(len(line) <= 400 for line in str(failure.value).splitlines())


def test_without_a_task_nothing_of_the_default_is_mixed_in():
    with pytest.raises(
        UserError, match=r"^config: the key task is missing\. What is given with --configfile is a whole"
    ):
        load({"seeds": [1]})
    with pytest.raises(UserError, match=r"unknown key taks; did you mean 'task'"):
        load({key.replace("task", "taks"): value for key, value in MINIMAL.items()})


def test_a_mistake_is_named_with_its_line():
    places = {"seeds": "my.yaml, line 9", "methods.ftft": "my.yaml, line 7", "models": "my.yaml, line 2"}
    for path, value, expected in [
        ("seeds", "0-3", "my.yaml, line 9: seeds: "),
        ("methods/ftft/select/by", "harder", "my.yaml, line 7: methods.ftft.select.by: "),
        ("models/big/resources", {"gpus": 1}, "my.yaml, line 2: unknown key models.big.resources.gpus; "),
        ("methods/ftft/stop/monitor", "x", "my.yaml, line 7: methods.ftft.stop.monitor is "),
        ("seeds", [1, 1], "my.yaml, line 9: seeds must differ"),
        ("training/epochs", 2, "config: training needs either"),
    ]:
        with pytest.raises(UserError) as failure:
            load(changed(path, value), places)
        assert str(failure.value).startswith(expected)


def test_a_missing_key_is_named():
    raw = {key: value for key, value in MINIMAL.items() if key != "mains"}
    with pytest.raises(UserError, match=re.escape("config: the key mains is missing")):
        load(raw)


def test_each_of_several_mistakes_gets_its_line():
    raw = changed("training/batch_size", 0) | {"taks": "toy"}
    with pytest.raises(UserError) as failure:
        load(raw)
    lines = str(failure.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("config: ") for line in lines)


def test_training_of_puts_a_models_settings_over_the_common_ones():
    config = load(changed("training/learning_rate", 5e-5))
    big, small = config.training_of("big"), config.training_of("small")
    assert (big.learning_rate, big.batch_size, big.steps) == (5e-5, 32, 10)
    assert (small.learning_rate, small.batch_size, small.steps) == (1e-3, 8, 10)
    assert big == config.training


def test_a_model_may_count_in_epochs_where_the_others_count_in_steps():
    config = load(changed("models/small/epochs", 2))
    assert (config.training_of("small").steps, config.training_of("small").epochs) == (None, 2.0)
    assert (config.training_of("big").steps, config.training_of("big").epochs) == (10, None)


def test_plain_is_sorted_and_built_in_all_the_way_down():
    def check(value: Any) -> None:
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        if isinstance(value, dict):
            assert list(value) == sorted(value)
            assert all(type(key) is str for key in value)
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
            check(child)

    config = load(changed("data/train/part", [0, 0.9]))
    check(plain(config))
    assert plain(config)["data"]["train"]["part"] == [0.0, 0.9]
    assert plain({"b": {2: (1, 2), 1: None}, "a": 1}) == {"a": 1, "b": {"1": None, "2": [1, 2]}}


def test_plain_does_not_depend_on_the_order_of_keys():
    backwards = {key: MINIMAL[key] for key in reversed(MINIMAL)}
    assert repr(plain(load(backwards))) == repr(plain(load(MINIMAL)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"encoding": "utf-9"}, "Python knows no text encoding 'utf-9'; such as utf-8"),
        ({"encoding": "hex"}, "Python knows no text encoding 'hex'"),
        ({"delimiter": ";;"}, "data.train.delimiter"),
        ({"delimiter": ""}, "data.train.delimiter"),
        ({"delimiter": '"'}, "delimiter is one sign, and no quote mark or line break; found '\"'"),
        ({"escape": "\n"}, "escape is one sign, and no quote mark or line break; found '\\n'"),
        ({"delimiter": "|", "escape": "|"}, "delimiter and escape must differ; found '|' for both"),
    ],
)
def test_how_a_file_is_read(source, message):
    with pytest.raises(UserError) as failure:
        load(changed("data/train", {"path": "a.csv", **source}))
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("given", "name"), [("UTF8", "utf-8"), ("utf-8-sig", "utf-8"), ("latin1", "iso8859-1"), ("Windows-1252", "cp1252")]
)
def test_names_of_one_encoding_are_one(given, name):
    assert load(changed("data/train", {"path": "a.csv", "encoding": given})).data.train.encoding == name


@pytest.mark.parametrize("hub", ["{folder}", "model", "~/model", "./model"])
def test_folder_under_hub(tmp_path, monkeypatch, hub):
    """Whoever means a folder is told so before anything is looked for on the hub."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match="is a folder: use path instead of hub"):
        Model(hub=hub.format(folder=tmp_path / "model"))


@pytest.mark.parametrize(
    "hub", ["/no/such/folder", "~/model", "../model", "a/b/c", ".", "..", "a\\b", "a b", "a/..", "a/b\n"]
)
def test_no_model_id(hub):
    with pytest.raises(ValueError, match="is no model id, which is NAME or OWNER/NAME; for a folder use path"):
        Model(hub=hub)


@pytest.mark.parametrize(
    "hub", ["gpt2", "microsoft/deberta-v3-large", "sentence-transformers/all-MiniLM-L6-v2", "a/b_c.d"]
)
def test_model_id(hub):
    assert Model(hub=hub).hub == hub


def test_a_budget_may_be_as_small_as_the_warm_up_whose_share_is_of_the_budget():
    config = load(changed("methods/tenth", {"budget": 0.1}))
    assert config.methods["tenth"].budget == config.training.warmup == 0.1
