"""The pictures of the documentation, drawn from the library itself: `python docs/pictures OUTDIR`.

A module is a picture. Its `experiment` runs the library on a virtual clock and returns what happened, with no idea of
how that will look; its `draw` draws it, and decides nothing. So the tests can assert what a picture shows, without
drawing it. What the pictures have in common in their looks is in `style`, who draws them all is in `gallery`.
"""
