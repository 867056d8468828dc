"""Separable convolutions without normalization, neighbours in an nn.Sequential."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding="same", groups=channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.SiLU(),
            nn.Conv2d(2 * channels, 2 * channels, 5, stride=2, padding=2, groups=2 * channels),
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x):
        return {"features": self.body(x)}


def get_inputs():
    return {"x": torch.randn(2, 16, 30, 28).contiguous(memory_format=torch.channels_last)}


def get_init_inputs():
    return {"channels": 16}
