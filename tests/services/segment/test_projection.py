"""The sample of customers for the pictures."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_samples

from services.contract.results import POINTS_COLUMNS
from services.segment.projection import draw_points, project_points
from services.transform.features import fit_preparation
from tests.services.segment.runs import FEATURES, assigned_parts, group, table

TWO = table(group("savers", 30), group("buyers", 20))
IDS = np.array([4] * 30 + [9] * 20)


def project_sample(customers, preparation, ids, cuts=()) -> pd.DataFrame:
    """Draw and project customers who have these segment ids, 0 for none."""
    frames = np.split(np.arange(len(customers)), cuts)
    distinct = np.unique(ids[ids > 0])
    clusters = np.where(ids > 0, np.searchsorted(distinct, ids), -1)
    with assigned_parts([customers.iloc[rows] for rows in frames], [clusters[rows] for rows in frames]) as parts:
        features, cluster = draw_points(parts, preparation)
    return project_points(features, distinct[cluster])


@pytest.fixture
def preparation():
    return fit_preparation(TWO, FEATURES)


def test_two_groups_lie_apart_in_the_first_direction_and_fit_well(preparation):
    points = project_sample(TWO, preparation, IDS)
    assert tuple(points) == POINTS_COLUMNS
    assert points["segment_id"].tolist() == IDS.tolist()
    savers, buyers = points[points["segment_id"] == 4], points[points["segment_id"] == 9]
    assert savers["x"].max() < buyers["x"].min() or buyers["x"].max() < savers["x"].min()
    assert points["x"].var() > points["y"].var() > 0
    expected = silhouette_samples(preparation.transform(TWO), IDS)
    np.testing.assert_allclose(points["silhouette"], expected, atol=1e-6)


def test_the_plane_keeps_distances_as_well_as_a_plane_can(preparation):
    features = preparation.transform(TWO)
    _, _, directions = np.linalg.svd(features - features.mean(axis=0))
    points = project_sample(TWO, preparation, IDS)[["x", "y"]].to_numpy()
    np.testing.assert_allclose(np.abs(points), np.abs((features - features.mean(axis=0)) @ directions[:2].T), atol=1e-6)


def test_with_one_feature_all_customers_lie_on_a_line():
    points = project_sample(TWO, fit_preparation(TWO, ["PURCHASES"]), IDS)
    assert points["y"].eq(0).all()
    assert points["x"].nunique() > 1


@pytest.mark.parametrize("ids", [np.full(50, 4), np.arange(1, 51)])
def test_where_there_is_nothing_to_compare_every_silhouette_is_zero(preparation, ids):
    assert project_sample(TWO, preparation, ids)["silhouette"].tolist() == [0.0] * 50


def test_a_customer_without_a_segment_is_not_shown(preparation):
    customers = TWO.copy()
    customers.loc[0, "BALANCE"] = np.nan
    points = project_sample(customers, preparation, np.where(np.arange(50) == 0, 0, IDS))
    assert len(points) == 49


def test_of_very_many_customers_the_same_sample_is_shown_in_the_order_of_the_table_whatever_its_parts(preparation):
    many = pd.concat([TWO] * 50, ignore_index=True)
    ids = np.arange(1, 2501)
    first, again = project_sample(many, preparation, ids), project_sample(many, preparation, ids, cuts=[700, 701])
    pd.testing.assert_frame_equal(first, again)
    assert len(first) == 2000
    assert first["segment_id"].is_monotonic_increasing
    assert first["segment_id"].is_unique
