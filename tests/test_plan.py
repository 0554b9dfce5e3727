"""Which runs a configuration asks for, under which names, and what they share."""

import re
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from conftest import TOY_DATA

from ftft.core.errors import UserError
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.experiment import outputs, stages
from ftft.experiment.config import HEAD, ReferenceStop, Stop, load
from ftft.experiment.layout import Layout
from ftft.experiment.lineage import lineage
from ftft.experiment.plan import Plan, Run, checkpoint_name

CONFIG = {
    "task": "toy",
    "data": TOY_DATA,
    "models": {"big": {"hub": "someone/big"}, "small": {"hub": "someone/small"}, "tiny": {"hub": "someone/tiny"}},
    "references": ["small"],
    "mains": ["big"],
    "methods": {"erm": {}},
    "seeds": [3],
    "training": {"steps": 10},
}
LAYOUT = Layout("results/toy")
AMBIGUOUS = {"by": "ambiguous", "fraction": 0.5}
STOP = "stop-ood_dev-patience2"


def plan(**changes: Any) -> Plan:
    """The plan of ``CONFIG`` with some of its sections replaced; without ERM where a test names methods without it."""
    methods = changes.get("methods", CONFIG["methods"])
    config = load(deepcopy(CONFIG) | changes | {"methods": {"erm": {}} | methods})
    return Plan(config.model_copy(update={"methods": {name: config.methods[name] for name in methods}}))


def rows(found: Plan) -> list[tuple[str, str, str, str]]:
    """Method, reference, folder of the run and checkpoint of every result."""
    return [(result.method, result.reference, result.run.path, result.checkpoint) for result in found.results]


def test_erm_is_the_reference_run_of_the_main_model():
    found = plan()
    assert rows(found) == [("erm", "", "reference/big/seed3", "final")]
    assert found.runs == [Run("big", "", 3)]
    assert found.references == []
    assert found.subsets == {}
    assert stages.train(found, "big")["final"] is True


def test_dm_with_self_trains_erm_once():
    """The run that is the ERM baseline also gives the dynamics, whether the main model is called self or by name."""
    dm = {"select": AMBIGUOUS, "references": ["self", "big"]}
    found = plan(methods={"erm": {}, "dm": dm}, references=[])
    assert rows(found) == [
        ("erm", "", "reference/big/seed3", "final"),
        ("dm", "big", "main/big/big/ambiguous-0.5/seed3", "final"),
    ]
    assert found.runs == [Run("big", "", 3), Run("big", "big/ambiguous-0.5", 3)]
    assert found.references == ["big"]
    assert found.group_of("big/ambiguous-0.5") == ("big",)


def test_ftft_needs_the_reference_but_no_run_of_the_main_model_on_all_data():
    found = plan(methods={"ftft": {"select": AMBIGUOUS, "stop": {}}})
    assert rows(found) == [("ftft", "small", "main/big/small/ambiguous-0.5/seed3", STOP)]
    assert found.runs == [Run("small", "", 3), Run("big", "small/ambiguous-0.5", 3)]
    reference = stages.train(found, "small")
    assert (reference["final"], reference["stops"]) == (True, {})  # its dynamics are of all epochs
    main = stages.train(found, "big", "small/ambiguous-0.5")
    assert main["final"] is False  # so that training really stops
    assert main["stops"] == {STOP: {"every": None, "min_delta": 0.0, "monitor": "ood_dev", "patience": 2}}


def test_two_methods_with_the_same_subset_are_one_run_with_two_checkpoints():
    methods = {"ftft": {"select": AMBIGUOUS, "stop": {}}, "full": {"select": AMBIGUOUS}, "slow": {"select": AMBIGUOUS}}
    methods["slow"]["stop"] = {"patience": 5, "monitor": "ood_dev/far", "min_delta": 0.01}
    found = plan(methods=methods)
    run = Run("big", "small/ambiguous-0.5", 3)
    slow = "stop-ood_dev.far-patience5-delta0.01"
    assert found.runs == [Run("small", "", 3), run]
    assert found.evaluations() == [(run, "final"), (run, STOP), (run, slow)]
    settings = stages.train(found, "big", "small/ambiguous-0.5")
    assert sorted(settings["stops"]) == [STOP, slow]
    assert settings["stops"][slow] == {"every": None, "min_delta": 0.01, "monitor": "ood_dev/far", "patience": 5}
    assert settings["final"] is True


def test_erm_with_and_without_early_stopping_is_one_run():
    found = plan(methods={"erm": {}, "stopped": {"stop": {}}})
    assert found.runs == [Run("big", "", 3)]
    assert list(stages.train(found, "big")["stops"]) == [STOP]


def test_the_same_selection_by_several_references():
    methods = {"ftft": {"select": AMBIGUOUS}, "other": {"select": AMBIGUOUS, "references": ["tiny"]}}
    found = plan(methods=methods, references=["small", "tiny"])
    assert [row[:2] for row in rows(found)] == [("ftft", "small"), ("ftft", "tiny"), ("other", "tiny")]
    assert len(found.runs) == 4  # two references, two subsets
    assert found.references == ["small", "tiny"]


def test_random_subset_has_no_reference():
    found = plan(methods={"random": {"select": {"by": "random", "fraction": 0.33}}}, references=[])
    assert rows(found) == [("random", "", "main/big/random-0.33/seed3", "final")]
    assert found.runs == [Run("big", "random-0.33", 3)]
    assert found.group_of("random-0.33") == ()
    assert stages.select(found, "random-0.33") == {"balance": None, "by": "random", "easy_share": 0.0, "fraction": 0.33}
    assert found.reference_runs_of("random-0.33", 3) == []
    assert outputs.subset_entries(found, LAYOUT)[0]["path"] == "results/toy/subset/random-0.33/seed3.parquet"


@pytest.mark.parametrize("fractions", [(0.1, 0.2), (1 / 3, 0.333333), (0.3333333, 0.33333334)])
def test_subsets_of_different_size_have_different_names(fractions):
    methods = {f"m{n}": {"select": {"by": "hard", "fraction": fraction}} for n, fraction in enumerate(fractions)}
    found = plan(methods=methods)
    assert sorted(select.fraction for select in found.subsets.values()) == sorted(fractions)


