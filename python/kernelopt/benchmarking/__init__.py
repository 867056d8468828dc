"""What ``kernelopt bench`` does. Nothing here is imported with kernelopt itself.

A parent process (``session``, ``runner``) never touches the GPU: it sends one job at a time to a
child (``worker``) that measures and answers step by step, and it replaces a child that dies or does
not answer in time.
"""
