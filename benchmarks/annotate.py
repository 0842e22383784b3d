"""Which policy of ``gain next`` needs fewer marks than a random choice? Annotation is simulated on data with marks.

    python benchmarks/annotate.py experiments/annotate/shapes.yaml --out runs/annotate/shapes

For every seed a run of the plan's config ``first`` is trained. For every policy ``gain next`` chooses images with it,
and runs of the config ``guided`` are trained with the masks of the first ones chosen. ``unlike_marked`` needs marks to
begin with: it goes on from a run with half of the fewest, chosen by ``by_class``. A list of more marks begins with the
list of fewer.

A policy has at most 60 % of random's marks, and reaches it in a seed if its score is no lower. Writes into --out,
beside the runs, ``annotate.json`` and ``table.txt``. The command may be given again: it skips what is done. Several may
run at a time, each with other ``--seeds``; the last of them has the whole table.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gain_lightning.runs.making import Making, digest_of_configs, is_tested
from gain_lightning.runs.summary import read_summary
from gain_lightning.support.files import read_text, write_atomically, write_json
from gain_lightning.support.yaml_files import read_config

RANDOM, BEFORE, AFTER = "random", "by_class", "unlike_marked"
# A policy that reaches random in so many seeds of five saves marks.
ENOUGH = 0.8


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path, help="a file of experiments/annotate/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the table")
    parser.add_argument("--root", help="folder of the data (default: that of the configs)")
    parser.add_argument("--seeds", type=int, nargs="+", help="some seeds (default: the plan's)")
    parser.add_argument("--policies", nargs="+", help="some policies (default: the plan's)")
    parser.add_argument(
        "--table", action="store_true", help="train nothing, and print the table of what is there"
    )
    args = parser.parse_args()
    plan = read_config(args.plan)
    if args.root is not None:
        plan["options"] = [*plan["options"], f"--data.root={args.root}"]
    policies = plan["policies"] if args.policies is None else args.policies
    for seed in () if args.table else (plan["seeds"] if args.seeds is None else args.seeds):
        make(plan, args.out / f"seed-{seed}", seed, policies)
    result = judge(plan, args.out)
    write_json(args.out / "annotate.json", result)
    write_atomically(args.out / "table.txt", table(result) + "\n")
    print(table(result))


def counts(plan: Mapping[str, Any], policy: str, policies: Sequence[str] = ()) -> list[int]:
    """Return the numbers of marks that a policy is tried with.

    Random also has those that the others are compared with, and by_class half of the fewest if another goes on from it.
    """
    pairs = {int(most): int(fewer) for most, fewer in plan["marks"].items()}
    found = {*pairs.values(), *(pairs if policy == RANDOM else ())}
    if policy == BEFORE and AFTER in policies:
        found = {min(found) // 2, *(found if BEFORE in policies else ())}
    return sorted(found)


def make(plan: Mapping[str, Any], folder: Path, seed: int, policies: Sequence[str]) -> None:
    """Choose images and train all runs of a seed, as far as that is not done."""
    making = Making(folder)
    making.keep({"configs": digest_of_configs(Path(plan["first"]), Path(plan["guided"]))})
    making.fit(folder / "first", seed, "--config", plan["first"], *plan["options"])
    others = [policy for policy in policies if policy not in (RANDOM, BEFORE, AFTER)]
    before = [BEFORE] if {BEFORE, AFTER} & set(policies) else []
    for policy in (RANDOM, *before, *others, *({AFTER} & set(policies))):
        numbers = counts(plan, policy, policies)
        chosen = choose(plan, making, seed, policy, numbers)
        for count in numbers:
            listed = folder / "lists" / f"{policy}-{count}.txt"
            write_atomically(listed, "".join(f"{line}\n" for line in chosen[:count]))
            words = ["--config", plan["guided"], *plan["options"], f"--data.mask_budget={listed}"]
            making.fit(folder / f"{policy}-{count}", seed, *words)


def choose(
    plan: Mapping[str, Any], making: Making, seed: int, policy: str, numbers: Sequence[int]
) -> list[str]:
    """Choose as many images as the policy is tried with at most, in order; the lines of a mask list."""
    out, run, known = making.folder / "next" / policy, making.folder / "first", 0
    if policy == AFTER:
        known = min(numbers) // 2
        run = making.folder / f"{BEFORE}-{known}"
    if not (out / "next.json").is_file():
        shutil.rmtree(out, ignore_errors=True)
        strata = ["--stratify", *plan["stratify"]] if policy != RANDOM else []
        words = [str(run), f"--count={max(numbers) - known}", f"--policy={policy}", *strata]
        making.do("next", *words, f"--seed={seed}", "--simulated", f"--out={out}")
    return read_text(out / "mask_list.txt").splitlines()


def judge(plan: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Compare every policy with random, seed by seed, as far as runs are there."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for run in sorted(out.glob("seed-*/*-*")):
        policy, _, count = run.name.rpartition("-")
        if is_tested(run):
            seed = int(run.parent.name.removeprefix("seed-"))
            score = float(read_summary(run)["metrics"][plan["score"]])
            found.setdefault(policy, {}).setdefault(count, {})[seed] = score
    rows = []
    for most, fewer in sorted((int(most), int(fewer)) for most, fewer in plan["marks"].items()):
        random = found.get(RANDOM, {}).get(str(most), {})
        for policy in found:
            own = found[policy].get(str(fewer), {})
            seeds = sorted(set(random) & set(own))
            if seeds:
                reached = sum(own[seed] >= random[seed] for seed in seeds)
                rows.append(
                    {
                        "policy": policy,
                        "marks": fewer,
                        "random_marks": most,
                        "num_seeds": len(seeds),
                        "reached": reached,
                        "score": float(np.mean([own[seed] for seed in seeds])),
                        "random_score": float(np.mean([random[seed] for seed in seeds])),
                    }
                )
    return {"score": plan["score"], "scores": found, "rows": rows}


def table(result: Mapping[str, Any]) -> str:
    """Write the comparison in lines, best first for each number of marks."""
    lines = [f"{result['score']}, %: mean over seeds, and in how many of them a policy reaches random"]
    lines.append(f"{'policy':<15}{'marks':>7}{'score':>8}{'random':>9}{'score':>8}{'reached':>11}")
    for row in sorted(result["rows"], key=lambda row: (row["random_marks"], -row["reached"], -row["score"])):
        verdict = "  saves marks" if row["reached"] >= ENOUGH * row["num_seeds"] else ""
        lines.append(
            f"{row['policy']:<15}{row['marks']:>7}{100 * row['score']:>8.1f}{row['random_marks']:>9}"
            f"{100 * row['random_score']:>8.1f}{row['reached']:>6} of {row['num_seeds']}{verdict}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
