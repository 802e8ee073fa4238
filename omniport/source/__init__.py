"""Room: reference sources, read as text and never imported."""
