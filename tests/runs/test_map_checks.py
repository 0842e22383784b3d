import json

import pytest

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.map_checks import forget_map_checks, opinion_scores, read_opinion, write_map_checks

OPINION = {
    "energy": {"attention": {"mean": 0.9}, "occlusion": {"mean": 0.25}, "gradient": {"mean": 0.5}},
    "state": "disagree",
    "words": "they disagree",
    "ids": ["a"],
}


def test_what_is_written_is_read(tmp_path):
    write_map_checks(tmp_path, {"num_pairs": 3, "second_opinion": OPINION})
    assert read_opinion(tmp_path) == OPINION
    assert opinion_scores(OPINION) == {"test/energy_occlusion": 0.25, "test/energy_gradient": 0.5}
    forget_map_checks(tmp_path)
    forget_map_checks(tmp_path)
    assert read_opinion(tmp_path) == opinion_scores({}) == {}


@pytest.mark.parametrize("content", [{}, {"second_opinion": None}])
def test_files_without_an_opinion_have_none(content, tmp_path):
    """Those of former versions, and of runs without masks."""
    write_map_checks(tmp_path, content)
    assert read_opinion(tmp_path) == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"second_opinion": 3}',
        json.dumps({"second_opinion": {"energy": {"occlusion": {}}}}),
        json.dumps({"second_opinion": {**OPINION, "energy": {"occlusion": {"mean": "much"}}}}),
        json.dumps({"second_opinion": {key: OPINION[key] for key in ("energy", "state")}}),
    ],
)
def test_a_broken_file_is_named(text, tmp_path):
    (tmp_path / "map_checks.json").write_text(text)
    with pytest.raises(RunError, match=r"map_checks\.json: "):
        read_opinion(tmp_path)
