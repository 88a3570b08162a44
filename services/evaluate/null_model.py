"""A null model of the customers: the same margins and correlations, but no clusters.

The method is a parametric bootstrap after Hennig and Lin (2015): estimate everything about the data that is not clustering, and
draw tables from the estimate. It consists of

- for each feature, the unimodal distribution nearest to that of the data (Hartigan and Hartigan 1985);
- between features, the correlations of the normal scores (a Gaussian copula);
- the values that very many customers share, such as zero purchases, and the combinations in which they occur.

docs/decisions/0012-cluster-structure.md describes the alternatives.

References
----------
Hennig and Lin (2015), Flexible parametric bootstrap for testing homogeneity against clustering.
Hartigan and Hartigan (1985), The dip test of unimodality.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from diptest import dipstat
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import norm, rankdata

# A value that at least this share of the customers has, such as zero purchases, is reproduced: it does not make them a group.
ATOM_SHARE = 0.05
ATOM_EXCESS = 3  # factor by which an atom is denser than the values around it
MIN_ESTIMATE_CUSTOMERS = 30  # to estimate a mean or a correlation; with fewer it is set to 0

Floats = NDArray[np.float64]


class Margin(NamedTuple):
    """The distribution of one feature."""

    atoms: Floats
    """Values that at least ATOM_SHARE of the customers have, ascending."""
    cumulative: Floats
    """Knots of the distribution function of all other values, ascending from 0 to 1."""
    values: Floats
    """The values at the knots."""


class NullModel(NamedTuple):
    """The estimated null model of a table."""

    margins: tuple[Margin, ...]
    atoms: NDArray[np.intp]
    """Shape (n_customers, n_features): index of the atom in the margin that a customer has, -1 for none."""
    patterns: NDArray[np.intp]
    """Shape (n_customers,): the combination of atoms that a customer has."""
    shifts: Floats
    """Shape (n_patterns, n_features): mean normal score of the other features for each combination of atoms."""
    factor: Floats
    """Shape (n_features, n_features): turns independent normal scores into correlated ones."""


def spread_ties(features: Floats, generator: np.random.Generator) -> Floats:
    """Spread equal values evenly over the interval that was rounded to them; atoms are not changed.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
    generator : Generator

    Returns
    -------
    ndarray of shape (n_customers, n_features)
        A copy. Values that occur only once are not changed.
    """
    result = features.copy()
    for column in result.T:  # a view of the result
        free = ~np.isin(column, _find_atoms(column))
        if free.any():
            column[free] = _spread(column[free], generator)
    return result


def fit_null_model(features: Floats) -> NullModel:
    """Estimate the null model.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
        Without ties other than atoms; see `spread_ties`.
    """
    scores = np.full(features.shape, np.nan)
    atoms = np.full(features.shape, -1)
    margins = []
    for j, column in enumerate(features.T):
        values = _find_atoms(column)
        free = ~np.isin(column, values)
        atoms[~free, j] = np.searchsorted(values, column[~free])
        scores[free, j] = norm.ppf((rankdata(column[free]) - 0.5) / max(free.sum(), 1))
        margins.append(Margin(values, *_nearest_unimodal(np.sort(column[free]))))
    _, patterns = np.unique(atoms, axis=0, return_inverse=True)
    patterns = patterns.ravel()
    shifts = _mean_scores(scores, patterns)
    return NullModel(tuple(margins), atoms, patterns, shifts, _correlate(scores - shifts[patterns]))


def draw_customers(null: NullModel, generator: np.random.Generator) -> Floats:
    """Draw as many customers as the null model was estimated from.

    Returns
    -------
    ndarray of shape (n_customers, n_features)
    """
    n_customers, n_features = null.atoms.shape
    rows = generator.integers(n_customers, size=n_customers)
    scores = generator.normal(size=(n_customers, n_features)) @ null.factor.T + null.shifts[null.patterns[rows]]
    drawn = np.empty((n_customers, n_features))
    for j, margin in enumerate(null.margins):
        atoms = null.atoms[rows, j]
        free = atoms < 0
        n_free = int(free.sum())
        ranks = rankdata(scores[free, j], method="ordinal") - 1
        drawn[free, j] = np.interp((ranks + generator.random(n_free)) / max(n_free, 1), margin.cumulative, margin.values)
        drawn[~free, j] = margin.atoms[atoms[~free]]
    return drawn


def find_end_atoms(features: Floats, null: NullModel) -> NDArray[np.bool_]:
    """Mark the values that are an atom below or above all other values of the feature, such as zero purchases.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
        The data of the null model, or drawn from it.
    null : NullModel

    Returns
    -------
    ndarray of bool of shape (n_customers, n_features)
    """
    is_end_atom = np.empty(features.shape, dtype=np.bool_)
    for j, margin in enumerate(null.margins):
        at_end = (margin.atoms < margin.values[0]) | (margin.atoms > margin.values[-1])
        is_end_atom[:, j] = np.isin(features[:, j], margin.atoms[at_end])
    return is_end_atom


def _find_atoms(column: Floats) -> Floats:
    """Find the values that at least ATOM_SHARE of the customers have and that are denser than the values around them.

    A value is an atom if its customers, spread over one step of the grid of values, are more than ATOM_EXCESS times as dense as
    those on either side. So zero purchases are an atom; the values of a feature that was rounded to few values are not.
    """
    values, counts = np.unique(column, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    atoms = []
    for at in np.flatnonzero(counts >= max(ATOM_SHARE * len(column), 2)):
        # On each side, as many customers as have the value.
        first = max(int(np.searchsorted(below, below[at] - counts[at], side="right")) - 1, 0)
        last = min(int(np.searchsorted(below, below[at + 1] + counts[at])), len(values)) - 1
        steps = np.diff(values[first : last + 1])
        if not len(steps):
            continue
        grid = float(np.median(steps))
        around = [
            (below[at] - below[first]) / (values[at] - values[first] + grid / 2),
            (below[last + 1] - below[at + 1]) / (values[last] - values[at] + grid / 2),
        ]
        if counts[at] / grid > ATOM_EXCESS * max(around):
            atoms.append(values[at])
    return np.array(atoms)


def _spread(column: Floats, generator: np.random.Generator) -> Floats:
    values, position, counts = np.unique(column, return_inverse=True, return_counts=True)
    if len(values) < 2:
        return column
    middles = (values[1:] + values[:-1]) / 2
    lower = np.concatenate([[2 * values[0] - middles[0]], middles])
    upper = np.concatenate([middles, [2 * values[-1] - middles[-1]]])
    anywhere = lower[position] + generator.random(len(column)) * (upper - lower)[position]
    return np.where(counts[position] > 1, anywhere, column)


def _nearest_unimodal(values: Floats) -> tuple[Floats, Floats]:
    """Find the unimodal distribution nearest to that of ascending values, as the dip test does.

    Its distribution function is the greatest convex minorant of the empirical one up to the modal interval, the least concave
    majorant beyond, and a straight line between. Returns its knots: `Margin.cumulative` and `Margin.values`.
    """
    n_values = len(values)
    heights = (np.arange(n_values) + 0.5) / max(n_values, 1)
    if n_values < 4 or values[0] == values[-1]:
        return (heights, values) if n_values else (np.zeros(1), np.zeros(1))
    modal = dipstat(values, full_output=True, sort_x=False)[1]
    begin, end = sorted((int(modal["lo"]), int(modal["hi"])))
    left = _bend(values[: begin + 1], heights[: begin + 1], is_convex=True)
    right = _bend(values[end:], heights[end:], is_convex=False)
    return np.maximum.accumulate(np.concatenate([left, right])), np.concatenate([values[: begin + 1], values[end:]])


def _bend(values: Floats, heights: Floats, *, is_convex: bool) -> Floats:
    """Compute the greatest convex minorant of a curve, or the least concave majorant, at the same values.

    Its slopes are the isotonic regression of the curve's slopes (Barlow et al. 1972).
    """
    widths = np.maximum(np.diff(values), np.finfo(np.float64).tiny)
    if not len(widths):
        return heights
    slopes = isotonic_regression(np.diff(heights) / widths, weights=widths, increasing=is_convex).x
    bent: Floats = heights[0] + np.concatenate([[0.0], np.cumsum(slopes * widths)])
    return bent


def _mean_scores(scores: Floats, patterns: NDArray[np.intp]) -> Floats:
    """Average the normal scores over the customers of each combination of atoms: array of shape (n_patterns, n_features)."""
    n_patterns = int(patterns.max()) + 1
    means = np.zeros((n_patterns, scores.shape[1]))
    counts = np.bincount(patterns, minlength=n_patterns)
    for j, column in enumerate(scores.T):
        sums = np.bincount(patterns, weights=np.nan_to_num(column), minlength=n_patterns)
        # An atom has no score and adds 0 to the sum.
        means[:, j] = np.where(counts >= MIN_ESTIMATE_CUSTOMERS, sums / np.maximum(counts, 1), 0)
    return means


def _correlate(scores: Floats) -> Floats:
    """Factorise the covariance of normal scores, each pair estimated from the customers without an atom in either."""
    n_features = scores.shape[1]
    is_free = ~np.isnan(scores)
    filled = np.nan_to_num(scores)
    squares = filled**2
    correlation = np.eye(n_features)
    for i in range(n_features):
        for j in range(i):
            both = is_free[:, i] & is_free[:, j]
            scale = np.sqrt(squares[both, i].sum() * squares[both, j].sum())
            if both.sum() >= MIN_ESTIMATE_CUSTOMERS and scale > 0:
                correlation[i, j] = correlation[j, i] = filled[both, i] @ filled[both, j] / scale
    eigenvalues, vectors = np.linalg.eigh(correlation)
    # Correlations estimated pair by pair need not form a positive definite matrix.
    factor = vectors * np.sqrt(np.maximum(eigenvalues, 1e-9))
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    deviations = np.sqrt(squares.sum(axis=0) / np.maximum(is_free.sum(axis=0), 1))
    result: Floats = factor * deviations[:, None]
    return result
