"""Writes alt-profanity-check's model (MIT) as plain arrays: its user imports neither scikit-learn nor pandas.

The model: TF-IDF of words, rows of unit length, and the mean of five linear scores, each made a probability
by Platt's scaling. offence.npz holds `words` [n] with their `idf` [n], `weights` [n, 5], `bias` [5], and
Platt's `slope` and `shift` [5].
"""

from pathlib import Path

import numpy as np

FILE = "offence.npz"


def write(folder: Path) -> None:
    """Into an existing folder: 0.7 MB."""
    from profanity_check.profanity_check import model, vectorizer

    words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    parts = model.calibrated_classifiers_
    np.savez_compressed(
        folder / FILE,
        words=np.array(words),
        idf=vectorizer.idf_,
        weights=np.concatenate([part.estimator.coef_ for part in parts]).T,
        bias=np.concatenate([part.estimator.intercept_ for part in parts]),
        slope=np.array([part.calibrators[0].a_ for part in parts]),
        shift=np.array([part.calibrators[0].b_ for part in parts]),
    )
