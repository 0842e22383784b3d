import pytest
import yaml

# A trial: notes that it began and that it ended, and leaves the summary of a run.
TRIAL = """
import json, os, sys, time
from pathlib import Path
run = Path(os.environ["GAIN_TRIAL_DIR"])
args = dict(word[2:].split("=", 1) for word in sys.argv[1:])
with open(run.parent.parent / "log", "a") as log:
    log.write(f"begin {run.name} {args['x']}\\n")
time.sleep(float(args.get("sleep", 0)))
if args["x"] == args.get("bad"):
    sys.exit("cannot do " + args["x"])
summary = {"state": "finished", "metrics": {"score": float(args["x"]) ** 2, "other": 1.0}}
part = run / "part"
part.write_text(json.dumps(summary))
os.replace(part, run / "summary.json")
with open(run.parent.parent / "log", "a") as log:
    log.write(f"end {run.name} {args['x']}\\n")
"""


@pytest.fixture
def sweep_file(tmp_path):
    """Writes a sweep file of the trial above."""
    script = tmp_path / "trial.py"
    script.write_text(TRIAL)

    def write(parameters, **keys):
        path = tmp_path / "sweep.yaml"
        tree = {
            "method": "grid",
            "metric": {"name": "score", "goal": "maximize"},
            "program": str(script),
            "parameters": parameters,
            **keys,
        }
        path.write_text(yaml.safe_dump(tree))
        return path

    return write
