"""Content of pickles of fitted estimators besides parameters and public attributes.

The state of training is pickled as arrays and numbers. Such a file does not name
private classes. Its estimator predicts even if the version of the state is not
readable.
"""

import copy

import numpy as np
from scipy import sparse

import medsgd
from medsgd._fit.state import State
from medsgd._fit.units import FeatureUnits, RecentRows
from medsgd._utils.guards import checked

# Raised whenever the fields of State, FeatureUnits, GramSums or ClassSums change, or
# their meaning does.
VERSION = 2
OLDEST = 1


def as_plain(units, states, first_rows, typical_weight, stream, recent_rows):
    """Return the state of training as arrays, numbers and strings."""
    return {
        "version": VERSION,
        "medsgd": medsgd.__version__,
        "units": dict(vars(units)),
        "states": [s.__getstate__() | {"dtype": str(s.dtype)} for s in states],
        "first_rows": plain_chunks(first_rows),
        "typical_weight": typical_weight,
        "stream": stream,
        "recent_rows": recent_rows
        and vars(recent_rows) | {"chunks": plain_chunks(recent_rows.chunks)},
    }


def from_plain(plain):
    """Return the arguments that ``as_plain`` was given."""
    # Arrays in buffers of pickle's protocol 5 and in memory maps may begin at any
    # address.
    plain = copy.deepcopy(plain)
    recent = plain.get("recent_rows")
    return (
        FeatureUnits(**plain["units"]),
        [State(**s | {"dtype": np.dtype(s["dtype"])}) for s in plain["states"]],
        chunks(plain["first_rows"]),
        # Early files of version 1 lack this: the next chunk sets it.
        plain.get("typical_weight"),
        # Files of version 1 have no refined estimate of a stream.
        plain.get("stream"),
        # Files of version 1 have no recent rows, which units follow.
        recent and RecentRows(**recent | {"chunks": tuple(chunks(recent["chunks"]))}),
    )


def is_readable(plain):
    """Whether ``from_plain`` reads it."""
    return OLDEST <= plain.get("version", 0) <= VERSION


def why_not_readable(plain):
    """Return the message for a state from which partial_fit cannot continue."""
    writer = f"medsgd {plain['medsgd']}" if "medsgd" in plain else "an early medsgd"
    return (
        f"partial_fit cannot go on: the state of this estimator was saved by {writer} "
        f"in version {plain.get('version', 0)} of its format, and medsgd "
        f"{medsgd.__version__} reads version {VERSION}. It predicts, and fit starts "
        f"anew; to go on, load the file with {writer}."
    )


def plain_chunks(chunks):
    """Return chunks of rows with their targets and weights as tuples of arrays."""
    return chunks and [(_as_arrays(X), *rest) for X, *rest in chunks]


def chunks(plain):
    """Return the argument that ``plain_chunks`` was given."""
    return plain and [(_as_rows(arrays), *rest) for arrays, *rest in plain]


def _as_arrays(X):
    if sparse.issparse(X):
        return X.data, X.indices, X.indptr, X.shape
    return X


def _as_rows(arrays):
    if isinstance(arrays, tuple):
        return checked(sparse.csr_array(arrays[:3], shape=arrays[3]), "A saved chunk")
    return arrays
