"""Whether a device computes what the CPU does, and whether what may go wrong on it ends as it should.

    python benchmarks/on_gpu/correct.py

Every family of models in small, with random weights and without dropout. TF32 is off here, so that fp32 is fp32.
"""

import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # read when CUDA starts; stronger than what training sets

from common import FAMILIES, LABELS, Small, options, parse

# isort: split
import numpy as np
import torch
from basis import ROOT, device
from safetensors.torch import load_file
from torch.nn import functional

from ftft.compute import devices, graphs
from ftft.compute.batching import TokenizedDataset
from ftft.core.errors import InterruptedRunError, UserError
from ftft.dynamics.artifact import read_dynamics
from ftft.models import classifier
from ftft.models.saved import FINAL
from ftft.training import run, step

SMOKE = ("bert", "modernbert", "llama")  # families for which the time of a test suffices
FP32, BF16 = 1e-4, 5e-2  # largest relative difference that is right


def main() -> None:
    arguments = parse(options(__doc__))
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        families(SMOKE if arguments.smoke else FAMILIES, folder, wrong)
        print("\n| what | how it ended | right |\n|---|---|---|", flush=True)
        for what, check in CHECKS.items():
            if time.monotonic() > arguments.deadline:
                print(f"| {what} | not tried: the time was over | |", flush=True)
                continue
            try:
                outcome, right = check(folder)
            except Exception as failure:  # the next check may still say something
                outcome, right = f"{type(failure).__name__}: {str(failure).splitlines()[0][:120]}", False
            print(f"| {what} | {outcome} | {'' if right is None else 'yes' if right else '**no**'} |", flush=True)
            if right is False:
                wrong.append(what)
    if wrong:
        sys.exit(f"wrong: {', '.join(wrong)}")


def families(chosen: tuple[str, ...], folder: Path, wrong: list[str]) -> None:
    """Print, for every chosen family, the relative differences between the device and the CPU in fp32."""
    print(f"Relative differences to the CPU in fp32; right are {FP32:g} in fp32 and {BF16:g} in bf16.\n")
    print("| family | logits, fp32 | gradients, fp32 | weights after 20 steps, fp32 | logits, bf16 | gradients, bf16 |")
    print("|---|---|---|---|---|---|", flush=True)
    for family in chosen:
        small = Small(folder / family, family, optimizer="sgd", learning_rate=0.05)
        expected, gradients = one_pass(small, "cpu", torch.float32)
        logits, found = one_pass(small, device(), torch.float32)
        coarse, rough = one_pass(small, device(), torch.bfloat16)
        there, here = (weights(small.train(kind, kind).models) for kind in ("cpu", device()))
        row = [difference(logits, expected), difference(found, gradients), difference(here, there)]
        half = [difference(coarse, expected), difference(rough, gradients)]
        print(f"| {family} | {' | '.join(f'{value:.1e}' for value in [*row, *half])} |", flush=True)
        if max(row) > FP32 or max(half) > BF16:
            wrong.append(family)


