"""Training dynamics from a plain Trainer: the right logits of the right example, whatever the run looks like."""

import copy
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from test_docs import ROOT, blocks
from torch.utils.data import IterableDataset, WeightedRandomSampler
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.training_args import ParallelMode

from ftft import callback
from ftft.artifacts import read_metadata, read_table
from ftft.callback import DynamicsCallback, subset_rows
from ftft.errors import UserError

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


def train(folder, *others, model=None, data=None, resume=None, trainer=Trainer, uids=None, **settings) -> Trainer:
    run = trainer(
        bert() if model is None else model,
        arguments(folder, **settings),
        collator,
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
        assert table.schema.equals(callback.EXAMPLES)
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
        assert callback._logits(output) is logits
    assert callback._logits({"loss": loss}) is None
    assert callback._logits((loss,)) is None


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
            r"has torch\.float32 of shape \(4,\)",
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
    """The page's code as it stands, on a tiny BERT; it may use what the page says is the user's."""
    example = blocks(ROOT / "docs" / "without_the_workflow.md", "python")[0]
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
    import pyarrow as pa

    for name, uids in (("subset", ["b", "z"]), ("examples", ["a", "b"])):
        pq.write_table(pa.table({"uid": uids, "rank": [1, 0]}), tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=r"subset\.parquet names 1 examples that are not in .*examples\.parquet"):
        subset_rows(tmp_path / "subset.parquet", tmp_path / "examples.parquet")
