"""Messages are for one line of a terminal, whatever stands in a file."""

import pytest

from ftft.core.errors import UserError, listed, named, one_line, reason, shown, without_credentials


def test_values_are_cut_and_control_characters_are_shown():
    assert shown("short") == "'short'"
    assert shown("x" * 1_000_000) == "'" + "x" * 40 + "…"
    assert shown("a\x1b[31mb\n") == r"'a\x1b[31mb\n'"
    assert shown(12) == "12"
    assert len(shown(list(range(1000)))) <= 42


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://me:pass@host/a.csv", "https://host/a.csv"),
        ("FTP://token@host/a.csv", "FTP://host/a.csv"),
        ("https://host/a?raw=1&token=x&page=2#part", "https://host/a?raw=1&token=…&page=2#part"),
        ("https://host/a?X-Amz-Date=1&X-Amz-Signature=x%2F", "https://host/a?X-Amz-Date=1&X-Amz-Signature=…"),
        ("https://host/a?sv=1&sig=x&api_key=y;apiKey=z", "https://host/a?sv=1&sig=…&api_key=…;apiKey=…"),
        ("https://host/a#access_token=x", "https://host/a#access_token=…"),
        ("https://host/a?bearer=x&passphrase=y", "https://host/a?bearer=…&passphrase=…"),
        ("https://host/pkg@1.0/a.csv?keyword=x&design=y", "https://host/pkg@1.0/a.csv?keyword=x&design=y"),
        ("data/a@b.csv", "data/a@b.csv"),
    ],
)
def test_passwords_and_the_like_are_in_no_message(url, safe):
    assert without_credentials(url) == safe
    assert str(UserError(f"{url}: not found; check it")) == f"{safe}: not found; check it"
    assert shown({"path": url}, 200) == repr({"path": safe})


def test_a_password_is_taken_out_before_a_value_is_cut():
    assert shown("https://me:" + "x" * 99 + "@host/a.csv") == "'https://host/a.csv'"


def test_lists_say_how_many_more_there_are():
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert named(["uid", "a\tb"]) == r"uid, a\tb"
    assert named(f"column{number}" for number in range(300)).endswith("column4 and 295 more")


def test_a_line_loses_its_middle_and_keeps_its_advice():
    message = str(UserError("the file " + "x" * 5000 + " is wrong; rename it"))
    assert len(message) == 400
    assert message.startswith("the file xxx")
    assert message.endswith("is wrong; rename it")
    assert one_line("a\n  b\x07", 100) == r"a b\x07"


def test_a_message_of_many_lines_has_ten():
    lines = str(UserError("\n".join(f"config: line {number}" for number in range(30)))).split("\n")
    assert lines[0] == "config: line 0"
    assert lines[9:] == ["and 21 more"]


@pytest.mark.parametrize(("failure", "text"), [(ValueError("a\nb"), "a b"), (ValueError(), "ValueError")])
def test_somebody_elses_failure_is_part_of_a_line(failure, text):
    assert reason(failure) == text
