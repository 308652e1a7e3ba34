"""Generated from protos/ by protos/generate.py; not edited by hand."""
