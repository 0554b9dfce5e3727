"""What many tests share: a quiet, offline, single-threaded process, and very small models of every family."""

import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

# Read when the libraries are imported, so they are set before anything else; commands that tests start inherit them.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

FAMILIES = ("bert", "roberta", "electra", "deberta-v2", "modernbert")
DECODERS = (
    "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "modernbert-decoder", "qwen2", "qwen3",
)  # fmt: skip
MAX_POSITIONS = 64
# The data section of a small configuration; nothing reads its files.
TOY_DATA = {
    "text": "text",
    "labels": ["bad", "good"],
    "train": {"path": "train.csv"},
    "dev": {"path": "dev.csv"},
    "ood": {
        "far": {"dev": {"path": "far_dev.csv"}, "test": {"path": "far_test.csv"}},
        "near": {"test": {"path": "near.csv"}},
    },
}
WORDS = ["the", "a", "tall", "nurse", "farmer", "saw", "helped", "never", "quietly,", "in", "garden.", "house"]


# What takes long: a model, a training (what ``runs`` is for), a browser, or another process.
SLOW_IMPORTS = {"torch", "transformers", "runs", "subprocess"}
SLOW_FIXTURES = {"sources", "browser"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as ``slow`` by what their file imports and by the fixtures that they use, and all in folders below."""
    for item in items:
        imports = SLOW_IMPORTS & set(vars(item.module))
        if imports or SLOW_FIXTURES & set(item.fixturenames) or item.path.parent != Path(__file__).parent:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def write_data() -> Callable[..., Path]:
    """``write_data(path, texts, labels, pairs)`` writes a data artifact and returns its path."""

    def write(path: Path, texts: Sequence[str], labels: Sequence[int], pairs: Sequence[str] | None = None) -> Path:
        columns = {"uid": [f"u{row}" for row in range(len(texts))], "text_a": texts}
        if pairs is not None:
            columns["text_b"] = pairs
        table = pa.table(columns | {"label": pa.array(labels, pa.int16())})
        names = {"labels": json.dumps([f"class{label}" for label in range(max(labels) + 1)])}
        write_table(table, path, data_schema(pairs=pairs is not None), names)
        return path

    from ftft.core.artifacts import write_table
    from ftft.data.schemas import data_schema

    return write


@pytest.fixture(scope="session")
def train_data(tmp_path_factory: pytest.TempPathFactory, write_data: Callable[..., Path]) -> Path:
    """A data artifact of 200 sentence pairs with three classes, made of few words."""
    generator = random.Random(0)
    first, second = ([" ".join(generator.choices(WORDS, k=generator.randint(1, 12))) for _ in range(200)] for _ in "ab")
    return write_data(tmp_path_factory.mktemp("data") / "train.parquet", first, [row % 3 for row in range(200)], second)


@pytest.fixture(scope="session")
def scratch() -> Callable[[str], dict[str, object]]:
    """``scratch(family)`` gives the settings of a very small model with random weights."""

    def settings(family: str) -> dict[str, object]:
        return {
            "architecture": family,
            "layers": 3,
            "hidden_size": 16,
            "heads": 2,
            "intermediate_size": 24,
            "vocab_size": 300,
            "max_positions": MAX_POSITIONS,
        }

    return settings


@pytest.fixture(scope="session")
def sources(
    tmp_path_factory: pytest.TempPathFactory, train_data: Path, scratch: Callable[[str], dict[str, object]]
) -> dict[str, Path]:
    """Folder of a prepared ``scratch`` source, by family."""
    import torch

    from ftft.models import pretrained

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sources")
    for family in FAMILIES:
        pretrained.prepare({"scratch": scratch(family)}, folder / family, train_data)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="session")
def decoder_sources(
    tmp_path_factory: pytest.TempPathFactory, train_data: Path, scratch: Callable[[str], dict[str, object]]
) -> dict[str, Path]:
    """Folder of a prepared ``scratch`` decoder, by family."""
    from ftft.models import pretrained

    folder = tmp_path_factory.mktemp("decoders")
    for family in DECODERS:
        pretrained.prepare({"scratch": scratch(family)}, folder / family, train_data)
    return {family: folder / family for family in DECODERS}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path]) -> dict[str, Path]:
    """Folder of a pretrained model (no classifier) saved with ``save_pretrained``, by family."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("saved")
    for family, source in sources.items():
        torch.manual_seed(11)
        AutoModel.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder / family)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder / family)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="session")
def pretrained_sources(tmp_path_factory: pytest.TempPathFactory, saved: dict[str, Path]) -> dict[str, Path]:
    """Folder of a prepared ``path`` source with the weights of ``saved``, by family."""
    from ftft.models import pretrained

    folder = tmp_path_factory.mktemp("pretrained")
    for family, weights in saved.items():
        pretrained.prepare({"path": str(weights)}, folder / family)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("needs the browser Chromium (Debian's package chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, because tests may run as root; the pages are our own.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a page; at the end no error was in the console, no dialog came up and nothing was asked from a network."""
    wrong, contexts = [], []

    def open_page(path: Path, width: int = 1300, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        context.set_default_timeout(180_000)  # milliseconds; on a busy machine the page takes its time
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith(("http", "ws")) else None)
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready=true]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
