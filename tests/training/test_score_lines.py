def test_errors_are_printed_in_their_unit_and_shares_in_percent(capsys):
    from gain_lightning.training.score_lines import print_scores

    print_scores([{"test/mae": 0.146, "test/far_mae": 12.5, "test/energy": 0.5}])
    assert [line.split()[1:] for line in capsys.readouterr().out.splitlines()] == [
        ["energy", "50.0", "%"],
        ["far_mae", "12.5"],
        ["mae", "0.146"],
    ]
