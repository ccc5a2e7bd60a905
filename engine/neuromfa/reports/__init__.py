"""Reports: one self-contained page, and its figures for papers.

open_material    a suite's results or one analysis, as series of points over training
tell             sections of figures and tables in the order of the story; what is missing says so
write_page       the page: no network, no server
draw_figures     the same figures as PNG, PDF or SVG
"""