def test_seeds_and_mains_are_paired():
    found = plan(mains=["big", "tiny"], seeds=[0, 1], methods={"dm": {"select": AMBIGUOUS, "references": ["self"]}})
    assert [(result.main, result.reference_runs) for result in found.results] == [
        ("big", (Run("big", "", 0),)),
        ("big", (Run("big", "", 1),)),
        ("tiny", (Run("tiny", "", 0),)),
        ("tiny", (Run("tiny", "", 1),)),
    ]
    assert len(found.runs) == 8


def test_names_of_selections():
    selections = {
        "plain": ({"by": "aum-low", "fraction": 0.5}, "small/aum-low-0.5"),
        "mixed": ({"by": "aum-low", "fraction": 0.5, "easy_share": 0.1}, "small/aum-low-0.5+easy0.1"),
        "equal": ({"by": "aum-low", "fraction": 0.5, "balance": "equal"}, "small/aum-low-0.5+equal"),
        "share": ({"by": "aum-low", "fraction": 0.5, "balance": "proportional"}, "small/aum-low-0.5+proportional"),
        "seeds": ({"by": "aum-low", "fraction": 0.5, "mean_over": "seeds"}, "small/aum-low-0.5+seeds"),
        "joint": ({"by": "aum-low", "fraction": 0.5, "mean_over": "references"}, "small+tiny/aum-low-0.5"),
        "all": (
            {"by": "aum-low", "fraction": 0.5, "mean_over": "both", "balance": "equal", "easy_share": 0.1},
            "small+tiny/aum-low-0.5+easy0.1+equal+seeds",
        ),
        "random": ({"by": "random", "fraction": 0.5, "balance": "equal"}, "random-0.5+equal"),
    }
    methods = {name: {"select": select, "references": ["small", "tiny"]} for name, (select, _) in selections.items()}
    del methods["random"]["references"]
    found = plan(methods=methods, references=[])
    first = {result.method: result.run.recipe for result in reversed(found.results)}
    assert first == {name: subset for name, (_, subset) in selections.items()}
    assert len(set(first.values())) == len(first)
    assert stages.select(found, "small+tiny/aum-low-0.5+easy0.1+equal+seeds") == {
        "balance": "equal",
        "by": "aum-low",
        "easy_share": 0.1,
        "fraction": 0.5,
    }
    by = {entry["path"].split("/")[-2]: entry["by"] for entry in outputs.subset_entries(found, LAYOUT)}
    assert by["aum-low-0.5"] == "aum-low"
    assert by["aum-low-0.5+easy0.1"] == "aum-low+easy0.1"


def test_several_references_select_one_subset_and_all_are_paid_for():
    select = AMBIGUOUS | {"mean_over": "references"}
    found = plan(methods={"joint": {"select": select}}, references=["tiny", "small"], seeds=[0, 1])
    assert rows(found) == [
        ("joint", "small+tiny", f"main/big/small+tiny/ambiguous-0.5/seed{seed}", "final") for seed in (0, 1)
    ]
    assert found.references == ["small", "tiny"]
    assert found.reference_runs_of("small+tiny/ambiguous-0.5", 1) == [Run("small", "", 1), Run("tiny", "", 1)]
    assert [run.model for run in found.runs if not run.recipe] == ["small", "tiny"] * 2
    costs = [f"results/toy/reference/{model}/seed1/cost.parquet" for model in ("small", "tiny")]
    assert [cost["cost"] for cost in outputs.entries(found, LAYOUT)[1]["training_costs"]] == costs
    # The order in which they are named changes nothing.
    again = plan(methods={"joint": {"select": select}}, references=["small", "tiny"], seeds=[0, 1])
    assert again.results == found.results


def test_several_seeds_select_one_subset():
    select = AMBIGUOUS | {"mean_over": "seeds"}
    found = plan(methods={"joint": {"select": select}}, seeds=[1, 0])
    assert [run.path for run in found.runs if run.recipe] == [
        f"main/big/small/ambiguous-0.5+seeds/seed{seed}" for seed in (1, 0)
    ]
    for result in found.results:
        assert result.reference_runs == (Run("small", "", 0), Run("small", "", 1))


def test_self_and_itself_by_name_are_one_reference():
    select = AMBIGUOUS | {"mean_over": "references"}
    methods = {"dm": {"select": AMBIGUOUS}, "joint": {"select": select}}
    found = plan(methods={name: each | {"references": ["self", "big"]} for name, each in methods.items()})
    assert list(found.subsets) == ["big/ambiguous-0.5"]
    assert found.reference_runs_of("big/ambiguous-0.5", 3) == [Run("big", "", 3)]


def test_methods_that_weigh_all_data():
    methods = {
        "jtt": {"upweight": {"factor": 5}},
        "poe": {"product_of_experts": {"epoch": 0}, "references": ["self"], "stop": {}},
        "erm": {},
    }
    found = plan(methods=methods)
    assert rows(found) == [
        ("erm", "", "reference/big/seed3", "final"),
        ("poe", "big", "main/big/big/product-epoch0/seed3", STOP),
        ("jtt", "small", "main/big/small/upweight-5-epoch1/seed3", "final"),
    ]
    assert found.subsets == {}
    assert outputs.subset_entries(found, LAYOUT) == []
    assert set(found.runs) == {result.run for result in found.results} | {Run("small", "", 3)}
    settings = [stages.train(found, "big", recipe) for recipe in ("small/upweight-5-epoch1", "big/product-epoch0", "")]
    assert [each["upweight"] for each in settings] == [{"epoch": 1, "factor": 5}, None, None]
    assert [each["product_of_experts"] for each in settings] == [None, {"epoch": 0}, None]
    jtt = outputs.entries(found, LAYOUT)[2]
    assert [cost["cost"] for cost in jtt["training_costs"]] == ["results/toy/reference/small/seed3/cost.parquet"]
    assert jtt["other_costs"] == []  # no data map and no subset


