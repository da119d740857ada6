"""The profiler behind `edgecloud profile`: export a model, cut it anywhere, check the parts, measure them.

It needs the extra `profiler` (networkx, transformers, zstandard) and torch; nothing else in the package imports it.
"""
