"""Training dynamics from a plain Trainer: the right logits of the right example, whatever the run looks like."""

import copy
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from test_docs import ROOT, blocks
from torch.utils.data import IterableDataset, WeightedRandomSampler
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.training_args import ParallelMode

from ftft.core.artifacts import read_metadata, read_table, write_table
from ftft.core.errors import UserError
from ftft.dynamics import datamap, selection
from ftft.interop import recorded_files, recording
from ftft.interop.callback import DynamicsCallback, subset_rows
from ftft.interop.trainer_checks import checked_uids

N, BATCH, CLASSES = 22, 4, 3


def examples() -> dict[str, list]:
    rng = np.random.default_rng(0)
    return {
        "input_ids": [rng.integers(5, 50, rng.integers(2, 12)).tolist() for _ in range(N)],
        "labels": rng.integers(0, CLASSES, N).tolist(),
        "id": [f"id{row}" for row in range(N)],
    }


def collator(features: list[dict]) -> dict[str, torch.Tensor]:
    """Pads on the right; leaves out what the model does not know."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(f["input_ids"]) for f in features], batch_first=True)
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    return batch | {"labels": torch.tensor([f["labels"] for f in features])} if "labels" in features[0] else batch


def bert(dropout: float = 0.1, **settings: object) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.5,
        id2label=dict(enumerate(["no", "maybe", "yes"])),
        **settings,
    )
    return BertForSequenceClassification(config)


def arguments(folder, **settings: object) -> TrainingArguments:
    quiet = {"report_to": [], "disable_tqdm": True, "dataloader_pin_memory": False, "save_strategy": "no"}
    usual = {"num_train_epochs": 2, "per_device_train_batch_size": BATCH, "learning_rate": 1e-2, "use_cpu": True}
    return TrainingArguments(str(folder / "trainer"), **quiet | usual | settings)


def train(
    folder, *others, model=None, data=None, resume=None, trainer=Trainer, uids=None, collate=collator, **settings
) -> Trainer:
    run = trainer(
        bert() if model is None else model,
        arguments(folder, **settings),
        collate,
        train_dataset=Dataset.from_dict(examples()) if data is None else data,
        eval_dataset=Dataset.from_dict(examples()),
        callbacks=[DynamicsCallback(folder, uids), *others],
    )
    run.train(resume_from_checkpoint=resume)
    return run


def recorded(folder) -> np.ndarray:
    """The (E, N, C) logits in the artifact, which has one row group per epoch with all rows in order."""
    with pq.ParquetFile(folder / "dynamics.parquet") as file:
        groups = [file.read_row_group(group) for group in range(file.num_row_groups)]
    for epoch, group in enumerate(groups):
        assert group["epoch"].to_pylist() == [epoch] * N
        assert group["row"].to_pylist() == list(range(N))
    return np.array([group["logits"].to_pylist() for group in groups], dtype=np.float32)


def by_hand(model: torch.nn.Module) -> np.ndarray:
    """(N, C) logits, one example at a time."""
    model = model.cpu().eval()
    with torch.no_grad():
        return np.concatenate([model(torch.tensor([ids])).logits.numpy() for ids in examples()["input_ids"]])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 3},
        {"train_sampling_strategy": "group_by_length"},
        {"train_sampling_strategy": "batch_rebalance"},
        {"train_sampling_strategy": "sequential"},
        {"dataloader_num_workers": 2},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
        {"remove_unused_columns": False},
        {"label_smoothing_factor": 0.1},
        {"activation_checkpointing": True},
        {"eval_strategy": "steps", "eval_steps": 2},
        {"eval_on_start": True},
        {"bf16": True},
    ],
    ids=str,
)
def test_logits_are_those_of_a_forward_pass_by_hand(tmp_path, settings):
    """Without dropout and at learning rate 0, every epoch has the logits of the weights at the start."""
    train(tmp_path, model=bert(dropout=0.0), learning_rate=0.0, **settings)
    expected = by_hand(bert(dropout=0.0))
    tolerance = {"rel": 0.1, "abs": 0.1} if "bf16" in settings else {"abs": 1e-5}
    logits = recorded(tmp_path)
    assert len(logits) == 2
    for epoch in logits:
        assert epoch == pytest.approx(expected, **tolerance)
    assert np.abs(expected - expected.mean(axis=0)).mean() > 0.3  # so another example's would be noticed


def test_logits_of_a_compiled_model(tmp_path):
    settings = {"torch_compile": True, "torch_compile_backend": "eager", "per_device_train_batch_size": N}
    run = train(tmp_path, model=bert(dropout=0.0), learning_rate=0.0, **settings)
    assert isinstance(run.model_wrapped, torch._dynamo.OptimizedModule)
    assert recorded(tmp_path)[1] == pytest.approx(by_hand(bert(dropout=0.0)), abs=1e-5)


def test_logits_are_from_the_weights_before_each_step(tmp_path):
    class Snapshots(TrainerCallback):
        def __init__(self) -> None:
            self.weights: list[dict] = []

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            self.weights.append(copy.deepcopy(model.state_dict()))

    snapshots = Snapshots()
    train(tmp_path, snapshots, model=bert(dropout=0.0), train_sampling_strategy="sequential")
    steps = -(-N // BATCH)
    assert len(snapshots.weights) == 2 * steps
    logits, model = recorded(tmp_path), bert(dropout=0.0)
    for step, weights in enumerate(snapshots.weights):
        model.load_state_dict(weights)
        rows = slice(step % steps * BATCH, (step % steps + 1) * BATCH)
        assert logits[step // steps, rows] == pytest.approx(by_hand(model)[rows], abs=1e-5)
    assert logits[1] != pytest.approx(logits[0], abs=1e-2)


def test_with_dropout_there_is_one_row_per_example_and_epoch(tmp_path):
    train(tmp_path, num_train_epochs=3, learning_rate=0.0)
    logits = recorded(tmp_path)
    assert logits.shape == (3, N, CLASSES)
    # The dropout masks of the training pass are in them.
    assert logits[0] != pytest.approx(logits[1], abs=1e-2)


def test_training_is_the_same_without_it(tmp_path):
    settings = {"args": arguments(tmp_path), "data_collator": collator, "train_dataset": Dataset.from_dict(examples())}
    plain = Trainer(bert(), **settings)
    plain.train()
    watched = train(tmp_path)
    for name, weights in watched.model.state_dict().items():
        assert torch.equal(weights, plain.model.state_dict()[name]), name


def test_examples_and_metadata(tmp_path):
    train(tmp_path / "a", seed=7)
    train(tmp_path / "b", seed=7, uids=examples()["id"])
    for folder, first in (("a", "row00000001"), ("b", "id0")):
        table = read_table(tmp_path / folder / "examples.parquet")
        assert table.schema.equals(recorded_files.EXAMPLES)
        assert table["label"].to_pylist() == examples()["labels"]
        assert table["uid"][0].as_py() == first
        assert len(set(table["uid"].to_pylist())) == N
    names = {"labels": '["no", "maybe", "yes"]'}
    assert read_metadata(tmp_path / "a/dynamics.parquet") == names | {"seed": "7"}
    assert read_metadata(tmp_path / "a/examples.parquet") == names | {"rows": str(N)}
    assert (tmp_path / "a/dynamics.parquet").read_bytes() == (tmp_path / "b/dynamics.parquet").read_bytes()


def test_a_plain_dataset_and_a_model_that_gives_tuples(tmp_path):
    class Plain(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return N

        def __getitem__(self, row: int) -> dict:
            return {name: values[row] for name, values in examples().items() if name != "id"}

    train(tmp_path, model=bert(dropout=0.0, return_dict=False), data=Plain(), learning_rate=0.0)
    assert recorded(tmp_path)[0] == pytest.approx(by_hand(bert(dropout=0.0)), abs=1e-5)


def test_logits_in_any_output():
    logits, loss = torch.zeros(2, 3), torch.tensor(1.0)
    for output in (SequenceClassifierOutput(loss=loss, logits=logits), (loss, logits), (logits,), logits):
        assert recording._logits(output) is logits
    assert recording._logits({"loss": loss}) is None
    assert recording._logits((loss,)) is None


@pytest.mark.parametrize(
    "uids",
    [
        list(range(7, 7 + N)),
        np.arange(7, 7 + N),
        torch.arange(7, 7 + N),
        Dataset.from_dict({"idx": range(7, 7 + N)})["idx"],
    ],
    ids=lambda uids: type(uids).__name__,
)
def test_whole_numbers_as_uids_become_text(uids):
    assert checked_uids(uids, N).to_pylist() == [str(number) for number in range(7, 7 + N)]


def test_whole_numbers_of_a_dataset_name_its_examples(tmp_path):
    data = Dataset.from_dict(examples() | {"idx": list(range(7, 7 + N))})
    train(tmp_path, data=data, uids=data["idx"])
    assert read_table(tmp_path / "examples.parquet")["uid"].to_pylist() == [str(row + 7) for row in range(N)]


@pytest.mark.parametrize("classes", [151, 300])
def test_many_classes_from_the_trainer_to_the_subset(tmp_path, classes):
    """Labels that 8 bits would make others of; the last two examples are of the last two classes."""
    labels = [(row * 37) % classes for row in range(2 * classes - 2)] + [classes - 2, classes - 1]
    ids = np.random.default_rng(0).integers(5, 50, (len(labels), 4))
    torch.manual_seed(0)
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=classes, **tiny))
    data = [{"input_ids": row.tolist(), "labels": label} for row, label in zip(ids, labels, strict=True)]
    train(tmp_path, model=model, data=data, per_device_train_batch_size=64)
    assert read_table(tmp_path / "examples.parquet")["label"].to_pylist() == labels
    paths = [tmp_path / f"{name}.parquet" for name in ("dynamics", "examples", "map", "subset")]
    datamap.write(*paths[:3])
    assert read_table(paths[2])["label"].to_pylist() == labels
    logits = np.array(read_table(paths[0])["logits"].to_pylist()).reshape(2, len(labels), classes)
    gold = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))[:, np.arange(len(labels)), labels]
    assert read_table(paths[2])["confidence"].to_numpy() == pytest.approx(gold.mean(axis=0), abs=1e-6)
    selection.write(paths[2], paths[3], by="ambiguous", fraction=0.5, balance="equal")
    assert sorted(labels[row] for row in subset_rows(paths[3], paths[1])) == list(range(classes))


class Broken(TrainerCallback):
    """Fails in the middle of the second epoch."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 8:
            raise KeyboardInterrupt


