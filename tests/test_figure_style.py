import itertools
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ftft.figure_style import image, method_label, method_styles, save, styled


@styled()
def drawn():
    figure = Figure(figsize=(2, 1), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*np.random.default_rng(0).random((2, 50)), rasterized=True)
    axes.set_xlabel("step")
    return figure


def test_saved_as_svg_and_png_with_the_same_bytes_each_time(tmp_path):
    for name in ("one", "two"):
        save(drawn(), tmp_path / "figures" / name)
    for kind in ("svg", "png"):
        one, two = ((tmp_path / f"figures/{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two
    with Image.open(tmp_path / "figures/one.png") as picture:
        assert picture.size == (600, 300)
    assert len(list((tmp_path / "figures").iterdir())) == 4


def test_svg_has_no_date_no_text_that_needs_a_font_and_its_points_as_one_image(tmp_path):
    svg = image(drawn(), "svg", 100).decode()
    root = ET.fromstring(svg)
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert "text" not in tags
    assert tags.count("image") == 1
    assert "date" not in [tag.lower() for tag in tags]
    assert matplotlib.__version__ not in svg


def test_what_a_user_has_set_for_matplotlib_does_not_count():
    before = image(drawn(), "png", 50)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "none"}):
        assert image(drawn(), "png", 50) == before
        assert b"<text" not in image(drawn(), "svg", 50)


def test_a_method_looks_like_no_other():
    keys = [("ftft", f"reference{number}") for number in range(36)]
    styles = method_styles([("random", ""), ("erm", ""), *keys[:35], ("random", "")])
    assert len({(look.colour, look.marker, look.dashes) for look in styles.values()}) == len(styles) == 37
    assert styles["erm", ""].colour == "#000000"
    assert [look.label for look in styles.values()][:3] == ["random", "ERM", "ftft (reference0)"]
    # ERM takes none of the others' looks.
    assert method_styles([("random", ""), *keys[:35]]) == {key: styles[key] for key in styles if key[0] != "erm"}


def test_neighbours_differ_in_colour_marker_and_dashes():
    looks = list(method_styles(("m", str(number)) for number in range(20)).values())
    for one, other in itertools.pairwise(looks):
        assert one.colour != other.colour
        assert one.marker != other.marker
        assert one.dashes != other.dashes


def test_labels():
    assert [method_label(*key) for key in (("erm", ""), ("random", ""), ("dm", "big"))] == ["ERM", "random", "dm (big)"]
