"""`python -m simgen check DATASET`: finds what is wrong with a BOP dataset, of simgen or of any other tool.

It shares no code with what writes labels: poses are projected with OpenCV, masks are filled triangle by triangle, and depth
follows from rays through the meshes. A fault in the labels' code is therefore not repeated here.
"""