def test_a_training_that_fails_leaves_the_epochs_before(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Broken(), model=bert(dropout=0.0), learning_rate=0.0)
    (logits,) = recorded(tmp_path)
    assert logits == pytest.approx(by_hand(bert(dropout=0.0)), abs=1e-5)
    assert read_table(tmp_path / "examples.parquet")["label"].to_pylist() == examples()["labels"]


def test_dynamics_are_written_though_the_rest_cannot_be(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorded_files, "write_table", full)
    with pytest.raises(UserError, match=r"cannot be written to: .*No space left on device"):
        train(tmp_path)
    assert len(recorded(tmp_path)) == 2
    assert caplog.text.count("tried again after the next epoch") == 2  # training went on


@pytest.mark.parametrize("step", [4, 6, 8])
def test_a_resumed_run_records_what_the_whole_one_does(tmp_path, step):
    """Six steps per epoch: in the middle of the first, at its end, in the second."""
    train(tmp_path, save_strategy="steps", save_steps=2)
    whole = (tmp_path / "dynamics.parquet").read_bytes()
    checkpoint = tmp_path / "trainer" / f"checkpoint-{step}"
    (tmp_path / "dynamics.parquet").unlink()
    train(tmp_path, resume=str(checkpoint))
    assert (tmp_path / "dynamics.parquet").read_bytes() == whole


