"""A strided and dilated convolution over sequences."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=False,
    ):
        super().__init__()
        self.conv1d = nn.Conv1d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )

    def forward(self, x):
        return self.conv1d(x)


def get_inputs():
    return [torch.rand(4, 24, 301)]


def get_init_inputs():
    return [24, 40, 3, 2, 0, 3]
