import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ftft.display.figure_style import DASHES, MARKERS, image, save, styled
from ftft.display.method_styles import method_styles


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


def test_every_marker_and_dash_of_a_method_has_its_own_in_matplotlib():
    looks = method_styles([("erm", ""), *(("m", str(number)) for number in range(40))]).values()
    assert {look.marker for look in looks} == set(MARKERS)
    assert {look.dash for look in looks} == set(DASHES)
    assert len(set(MARKERS.values())) == len(MARKERS)
    assert len(set(DASHES.values())) == len(DASHES)
