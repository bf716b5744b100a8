"""
===================
Text classification
===================

Words are counted, each document becomes a sparse row, and a linear classifier learns
its topic. In collections of text some labels are wrong, and some documents are one
word, repeated hundreds of times. The example generates the corpus, so that the correct
topics are known.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from medsgd import MedianSGDClassifier

# %%
# Corpus
# ------
# A fifth of the words of a document are from its own topic, and a tenth are from any
# other topic. The others are common words.

TOPICS = [
    "recipe oven butter flour sugar onion garlic simmer bake dough salt soup sauce",
    "wind harbour mast rudder anchor tide crew deck sail knot hull compass storm",
    "soil seed compost prune rose tulip spade lawn weed greenhouse mulch bulb hedge",
    "chord melody violin rhythm concert opera piano tempo choir orchestra score drum",
]
TOPICS = [words.split() for words in TOPICS]
COMMON = "the a of and to in for with on it was is that we they this from at by as"
COMMON += " have not but you more some new old long good first last day week"
COMMON = COMMON.split()
EVERY_TOPIC = [word for words in TOPICS for word in words]


def text(topic, rng):
    """A document of 8 to 24 words."""
    source = rng.choice(3, p=[0.2, 0.1, 0.7], size=rng.integers(8, 25))
    pools = (TOPICS[topic], EVERY_TOPIC, COMMON)
    return " ".join([pools[k][rng.integers(len(pools[k]))] for k in source])


def spam(rng):
    """One word of any topic, 100 to 299 times."""
    word = EVERY_TOPIC[rng.integers(len(EVERY_TOPIC))]
    return " ".join([word] * rng.integers(100, 300))


def corpus(n_documents, seed, wrong_labels=0.0, spam_rows=0.0):
    """Documents and labels. Spam has random labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(TOPICS), size=n_documents)
    documents = [text(label, rng) for label in labels]
    is_wrong = rng.random(n_documents) < wrong_labels
    steps = rng.integers(1, len(TOPICS), size=n_documents)
    labels = np.where(is_wrong, (labels + steps) % len(TOPICS), labels)
    for i in np.flatnonzero(rng.random(n_documents) < spam_rows):
        documents[i], labels[i] = spam(rng), rng.integers(len(TOPICS))
    return documents, labels


print(corpus(1, seed=0)[0][0])

# %%
# Classifiers
# -----------
# The vectorizers give CSR rows, which all three classifiers take as they are. TF-IDF
# divides each row by its length, so that no document can be larger than others. Counts
# grow with the length of a document. The models fit each topic against the rest, also
# logistic regression here.

VECTORIZERS = {"counts": CountVectorizer(), "TF-IDF": TfidfVectorizer()}
MODELS = {
    "SGDClassifier": SGDClassifier("log_loss", random_state=0),
    "LogisticRegression": OneVsRestClassifier(
        LogisticRegression(solver="newton-cholesky")
    ),
    "MedianSGDClassifier": MedianSGDClassifier(random_state=0),
}
COLORS = {
    "SGDClassifier": "#000000",
    "LogisticRegression": "#56B4E9",
    "MedianSGDClassifier": "#D55E00",
}
CONTAMINATIONS = {
    "clean": {},
    "25% wrong labels": {"wrong_labels": 0.25},
    "10% spam": {"spam_rows": 0.1},
}

test_documents, y_test = corpus(1500, seed=1)
scores = {}
for contamination, shares in CONTAMINATIONS.items():
    documents, y = corpus(1000, seed=0, **shares)
    for features, vectorizer in VECTORIZERS.items():
        for name, model in MODELS.items():
            pipeline = make_pipeline(vectorizer, model).fit(documents, y)
            score = pipeline.score(test_documents, y_test)
            scores[features, contamination, name] = score
X = pipeline[0].transform(documents)
print(f"{type(X).__name__}, shape {X.shape}, {X.nnz / X.shape[0]:.1f} entries a row")

# %%
# Results
# -------
# Spam is harmful because its rows are large. On counts a tenth of spam costs
# :class:`~sklearn.linear_model.SGDClassifier` two fifths of its accuracy and
# :class:`~sklearn.linear_model.LogisticRegression` a quarter, but
# :class:`~medsgd.MedianSGDClassifier` next to nothing. TF-IDF removes the size, and the
# median then gains little over logistic regression. If rows can be normalised,
# normalise them. The median is for features whose size has a meaning, or that cannot be
# changed.
#
# With wrong labels the median loses least, on counts and on TF-IDF.

print(f"{'test accuracy':32s}" + "".join(f"{name:>18s}" for name in CONTAMINATIONS))
for features in VECTORIZERS:
    for name in MODELS:
        row = "".join(f"{scores[features, c, name]:18.3f}" for c in CONTAMINATIONS)
        print(f"{features:10s}{name:22s}{row}")

fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
places = np.arange(len(CONTAMINATIONS))
for ax, features in zip(axes, VECTORIZERS, strict=True):
    for k, (name, color) in enumerate(COLORS.items()):
        heights = [scores[features, c, name] for c in CONTAMINATIONS]
        ax.bar(places + 0.27 * (k - 1), heights, width=0.25, color=color, label=name)
    ax.axhline(1 / len(TOPICS), color="0.6", linestyle=":", label="by chance")
    ax.set_xticks(places, CONTAMINATIONS)
    ax.set_title(features)
axes[0].set_ylabel("accuracy on clean documents")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()
