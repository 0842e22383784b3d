"""Made-up finished runs of SEC."""

import json

import numpy as np
import yaml

from gain_lightning.drawing.strips import save_strip


def sec_run(folder, method, seed, picture, *, miou, cues):
    """A finished run of SEC that drew images a, b and one of its own; its seeds drew c."""
    folder.mkdir(parents=True)
    metrics = {"test/miou": miou, "test/miou_crf": miou + 0.05}
    summary = {"state": "finished", "method": method, "seed": seed, "metrics": metrics}
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {
        "model": {"backbone": "tiny_cnn"},
        "data": {"class_path": "CueDataModule", "init_args": {"cues": str(cues)}},
        "seed_everything": seed,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = ["id,class,true,found,right,found_crf,right_crf"]
    for number in range(
        40
    ):  # IoU of all images, and of every one to within some points, other ones for each method
        by = round(200 * miou) * (-1) ** number
        right, more = round(1000 * miou) + by, round(1000 * (miou + 0.05)) + by
        rows += [f"{number},{name},1000,{right},{right},{more},{more}" for name in ("background", "cat")]
    (folder / "per_image.csv").write_text("\n".join(rows))
    of_cow = miou if method == "sec_gradcam" else ""
    classes = f"class,iou,iou_crf\nbackground,{miou},{miou}\ncat,{miou},{1 - miou}\ncow,,{of_cow}\ndog,,\n"
    (folder / "per_class.csv").write_text(classes)
    empty = np.zeros((6, 8), np.uint8)
    for name in ("a", "b", method):
        masks = dict.fromkeys(("ground truth", "segmentation", "with CRF"), empty)
        save_strip(folder / "segmentations" / f"{name}.png", picture, masks)
    masks = dict.fromkeys(("ground truth", "cues", "pseudo-mask"), empty)
    save_strip(cues / "pictures" / "c.png", picture, masks)
    return str(folder)
