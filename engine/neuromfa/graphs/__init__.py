"""Graphs at large: the multifractal analysis of any network, and a model's network as a graph.

`neuromfa.analyse_graph` and `neuromfa.export_network` are the two verbs (definitions, section 7).
"""
