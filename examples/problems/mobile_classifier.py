"""A small image classifier of depthwise-separable blocks with batch normalization between."""

import torch
from torch import nn


def separable(in_channels, out_channels, stride):
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Model(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            separable(16, 32, 1),
            separable(32, 48, 2),
            separable(48, 48, 1),
        )
        self.classifier = nn.Linear(48, classes)

    def forward(self, images):
        return self.classifier(self.features(images).mean((2, 3)))


def get_inputs():
    return [torch.rand(4, 3, 48, 48)]


def get_init_inputs():
    return [10]
