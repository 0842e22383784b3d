from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.report.figures import study_figures


def test_masks_that_a_training_did_not_use_are_no_masks(make_run):
    summaries = [("gain", 20), ("gain_ext", 5), ("gain_ext", 10), ("gain_ext", 20)]
    runs = [
        read_run(
            make_run(
                f"{method}_{masks}",
                method,
                config={"model.ext_weight": 10.0 * (method == "gain_ext")},
                summary={"num_masked": masks},
                metrics={"test/mean_ap": 0.5 if method == "gain" else 0.9},
            )
        )
        for method, masks in summaries
    ]

    (drawing,) = [one for one in study_figures(compare(runs)) if one.name == "score_against_masks"]

    assert "images with masks, 0 to 20" in drawing.alt
    assert "mAP from 50.0 to 90.0" in drawing.alt
