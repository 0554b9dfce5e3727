"""Finding files and their checksums."""

import hashlib

import pytest

from ftft import files
from ftft.errors import UserError


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
    ],
)
def test_resolve_finds_files_in_sorted_order(corpus, pattern, names):
    assert files.resolve(pattern, corpus) == [corpus / name for name in names]


def test_resolve_takes_absolute_paths_as_they_are(corpus):
    assert files.resolve(str(corpus / "a.csv"), "elsewhere") == [corpus / "a.csv"]


@pytest.mark.parametrize("pattern", ["c.csv", "*.parquet", "deep"])
def test_resolve_says_in_one_line_what_is_missing_and_what_to_do(corpus, pattern):
    with pytest.raises(UserError) as failure:
        files.resolve(pattern, corpus)
    message = str(failure.value)
    assert "\n" not in message
    assert message.startswith(f"no such file: {corpus / pattern};")
    assert "data_dir=FOLDER" in message
