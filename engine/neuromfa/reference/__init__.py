"""The authors' own procedure, to compare with published numbers (docs/reference.md).

A network of a few dozen units of each layer is drawn ten times, and each draw is analysed with
forward differences. Every other result of neuromfa is exact and reads every weight; results of
this room are samples and must not be mixed with those.
"""
