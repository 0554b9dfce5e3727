"""Messages are for one line of a terminal, whatever stands in a file."""

import pytest

from ftft.errors import UserError, listed, named, one_line, reason, shown


def test_values_are_cut_and_control_characters_are_shown():
    assert shown("short") == "'short'"
    assert shown("x" * 1_000_000) == "'" + "x" * 40 + "…"
    assert shown("a\x1b[31mb\n") == r"'a\x1b[31mb\n'"
    assert shown(12) == "12"
    assert len(shown(list(range(1000)))) <= 42


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
