"""Fuzzing of everything that reads what others wrote: a clear error or valid output, never anything else.

``pytest tests/fuzz`` runs some thousand cases, ``make fuzz`` a hundred thousand, and writes the
table of docs/security.md.
"""
