# ruff: noqa: E501
import json
import sys

import pytest
import yaml

from gain_lightning.cli import main
from gain_lightning.studies.sweeps.file import read_sweep_file, read_sweep_path
from gain_lightning.studies.sweeps.parameter import SweepError


def test_a_file_as_in_the_documents_of_wandb():
    sweep = read_sweep_file(
        """
program: train.py
name: sweepdemo
project: first
method: bayes
metric: {goal: minimize, name: validation_loss}
run_cap: 7
early_terminate: {type: hyperband, s: 2, eta: 3, max_iter: 27}
parameters:
  learning_rate: {min: 0.0001, max: 0.1}
  batch_size: {values: [16, 32, 64]}
  epochs: {value: 1}
  optimizer:
    parameters:
      name: {values: [adam, sgd]}
      momentum: {distribution: log_uniform_values, min: 1e-3, max: 1}
command: ["${env}", "${interpreter}", "${program}", "${args}"]
""",
        where="s.yaml",
    )
    assert [p.key for p in sweep.parameters] == [
        *("learning_rate", "batch_size", "epochs", "optimizer.name", "optimizer.momentum")
    ]
    assert (sweep.method, sweep.metric, sweep.maximize, sweep.run_cap) == (
        "bayes",
        "validation_loss",
        False,
        7,
    )
    assert sweep.early_terminate == {"eta": 3, "min_iter": 3, "max_iter": 27}
    assert sweep.words({"epochs": 1, "optimizer.name": "adam"}) == [
        *("/usr/bin/env", sys.executable, "train.py", "--epochs=1", "--optimizer.name=adam")
    ]
    assert sweep.planned() == [{}] * 7


def test_a_grid_is_every_combination_once():
    sweep = read_sweep_file(
        "method: grid\ncommand: [gain, fit, '${args}']\nparameters:\n  a.b: {values: [1, x]}\n  c: {value: 5}\n"
        "  d: {min: 2, max: 4}\n  e: {distribution: q_uniform, min: 0, max: 0.5, q: 0.25}\n",
        where="s.yaml",
    )
    found = {tuple(p.value(raw[p.key]) for p in sweep.parameters if p.key != "c") for raw in sweep.planned()}
    assert found == {(a, d, e) for a in (1, "x") for d in (2, 3, 4) for e in (0, 0.25)}
    assert len(sweep.planned()) == 12
    assert sweep.words({"a.b": "x", "c": None, "d": {"boat": 9}}) == [
        *(sys.executable, "-m", "gain_lightning", "fit", "--a.b=x", "--c=null", '--d={"boat": 9}')
    ]


def test_macros_of_the_command():
    text = (
        "method: grid\nparameters: {a: {values: [1, 2]}}\nprogram: t.py\n"
        "command: ['${env}', nice, '${interpreter}', '${program}', '${args_no_hyphens}', '${args_json}', '${envvar:HOME}']\n"
    )
    words = read_sweep_file(text, where="s").words({"a": 1})
    assert words[:5] == ["/usr/bin/env", "nice", sys.executable, "t.py", "a=1"]
    assert json.loads(words[5]) == {"a": 1}


VALUES = {
    **{"a": 1, "b": 1.0, "c": 1e-5, "d": True, "e": False, "f": None, "g": "true", "h": "1", "i": ""},
    **{"j": [1, "x", None], "k": {"boat": 9}, "l.m": "a b", "n": "é"},
}


