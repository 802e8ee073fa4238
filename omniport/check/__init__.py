"""Static checks of a port: read as text with :mod:`ast`, never imported."""
