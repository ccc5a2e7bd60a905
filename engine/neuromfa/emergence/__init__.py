"""How a network organises itself over training, and how much of that is scale or chance.

The degree of emergence with its standard errors, controls and null models, and the comparison of
two checkpoints (definitions, section 6).
"""
