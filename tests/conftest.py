"""Fixtures that several test files share."""

import ctypes
import functools
import gc
import os
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from finished_run import run, trained  # noqa: F401
from run_fixtures import make_run, make_study  # noqa: F401
from torch import nn

from gain_lightning.backbones import Backbone, build_backbone

# All processes have one thread from the start, because sums in another order are not bitwise equal.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def quiet_process(monkeypatch):
    """Keep tests apart: no network logger, no seed or run folder of another test, no words of pytest for a training.

    Workers hand their memory back, because they run many trainings.
    """
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("gain_lightning.training.experiment.keep_freed_memory", lambda: False)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["gain"])
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)


def resident_bytes() -> int:
    """Return the resident memory of this process, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def kept_bytes():
    """The resident memory when it was last handed back, in a list of one."""
    return [2 * 2**30]


@pytest.fixture(autouse=True)
def hand_memory_back(kept_bytes):
    """Hand memory back, because two workers that keep the peaks of VGG's trainings would hold 15 GiB."""
    yield
    # Collecting takes half a second in a large process, so it is done only where the process has grown.
    if sys.platform == "linux" and resident_bytes() > kept_bytes[0] + 2**29:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        kept_bytes[0] = max(resident_bytes(), 2 * 2**30)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def tiny_backbone() -> Backbone:
    """The tiny CNN with 3 classes, random weights and BatchNorm statistics unlike its input's."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        backbone = build_backbone("tiny_cnn", 3)
        for module in backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.2, 0.6)
    return backbone


@pytest.fixture(scope="session")
def torchvision_models(tmp_path_factory):
    """A function of a name: torchvision's model with 5 classes in eval mode, and our backbone with its weights.

    The weights go through a file, as a user's would. The last layer, which is new in ours, is copied.
    """

    @functools.cache
    def build(name: str) -> tuple[nn.Module, Backbone]:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            model = getattr(torchvision.models, name)(num_classes=5)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 2)
                    nn.init.uniform_(module.weight, 0.5, 1)
                    nn.init.normal_(module.bias, 0, 0.1)
        path = tmp_path_factory.mktemp("weights") / f"{name}.pt"
        torch.save(model.state_dict(), path)
        # The file replaces all random numbers, so none are drawn.
        with pytest.MonkeyPatch.context() as patch:
            for function in ("normal_", "kaiming_normal_", "kaiming_uniform_"):
                patch.setattr(nn.init, function, lambda tensor, *args, **kwargs: tensor)
            backbone = build_backbone(name, 5, weights=str(path))
        path.unlink()
        last = model.classifier[-1] if name.startswith("vgg") else model.fc
        backbone.classifier.load_state_dict(last.state_dict())
        # The gradients of VGG's largest layers would take a GB.
        for parameter in [*model.parameters(), *backbone.parameters()]:
            parameter.requires_grad_(parameter.ndim > 1 and parameter.numel() < 1e7)
        # One memory layout gives one rounding.
        return model.eval().to(memory_format=torch.channels_last), backbone.eval()

    return build


@pytest.fixture
def voc_root() -> Path:
    """A real VOC 2012 folder, named by the environment."""
    if not os.environ.get("GAIN_VOC_ROOT"):
        pytest.skip("GAIN_VOC_ROOT is not set")
    return Path(os.environ["GAIN_VOC_ROOT"])


@pytest.fixture
def waterbirds_root() -> Path:
    """The real Waterbirds-100, named by the environment."""
    if not os.environ.get("GAIN_WATERBIRDS_ROOT"):
        pytest.skip("GAIN_WATERBIRDS_ROOT is not set")
    return Path(os.environ["GAIN_WATERBIRDS_ROOT"])
