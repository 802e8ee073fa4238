"""Room: one rewrite per file; each reads the plan and changes the tree, and decides nothing."""
