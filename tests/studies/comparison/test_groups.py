import pytest
from comparing import compared

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.comparison.tables import method_title


def test_groups_come_in_the_methods_order(make_run):
    paths = [make_run(name, name) for name in ("other", "gain_ext", "gradcam", "gain")]

    assert [group.name for group in compared(paths).groups] == ["gradcam", "gain", "gain_ext", "other"]


def test_groups_by_a_key_say_what_else_differs_and_have_short_names(make_run):
    numbers = {"a": (0.034639644598918023, 1), "b": (0.5, 5)}
    runs = [
        read_run(
            make_run(name, config={"model.am_weight": weight, "trainer.max_epochs": 5, "model.omega": omega})
        )
        for name, (weight, omega) in numbers.items()
    ]

    comparison = compare(runs, by="model.am_weight")

    assert [group.name for group in comparison.groups] == ["am_weight 0.03464", "am_weight 0.5"]
    assert "The groups differ in model.omega too: a difference may come from there." in comparison.notes


def test_budgets_are_groups_of_their_own(make_run):
    """A row per number of masks; also of one, so that a reader sees what was paid for it."""
    runs = [read_run(make_run("base", "gradcam"))]
    runs += [
        read_run(make_run(f"ext-{masks}-{seed}", "gain_ext", seed, summary={"num_masked": masks}))
        for masks in (78, 9, 23)
        for seed in (0, 1)
    ]
    groups = compare(runs).groups
    assert [group.name for group in groups] == ["gradcam", "gain_ext_9", "gain_ext_23", "gain_ext_78"]
    assert [len(group.runs) for group in groups] == [1, 2, 2, 2]
    assert [group.name for group in compare(runs[:3]).groups] == ["gradcam", "gain_ext_78"]


def test_a_budget_by_several_classes_is_one_method(make_run):
    """How many images it draws depends on how many show two of the classes, and so on the seed."""
    budget = {"data.init_args.mask_budget": {"cat": 23, "dog": 23}}
    runs = [
        read_run(make_run(f"ext-{seed}", "gain_ext", seed, config=budget, summary={"num_masked": masks}))
        for seed, masks in enumerate((45, 41, 42))
    ]
    runs.append(read_run(make_run("one", "gain_ext", 0, summary={"num_masked": 9})))
    groups = compare(runs).groups
    assert [(group.name, len(group.runs)) for group in groups] == [("gain_ext_9", 1), ("gain_ext_41-45", 3)]
    assert method_title("gain_ext_41-45") == "GAIN_ext (41-45 masks)"


def test_runs_are_grouped_by_any_key_in_the_order_of_its_values(make_run):
    paths = [
        make_run(f"{budget}_{seed}", "gain_ext", seed, config={"data.init_args.mask_budget": budget})
        for budget in (20, 3, 100)
        for seed in (0, 1)
    ]
    comparison = compare([read_run(path) for path in paths], by="data.mask_budget")
    assert [group.name for group in comparison.groups] == [
        "mask_budget 3",
        "mask_budget 20",
        "mask_budget 100",
    ]
    assert [len(group.runs) for group in comparison.groups] == [2, 2, 2]


def test_the_key_that_runs_are_grouped_by_may_differ(make_run):
    runs = [read_run(make_run(name, config={"model.backbone": name})) for name in ("tiny_cnn", "vgg16")]
    with pytest.raises(RunError, match=r"model\.backbone"):
        compare(runs)
    assert [group.name for group in compare(runs, by="model.backbone").groups] == [
        "backbone tiny_cnn",
        "backbone vgg16",
    ]


def test_grouping_by_a_key_that_no_run_has_is_an_error(make_run):
    with pytest.raises(
        RunError, match=r"--by model\.backbon: no run has this key; did you mean model\.backbone"
    ):
        compare([read_run(make_run("a"))], by="model.backbon")
