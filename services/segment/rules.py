"""rules.json: how to recognise the members of each segment, as conditions on the clustering features.

A decision tree is fitted to the segments on one half of the customers; its thresholds are rounded, and the rounded tree is
evaluated on the other half.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from services.contract.results import Condition, Rule, Rules, SegmentRules

MAX_LEAVES_PER_SEGMENT = 2
MAX_SHARE_MOVED = 0.01
"""Share of the customers of a node that may go to the other branch because its threshold is rounded."""

_SEED = 7


_Path = tuple[Condition, ...]
_Leaf = tuple[int, _Path]
"""Segment id, and the conditions that lead to it."""


def find_rules(features: pd.DataFrame, segment_ids: NDArray[np.integer], all_ids: Collection[int]) -> Rules:
    """Find the conditions that describe each segment.

    Parameters
    ----------
    features : DataFrame of shape (n_customers, n_features)
        The clustering features in the units of the table, of customers who have a segment; no missing values.
    segment_ids : ndarray of shape (n_customers,)
    all_ids : collection of int
        The segments to find rules for, also those without customers here.

    Returns
    -------
    Rules
        The segments in ascending order of their ids.
    """
    order = np.random.default_rng(_SEED).permutation(len(features))
    fitted, evaluated = order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]
    leaves: list[_Leaf] = []
    if len(fitted):
        leaves = _fit(features.iloc[fitted], segment_ids[fitted], MAX_LEAVES_PER_SEGMENT * len(all_ids))
    meets = [_meets(features.iloc[evaluated], path) for _, path in leaves]
    actual = segment_ids[evaluated]
    predicted = np.zeros(len(evaluated), dtype=np.int64)
    for (segment_id, _), rows in zip(leaves, meets, strict=True):
        predicted[rows] = segment_id
    segments = []
    for segment_id in sorted(all_ids):
        is_member = actual == segment_id
        rules = [
            Rule(
                text=to_text(path),
                conditions=path,
                share_of_segment=_share(rows & is_member, is_member) or 0.0,
                precision=_share(rows & is_member, rows),
            )
            for (leaf_id, path), rows in zip(leaves, meets, strict=True)
            if leaf_id == segment_id
        ]
        is_predicted = predicted == segment_id
        segments.append(
            SegmentRules(
                segment_id=segment_id,
                precision=_share(is_predicted & is_member, is_predicted),
                recall=_share(is_predicted & is_member, is_member),
                rules=tuple(sorted(rules, key=lambda rule: -rule.share_of_segment)),
                reason="" if rules else "no leaf of the tree has a majority of this segment: it is too small or too scattered",
            )
        )
    return Rules(
        accuracy=float((predicted == actual).mean()) if len(actual) else None,
        leaves=len(leaves),
        customers_fitted=len(fitted),
        customers_evaluated=len(evaluated),
        segments=tuple(segments),
    )


def _fit(features: pd.DataFrame, segment_ids: NDArray[np.integer], max_leaves: int) -> list[_Leaf]:
    """Fit a tree and return its leaves, with rounded thresholds and with neighbouring leaves of the same segment joined."""
    values = features.to_numpy(dtype="float64")
    classifier = DecisionTreeClassifier(max_leaf_nodes=max_leaves, random_state=_SEED).fit(values, segment_ids)
    tree = classifier.tree_

    def find_leaves(node: int, rows: NDArray[np.intp], path: _Path | None) -> list[_Leaf]:
        if path is None:  # rounding has left this branch without possible values
            return []
        if tree.children_left[node] < 0:
            return [(int(classifier.classes_[tree.value[node, 0].argmax()]), path)]
        column = values[rows, tree.feature[node]]
        name = str(features.columns[tree.feature[node]])
        threshold = round_threshold(float(tree.threshold[node]), column)
        lower = _merge(path, Condition(column=name, operator="<=", value=threshold))
        upper = _merge(path, Condition(column=name, operator=">", value=threshold))
        below = find_leaves(int(tree.children_left[node]), rows[column <= threshold], lower)
        above = find_leaves(int(tree.children_right[node]), rows[column > threshold], upper)
        if len(below) == len(above) == 1 and below[0][0] == above[0][0]:
            return [(below[0][0], path)]
        return below + above

    return find_leaves(0, np.arange(len(values)), ())


def round_threshold(threshold: float, values: NDArray[np.float64]) -> float:
    """Return the number with the fewest digits that divides the customers nearly as the threshold does.

    Parameters
    ----------
    threshold : float
    values : ndarray of shape (n_customers,)
        Of the customers at this node of the tree; at most MAX_SHARE_MOVED of them may change sides.
    """
    if threshold == 0:
        return threshold
    first_digit = math.floor(math.log10(abs(threshold)))
    for decimals in range(-first_digit - 1, -first_digit + 8):
        unit = 10.0**-decimals
        candidates = {round(function(threshold / unit) * unit, max(decimals, 0)) for function in (math.floor, round, math.ceil)}
        moved = {one: np.count_nonzero((values <= one) != (values <= threshold)) for one in candidates}
        best = min(sorted(candidates), key=lambda one: (moved[one], abs(one - threshold)))
        if moved[best] <= MAX_SHARE_MOVED * len(values):
            return float(best)
    return threshold


def _merge(path: _Path, condition: Condition) -> _Path | None:
    """Add a condition to a path, at most one per column and operator; None if no value can meet them all."""
    same = [one for one in path if (one.column, one.operator) == (condition.column, condition.operator)]
    opposite = [one for one in path if one.column == condition.column and one.operator != condition.operator]
    tightest = min if condition.operator == "<=" else max
    value = tightest([condition.value, *(one.value for one in same)])
    for other in opposite:
        low, high = (other.value, value) if condition.operator == "<=" else (value, other.value)
        if low >= high:
            return None
    rest = tuple(one for one in path if one not in same)
    return (*rest, condition.model_copy(update={"value": value}))


def _meets(features: pd.DataFrame, path: _Path) -> NDArray[np.bool_]:
    """Return a mask of the customers that meet all conditions."""
    meets = np.ones(len(features), dtype=np.bool_)
    for condition in path:
        values = features[condition.column].to_numpy(dtype="float64")
        meets &= values <= condition.value if condition.operator == "<=" else values > condition.value
    return meets


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float | None:
    n_whole = int(whole.sum())
    return round(int(part.sum()) / n_whole, 6) if n_whole else None


def to_text(path: _Path) -> str:
    """Write conditions for people: `CREDIT_LIMIT above 7,500 and BALANCE above 100 and at most 1,900`."""
    texts = []
    for column in dict.fromkeys(condition.column for condition in path):
        bounds = sorted((one for one in path if one.column == column), key=lambda one: one.operator != ">")
        words = [f"{'above' if one.operator == '>' else 'at most'} {format_threshold(one.value)}" for one in bounds]
        texts.append(f"{column} {' and '.join(words)}")
    return " and ".join(texts) or "every customer"


def format_threshold(value: float) -> str:
    """Write a threshold with all its digits and with commas between thousands."""
    text = f"{value:,.10f}".rstrip("0").rstrip(".")
    return f"{value:.10g}" if float(text.replace(",", "")) != value else text
