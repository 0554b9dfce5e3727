import itertools

from ftft.display.method_styles import method_label, method_styles


def test_a_method_looks_like_no_other():
    keys = [("ftft", f"reference{number}") for number in range(36)]
    styles = method_styles([("random", ""), ("erm", ""), *keys[:35], ("random", "")])
    assert len({(look.colour, look.marker, look.dash) for look in styles.values()}) == len(styles) == 37
    assert styles["erm", ""].colour == "#000000"
    assert [look.label for look in styles.values()][:3] == ["random", "ERM", "ftft (reference0)"]
    # ERM takes none of the others' looks.
    assert method_styles([("random", ""), *keys[:35]]) == {key: styles[key] for key in styles if key[0] != "erm"}


def test_neighbours_differ_in_colour_marker_and_dash():
    looks = list(method_styles(("m", str(number)) for number in range(20)).values())
    for one, other in itertools.pairwise(looks):
        assert one.colour != other.colour
        assert one.marker != other.marker
        assert one.dash != other.dash


def test_labels():
    assert [method_label(*key) for key in (("erm", ""), ("random", ""), ("dm", "big"))] == ["ERM", "random", "dm (big)"]