@pytest.mark.parametrize(
    "command",
    [
        ["${env}", "${interpreter}", "${program}", "${args}"],
        ["run", "${args_no_equals}"],
        ["run", "${args_no_hyphens}", "${args}"],
        ["run", "${args_no_boolean_flags}"],
        ["run", "${args_json}", "${args_json_file}"],
        ["run", "${args_append_hydra}", "${args_override_hydra}"],
        [
            "${envvar:SWEEP_A}",
            "--x=${envvar:SWEEP_A}/b",
            "${envvar:SWEEP_A}-${envvar:SWEEP_B2}",
            "${envvar:EMPTY}",
        ],
        ["sh", "-c", "echo ${HOME} $1 {}", 5],
        None,
    ],
    ids=str,
)
def test_a_command_is_that_of_a_w_and_b_agent(command, monkeypatch):
    """Beside what W&B's own agent makes of it."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    for name, value in (("SWEEP_A", "/data/voc"), ("SWEEP_B2", "x y"), ("EMPTY", "")):
        monkeypatch.setenv(name, value)
    kinds = utils.create_sweep_command_args(
        {"args": {key: {"value": value} for key, value in VALUES.items()}}
    )
    kinds |= {"interpreter": [sys.executable], "program": ["t.py"], "args_json_file": ["a.json"]}
    kinds["env"] = ["/usr/bin/env"]
    expected = []
    for word in map(str, utils.create_sweep_command(list(command) if command else None)):
        expected += kinds[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    tree = {"method": "grid", "program": "t.py", "command": command, "parameters": {"a": {"values": [1]}}}
    sweep = read_sweep_file(yaml.safe_dump(tree), where="s")
    assert sweep.words(VALUES, "a.json") == expected


def test_gain_gets_values_as_its_options_read_them():
    sweep = read_sweep_file(
        "{method: grid, command: [gain, fit, '${args}'], parameters: {a: {values: [1]}}}", where="s"
    )
    words = sweep.words(VALUES)[4:]
    assert {key: yaml.safe_load(word.split("=", 1)[1]) for key, word in zip(VALUES, words, strict=True)} == {
        **VALUES, "c": "1e-05", "g": True, "h": 1, "i": None  # strings are YAML, too, as W&B's are
    }  # fmt: skip


@pytest.mark.parametrize("word", ["${envvar:NOT_SET_HERE}", "--a=${envvar:NOT_SET_HERE}/b"])
def test_a_variable_that_is_not_set_is_named(word, tmp_path, monkeypatch, capsys):
    """W&B passes the bare name."""
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    path = tmp_path / "s.yaml"
    tree = {"method": "grid", "command": ["true", word], "parameters": {"a": {"values": [1]}}}
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(SweepError, match="the environment variable NOT_SET_HERE is not set"):
        read_sweep_file(path.read_text(), where="s").words({"a": 1})
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "environment variable NOT_SET_HERE is not set" in capsys.readouterr().err
    assert not (tmp_path / "out" / "trials").exists()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_named_with_its_file(encoding, tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(
        "method: grid\nname: é\nparameters: {a: {values: [1]}}\ncommand: [gain]", encoding=encoding
    )
    for engine in ("local", "wandb"):
        assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--engine", engine]) == 1
        error = capsys.readouterr().err
        assert "s.yaml: not UTF-8" in error
        assert "expected it saved as UTF-8" in error


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("method: grid\nparameters: {a: {values: [1]}}\ncommand: [gain]", encoding="utf-8-sig")
    assert read_sweep_path(path).method == "grid"


def test_boolean_flags_are_there_or_not():
    text = (
        "method: grid\nparameters: {a: {values: [true, false]}, b: {values: [1]}, c: {values: ['true']}}\n"
        "command: [run, '${args_no_boolean_flags}']\n"
    )
    sweep = read_sweep_file(text, where="s")
    assert sweep.words({"a": True, "b": 1}) == ["run", "--a", "--b=1"]
    assert sweep.words({"a": False, "b": 1}) == ["run", "--b=1"]
    assert sweep.words({"a": False, "c": "true"}) == ["run", "--c=true"]  # a string is no flag
    assert sweep.words({"a": False}) == ["run"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: grid\nparameter: {}", "unknown key parameter; did you mean parameters"),
        ("method: gird", "method is 'gird', expected grid, random or bayes"),
        ("method: random\nprogram: t\nparameters: {a: {values: [1]}}", "run_cap is missing"),
        ("method: bayes\nrun_cap: 3\nprogram: t\nparameters: {a: {min: 0, max: 1}}", "metric.name is missing"),
        ("method: grid\nprogram: t\nparameters: {}", "parameters is empty"),
        ("method: grid\nprogram: t\nparameters: {a: {min: 0.0, max: 1.0}}", "parameters.a: method grid needs values"),
        ("method: grid\nprogram: t\nparameters: {a: {vals: [1]}}", "unknown key parameters.a.vals; did you mean values"),
        ("method: grid\nprogram: t\nparameters: {a: {b: {values: [1]}}}", "unknown key parameters.a.b"),
        ("method: grid\nprogram: t\nparameters: {a: {distribution: cauchy}}", "parameters.a: unknown distribution 'cauchy'"),
        ("method: grid\nprogram: t\nparameters: {a: {min: 1}}", "parameters.a: got min, expected value, values, or min and max"),
        ("method: grid\nprogram: t\nparameters: {a: {values: []}}", "parameters.a: categorical needs value or values"),
        ("method: grid\nprogram: t\nparameters: {a: 5}", "parameters.a is 5, expected keys and values"),
        ("method: grid\nparameters: {a: {values: [1]}}", "program is missing"),
        ("method: grid\nprogram: t\nparameters: {a: {values: [1]}}\ncommand: ['${program}', '${arg}']", r"unknown macro \$\{arg\}"),
        ("method: grid\nprogram: t\nparameters: {a: {values: [1]}}\nearly_terminate: {type: asha}", "early_terminate.type is 'asha'"),
        ("method: grid\nprogram: t\nmetric: {name: m}\nparameters: {a: {values: [1]}}\nearly_terminate: {type: hyperband}", "early_terminate needs min_iter"),
        ("method: grid\nprogram: t\nmetric: {goal: up, name: m}\nparameters: {a: {values: [1]}}", "metric.goal is 'up'"),
        ("method: random\nrun_cap: 0\nprogram: t\nparameters: {a: {values: [1]}}", "run_cap is 0"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {min: 3, max: 1}}", "min is 3.0, above max 1.0"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {distribution: log_uniform_values, min: 0, max: 1}}", "a logarithm needs a positive number"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {min: x, max: 1}}", "parameters.a.min is 'x', expected a number"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {values: [1, 2], probabilities: [1]}}", "expected 2 numbers of 0 to 1 that sum to 1"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {values: [1, 2], probabilities: [-0.5, 1.5]}}", "of 0 to 1 that sum to 1"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {values: [1, 2], probabilities: 0.5}}", "of 0 to 1 that sum to 1"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {distribution: log_uniform, min: 1, max: 1000}}", "did you mean log_uniform_values"),
        ("method: random\nrun_cap: 1\nprogram: t\nparameters: {a: {min: 0, max: 10, q: 5}}", "parameters.a.q: int_uniform knows no q, expected distribution q_uniform"),
        ("method: grid\ncommand:\nparameters: {a: {values: [1]}}", "program is missing, expected a script"),
        ("method: grid\nprogram: t\ncommand: [x, '${arg}']\nparameters: {a: {values: [1]}}", r"unknown macro \$\{arg\} in command"),
        ("method: grid\nprogram: t\ncommand: ['--x=${program}']\nparameters: {a: {values: [1]}}", r"\$\{program\} inside the word"),
        ("method: grid\nprogram: t\ncommand: [x, '-v ${args_json}']\nparameters: {a: {values: [1]}}", r"\$\{args_json\} inside the word"),
        ("method: grid\nprogram: t\ncommand: [x, '${envvar:home}']\nparameters: {a: {values: [1]}}", "capital letters"),
        ("method: grid\nprogram: t\ncommand: [x, 'a${envvar:}b']\nparameters: {a: {values: [1]}}", "capital letters"),
        ("method: grid\ncommand: ['${env}']\nparameters: {a: {values: [1]}}", "command is empty"),
        ("method: grid\nprogram: t\nparameters: {a.b: {values: [1]}, a: {parameters: {b: {values: [2]}}}}", "parameters.a.b comes twice"),
        ("method: grid\nprogram: t\nmetric: {name: val/x}\nparameters: {a: {values: [1]}}\nearly_terminate: {type: hyperband, min_iter: 9, max_iter: 9}", "min_iter is 9, expected less than max_iter"),
        ("method: grid\nprogram: t\nmetric: {name: test/x}\nparameters: {a: {values: [1]}}\nearly_terminate: {type: hyperband, min_iter: 1}", "metric.name is 'test/x', but early_terminate looks after each epoch"),
        ("a: [", "not readable as YAML"),
        ("- 1", "expected keys and values"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_by_name(text, message):
    with pytest.raises(SweepError, match=f"^s.yaml: .*{message}"):
        read_sweep_file(text, where="s.yaml")
