from gain_lightning.training.score_lines import print_scores


def test_errors_are_printed_in_their_unit_and_shares_in_percent(capsys):
    from gain_lightning.training.score_lines import print_scores

    print_scores([{"test/mae": 0.146, "test/far_mae": 12.5, "test/energy": 0.5}])
    assert [line.split()[1:] for line in capsys.readouterr().out.splitlines()] == [
        ["energy", "50.0", "%"],
        ["far_mae", "12.5"],
        ["mae", "0.146"],
    ]


def test_scores_that_need_masks_say_none_without_them(capsys):
    print_scores([{"test/energy": float("nan"), "test/mean_ap": 0.5, "center/energy": 0.2}])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["test", "energy", "none"],
        ["test", "mean_ap", "50.0", "%"],
        ["center", "energy", "20.0", "%"],
    ]


def test_a_threshold_that_was_chosen_on_the_scored_images_is_said_to_be(capsys):
    print_scores([{"test/seed_miou": 0.4, "test/seed_miou_best": 0.5, "center/seed_miou_best": 0.6}])
    lines = capsys.readouterr().out.splitlines()
    assert ["chosen on these images" in line for line in lines] == [False, True, True]
    assert max(map(len, lines)) <= 80


def test_printed_scores_name_their_set_and_what_maps_are_judged_on(capsys):
    print_scores([{"test/mean_ap": 0.5}], {"pairs": 3, "images": 2}, test_set="val")
    assert capsys.readouterr().out.splitlines() == [
        "   val mean_ap                  50.0 %",
        "maps are judged on 3 (image, class) pairs of 2 images with masks",
    ]
