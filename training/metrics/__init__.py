"""How good the pictures of a trained model are: fidelity, variety, agreement with the caption."""
