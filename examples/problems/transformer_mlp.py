"""The feed-forward half of a transformer block: normalization, GELU between two linear layers, and
a residual sum with a learned scale."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.activation = nn.GELU(approximate="tanh")
        self.down = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x):
        return x + self.scale * self.down(self.activation(self.up(self.norm(x))))


def get_inputs():
    return [torch.randn(2, 50, 64)]


def get_init_inputs():
    return [64, 256]
