"""The reference architectures, one file each, in the form that ``kernelopt run`` takes.

Each file has ``Model``, the architecture in plain torch; ``ModelNew``, the same on kernelopt, with
the same constructor, inputs and state_dict; and ``get_inputs()`` and ``get_init_inputs()``.
"""