def test_resuming_without_the_dynamics_so_far(tmp_path):
    train(tmp_path, save_strategy="steps", save_steps=4)
    checkpoint = tmp_path / "trainer" / "checkpoint-4"
    (checkpoint / "ftft_dynamics.npz").unlink()
    with pytest.raises(UserError, match=r"checkpoint-4 has no ftft_dynamics\.npz .*; start from the beginning"):
        train(tmp_path, resume=str(checkpoint))


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_resuming_with_damaged_dynamics(tmp_path, content):
    (tmp_path / "ftft_dynamics.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"ftft_dynamics\.npz is damaged: .*; resume from an earlier checkpoint"):
        recording.Recording(N, CLASSES, torch.device("cpu")).restore(tmp_path)


def test_resuming_with_other_data(tmp_path):
    train(tmp_path, save_strategy="steps", save_steps=4)
    checkpoint = tmp_path / "trainer" / "checkpoint-4"
    np.savez(checkpoint / "ftft_dynamics.npz", logits=np.zeros((1, 5, 3)), seen=np.zeros(5), labels=np.zeros(5))
    with pytest.raises(UserError, match=r"\(5, 3\), but the run \(22, 3\)"):
        train(tmp_path, resume=str(checkpoint))


def test_two_runs_with_one_trainer(tmp_path):
    run = train(tmp_path, model=bert(dropout=0.0), learning_rate=0.0)
    run.train()
    assert recorded(tmp_path)[1] == pytest.approx(by_hand(bert(dropout=0.0)), abs=1e-5)
    assert not run.model._forward_hooks
    assert not run.model._forward_pre_hooks


def test_an_incomplete_last_epoch_is_dropped(tmp_path):
    train(tmp_path, max_steps=9)
    assert len(recorded(tmp_path)) == 1


def test_no_complete_epoch_is_said(tmp_path, caplog):
    train(tmp_path, max_steps=3)
    assert "no epoch was complete" in caplog.text
    assert not (tmp_path / "dynamics.parquet").exists()


class Replacing(Trainer):
    def _get_train_sampler(self, train_dataset=None):
        return WeightedRandomSampler([1.0] * N, N, replacement=True)


class Picky(Trainer):
    def compute_loss(self, model, inputs, **kwargs):
        return model(**{name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}).loss


class Stream(IterableDataset):
    def __iter__(self):
        yield from Dataset.from_dict(examples())


def relabelled(labels: list) -> Dataset:
    return Dataset.from_dict(examples() | {"labels": labels})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataloader_drop_last": True}, r"dataloader_drop_last, .*; set it to False"),
        ({"data": Stream(), "max_steps": 3}, r"without length and row numbers \(Stream\); use a map-style one"),
        ({"uids": ["a", "b"]}, r"2 uids are given, 2 of them different, for 22 training examples"),
        ({"uids": ["a"] * N}, r"22 uids are given, 1 of them different, for 22 training examples"),
        ({"trainer": Replacing}, r"left out \d+ of 22 training examples; .* a sampler that takes all"),
        ({"trainer": Picky}, r"left out 22 of 22 training examples; .* model\(\*\*inputs\)"),
        (
            {"data": relabelled([0.5] * N), "model": bert(problem_type="regression")},
            r"has torch\.float32 of shape \(2,\)",
        ),
        ({"data": relabelled([0, -100] * (N // 2))}, r"labels are from -100 to 0; needed: class indices from 0 to 2"),
    ],
    ids=lambda value: None if isinstance(value, str) else ",".join(value),
)
def test_what_is_not_supported_is_one_line(tmp_path, settings, message):
    with pytest.raises(UserError, match=message) as failure:
        train(tmp_path, **settings)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "dynamics.parquet").exists()


def one_based(features: list[dict]) -> dict[str, torch.Tensor]:
    return collator([feature | {"labels": feature["labels"] - 1} for feature in features])


class Untouched(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        raise AssertionError("a step was taken")


HIGH = [*examples()["labels"][1:], 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"uids": [*range(N - 1), 0.5]}, r"the uid of row 21 is 0\.5 \(float\); allowed: text and whole numbers"),
        ({"uids": [None] * N}, r"the uid of row 0 is None \(NoneType\)"),
        ({"uids": [True] * N}, r"the uid of row 0 is True \(bool\)"),
        ({"uids": [1, "1", *range(2, N)]}, "22 uids are given, 21 of them different, for 22 training examples"),
        ({"uids": ["\ud800", *range(1, N)]}, r"the uid '\\ud800' is no valid Unicode"),
        ({"data": relabelled(HIGH)}, r"labels are from \d to 3; needed: class indices from 0 to 2"),
        ({"data": list(relabelled(HIGH))}, r"labels are from \d to 3; needed: class indices from 0 to 2"),
        ({"data": relabelled([0.5] * N)}, r"has torch\.float32 of shape \(2,\); needed: one class index per example"),
        ({"data": relabelled([-1, *HIGH[:-1]]), "collate": one_based}, r"labels are from -2 to 1; needed"),
        ({"model": bert(num_labels=1)}, r"the model has 1 class\(es\); allowed: 2 to 32768"),
        ({"model": SimpleNamespace(classes=40_000)}, r"the model has 40000 class\(es\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_what_can_be_checked_is_checked_before_the_first_step(tmp_path, settings, message):
    if hasattr(settings.get("model"), "classes"):
        config = BertConfig(vocab_size=50, hidden_size=2, num_attention_heads=1, intermediate_size=2, num_labels=40_000)
        settings = {"model": BertForSequenceClassification(config)}
    with pytest.raises(UserError, match=message) as failure:
        train(tmp_path, Untouched(), **settings)
    assert "\n" not in str(failure.value)


def test_labels_that_a_collator_makes_are_those_that_count(tmp_path):
    labels = [label + 1 for label in examples()["labels"]]
    train(tmp_path, data=relabelled(labels), collate=one_based)
    assert read_table(tmp_path / "examples.parquet")["label"].to_pylist() == examples()["labels"]


def test_class_names_that_begin_elsewhere(tmp_path):
    model = bert()
    model.config.id2label = {1: "no", 2: "maybe", 3: "yes"}
    with pytest.raises(UserError, match=r"id2label has names for 1, 2, 3; needed: for the class indices 0 to 2"):
        train(tmp_path, Untouched(), model=model)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full" / "dynamics.parquet").mkdir(parents=True)
    for name, message in (("file", "File exists"), ("file/deeper", "Not a directory"), ("full", "dynamics.parquet in")):
        with pytest.raises(UserError, match=f"{name} cannot be written to: .*{message}.*; name another folder"):
            recorded_files.check_folder(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parallel_mode": ParallelMode.NOT_DISTRIBUTED, "n_gpu": 2}, r"2 GPUs in one process \(DataParallel\)"),
        ({"parallel_mode": ParallelMode.DISTRIBUTED, "world_size": 4}, r"\(distributed, 4 processes\)"),
        ({"deepspeed": "zero.json"}, "DeepSpeed or FSDP"),
        ({"fsdp": "full_shard"}, "DeepSpeed or FSDP"),
        ({"model": torch.nn.Linear(2, 2)}, r"a model without config\.id2label \(Linear\)"),
    ],
    ids=str,
)
def test_machines_that_are_not_supported(tmp_path, settings, message):
    usual = {"parallel_mode": ParallelMode.NOT_PARALLEL, "world_size": 1, "n_gpu": 1, "deepspeed": None, "fsdp": None}
    model = settings.pop("model", bert())
    args = SimpleNamespace(**usual | {"dataloader_drop_last": False} | settings)
    loader = torch.utils.data.DataLoader(Dataset.from_dict(examples()))
    with pytest.raises(UserError, match=f"^DynamicsCallback does not support .*{message}.*; [^\n]*$"):
        DynamicsCallback(tmp_path).on_train_begin(args, None, None, model=model, train_dataloader=loader)


def test_the_example_in_the_documentation(tmp_path, monkeypatch):
    """The code as it stands, on a tiny BERT; it may use what the page says is the user's. The README has it too."""
    example = blocks(ROOT / "docs" / "without_the_workflow.md", "python")[0]
    assert blocks(ROOT / "README.md", "python") == [example]
    assert len(example.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    data = Dataset.from_dict(examples())
    names = {"model": bert(), "arguments": arguments(tmp_path), "train": data, "collator": collator}
    exec(example, names)

    logits, labels = recorded(tmp_path / "reference").astype(np.float64), np.array(examples()["labels"])
    gold = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))[:, np.arange(N), labels]
    expected = np.argsort(-gold.std(axis=0), kind="stable")[: int(0.33 * N)]
    assert names["ambiguous"]["id"] == [f"id{row}" for row in expected]


def test_rows_of_a_subset_of_other_examples(tmp_path):
    for name, uids in (("subset", ["b", "z"]), ("examples", ["a", "b"])):
        table = pa.table({"uid": uids, "rank": [1, 0]})
        write_table(table, tmp_path / f"{name}.parquet", table.schema)
    with pytest.raises(UserError, match=r"subset\.parquet names 1 examples that are not in .*examples\.parquet"):
        subset_rows(tmp_path / "subset.parquet", tmp_path / "examples.parquet")
