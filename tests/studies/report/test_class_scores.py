from pathlib import Path

from sec_runs import sec_run

from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.groups import Group
from gain_lightning.studies.report.class_scores import class_scores


def test_scores_of_classes_are_means_over_the_runs_of_a_method(tmp_path, picture):
    """By hand: of the CRF, as all have it; a class that no run scored has no row."""
    scored = [("sec_gradcam", 0, 0.4), ("sec_gradcam", 1, 0.2), ("sec_gain", 0, 0.6)]
    runs = [
        sec_run(tmp_path / f"{name}{seed}", name, seed, picture, miou=miou, cues=tmp_path / "cues")
        for name, seed, miou in scored
    ]
    gradcam, gain = [read_run(run) for run in runs[:2]], [read_run(runs[2])]
    found = class_scores([Group("sec_gradcam", gradcam, {}), Group("sec_gain", gain, {})])
    assert found.what == "IoU of the segmentation with CRF"
    assert found.rows == [
        ("background", [("30.0", False), ("60.0", True)]),
        ("cat", [("70.0", True), ("40.0", False)]),
        ("cow", [("30.0", True), ("–", False)]),
    ]
    Path(runs[2], "per_class.csv").write_text("class,iou\ncat,0.5\n")
    assert class_scores([Group("sec_gradcam", gradcam, {}), Group("sec_gain", gain, {})]).what == (
        "IoU of the segmentation"
    )
    Path(runs[2], "per_class.csv").unlink()
    assert class_scores([Group("sec_gradcam", gradcam, {}), Group("sec_gain", gain, {})]) is None
