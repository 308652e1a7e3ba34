"""Whether the tests of the losses notice when a loss is wrong; see `tests.mutation.__main__`."""