def test_a_mean_with_the_pretrained_weights_is_another_model_of_the_same_run():
    wise = {"head": "probe", "interpolate": 0.5}
    methods = {
        "erm": {},
        "lpft": {"head": "probe"},
        "wise": wise,
        "wise_stop": wise | {"interpolate": 0.75, "stop": {}},
    }
    found = plan(methods=methods)
    run = "main/big/all+probe/seed3"
    assert rows(found) == [
        ("erm", "", "reference/big/seed3", "final"),
        ("lpft", "", run, "final"),
        ("wise", "", run, "final+wise0.5"),
        ("wise_stop", "", run, f"{STOP}+wise0.75"),
    ]
    assert found.runs == [Run("big", "", 3), Run("big", "all+probe", 3)]
    assert list(stages.train(found, "big", "all+probe")["stops"]) == [STOP]
    assert stages.interpolate(found, f"{STOP}+wise0.75") == {"checkpoint": STOP, "share": 0.75}
    assert stages.evaluate(found, "big", f"{STOP}+wise0.75")["trained"] == STOP
    entries = outputs.entries(found, LAYOUT)
    assert [(entry["checkpoint"], entry["interpolated"]) for entry in entries] == [
        ("final", False),
        ("final", False),
        ("final", True),
        (STOP, True),
    ]
    assert entries[2]["metrics"] == "results/toy/evaluation/main/big/all+probe/seed3/final+wise0.5/metrics.parquet"


def test_a_run_that_starts_from_a_trained_head_pays_for_it():
    found = plan(methods={"erm": {}, "lpft": {"head": "probe"}}, seeds=[3, 4])
    assert found.probes == [("big", 3), ("big", 4)]
    assert found.embedded == ["someone--big"]
    assert [found.needs_probe("big", recipe) for recipe in ("", "all+probe")] == [False, True]
    erm, lpft = outputs.entries(found, LAYOUT)[::2]
    assert (erm["training_costs"], erm["other_costs"]) == ([], [])
    assert lpft["training_costs"] == [{"cost": "results/toy/probe/big/seed3/cost.parquet", "checkpoint": "final"}]
    assert lpft["other_costs"] == ["results/toy/features/someone--big/cost.parquet"]
    assert set(outputs.costs(found, LAYOUT)) > {"results/toy/probe/big/seed4/cost.parquet", *lpft["other_costs"]}
    settings = stages.probe(found, "big")
    assert (settings["tune"], settings["stops"], settings["final"]) == ("probe", {}, True)
    assert settings["training"]["learning_rate"] == HEAD["learning_rate"]


def test_a_model_whose_head_starts_from_a_probe_does_so_in_every_run():
    models = CONFIG["models"] | {"big": {"hub": "someone/big", "head": "probe"}}
    random = {"select": {"by": "random", "fraction": 0.5}}
    found = plan(models=models, methods={"erm": {}, "lpft": {"head": "probe"}, "random": random})
    assert [row[2] for row in rows(found)] == [
        "reference/big/seed3",
        "reference/big/seed3",
        "main/big/random-0.5/seed3",
    ]
    assert found.needs_probe("big", "")
    assert all(len(entry["training_costs"]) == 1 for entry in outputs.entries(found, LAYOUT))


def test_a_reference_that_starts_from_a_trained_head_has_it_paid_for():
    models = CONFIG["models"] | {"small": {"hub": "someone/small", "head": "probe"}}
    found = plan(models=models, methods={"erm": {}, "ftft": {"select": AMBIGUOUS}})
    assert found.probes == [("small", 3)]
    erm, ftft = outputs.entries(found, LAYOUT)
    assert erm["training_costs"] == []
    assert [cost["cost"] for cost in ftft["training_costs"]] == [
        "results/toy/reference/small/seed3/cost.parquet",
        "results/toy/probe/small/seed3/cost.parquet",
    ]
    assert ftft["other_costs"][0] == "results/toy/features/someone--small/cost.parquet"
    assert "results/toy/probe/small/seed3/cost.parquet" in outputs.costs(found, LAYOUT)
    # A main model that selects for itself and starts from the same trained head pays for it once.
    models = CONFIG["models"] | {"big": {"hub": "someone/big", "head": "probe"}}
    dm = {"select": AMBIGUOUS, "references": ["self"]}
    (entry,) = outputs.entries(plan(models=models, methods={"dm": dm}), LAYOUT)
    assert [cost["cost"] for cost in entry["training_costs"]].count("results/toy/probe/big/seed3/cost.parquet") == 1


def test_a_budget_makes_a_run_of_its_own():
    """The learning rate decays within the budget, so it is no prefix of the longer run."""
    random = {"select": {"by": "random", "fraction": 0.5}}
    methods = {
        "erm": {},
        "erm_third": {"budget": 0.3},
        "random": random,
        "random_third": random | {"budget": 0.3},
        "random_third_stop": random | {"budget": 0.3, "stop": {}},
        "random_whole": random | {"budget": 1},
        "both": random | {"budget": 0.3, "head": "probe"},
    }
    found = plan(methods=methods)
    assert rows(found) == [
        ("erm", "", "reference/big/seed3", "final"),
        ("erm_third", "", "main/big/all+budget0.3/seed3", "final"),
        ("random", "", "main/big/random-0.5/seed3", "final"),
        ("random_third", "", "main/big/random-0.5+budget0.3/seed3", "final"),
        ("random_whole", "", "main/big/random-0.5/seed3", "final"),
        ("random_third_stop", "", "main/big/random-0.5+budget0.3/seed3", STOP),
        ("both", "", "main/big/random-0.5+budget0.3+probe/seed3", "final"),
    ]
    assert list(found.subsets) == ["random-0.5"]
    recipes = ("", "all+budget0.3", "random-0.5", "random-0.5+budget0.3+probe")
    assert [found.subset_of(recipe) for recipe in recipes] == ["", "", "random-0.5", "random-0.5"]
    assert [stages.train(found, "big", recipe)["budget"] for recipe in recipes] == [1.0, 0.3, 1.0, 0.3]
    third = next(entry for entry in outputs.entries(found, LAYOUT) if entry["method"] == "random_third")
    assert third["other_costs"] == ["results/toy/subset/random-0.5/seed3.cost.parquet"]


