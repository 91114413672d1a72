"""What an image's bytes tell before anything is decoded: format, size, orientation, and why it must not be decoded.

A few bytes can promise gigabytes of pixels or minutes of work, so every image is judged by its header first. The rules
are written once (`jpeg.py`, `png.py`, …) in the operations of a `Reader`. `ByteReader` runs them on bytes in Python,
for training; `TensorReader` runs them on a string in a graph, for serving. So the two cannot disagree.
"""
