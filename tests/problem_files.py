"""Problem files for the tests of the kernelopt command: good ones of many kinds, and bad ones."""

from __future__ import annotations

import functools
import textwrap

HEADER = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
CONV = """
class Model(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv = nn.Conv1d(3, channels, 3)
        self.activation = nn.GELU()
    def forward(self, x):
        return self.activation(self.conv(x))
def get_inputs():
    return [torch.rand(2, 3, 17)]
def get_init_inputs():
    return []
"""


def problem_text(forward: str, inputs: str, init: str = "pass", init_inputs: str = "[]") -> str:
    """A problem file out of a constructor's body, a forward's body and two expressions."""
    indent = functools.partial(textwrap.indent, prefix=" " * 8)
    return (
        f"class Model(nn.Module):\n    def __init__(self, *args, **kwargs):\n"
        f"        super().__init__()\n{indent(init)}\n"
        f"    def forward(self, {forward.partition(':')[0]}):\n"
        f"{indent(textwrap.dedent(forward.partition(':')[2]).strip())}\n"
        f"def get_inputs():\n    return {inputs}\n"
        f"def get_init_inputs():\n    return {init_inputs}\n"
    )


# All of these run. By what is special about each.
GOOD = {
    "several outputs": problem_text(
        "x: return {'a': x + x, 'b': (F.gelu(x), [x.argmax(-1), 3, 'text', None])}",
        "[torch.randn(3, 5)]",
    ),
    "a number out": problem_text("x: return F.gelu(x).sum().item(), x", "[torch.randn(3, 5)]"),
    "integers in": problem_text(
        "x, n: return self.table(x).repeat(1, n, 1)",
        "[torch.randint(0, 9, (2, 3)), 2]",
        "self.table = nn.Embedding(9, 4)",
    ),
    "nested inputs": problem_text(
        "pair, scale: return pair[0] + scale['by'] * pair[1][0]",
        "[[torch.randn(4), (torch.randn(4),)], {'by': 2.0}]",
    ),
    "keyword inputs": problem_text("x, y=None: return x + y", "{'x': torch.ones(3), 'y': 2}"),
    "one tensor": problem_text("x: return F.gelu(x)", "torch.randn(3, 4)"),
    "inputs and constructor arguments that are yielded": CONV.replace(
        "return [torch.rand(2, 3, 17)]", "yield torch.rand(2, 3, 17)"
    ).replace("return []", "yield 5"),
    "iterators": problem_text(
        "x, y: return F.gelu(x) + y",
        "map(torch.randn, (3, 3))",
        "self.sizes = kwargs",
        "iter([[], {'size': 3}])",
    ),
    "args and kwargs of the constructor": problem_text(
        "x: return self.conv(x)",
        "[torch.randn(1, 2, 9)]",
        "self.conv = nn.Conv1d(*args, **kwargs)",
        "[[2, 4], {'kernel_size': 3, 'groups': 2}]",
    ),
    "kwargs of the constructor": problem_text(
        "x: return self.conv(x)",
        "[torch.randn(1, 2, 9)]",
        "self.conv = nn.ConvTranspose1d(**kwargs)",
        "{'in_channels': 2, 'out_channels': 3, 'kernel_size': 4}",
    ),
    "no constructor arguments": problem_text("x: return x + 1", "[torch.ones(2)]", "pass", "None"),
    "batch normalization": problem_text(
        "x: return F.relu(self.norm(self.conv(x)))",
        "[torch.randn(4, 3, 11)]",
        "self.conv = nn.Conv1d(3, 5, 3)\nself.norm = nn.BatchNorm1d(5)",
    ),
    "inputs written to": problem_text("x: x.mul_(2)\nreturn F.gelu(x)", "[torch.randn(3, 4)]"),
    "state kept as an attribute": problem_text(
        "x: self.state = self.state + x.detach()\nreturn x + self.state",
        "[torch.randn(3)]",
        "self.state = torch.ones(3)",
    ),
    "a buffer counted up": problem_text(
        "x: self.calls += 1\nreturn F.gelu(x) * self.calls",
        "[torch.randn(3)]",
        "self.register_buffer('calls', torch.zeros(()))",
    ),
    "a buffer replaced": problem_text(
        "x: self.mean = 0.5 * self.mean + x.detach()\nreturn x + self.mean",
        "[torch.randn(3)]",
        "self.register_buffer('mean', torch.zeros(3))",
    ),
    "a mask made by the first call": problem_text(
        "x:\nif not hasattr(self, 'mask'):\n    self.mask = torch.ones(3)\nreturn x + self.mask",
        "[torch.randn(3)]",
    ),
    "an attribute written to": problem_text(
        "x: self.total += 1\nreturn x + self.total, self.total",
        "[torch.randn(3)]",
        "self.total = torch.zeros(3)",
    ),
    "calls counted": problem_text(
        "x: self.calls += 1\nself.seen.append(x)\nreturn x + x, self.calls, len(self.seen)",
        "[torch.randn(3)]",
        "self.calls, self.seen = 0, []",
    ),
    "sparse tensors": problem_text(
        "a, b: return torch.sparse.mm(a, b) + 1, a",
        "[torch.eye(3).to_sparse(), torch.randn(3, 2)]",
    ),
    "infinite outputs": problem_text(
        "x: return F.gelu(x).masked_fill(x < 0, float('-inf'))", "[torch.randn(9)]"
    ),
    "data-dependent branch": problem_text(
        "x: return F.gelu(x) if x.sum() > 0 else x + x", "[torch.randn(9)]"
    ),
    "half precision within": problem_text(
        "x: y = F.gelu(F.conv1d(x.bfloat16(), self.conv.weight.bfloat16()))\n"
        "return self.linear(y.float())",
        "[torch.randn(2, 3, 17)]",
        "self.conv, self.linear = nn.Conv1d(3, 4, 3), nn.Linear(15, 2)",
    ),
    "the command's own arguments": "import sys\nassert len(sys.argv) == 1, sys.argv\n" + CONV,
    "an empty batch": problem_text("x: return F.gelu(x)", "[torch.randn(0, 4)]"),
    "complex numbers": problem_text("x: return torch.fft.rfft(x) + 1", "[torch.randn(2, 8)]"),
    "shared parameters": problem_text(
        "x: return self.b(self.a(x))",
        "[torch.randn(1, 3, 9)]",
        "self.a = nn.Conv1d(3, 3, 3)\nself.b = nn.Conv1d(3, 3, 3)\nself.b.weight = self.a.weight",
    ),
    "what cannot be copied": problem_text(
        "x: return self.conv(x)",
        "[torch.randn(1, 2, 9)]",
        "import threading\nself.lock = threading.Lock()\nself.conv = nn.Conv1d(2, 2, 3)",
    ),
    "functions over layers": problem_text(
        "x: return self.through(x)",
        "[torch.randn(1, 2, 9)]",
        "conv = self.conv = nn.Conv1d(2, 2, 3)\nself.through = lambda x: conv(x) + 1",
    ),
    "random shapes": problem_text(
        "x: return self.conv(x)",
        "[torch.randn(1, 2, 9)]",
        "import os\nself.conv = nn.Conv1d(2, 2 + os.urandom(1)[0] % 9, 3)",
    ),
    "lazy modules": problem_text(
        "x: return self.conv(x)", "[torch.randn(1, 2, 9)]", "self.conv = nn.LazyConv1d(3, 3)"
    ),
    "a frozen normalization": problem_text(
        "x: return self.norm(x) + 1", "[torch.randn(4, 3)]", "self.norm = nn.BatchNorm1d(3).eval()"
    ),
    "convolution and activation": CONV,
}