def test_a_head_on_frozen_features_is_a_reference_with_features_of_its_own():
    models = {
        "big": {"hub": "someone/big"},
        "head": {"hub": "someone/big", "layers": 3, "tune": "head"},
        "linear": {
            "hub": "someone/big",
            "layers": 3,
            "tune": "head",
            "hidden_size": 0,
            "features": "both",
            "epochs": 2,
        },
        "longer": {"hub": "someone/big", "layers": 3, "tune": "head", "max_length": 64, "precision": "fp32"},
    }
    methods = {"ftft": {"select": AMBIGUOUS}, "both": {"select": AMBIGUOUS | {"mean_over": "references"}}}
    found = plan(models=models, references=["head", "linear", "longer"], methods=methods, seeds=[3])
    assert found.embedded == ["someone--big+layers3", "someone--big+64+layers3+fp32"]
    assert found.encoders["someone--big+layers3"] == {
        "datasets": ["train", "dev", "far.dev"],
        "layers": 3,
        "precision": "bf16",
    }
    head, linear = stages.train(found, "head"), stages.train(found, "linear")
    assert [(each["tune"], each["features"], each["hidden_size"]) for each in (head, linear)] == [
        ("head", "mean", 384),
        ("head", "both", 0),
    ]
    assert head["training"] | {"epochs": 2} == linear["training"]
    # Of the common settings only those of the encoder apply; the steps are the head's own.
    assert (head["training"]["steps"], head["training"]["epochs"]) == (None, HEAD["epochs"])
    costs = {entry["reference"]: entry for entry in outputs.entries(found, LAYOUT) if entry["method"] == "ftft"}
    assert costs["head"]["other_costs"][0] == "results/toy/features/someone--big+layers3/cost.parquet"
    # Three references on two kinds of features pay for the two.
    joint = next(entry for entry in outputs.entries(found, LAYOUT) if entry["method"] == "both")
    assert len([path for path in joint["other_costs"] if "/features/" in path]) == 2
    assert len(joint["training_costs"]) == 3


