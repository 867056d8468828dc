"""PyTorch's own test inputs, extended and checked: where samples come from (``samples``), how each
is varied (``variants``), and what is asked of every one (``check``)."""
