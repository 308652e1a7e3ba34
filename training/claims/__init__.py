"""The claims of the papers: one paper, one file, found by its name."""
