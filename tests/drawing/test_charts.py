import xml.etree.ElementTree as ElementTree

import numpy as np

from gain_lightning.drawing.charts import LINES, curves_figure


def test_curves_figure_keeps_each_names_colour():
    line = np.array([[0, 1, 2], [1, 2, 3], [0, 1, 2], [2, 3, 4.0]])

    figure = curves_figure({"a": np.empty((4, 0)), "_b": line}, "$title", "epoch").decode()

    ElementTree.fromstring(figure)
    assert LINES[1][0].lower() in figure
    assert LINES[0][0].lower() not in figure
    dark = curves_figure({"a": line}, "title", "epoch", dark=True).decode()
    assert LINES[0][1].lower() in dark


def test_curves_figure_is_the_same_every_time():
    line = np.ones((4, 5))

    assert curves_figure({"a": line}, "t", "x") == curves_figure({"a": line}, "t", "x")
