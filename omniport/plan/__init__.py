"""Room: the plan, the spine between analysis and writing."""
