"""Finding files and their checksums."""

import hashlib

import pytest

from ftft.core import files
from ftft.core.errors import UserError


def test_sha256(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert files.sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(bytes(3_000_000))
    assert files.sha256(file) == hashlib.sha256(bytes(3_000_000)).hexdigest()


@pytest.fixture
def corpus(tmp_path):
    for name in ("b.csv", "a.csv", "deep/c.csv", "odd[1].csv", "note.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.csv", ["a.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "deep/c.csv", "odd[1].csv"]),
        ("odd[1].csv", ["odd[1].csv"]),
        ("od[d]*.csv", ["odd[1].csv"]),
    ],
)
def test_resolve_finds_files_in_sorted_order(corpus, pattern, names):
    assert files.resolve(pattern, corpus) == [corpus / name for name in names]


def test_resolve_takes_absolute_paths_as_they_are(corpus):
    assert files.resolve(str(corpus / "a.csv"), "elsewhere") == [corpus / "a.csv"]


def test_a_file_with_the_very_name_is_that_file(corpus):
    (corpus / "odd1.csv").touch()
    assert files.resolve("odd[1].csv", corpus) == [corpus / "odd[1].csv"]
    (corpus / "odd[1].csv").unlink()
    assert files.resolve("odd[1].csv", corpus) == [corpus / "odd1.csv"]


def test_a_folder_is_no_pattern(tmp_path):
    (tmp_path / "data[1]").mkdir()
    (tmp_path / "data[1]/a.csv").touch()
    assert files.resolve("*.csv", tmp_path / "data[1]") == [tmp_path / "data[1]/a.csv"]


def test_the_home_folder(corpus, monkeypatch):
    monkeypatch.setenv("HOME", str(corpus))
    for pattern, folder in (("a.csv", "~"), ("~/a.csv", "elsewhere"), ("c.csv", "~/deep"), ("~/deep/c.csv", ".")):
        assert files.resolve(pattern, folder) == [corpus / "deep/c.csv" if "c" in pattern[-5:-4] else corpus / "a.csv"]
    assert files.resolve("~/[ab].csv", "elsewhere") == [corpus / "a.csv", corpus / "b.csv"]


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        (["a.csv", "b.csv", "c.jsonl"], "a glob: path: 'shards/*.csv'"),
        (["x/a.jsonl.gz", "readme.txt"], "a glob: path: 'shards/x/*.jsonl.gz'"),
        (["readme.txt"], "no csv, tsv, jsonl, json or Parquet file lies in it"),
    ],
)
def test_a_folder_is_no_file(tmp_path, names, proposed):
    for name in names:
        (tmp_path / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shards" / name).touch()
    with pytest.raises(UserError) as failure:
        files.resolve("shards", tmp_path)
    assert str(failure.value).startswith(f"{tmp_path / 'shards'} is a folder")
    assert proposed in str(failure.value)


def test_other_addresses_than_those_of_the_web(tmp_path):
    with pytest.raises(UserError) as failure:
        files.resolve("ftp://me:secret@host/a.csv", tmp_path)
    assert str(failure.value).startswith("ftp://host/a.csv: only http and https are fetched")


@pytest.mark.parametrize("pattern", ["c.csv", "*.parquet", "x" * 300, "a\0b"])
def test_resolve_says_in_one_line_what_is_missing_and_what_to_do(corpus, pattern):
    with pytest.raises(UserError) as failure:
        files.resolve(pattern, corpus)
    message = str(failure.value)
    assert "\n" not in message
    assert message.startswith(f"no such file: {corpus}/")
    assert "data_dir=FOLDER" in message
