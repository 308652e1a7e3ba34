"""Runs the claims of the papers over seeds, keeps what they gave, and writes the papers' pages."""
