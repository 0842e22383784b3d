"""Options of `gain reproduce` that one published table has alone."""

import pytest

from gain_lightning.cli import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["section4", "--reversed"], "--reversed is an option of waterbirds, got section4"),
        (["section4", "--published"], "--published is an option of waterbirds, got section4"),
        (["waterbirds", "--subset"], "--subset is an option of section4, got waterbirds"),
        (["waterbirds", "--cues", "a.npz"], "--cues is an option of section4, got waterbirds"),
        (["section5"], "what is 'section5', expected one of"),
    ],
)
def test_an_option_of_the_other_is_refused(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["reproduce", *words])
    assert message in capsys.readouterr().err
