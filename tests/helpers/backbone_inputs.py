"""What a backbone is given: a picture of noise, and a file of weights."""

import torch


def save(path, state):
    torch.save(state, path)
    return str(path)


def image(generator, side, num_images=2):
    return torch.randn(num_images, 3, side, side, generator=generator)
