"""The zoo: one paper, one file. Importing this package registers them all."""

from training.zoo import t2i as t2i
