"""A small vocoder: spectrogram frames to samples, by upsampling and dilated residual blocks."""

import torch
import torch.nn.functional as F
from torch import nn


class ResidualBlock(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.spread = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        return x + self.mix(F.gelu(self.spread(x)))


class Model(nn.Module):
    def __init__(self, mels, channels, rates=(4, 2)):
        super().__init__()
        layers = [nn.Conv1d(mels, channels, 7, padding=3), nn.GELU()]
        for rate in rates:
            layers.append(nn.ConvTranspose1d(channels, channels // 2, 2 * rate, rate, rate // 2))
            channels //= 2
            layers += [ResidualBlock(channels, dilation) for dilation in (1, 3)]
        self.layers = nn.Sequential(*layers)
        self.samples = nn.Conv1d(channels, 1, 7, padding=3)

    def forward(self, mel):
        return torch.tanh(self.samples(self.layers(mel)))


def get_inputs():
    return [torch.randn(2, 20, 40)]


def get_init_inputs():
    return [[20, 32], {"rates": (4, 2)}]