def test_the_settings_of_an_adapter_reach_its_own_trainings_alone():
    adapter = {"hub": "someone/big", "tune": "lora"}
    models = {"big": {"hub": "someone/big"}, "small": adapter, "other": adapter | {"lora": {"targets": "query"}}}
    found = plan(models=models, references=["small", "other"], methods={"ftft": {"select": AMBIGUOUS}})
    defaults = {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": None, "merge": False, "quantize": None}
    assert [stages.train(found, name)["lora"] for name in models] == [None, defaults, defaults | {"targets": ["query"]}]
    assert [stages.train(found, name)["tune"] for name in models] == ["all", "lora", "lora"]
    assert stages.probe(found, "small")["lora"] is None
    # They share source and tokens with the model that is trained as a whole.
    assert {found.tokenizer_of(name) for name in models} == {"someone--big"}


def test_a_rule_with_looks_of_its_own_is_another_checkpoint():
    methods = {"erm": {}, "stop": {"stop": {}}, "fine": {"stop": {"every": 5, "min_delta": 1e-7}}}
    found = plan(methods=methods, training={"steps": 10, "evaluate_every": 10})
    assert [row[3] for row in rows(found)] == ["final", f"{STOP}-delta1e-07-every5", STOP]


def test_a_reference_may_stop_but_a_result_of_its_own_goes_to_the_end():
    name = "stop-ranking-ambiguous-bound0.8"
    models = CONFIG["models"] | {"small": {"hub": "someone/small", "stop": {"monitor": "ranking", "bound": 0.8}}}
    methods = {"ftft": {"select": AMBIGUOUS}}
    found = plan(models=models, methods=methods)
    stop = {"bound": 0.8, "by": "ambiguous", "fraction": 0.33, "monitor": "ranking", "name": name}
    assert (stages.train(found, "small")["final"], stages.train(found, "small")["reference_stop"]) == (False, stop)
    assert stages.train(found, "big", "small/ambiguous-0.5")["reference_stop"] is None
    assert outputs.entries(found, LAYOUT)[0]["training_costs"] == [
        {"cost": "results/toy/reference/small/seed3/cost.parquet", "checkpoint": name}
    ]
    found = plan(models=models, methods=methods | {"erm": {}}, mains=["big", "small"])
    assert (stages.train(found, "small")["final"], stages.train(found, "small")["reference_stop"]) == (True, stop)


def test_datamap_settings_are_of_the_data_map_alone():
    methods = {"ftft": {"select": AMBIGUOUS, "stop": {}}}

    def settings(**changes: Any) -> list[Any]:
        found = plan(methods=methods, **changes)
        return [
            stages.train(found, "small"),
            stages.train(found, "big", "small/ambiguous-0.5"),
            stages.select(found, "small/ambiguous-0.5"),
            stages.evaluate(found, "big", STOP),
        ]

    changed = {"burn_in": 1, "max_epochs": 4, "correction": "sample", "el2n_epoch": 2}
    assert settings(datamap=changed) == settings()
    assert stages.datamap(plan(datamap=changed)) == changed
    assert stages.datamap(plan()) == {"burn_in": 0, "correction": None, "el2n_epoch": None, "max_epochs": None}


def test_paths_that_the_summary_reads():
    found = plan(methods={"erm": {}, "ftft": {"select": AMBIGUOUS, "stop": {}}})
    erm, ftft = outputs.entries(found, LAYOUT)
    assert (erm["cost"], erm["training_costs"]) == ("results/toy/reference/big/seed3/cost.parquet", [])
    assert erm["metrics"] == "results/toy/evaluation/reference/big/seed3/final/metrics.parquet"
    assert ftft["metrics"] == (f"results/toy/evaluation/main/big/small/ambiguous-0.5/seed3/{STOP}/metrics.parquet")
    assert ftft["cost"] == "results/toy/main/big/small/ambiguous-0.5/seed3/cost.parquet"
    assert ftft["training_costs"] == [{"cost": "results/toy/reference/small/seed3/cost.parquet", "checkpoint": "final"}]
    assert ftft["curve"] == "results/toy/main/big/small/ambiguous-0.5/seed3/metrics.parquet"
    assert ftft["predictions"] == {
        name: f"results/toy/evaluation/main/big/small/ambiguous-0.5/seed3/{STOP}/predictions/{name}.parquet"
        for name in (IN_DISTRIBUTION, "far", "near")
    }
    selection = [
        "results/toy/datamap/small/seed3.cost.parquet",
        "results/toy/subset/small/ambiguous-0.5/seed3.cost.parquet",
    ]
    assert (erm["other_costs"], ftft["other_costs"]) == ([], selection)
    assert outputs.costs(found, LAYOUT) == [
        "results/toy/reference/big/seed3/cost.parquet",
        "results/toy/reference/small/seed3/cost.parquet",
        "results/toy/main/big/small/ambiguous-0.5/seed3/cost.parquet",
        *selection,
    ]
    assert outputs.datamap_entries(found, LAYOUT) == [
        {
            "reference": "small",
            "seed": 3,
            "path": "results/toy/datamap/small/seed3.parquet",
            "dynamics": "results/toy/reference/small/seed3/dynamics.parquet",
        }
    ]
    named = outputs.report(found, LAYOUT)["costs"]
    assert sorted(cost["path"] for cost in named) == sorted(outputs.costs(found, LAYOUT))
    assert {(cost["rule"], cost["name"]) for cost in named} == {
        ("train_reference", "big"),
        ("train_reference", "small"),
        ("train_main", "big on small/ambiguous-0.5"),
        ("compute_datamap", "small"),
        ("select_subset", "small/ambiguous-0.5"),
    }


def test_data_maps_of_main_models_come_last():
    found = plan(methods={"dm": {"select": AMBIGUOUS, "references": ["self"]}, "ftft": {"select": AMBIGUOUS}})
    assert [entry["reference"] for entry in outputs.datamap_entries(found, LAYOUT)] == ["small", "big"]


def test_lineage_leads_from_the_train_set_to_every_method():
    methods = {
        "erm": {},
        "random": {"select": {"by": "random", "fraction": 0.5}},
        "jtt": {"upweight": {}},
        "ftft": {"select": AMBIGUOUS},
    }
    found = lineage(plan(methods=methods, seeds=[0, 1]))
    assert sorted(found["edges"]) == [
        ("big", "big, erm"),
        ("big on random-0.5", "big, random"),
        ("big on small/ambiguous-0.5", "big, ftft (small)"),
        ("big on small/upweight-4-epoch1", "big, jtt (small)"),
        ("data map of small", "small/ambiguous-0.5"),
        ("random-0.5", "big on random-0.5"),
        ("small", "big on small/upweight-4-epoch1"),
        ("small", "data map of small"),
        ("small/ambiguous-0.5", "big on small/ambiguous-0.5"),
        ("train set", "big"),
        ("train set", "random-0.5"),
        ("train set", "small"),
    ]
    assert found["nodes"]["data map of small"] == ("compute_datamap", "data map")
    assert set(found["nodes"]) == {name for edge in found["edges"] for name in edge}


def stems(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["stem"].removeprefix("results/toy/") for entry in entries]


def test_figures_and_tables_are_those_that_apply():
    ftft = {"select": AMBIGUOUS, "stop": {}}
    found = plan(methods={"erm": {}, "ftft": ftft}, references=["small", "tiny"], mains=["big", "small"])
    kinds = ("robustness-cost", "learning-curves", "cost-curve")
    assert stems(outputs.figures(found, LAYOUT)) == [
        *(f"figures/{kind}-{main}" for main in ("big", "small") for kind in kinds),
        "figures/datamap-tiny-seed3",
        "figures/datamap-small-seed3",
    ]
    assert outputs.figures(found, LAYOUT)[-2] == {
        "kind": "datamap",
        "reference": "tiny",
        "seed": 3,
        "datamap": "results/toy/datamap/tiny/seed3.parquet",
        "stem": "results/toy/figures/datamap-tiny-seed3",
    }
    assert stems(outputs.tables(found, LAYOUT)) == [
        "tables/results-big",
        "tables/results-small",
        "tables/references",
        "tables/outcomes-big",
        "tables/outcomes-small",
    ]
    # One run of a reference that is no main model has nothing to agree with; two have.
    assert "figures/transfer" in stems(outputs.figures(plan(methods={"ftft": ftft}, seeds=[0, 1]), LAYOUT))


def test_without_references_and_curves():
    found = plan(methods={"erm": {}})
    assert "figures/transfer" not in stems(outputs.figures(found, LAYOUT))
    assert stems(outputs.tables(found, LAYOUT)) == ["tables/results-big"]
    wise = plan(methods={"wise": {"head": "probe", "interpolate": 0.5}})
    assert stems(outputs.figures(wise, LAYOUT)) == ["figures/robustness-cost-big"]


def test_data_sets_of_training_and_of_evaluation():
    found = plan()
    assert sorted(found.sources) == ["dev", "far.dev", "far.test", "near.test", "train"]
    assert found.dev_sets == {IN_DISTRIBUTION: "dev", "far": "far.dev"}
    assert found.test_sets == {IN_DISTRIBUTION: "dev", "far": "far.test", "near": "near.test"}
    assert stages.train(found, "big")["dev"] == [IN_DISTRIBUTION, "far"]
    assert stages.evaluate(found, "big", "final")["datasets"] == {IN_DISTRIBUTION: "dev", "far": "test", "near": "test"}
    with_test = plan(data=CONFIG["data"] | {"test": {"path": "test.csv"}})
    assert with_test.test_sets[IN_DISTRIBUTION] == "test"
    assert with_test.dev_sets[IN_DISTRIBUTION] == "dev"


def test_what_a_set_is_for_and_which_run_lies_where_is_looked_up_not_read_from_names():
    data = TOY_DATA | {"ood": {"a.test": {"dev": {"path": "a.csv"}, "test": {"path": "b.csv"}}}}
    found = plan(data=data, methods={"erm": {}, "dm": {"select": AMBIGUOUS}}, seeds=[3, 4])
    assert found.roles == {"train": "train", "dev": "dev", "a.test.dev": "dev", "a.test.test": "test"}
    assert [stages.download(found, name)["role"] for name in found.sources] == ["train", "dev", "dev", "test"]
    assert found.run_at == {
        "reference/big/seed3": Run("big", "", 3),
        "reference/big/seed4": Run("big", "", 4),
        "reference/small/seed3": Run("small", "", 3),
        "reference/small/seed4": Run("small", "", 4),
        "main/big/small/ambiguous-0.5/seed3": Run("big", "small/ambiguous-0.5", 3),
        "main/big/small/ambiguous-0.5/seed4": Run("big", "small/ambiguous-0.5", 4),
    }


def test_models_with_the_same_source_share_it_and_its_tokens():
    models = {
        "big": {"package": "some_package", "path": "model"},
        "small": {"package": "some_package", "path": "model", "layers": 3, "learning_rate": 1e-3},
        "short": {"package": "some_package", "path": "model", "max_length": 64},
    }
    found = plan(models=models)
    assert {found.source_of(name) for name in models} == {"some_package"}
    assert [found.tokenizer_of(name) for name in models] == ["some_package", "some_package", "some_package+64"]
    assert found.tokenizers == {"some_package": {"max_length": 300}, "some_package+64": {"max_length": 64}}
    assert {found.source_of_tokenizer(name) for name in found.tokenizers} == {"some_package"}
    assert list(found.model_sources) == ["some_package"]
    assert found.model_sources["some_package"] == {
        "hub": None,
        "package": "some_package",
        "path": "model",
        "revision": None,
        "scratch": None,
        "sha256": None,
    }
    # The common length said once more is the common length.
    assert plan(models=models | {"short": models["big"] | {"max_length": 300}}).tokenizer_of("short") == "some_package"


@pytest.mark.parametrize(
    ("models", "names"),
    [
        ([("big", {"hub": "someone/big"})], ["someone--big"]),
        ([("big", {"path": "models/b/"})], ["b"]),
        ([("big", {"scratch": {"architecture": "bert"}})], ["big"]),
        # Two folders of the same name, two revisions, two packages' folders.
        ([("big", {"path": "x/b"}), ("other", {"path": "y/b"})], ["b", "other"]),
        ([("big", {"hub": "a/b"}), ("old", {"hub": "a/b", "revision": "0" * 40})], ["a--b", "old"]),
        ([("big", {"package": "p", "path": "m"}), ("other", {"package": "p", "path": "n"})], ["p", "other"]),
        # The model's own name is taken too, by another model's folder.
        ([("big", {"path": "x/base"}), ("base", {"path": "y/base"})], ["base", "base-2"]),
        ([("big", {"path": "x/tiny"}), ("tiny", {"scratch": {"architecture": "bert"}})], ["tiny", "tiny-2"]),
        # What is not fit for a path, or would be taken for a maximum length, is not used.
        ([("big", {"path": ".."}), ("other", {"path": "."}), ("root", {"path": "/"})], ["big", "other", "root"]),
        ([("big", {"path": "x/.hidden"}), ("other", {"path": "a b"})], ["big", "a b"]),
        ([("big", {"path": "x\\y"}), ("other", {"path": "../{x}"}), ("n", {"path": "a\nb"})], ["big", "other", "n"]),
        ([("big", {"path": "x/b+64"}), ("other", {"path": "b" * 101})], ["b+64", "other"]),
        ([("big", {"package": "..", "path": "m"}), ("other", {"package": "a/../b", "path": "m"})], ["big", "a--..--b"]),
        # Equal sources share a name, also behind one that differs.
        ([("big", {"path": "x/b"}), ("c", {"path": "y/b"}), ("d", {"path": "y/b"})], ["b", "c", "d"]),
    ],
)
def test_names_of_sources_never_collide(models, names):
    found = plan(models=dict(models), references=[])
    assert [found.source_of(name) for name, _ in models] == names
    for name, model in models:
        recorded = found.model_sources[found.source_of(name)]
        assert (recorded["hub"], recorded["path"]) == (model.get("hub"), model.get("path"))


def test_changing_one_reference_changes_only_its_own_training():
    methods = {"erm": {}, "random": {"select": {"by": "random"}}, "ftft": {"select": AMBIGUOUS, "stop": {}}}

    def settings(**changes: Any) -> dict[tuple[str, str], dict[str, Any]]:
        models = CONFIG["models"] | {"small": {"hub": "someone/small", **changes}}
        found = plan(models=models, methods=methods, references=["small", "tiny"])
        return {(run.model, run.recipe): stages.train(found, run.model, run.recipe) for run in found.runs}

    before, after = settings(), settings(learning_rate=1e-3, batch_size=8)
    assert before.keys() == after.keys()
    assert [run for run in before if before[run] != after[run]] == [("small", "")]
    assert after["small", ""]["training"]["batch_size"] == 8


def test_what_changes_no_result_is_in_no_settings():
    """Neither where the data lie nor how fast a run is may trigger it again."""

    def settings(**changes: Any) -> list[Any]:
        found = plan(**changes)
        return [
            stages.train(found, "big"),
            stages.evaluate(found, "big", "final"),
            outputs.report(found, LAYOUT),
            found.model_sources,
        ]

    models = deepcopy(CONFIG["models"]) | {"big": {"hub": "someone/big", "resources": {"mem_mb": 1, "threads": 9}}}
    elsewhere = settings(data_dir="elsewhere", runtime={"device": "cpu", "progress": False}, models=models)
    assert elsewhere[:2] + elsewhere[3:] == settings()[:2] + settings()[3:]
    assert settings(data_dir="elsewhere", runtime={"device": "cpu"})[2] == settings()[2]


def test_credentials_of_a_url_are_in_no_settings():
    url = "https://me:pass@host.org/a.csv?raw=1&access_token=s3cret"
    data = TOY_DATA | {"train": {"path": url, "format": "csv"}}
    found = plan(data=data)
    assert found.urls == {"train": url}
    settings = [stages.download(found, "train"), outputs.report(found, LAYOUT)]
    assert settings[0]["source"]["path"] == "https://host.org/a.csv?raw=1&access_token=…"
    assert settings[1]["config"]["data"]["train"]["path"] == "https://host.org/a.csv?raw=1&access_token=…"
    assert not any(secret in repr(settings) for secret in ("s3cret", "me:", "pass@"))


def only_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and only_plain(each) for key, each in value.items()) and list(value) == sorted(
            value
        )
    if isinstance(value, list):
        return all(map(only_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def test_settings_are_plain_and_sorted():
    """Snakemake silently tracks nothing else."""
    found = plan(methods={"ftft": {"select": AMBIGUOUS, "stop": {}}})
    settings = [
        stages.train(found, "big", "small/ambiguous-0.5"),
        stages.select(found, "small/ambiguous-0.5"),
        outputs.report(found, LAYOUT),
    ]
    settings += [stages.datamap(found), *outputs.figures(found, LAYOUT), *outputs.tables(found, LAYOUT)]
    assert all(map(only_plain, settings + list(found.model_sources.values()) + [stages.download(found, "far.dev")]))
    assert stages.download(found, "far.dev")["role"] == "dev"
    assert stages.download(found, "train")["role"] == "train"


@pytest.mark.parametrize(
    ("stop", "name"),
    [
        (None, "final"),
        (Stop(), "stop-ood_dev-patience2"),
        (Stop(monitor="dev", patience=4), "stop-dev-patience4"),
        (Stop(monitor="ood_dev/far", min_delta=0.005), "stop-ood_dev.far-patience2-delta0.005"),
        (ReferenceStop(monitor="ranking"), "stop-ranking-ambiguous-bound0.95"),
        (ReferenceStop(monitor="subset", by="aum-low", bound=0.95), "stop-subset-aum-low-0.33-bound0.95"),
    ],
)
def test_checkpoint_names(stop, name):
    assert checkpoint_name(stop) == name


def test_numbers_that_are_close_have_different_names():
    """Names of ordinary numbers are short, and no two numbers share one."""
    close = [0.33, 1 / 3, 0.333333, 0.3333333, 0.1 + 0.2, 0.3, 0.30000000000000004 - 5e-17, 1e-5, 0.5, 1.0]
    values = sorted({*close, *(0.33 + n * 2**-54 for n in range(40))})
    names = {
        "fraction": [{"select": {"by": "hard", "fraction": value}} for value in values],
        "easy": [{"select": {"by": "hard", "fraction": 0.5, "easy_share": value}} for value in values if value < 1],
        "delta": [{"stop": {"min_delta": value}} for value in values],
        "budget": [{"budget": value} for value in values if value > 0.1],
        "share": [{"head": "probe", "interpolate": value} for value in values if value < 1],
    }
    for kind, methods in names.items():
        found = plan(methods={f"{kind}{n}": method for n, method in enumerate(methods)})
        assert len({(result.run, result.checkpoint) for result in found.results}) == len(methods)
    found = plan(methods={"third": {"select": {"by": "hard", "fraction": 0.33}, "stop": {"min_delta": 1e-5}}})
    assert rows(found)[0][2:] == ("main/big/small/hard-0.33/seed3", f"{STOP}-delta1e-05")


def test_an_interpolated_model_is_known_by_its_settings_not_by_its_name():
    """A set may be called like the end of such a model's name."""
    data = CONFIG["data"] | {"ood": {"x+wise0.5": CONFIG["data"]["ood"]["far"]}}
    stop = {"monitor": "ood_dev/x+wise0.5"}
    methods = {"stopped": {"stop": stop}, "wise": {"stop": stop, "head": "probe", "interpolate": 0.75}}
    found = plan(data=data, methods=methods)
    saved = "stop-ood_dev.x+wise0.5-patience2"
    assert [row[3] for row in rows(found)] == [saved, f"{saved}+wise0.75"]
    assert [found.trained_of(name) for name in (saved, f"{saved}+wise0.75")] == [saved, saved]
    assert stages.interpolate(found, f"{saved}+wise0.75") == {"checkpoint": saved, "share": 0.75}
    assert stages.evaluate(found, "big", saved)["trained"] == saved


BERT = {"scratch": {"architecture": "bert"}}
COLLISIONS = {
    "another maximum length": ({"m": BERT | {"max_length": 64}, "m+64": BERT}, {}, "models? m ", "'m\\+64'"),
    "folders that look like it": (
        {"a": {"path": "x/foo", "max_length": 128}, "b": {"path": "x/foo+128"}},
        {},
        "model a and model b differ",
        r"'foo\+128'",
    ),
    "other layers": (
        {"a": {"path": "x/foo", "layers": 2}, "b": {"path": "x/foo+layers2"}},
        {},
        "model a and model b differ",
        r"'foo\+layers2'",
    ),
    "another precision": (
        {"a": {"path": "x/foo", "precision": "fp32"}, "b": {"path": "x/foo+fp32"}},
        {},
        "model a and model b differ",
        r"'foo\+fp32'",
    ),
    "case alone": (
        {"a": {"path": "x/Foo", "max_length": 128}, "b": {"path": "x/foo+128"}},
        {},
        "model a and model b differ",
        r"'foo\+128'",
    ),
    "a model like a random subset": (
        {"random-0.5": {"hub": "a/b"}},
        {"random": {"select": {"by": "random", "fraction": 0.5}}},
        "model random-0.5 and method random differ",
        "'random-0.5'",
    ),
    "names that are too long together": (
        {f"{letter * 90}": {"hub": f"a/{letter}"} for letter in "xyz"},
        {"joint": {"select": AMBIGUOUS | {"mean_over": "references"}, "references": [c * 90 for c in "xyz"]}},
        "method joint would have",
        "more than 200 characters",
    ),
}


@pytest.mark.parametrize("case", COLLISIONS)
def test_two_things_of_one_name_are_refused(case):
    models, methods, *expected = COLLISIONS[case]
    with pytest.raises(UserError) as failure:
        plan(models=CONFIG["models"] | models, methods={"erm": {}} | methods)
    message = str(failure.value)
    assert "\n" not in message
    assert len(message) <= 400
    assert all(re.search(part, message) for part in expected), message


@pytest.mark.parametrize("path", ["models/..", "..", "/", "a{seed}", "a\x1bb", "a*", "~", "C:\\models\\b", "x" * 150])
def test_an_odd_path_of_a_model_names_no_folder(path):
    models = CONFIG["models"] | {"odd": {"path": path}}
    assert plan(models=models).source_of("odd") == "odd"


@pytest.mark.parametrize(("path", "name"), [("x/Bert v1.0 (mine)", "Bert v1.0 (mine)"), ("größe@2", "größe@2")])
def test_an_ordinary_path_of_a_model_names_its_folder(path, name):
    assert plan(models=CONFIG["models"] | {"odd": {"path": path}}).source_of("odd") == name


def test_sources_that_differ_in_case_have_names_that_differ_in_more():
    models = CONFIG["models"] | {"a": {"path": "x/Foo"}, "b": {"path": "x/foo"}}
    found = plan(models=models)
    assert [found.source_of(name) for name in ("a", "b")] == ["Foo", "b"]


def generated(random: Random) -> dict[str, Any]:
    """A configuration whose names and numbers are as alike as they may be."""
    fractions = [0.5, 0.5000000000000001, 0.4999999, 0.49999990000000003]
    words = ["m", "m+64", "m+layers2", "m+64+layers2", "random-0.5", "x+wise0.5", "all", "all+probe", "big+m"]

    def model(name: str) -> dict[str, Any]:
        source = random.choice([{"path": f"x/{random.choice(words)}"}, {"hub": random.choice(words)}, BERT])
        own = {"max_length": random.choice([64, 300]), "precision": random.choice(["bf16", "fp32"])}
        own |= {"layers": 2} if "scratch" not in source and random.random() < 0.5 else {}
        return source | {key: value for key, value in own.items() if random.random() < 0.7}

    models = {name: model(name) for name in ["big", *random.sample(words, 5)]}

    def method() -> dict[str, Any]:
        found: dict[str, Any] = {}
        kind = random.choice(["select", "select", "upweight", "product_of_experts", None])
        if kind == "select":
            by = random.choice(["random", "ambiguous", "aum-low"])
            found["select"] = {"by": by, "fraction": random.choice(fractions)}
            if by != "random":
                found["select"] |= random.choice([{}, {"easy_share": random.choice(fractions)}, {"mean_over": "seeds"}])
            found["select"] |= random.choice([{}, {"balance": "equal"}])
        elif kind:
            found[kind] = {"epoch": random.choice([1, 2])}
        if kind and found.get("select", {}).get("by") != "random":
            found["references"] = random.sample([*models, "self"], random.choice([1, 2]))
        if random.random() < 0.5:
            monitor = random.choice(["dev", "ood_dev", "ood_dev/far", "ood_dev/far-patience2"])
            found["stop"] = {"monitor": monitor, "min_delta": random.choice([0, *fractions])}
        if random.random() < 0.5:
            found["budget"] = random.choice(fractions)
        return found

    ood = CONFIG["data"]["ood"] | {"far-patience2": CONFIG["data"]["ood"]["far"]}
    return {
        "data": CONFIG["data"] | {"ood": ood},
        "models": models,
        "references": [],
        "mains": ["big", *random.sample([name for name in models if name != "big"], 1)],
        "methods": {"erm": {}} | {f"m{n}": made for n in range(8) if (made := method())},
        "seeds": [0, 1],
    }


def test_what_differs_has_names_that_differ_or_is_refused():
    """Over many configurations: a name stands for one thing, told from the configuration and not from the plan."""
    refusals = []
    for seed in range(100):
        try:
            found = plan(**generated(Random(seed)))
        except UserError as failure:
            refusals.append(str(failure))
            continue
        config, things = found.config, {}
        for name, model in config.models.items():
            source = repr([model.hub, model.path, name if model.scratch else None])
            length = model.max_length or config.training.max_length
            features = (source, length, model.layers, model.precision or config.training.precision)
            for kind, key, thing in [
                ("source", found.source_of(name), source),
                ("tokens", found.tokenizer_of(name), (source, length)),
                ("features", found.encoder_of(name), features),
            ]:
                assert things.setdefault((kind, key.lower()), thing) == thing
        for result in found.results:
            method = config.methods[result.method]
            how = method.model_dump(exclude={"stop", "references"})
            how["budget"] = how["budget"] or 1.0
            run = repr((result.main, result.seed, how, result.reference))
            for key, thing in [(result.run.path, run), (f"{result.run.path}/{result.checkpoint}", (run, method.stop))]:
                assert things.setdefault(key.lower(), thing) == thing
    assert 10 < len(refusals) < 90  # the generator makes both
    expected = "both would have their results in folders called", "is no model id"
    assert all(any(words in message for words in expected) for message in refusals)


@pytest.mark.parametrize(
    ("datamap", "method", "least"),
    [
        ({}, {"upweight": {"epoch": 1}}, None),
        ({"burn_in": 2}, {"upweight": {"epoch": 1}}, 4),
        ({"el2n_epoch": 4}, {"upweight": {"epoch": 1}}, 5),
        ({}, {"upweight": {"epoch": 3}}, 4),
        ({}, {"product_of_experts": {"epoch": 5}}, 6),
    ],
)
def test_a_reference_stops_when_its_dynamics_have_what_others_need(datamap, method, least):
    models = CONFIG["models"] | {"small": {"hub": "someone/small", "stop": {"monitor": "ranking", "bound": 0.8}}}
    found = plan(models=models, methods={"erm": {}, "guided": method}, datamap=datamap)
    assert stages.train(found, "small")["reference_stop"].get("least") == least


def test_a_local_path_is_no_address_whatever_is_in_it():
    path = "corpus;key=en.csv"
    found = plan(data=CONFIG["data"] | {"train": {"path": path}})
    assert stages.download(found, "train")["source"]["path"] == path


def test_methods_that_may_stop_are_named_for_the_page():
    methods = {"erm": {}, "half": {"budget": 0.5}, "both": {"budget": 0.5, "stop": {}}}
    page = outputs.report(plan(methods=methods, training={"steps": 99}), LAYOUT)
    assert (page["budgets"], page["stopping"]) == ({"both": 0.5, "half": 0.5}, ["both"])
