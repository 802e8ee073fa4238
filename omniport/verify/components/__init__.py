"""Tiny components of any pipeline: configs as data, one file per family, and the code that builds from them."""
