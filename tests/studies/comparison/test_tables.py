from gain_lightning.studies.comparison.tables import points


def test_points_have_a_sign_and_no_negative_zero():
    assert [points(delta) for delta in (0.05, -0.05, 0.0, -0.0001)] == [
        "+5.0",
        "\N{MINUS SIGN}5.0",
        "0.0",
        "0.0",
    ]
