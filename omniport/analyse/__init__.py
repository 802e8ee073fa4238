"""Room: from reference source to decisions."""
