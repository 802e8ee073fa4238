"""What the commands print and keep: tables, JSON, the evidence file."""
