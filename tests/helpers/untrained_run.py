"""The folder of a run whose network is as it was made: enough for verbs that look at pictures."""

import torch
import yaml

from gain_lightning.methods.gain import GAIN


def untrained_run(folder, class_names, image_size, data, masked=(), **settings):
    """Write config, checkpoint and mask list of a run.

    Args:
        folder: The run's folder.
        class_names: Names of the classes.
        image_size: Side of the images.
        data: The config's ``data``.
        masked: Lines of the mask list that it was trained with.
        settings: Settings of the method.
    """
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    model = GAIN(list(class_names), image_size, **settings)
    with torch.no_grad():
        model.backbone.classifier.weight.mul_(20)
    state = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "method": "GAIN"}
    torch.save(state, folder / "checkpoints" / "last.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed_everything": 0, "model": {}, "data": data}))
    if masked:
        (folder / "masked_ids.txt").write_text("".join(f"{line}\n" for line in masked))
    return folder
