"""What YAML takes for something else than the user means is refused with its line; all else has its place."""

import json
from pathlib import Path

import pytest
import yaml

from ftft.core.errors import UserError
from ftft.experiment.config_files import check_folder, places

ROOT = Path(__file__).parents[1]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write(content)`` writes ``my.yaml`` in the working folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes, name: str = "my.yaml") -> str:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_have_places_for_all_their_keys(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = places([path])
    for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        file, _, line = found[key].partition(", line ")
        assert file == str(path.relative_to(ROOT))
        written = path.read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert written.startswith(f"{key}:"), (key, value)


def test_keys_have_the_line_where_they_stand_in_the_last_file_that_has_them(write):
    first = write(
        "task: a\nseeds:\n- 0\n- 1\nmodels:\n  big: &big {hub: x,\n    layers: 2}\n  small: {<<: *big, hub: y}\n"
    )
    assert places([first]) == {
        "task": "my.yaml, line 1",
        "seeds": "my.yaml, line 2",
        "seeds.0": "my.yaml, line 3",
        "seeds.1": "my.yaml, line 4",
        "models": "my.yaml, line 5",
        "models.big": "my.yaml, line 6",
        "models.big.hub": "my.yaml, line 6",
        "models.big.layers": "my.yaml, line 7",
        "models.small": "my.yaml, line 8",
        "models.small.hub": "my.yaml, line 8",
    }
    both = places([first, write("\nseeds: [2]\n", "over.yaml")], replaced=["models"])
    assert both["seeds"] == both["seeds.0"] == "over.yaml, line 2"
    assert both["task"] == "my.yaml, line 1"
    assert not [key for key in both if key.startswith("models")]


REFUSED = {
    "a key twice": ("task: a\nseeds: 0\ntask: b\n", "line 3: the key 'task' stands there already in line 1"),
    "a model twice": ("models:\n  m: {hub: a}\n  m: {hub: b}\n", "line 3: the key 'models.m'", "line 2"),
    "a method twice in braces": ("methods: {erm: {}, ftft: {}, erm: {}}\n", "line 1: the key 'methods.erm'"),
    "a data set twice": ("data:\n  ood:\n    a: {}\n    b: {}\n    a: {}\n", "line 5: the key 'data.ood.a'", "line 3"),
    "a key twice beside a merge": ("a: &a {x: 1}\nb: {<<: *a, x: 2, x: 3}\n", "line 2: the key 'b.x'"),
    "a key twice in an item": ("a:\n- {x: 1, x: 2}\n", "line 2: the key 'a.0.x'"),
    "one label twice": ('relabel: {1: a, "1": b}\n', "the key 'relabel.1'"),
    "a time in base 60": ("runtime: 12:00:00\n", "line 1: runtime: YAML reads '12:00:00' as the number 43200", "12h"),
    "a short time in base 60": ("a:\n  runtime: 1:30\n", "line 2: a.runtime: YAML reads '1:30' as the number 90"),
    "a fraction in base 60": ("rate: 1:30.5\n", "YAML reads '1:30.5' as the number 90.5"),
    "a range in base 60": ("seeds: 1:3\n", "seeds: YAML reads '1:3' as the number 63"),
    "octal labels": ("labels: [010, 011]\n", "labels.0: YAML reads '010' as the number 8", "between quote marks"),
    "labels with a leading zero": ("data: {labels: [a, 01]}\n", "data.labels.1: YAML reads '01'"),
    "an octal key": ("relabel: {010: a}\n", "relabel.010: YAML reads '010' as the number 8"),
    "an octal number": ("training:\n  batch_size: 032\n", "line 2: training.batch_size: YAML reads '032'", "leading"),
    "an octal checksum": ("sha256: 01234567\n", "sha256: YAML reads '01234567'", "between quote marks"),
    "a hexadecimal label": ("data: {labels: [0x10, a]}\n", "data.labels.0: YAML reads '0x10' as the number 16"),
    "a label with an underscore": (
        "data: {labels: [1_000, a]}\n",
        "data.labels.0: YAML reads '1_000' as the number 1000",
    ),
    "a signed label": ("data: {train: {relabel: {+1: a}}}\n", "data.train.relabel.+1: YAML reads '+1' as the number 1"),
    "a signed label of a set whose name has a dot": (
        "data: {ood: {v1.0: {test: {relabel: {+1: a}}}}}\n",
        "data.ood.v1.0.test.relabel.+1: YAML reads '+1' as the number 1",
    ),
    "an empty section": ("methods:\n  ftft:\n    select:\n", "line 3: methods.ftft.select is empty; leave it out or"),
    "an empty setting": ("models:\n  m:\n    hub: a\n    layers:\n", "line 4: models.m.layers is empty"),
    "a key without a space": ("stop: {patience:3}\n", "stop.patience:3 is empty", "a colon and a space"),
    "a number of too many digits": ("labels: [" + "1" * 5000 + ", a]\n", "line 1: labels.0: YAML takes '1111"),
    "a number that is none": ("task: 0x_\n", "line 1: task: YAML takes '0x_' for a number"),
    "a day that is none": ("a:\n  revision: 2024-13-45\n", "line 2: a.revision: YAML takes '2024-13-45'", "quote"),
    "a tag that does not fit": ("task: a\nseeds: !!int x\n", "line 2: seeds: YAML takes 'x' for a number", "!!int"),
    "a tag that does not fit a text": ("a: !!float 'x'\n", "line 1: a: YAML takes 'x' for a number"),
    "a truth value that is none": ("a: [!!bool x]\n", "line 1: a.0: YAML takes 'x' for a number"),
    "a date that is none": ("a: !!timestamp x\n", "line 1: a: YAML takes 'x' for a number or date"),
    "a Python object": ("task: a\nseeds: !!python/tuple [0]\n", "line 2: this is no YAML", "python/tuple"),
    "a list as key": ("task: a\n? [a, b]\n: 1\n", "line 2: this is no YAML", "unhashable key"),
    "two documents": ("task: a\n---\ntask: b\n", "line 2: this is no YAML", "another document"),
    "a tab": ("data:\n\ttext: a\n", "line 2: this is no YAML", "indent with spaces"),
    "a tab behind spaces": ("data:\n  a: 1\n  \tb: 2\n", "line 3: this is no YAML", "indent with spaces"),
    "a colon in a text": ("task: a: b\n", "line 1: this is no YAML", "between quote marks"),
    "a bracket that is not closed": ("task: a\nseeds: [0, 1\n", "line 3: this is no YAML"),
    "an unknown alias": ("task: *a\n", "line 1: this is no YAML", "undefined alias"),
    "a control character": ("task: a\nseeds: \x1b[0m\n", "line 2: YAML has no such character: '\\x1b'"),
    "a list at the top": ("- task: a\n", "my.yaml: keys are expected"),
    "nothing": ("", "my.yaml: keys are expected"),
    "brackets without end": ("a: " + "[" * 10**4, "nested too deeply"),
    "UTF-16": ("task: a\n".encode("utf-16"), "line 1: a configuration is UTF-8 text; found UTF-16", "iconv -f UTF-16"),
    "UTF-32": ("task: a\n".encode("utf-32"), "line 1: a configuration is UTF-8 text; found UTF-32"),
    "UTF-16 without a mark": ("task: a\n".encode("utf-16-le"), "line 1: YAML has no such character: '\\x00'"),
    "Latin-1": (
        "task: a\nlabels: [größe]\n".encode("latin1"),
        "line 2: a configuration is UTF-8",
        "byte 0xf6",
        "iconv",
    ),
    "a key twice in JSON": ('{"task": "a",\n\t"task": "b"}', "the key 'task' stands twice"),
    "a long key twice": (f"? {'k' * 2000}\n: 1\n? {'k' * 2000}\n: 2\n", "stands there already in line 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_yaml_takes_for_something_else_gets_one_line(case, write):
    content, *expected = REFUSED[case]
    with pytest.raises(UserError) as failure:
        places([write(content)])
    message = str(failure.value)
    assert message.startswith("my.yaml")
    assert "\n" not in message
    assert len(message) <= 400
    assert [part for part in expected if part not in message] == []


def test_names_may_be_those_of_keys_whose_values_are_text(write):
    places(
        [write("models: {text: {hub: a, learning_rate: 1.0e-5}}\ndata: {ood: {labels: {test: {part: [0, 0.50]}}}}\n")]
    )


def test_what_is_meant_so_is_left_alone(write):
    """A quoted number, an empty method, a null that is written, a merge twice, a loop of aliases."""
    content = """
methods:
  erm:
labels: ["010", '12:00:00', 0, -1, 10]
relabel: {"-": null, x: ~}
runtime: '12:00:00'
steps: 1_000
rate: 1e-5
epochs: 0.5
a: &a {x: 1}
b: &b {y: 1}
c: {<<: *a, <<: *b, x: 2}
d: &d [*d]
"""
    assert places([write(content)])["rate"] == "my.yaml, line 8"
    assert places([write("\ufefftask: a\n")]) == {"task": "my.yaml, line 1"}


def test_json_and_templates_are_read_by_snakemake_alone(write):
    assert places([write('{"task": "a",\n\t"seeds": [0]}')]) == {}
    assert places([write("__use_yte__: true\n?if True:\n  seeds: 010\n")]) == {}


def test_aliases_upon_aliases_take_no_time(write):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert len(places([write("\n".join(lines))])) < 1000


def test_a_file_that_cannot_be_read_is_named(write, tmp_path):
    with pytest.raises(UserError, match=r"^none\.yaml: this configuration cannot be read: No such file"):
        places(["none.yaml"])
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"^folder\.yaml: this configuration cannot be read: Is a directory"):
        places([tmp_path / "folder.yaml"])


def test_braces_in_the_path_of_the_checkout_are_named(tmp_path):
    check_folder(tmp_path / "Döcs (v2) it's [mine]")
    with pytest.raises(UserError, match=r"^the path '.*/\{x\}/ftft' has braces"):
        check_folder(tmp_path / "{x}" / "ftft")


def test_places_are_of_what_snakemake_reads(write):
    """The same keys as in the values, so that no mistake is looked for in vain."""
    file = ROOT / "config" / "planted.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = places([file])
    for name, model in values["models"].items():
        assert f"models.{name}" in found
        own = [key for key in model if f"models.{name}.{key}" in found]
        assert own, json.dumps(model)
