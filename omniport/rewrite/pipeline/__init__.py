"""Rewrites of a pipeline class, one per file: facts are folded, statements kept, the loop and the entry reshaped."""