def one_pass(small: Small, kind: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and all gradients, in one vector, of one batch on a kind of device, brought to the CPU in fp32."""
    place = torch.device(kind)
    model = classifier.build(small.folder / "source", LABELS, seed=0, dropout=0.0, attention=devices.attention(place))
    model.to(place)  # type: ignore[arg-type]
    model.train()
    data = TokenizedDataset.read(small.folder / "tokens-train.parquet")
    rows = np.arange(32)
    batch = devices.to_device(data.collate(rows, pad_id=0), place)
    labels = torch.from_numpy(data.labels[rows].astype(np.int64)).to(place)
    with torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
        logits = model(**batch).logits.float()
    functional.cross_entropy(logits, labels).backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logits.detach().cpu(), torch.cat(gradients).float().cpu()


def weights(models: Path) -> torch.Tensor:
    """All weights of a saved model in one vector."""
    state = load_file(models / FINAL / "model.safetensors")
    return torch.cat([state[name].flatten().float() for name in sorted(state)])


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Length of the difference relative to the length of what is expected."""
    return float((found - expected).norm() / expected.norm())


def dynamics_are_whole(folder: Path) -> tuple[str, bool]:
    """Each example once in each epoch: the reader refuses anything else."""
    small = Small(folder / "whole", "bert", steps=60)
    files = small.train("run", device())
    assert files.dynamics is not None
    epochs = read_dynamics(files.dynamics, 640)
    return f"{len(epochs)} epochs of {epochs.shape[1]} examples", epochs.shape == (3, 640, len(LABELS))


def killed_and_resumed(folder: Path, *, recorded: bool = False) -> tuple[str, bool | None]:
    """The bytes of a run that was interrupted twice against those of one that was not."""
    if recorded and device() != "cuda":
        return "needs a GPU", None
    small = Small(folder / f"resumed-{recorded}", "bert", steps=200, dropout=0.1, precision="bf16")
    whole = small.train("whole", device(), cuda_graphs=recorded)
    interruptions = 0
    with told_to_stop_at({70, 130}):
        while True:
            try:
                small.train("parts", device(), cuda_graphs=recorded)
                break
            except InterruptedRunError:
                interruptions += 1
    parts = small.files("parts")
    same = [
        (one / name).read_bytes() == (other / name).read_bytes()
        for one, other, name in (
            (whole.models, parts.models, f"{FINAL}/model.safetensors"),
            (whole.metrics.parent, parts.metrics.parent, "dynamics.parquet"),
            (whole.metrics.parent, parts.metrics.parent, "metrics.parquet"),
        )
    ]
    outcome = f"{interruptions} interruptions, {sum(same)} of {len(same)} files the same to the byte"
    return outcome, all(same) and interruptions == 2


@contextmanager
def told_to_stop_at(steps: set[int]) -> Iterator[None]:
    """Send this process the signal to stop before each of these steps of a run."""
    advance = run.Run.advance

    def stopping(self: run.Run) -> None:
        if self.state.step in steps:
            steps.remove(self.state.step)
            os.kill(os.getpid(), signal.SIGTERM)
        advance(self)

    with mock.patch.object(run.Run, "advance", stopping):
        yield


def recorded_passes(folder: Path) -> tuple[str, bool | None]:
    """Every family with passes that are recorded as CUDA graphs, against its weights with passes as they are."""
    if device() != "cuda":
        return "needs a GPU", None
    gaps, refused = [], []
    for family in FAMILIES:
        small = Small(folder / f"recorded-{family}", family, optimizer="sgd", learning_rate=0.05)
        plain = weights(small.train("plain", "cuda", cuda_graphs=False).models)
        with messages(graphs.log) as said:
            recorded = weights(small.train("recorded", "cuda", cuda_graphs=True).models)
        gaps.append(difference(recorded, plain))
        refused += [family] if said else []
    outcome = f"weights differ by up to {max(gaps):.1e}; not recorded: {', '.join(refused) or 'none'}"
    return outcome, max(gaps) < FP32 and not refused


@contextmanager
def messages(logger: logging.Logger) -> Iterator[list[str]]:
    """The warnings of one of the library's modules during the block."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def out_of_memory(folder: Path) -> tuple[str, bool | None]:
    """With memory for half of a batch, the same result in smaller passes."""
    if device() != "cuda":
        return "needs a GPU", None
    small = Small(folder / "memory", "bert", rows=2048, batch_size=2048, steps=4, evaluate_every=4)
    free()
    kept = torch.cuda.memory_reserved()  # libraries hold so much
    torch.cuda.reset_peak_memory_stats()
    whole = weights(small.train("whole", "cuda", cuda_graphs=False).models)
    needed = torch.cuda.max_memory_allocated() - kept
    free()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((kept + 0.6 * needed) / total)
    with messages(step.log) as said:
        try:
            parts = weights(small.train("parts", "cuda", cuda_graphs=False).models)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    halved = [message for message in said if "micro" in message]
    gap = difference(parts, whole)
    return f"halved {len(halved)} times, weights differ by {gap:.1e}", bool(halved) and gap < FP32


def free() -> None:
    """Give back what earlier runs left."""
    gc.collect()
    torch.cuda.empty_cache()


def not_finite(folder: Path) -> tuple[str, bool]:
    """A learning rate and a weight decay that no model survives."""
    small = Small(folder / "diverging", "bert", learning_rate=1e9, weight_decay=1e9, optimizer="sgd", warmup=0.0)
    try:
        small.train("run", device())
    except UserError as failure:
        return f"one line: {str(failure)[:90]}…", "learning_rate" in str(failure)
    return "no word of it", False


def never_two_on_one(folder: Path) -> tuple[str, bool | None]:  # noqa: ARG001
    """When three jobs held which device."""
    if device() != "cuda":
        return "needs a GPU", None
    program = (
        "import sys, time, os; sys.path.insert(0, sys.argv[1]); from ftft.jobs import gpus\n"
        "with gpus.assigned(1) as found:\n"
        "    begin = time.time(); time.sleep(1.0); print(found.devices[0], begin, time.time())\n"
    )
    command = [sys.executable, "-c", program, str(ROOT / "workflow" / "scripts")]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    held = sorted((job.communicate()[0] or "? 0 0").split() for job in jobs)
    pairs = list(itertools.pairwise(held))
    overlaps = sum(one[0] == other[0] and float(other[1]) < float(one[2]) for one, other in pairs)
    return f"{len(held)} jobs, {overlaps} times two on one device", overlaps == 0 and all(job[0] != "?" for job in held)


CHECKS: dict[str, Callable[[Path], tuple[str, bool | None]]] = {
    "dynamics once per example and epoch": dynamics_are_whole,
    "memory for less than a batch": out_of_memory,
    "a run that is interrupted and goes on": killed_and_resumed,
    "the same with recorded passes": partial(killed_and_resumed, recorded=True),
    "a loss that is not finite": not_finite,
    "passes recorded as CUDA graphs": recorded_passes,
    "three jobs at once": never_two_on_one,
}

if __name__ == "__main__":
    main()
