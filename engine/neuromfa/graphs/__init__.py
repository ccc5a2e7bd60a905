"""Graphs at large: any network, a model's network as a graph, and paths through several layers.

`neuromfa.analyse_graph`, `neuromfa.export_network` and `neuromfa.analyse_hops` are the verbs
(definitions, section 7).
"""
