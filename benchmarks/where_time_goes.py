"""Where the time of a training step goes, and what recording the dynamics and compiling change.

    python benchmarks/where_time_goes.py --data FOLDER

Takes MiniLM-L6 through the same steps again and again, with all variants in turns, and keeps the fastest time of each
step: what other work on the machine adds to single steps is left out, so shares can be compared.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from training_speed import BATCH, CPU_CASES, header, parse, start

STEPS = range(0, 50, 4)
# The operations of a step by what they are for. What is in no group is counted as small operations.
GROUPS = {
    "matrix products of layers": ("aten::mm", "aten::addmm"),
    "matrix products of attention": ("aten::bmm",),
    "conversions between fp32 and bf16, copies": ("aten::copy_", "aten::_to_copy"),
    "AdamW, gradient norm and clipping": ("aten::_fused_adamw_", "aten::linalg_vector_norm", "aten::mul_"),
    "clearing gradients": ("aten::fill_",),
    "additions, multiplications, dropout masks applied": ("aten::add", "aten::add_", "aten::mul", "aten::sum"),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "layer normalisation": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
}


def main() -> None:
    arguments = parse(__doc__)
    peak = header(arguments.threads)
    case = CPU_CASES[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case.prepare(folder, arguments.data)
        variants = {
            "as it is": start(folder, case),
            "without dynamics": start(folder, case, dynamics=False),
            "without the CPU kernels": start(folder, case),
            "compiled": start(folder, case, compile=True),
            "passes of 1,024 tokens at most": start(folder, case),
            "passes of 8,192 tokens at most": start(folder, case),
        }
        variants["without the CPU kernels"].step.kernels = nullcontext
        variants["passes of 1,024 tokens at most"].step.micro_batch_tokens = 1_024
        variants["passes of 8,192 tokens at most"].step.micro_batch_tokens = 8_192
        for step in STEPS:
            take(variants["compiled"], step)  # compiles
        seconds: dict[str, dict[int, float]] = {name: defaultdict(lambda: float("inf")) for name in variants}
        for _ in range(arguments.rounds):
            for step in STEPS:
                for name, run in variants.items():
                    seconds[name][step] = min(seconds[name][step], take(run, step))
        report_variants(seconds, variants["as it is"], peak)
        report_recording(variants["as it is"])
        report_products()
        report_operations(variants["as it is"], sum(seconds["as it is"].values()), arguments.rounds)


def take(run: Any, step: int) -> float:
    """Seconds of one optimizer step."""
    run.state.step = step
    begin = time.perf_counter()
    run.advance()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def report_variants(seconds: dict[str, dict[int, float]], run: Any, peak: float) -> None:
    """Print speed by variant, and the share of the matrix rate on real tokens."""
    print("| variant | ex/s | time of a step, as it is = 1 | share of the matrix rate |\n|---|---|---|---|")
    lengths = [run.inputs.data.lengths[run.order.batch(step)] for step in STEPS]
    real = sum(run.step.flops.train_pass(1, int(length)) for batch in lengths for length in batch)
    base = sum(seconds["as it is"].values())
    for name, values in seconds.items():
        total = sum(values.values())
        print(f"| {name} | {len(STEPS) * BATCH / total:.1f} | {total / base:.3f} | {real / total / peak:.0%} |")


def report_recording(run: Any) -> None:
    """Print the share of a step that the call takes which keeps the logits."""
    record, seconds = run.recorder.record, []

    def timed(*arguments: Any) -> None:
        begin = time.perf_counter()
        record(*arguments)
        seconds.append(time.perf_counter() - begin)

    run.recorder.record = timed
    whole = sum(take(run, step) for step in STEPS)
    run.recorder.record = record
    print(f"\nkeeping the logits: {sum(seconds) / whole:.3%} of a step")


def report_products() -> None:
    """Print the rate of a layer's matrix products alone, in MiniLM's sizes: forward, and backward to the weights."""
    print("\n| tokens | product | forward, GFLOP/s | backward, GFLOP/s |\n|---|---|---|---|")
    for tokens in (400, 2_048):
        for inputs, outputs in ((384, 384), (384, 1536), (1536, 384)):
            values, weight, gradient = (
                torch.randn(shape).bfloat16() for shape in ((tokens, inputs), (outputs, inputs), (tokens, outputs))
            )
            rates = [
                2e-9 * tokens * inputs * outputs / fastest(product)
                for product in (lambda: values @ weight.t(), lambda: gradient.t() @ values)  # noqa: B023
            ]
            print(f"| {tokens:,} | {inputs} x {outputs} | {rates[0]:.0f} | {rates[1]:.0f} |")


def fastest(work: Callable[[], object], repeats: int = 100) -> float:
    """Seconds of the fastest of many calls."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def report_operations(run: Any, whole: float, rounds: int) -> None:
    """Print which operations the time goes to."""
    least: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(lambda: float("inf")))
    for _ in range(rounds):
        for step in STEPS:
            with profile(activities=[ProfilerActivity.CPU]) as profiled:
                take(run, step)
            for event in profiled.key_averages():
                least[event.key][step] = min(least[event.key][step], event.self_cpu_time_total / 1e6)
    by_name = {name: sum(values.values()) for name, values in least.items()}
    stage = run.state.meter.stages["train"]
    print(f"\nreal tokens among those computed: {stage.tokens / stage.tokens_padded:.0%}")
    print("\n| operations | share of a step |\n|---|---|")
    for group, names in GROUPS.items():
        print(f"| {group} | {sum(by_name.pop(name, 0.0) for name in names) / whole:.1%} |")
    small = sum(by_name.values())
    print(f"| small operations | {small / whole:.1%} |")
    total = sum(sum(values.values()) for values in least.values())
    print(f"| outside PyTorch: Python, drawing random bits, collating | {1 - total / whole:.1%} |")


if __name__ == "__main__":
    main()
