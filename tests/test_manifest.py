"""What a job was made from is left beside the results, and compared with what it would be made from now."""

import json
import os

import pytest

from ftft.core.errors import UserError
from ftft.jobs import manifest

SETTINGS = {"rows": 1, "labels": ["a", "b"], "training": {"rate": 0.1}}
LOG = "results/task/logs/stage/x.y.log"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job that has succeeded: what ``manifest.check`` takes."""
    monkeypatch.chdir(tmp_path)
    for name in ("in.txt", "models/a/weights", "out.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    given = {"settings": SETTINGS, "code": "c", "inputs": ["in.txt", "models"], "outputs": ["out.txt"]}
    manifest.record(LOG, **given)
    return {"log": LOG, "stage": "stage", **given}


def test_a_job_that_would_be_made_from_the_same_passes(job, tmp_path):
    assert (tmp_path / "results/task/manifests/stage/x.y.json").exists()
    manifest.check(**job)
    (tmp_path / "models/.snakemake_timestamp").touch()
    os.utime(tmp_path / "in.txt", (1, 1))
    manifest.check(**job)
    (tmp_path / "in.txt").unlink()  # Snakemake makes it anew
    manifest.check(**job)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": SETTINGS | {"rows": 2}}, "settings.rows was 1 and is 2"),
        ({"settings": SETTINGS | {"rows": True}}, "settings.rows was 1 and is True"),
        ({"settings": SETTINGS | {"more": 2}}, "settings.more is new"),
        ({"settings": {"rows": 1, "labels": ["a", "b"]}}, "settings.training is gone"),
        ({"settings": SETTINGS | {"training": {"rate": 0.2}}}, "settings.training.rate was 0.1 and is 0.2"),
        ({"settings": SETTINGS | {"labels": ["a", "c"]}}, "settings.labels.1 was 'b' and is 'c'"),
        ({"settings": SETTINGS | {"labels": ["a"]}}, "settings.labels had 2 entries and has 1"),
        ({"code": "d"}, "the code is another"),
        ({"inputs": ["in.txt"]}, "models was there too"),
        ({"inputs": ["in.txt", "models", "new"]}, "new is new"),
    ],
)
def test_the_first_difference_is_named(job, change, words):
    with pytest.raises(UserError) as caught:
        manifest.check(**job | change)
    message = str(caught.value)
    assert message.startswith("out.txt was made from something else, and Snakemake has no record of it: ")
    assert f"{words}; call snakemake with -R out.txt to make it again (-R stage: all of its kind)" in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("in.txt", "in.txt has changed since"),
        ("models/a/weights", "models has changed since"),
        ("models/b", "models has changed since"),
        ("out.txt", "out.txt is not what was made"),
    ],
)
def test_files_of_other_content_are_named(job, tmp_path, name, words):
    (tmp_path / name).write_text("other content")
    with pytest.raises(UserError, match=words):
        manifest.check(**job)


@pytest.mark.parametrize(
    "change",
    [{"inputs": None}, {"inputs": []}, {"outputs": "x"}, {"more": 1}, {"inputs": {}}, {"outputs": {}}, {"code": None},
     {"settings": None}, {"inputs": {"in.txt": None, "models": 1}}],
)  # fmt: skip
def test_a_manifest_of_another_form_does_not_pass(job, change):
    path = manifest.path_of(LOG)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"out\.txt"):
        manifest.check(**job)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", "7", "[" * 100_000])
def test_a_manifest_that_is_missing_or_damaged_does_not_pass(job, text):
    path = manifest.path_of(LOG)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=r"^nothing says what out.txt was made from, results/task/manifests/stage/x.y"):
        manifest.check(**job)


def test_links_in_a_folder_may_lead_nowhere_elsewhere(tmp_path):
    """As those of an adapter to the weights of its base."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "adapter").write_text("small")
    (tmp_path / "base").write_text("large")
    (folder / "base").symlink_to(tmp_path / "base")
    before = manifest._checksum(str(folder))
    (tmp_path / "base").unlink()
    assert manifest._checksum(str(folder)) == before
    (folder / "adapter").write_text("another")
    assert manifest._checksum(str(folder)) != before
