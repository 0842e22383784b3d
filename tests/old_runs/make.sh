# Makes all that lies here, with a checkout of commit 9aede38 on PYTHONPATH: sh make.sh
set -e
export OMP_NUM_THREADS=1
gain() { python -m gain_lightning "$@"; }
rm -rf gain_ext cues sec sweep interrupted whole predicted images
gain fit --config gain_ext.yaml --run_dir gain_ext
gain seeds gain_ext --out cues
gain fit --config sec.yaml --run_dir sec
gain sweep sweep.yaml --out sweep
short="--seed_everything 1 --trainer.max_epochs 2 --trainer.log_every_n_steps 1 --model.warmup_epochs 1
  --model.lr_scheduler.init_args.milestones [1]"
gain fit --config gain_ext.yaml $short --run_dir whole
# SIGTERM in the twentieth of 80 steps
python - fit --config gain_ext.yaml $short --run_dir interrupted <<'END' || test $? = 75
import signal
import sys

from gain_lightning.cli import main
from gain_lightning.resume import ExactResume


def stop(self, trainer, pl_module, loss):
    if trainer.global_step == 19:
        signal.raise_signal(signal.SIGTERM)


ExactResume.on_before_backward = stop
sys.exit(main(sys.argv[1:]))
END
mkdir images
python - <<'END'
# A dark square, colours that run into each other, and an image of the test.
import numpy as np
from PIL import Image

y, x = np.mgrid[:40, :56]
square = np.where(((abs(x - 30) < 9) & (abs(y - 16) < 9))[..., None], (180, 40, 30), (70, 150, 90))
runs = np.stack([4 * x, 6 * y, 255 - 4 * x], -1)
with np.load("gain_ext/maps.npz") as maps:
    shapes = maps["image"][2]
for name, picture in (("square", square), ("runs", runs), ("shapes", shapes)):
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(f"images/{name}.png")
END
gain predict --images images --ckpt_path gain_ext/checkpoints/last.ckpt --out predicted/gain_ext
gain predict --images images --ckpt_path sec/checkpoints/last.ckpt --out predicted/sec --no_crf
# What is not kept: pictures that are large, the same weights twice, maps of cues, and logs of trials.
rm -rf */panels sweep/trials/*/panels sweep/trials/*/log.txt */checkpoints/epoch_*
rm -r cues/maps cues/masks cues/cues cues/pictures cues/localization_cues.pickle cues/input_list.txt
rm predicted/gain_ext/*.npy predicted/gain_ext/*_*.png
mv whole/metrics.csv whole.csv
rm -r whole
xz -9e */checkpoints/last.ckpt
