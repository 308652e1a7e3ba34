"""ArtGAN shows the class that is asked for more surely than a GAN that is only told it."""

from __future__ import annotations

from training.claims.claim import Measured, Trial, claim
from training.claims.judge import accuracy_percent, drawn_by_class, judge_of
from training.claims.pictures import show_rows

SHOWN = 8
JUDGE_KIMG = 120.0


@claim(
    paper="no figure of accuracy; pictures of artists, genres and CIFAR-10 classes",
    shows="more pictures are of the class asked for than cgan's at the same budget",
)
def artgan(trial: Trial) -> Measured:
    """Ask both for every digit after the same training, and let a classifier of its own name them.

    The claim holds when ArtGAN's accuracy is the higher of the two. Half the usual width, 200 kimg
    each, bfloat16.
    """
    train, test = trial.data("mnist"), trial.data("mnist", split="test")
    classes, each = len(train.label_names), 4 if trial.quick else 200
    judge = judge_of(trial, train, test, kimg=JUDGE_KIMG)
    figures = {}
    for key, name in (("artgan", "class_accuracy_percent"), ("cgan", "cgan_accuracy_percent")):
        trained = trial.train(key, train, kimg=200.0, width=32, precision="bf16")
        pictures, asked = drawn_by_class(trained, classes, each)
        figures[name] = accuracy_percent(judge, pictures, asked)
        if key == "artgan":
            shown, _ = drawn_by_class(trained, classes, SHOWN, seed=2)
            sheet = show_rows(trial.out / "classes.png", shown, SHOWN)
    better = figures["class_accuracy_percent"] > figures["cgan_accuracy_percent"]
    return Measured(figures, holds=better, pictures={"classes": sheet})