# None of these does. By what is said about each.
BAD = {
    "line 6: syntax error": "x = 1\n\ndef Model(:\n",
    "importing it raised ZeroDivisionError": "1 / 0\n",
    "importing it raised SystemExit": "raise SystemExit(0)\n",
    "importing it raised Stop: now": "class Stop(BaseException): pass\nraise Stop('now')\n",
    "constructing Model raised BaseException": CONV.replace(
        "super().__init__()", "raise BaseException"
    ),
    "its own code raised SystemExit: 7": CONV.replace(
        "return self", "raise SystemExit(7)\n        return self"
    ),
    "no module named 'absent_package'": "import absent_package\n",
    "defines no get_init_inputs": "class Model(nn.Module): pass\nget_inputs = list\n",
    "defines no Model and no get_inputs": "get_init_inputs = list\n",
    "get_inputs is not callable": "Model, get_inputs, get_init_inputs = nn.Identity, [], list\n",
    "Model() is a dict": "Model, get_inputs, get_init_inputs = dict, list, list\n",
    "constructing Model raised TypeError": CONV.replace("return []", "return [1, 2, 3]"),
    "Model.__init__() does not call super().__init__()": CONV.replace(
        "super().__init__()\n        self.conv = nn.Conv1d(3, channels, 3)\n"
        "        self.activation = nn.GELU()",
        "pass",
    ),
    "get_init_inputs() raised ValueError": CONV.replace("return []", "raise ValueError('no')"),
    "get_inputs() raised LookupError": CONV.replace(
        "return [torch.rand(2, 3, 17)]", "yield torch.rand(2, 3, 17)\n    raise LookupError('no')"
    ),
    "get_inputs() raised OSError": CONV.replace(
        "return [torch", "raise OSError('gone')\n    [torch"
    ),
    "the original's forward raised RuntimeError": CONV.replace("(2, 3, 17)", "(2, 5, 17)"),
    "returns no tensor": problem_text("x: return iter([x])", "[torch.ones(2)]"),
    "missing 1 required positional argument": CONV.replace(
        "return [torch.rand(2, 3, 17)]", "return"
    ),
}
