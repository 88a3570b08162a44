import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline

from services.contract.preparation import Preparation
from services.segment import assignment
from services.segment.assignment import (
    MAX_CENTROID_DISTANCE,
    UNASSIGNED,
    Assignment,
    assign,
    confidence,
    decisive_features,
    find_missing_columns,
    is_outlier,
    outlier_distances,
)
from services.transform.features import fit_preparation
from tests.services.segment.runs import FEATURES, group, table


def made(distance, distance_to_next, cluster=None) -> Assignment:
    clusters = np.zeros(len(distance)) if cluster is None else np.array(cluster)
    clusters = clusters.astype(np.int16)
    return Assignment(clusters, 1 - clusters, np.array(distance, dtype=float), np.array(distance_to_next, dtype=float))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_customers_go_to_the_cluster_that_k_means_predicts_whatever_the_chunk_size(monkeypatch, chunk):
    monkeypatch.setattr(assignment, "CHUNK_ROWS", chunk)
    customers = table(group("savers", 60), group("buyers", 40), group("rich", 20))
    preparation = fit_preparation(customers, FEATURES)
    scaled = preparation.transform(customers)
    model = KMeans(3, n_init=3, random_state=0).fit(scaled)
    found = assign(customers, preparation, model.cluster_centers_)
    np.testing.assert_array_equal(found.cluster, model.labels_)
    distances = np.sort(model.transform(scaled), axis=1)
    np.testing.assert_allclose(found.distance, distances[:, 0], atol=1e-7)
    np.testing.assert_allclose(found.distance_to_next, distances[:, 1], atol=1e-7)
    np.testing.assert_array_equal(found.next_cluster, model.transform(scaled).argsort(axis=1)[:, 1])


def test_a_customer_with_a_missing_feature_has_no_cluster():
    customers = table(group("savers", 5), group("buyers", 5))
    preparation = fit_preparation(customers, FEATURES)
    gap = customers.assign(BALANCE=customers["BALANCE"].where(customers.index != 3))
    found = assign(gap, preparation, preparation.transform(customers)[[0, 9]])
    assert found.cluster.tolist() == [0, 0, 0, UNASSIGNED, 0, 1, 1, 1, 1, 1]
    assert np.isnan(found.distance[3])
    assert np.isnan(found.distance_to_next[3])
    assert np.isnan(confidence(found)[3])


def test_decisive_features_explain_the_difference_of_the_squared_distances():
    customers = table(group("savers", 20), group("borrowers", 20), group("buyers", 20))
    preparation = fit_preparation(customers, FEATURES)
    scaled = preparation.transform(customers)
    centroids = scaled[[0, 20, 40]]
    found = assign(customers, preparation, centroids)
    own, following = decisive_features(customers, preparation, centroids, found)
    contributions = np.square(scaled - centroids[found.next_cluster]) - np.square(scaled - centroids[found.cluster])
    np.testing.assert_allclose(contributions.sum(axis=1), found.distance_to_next**2 - found.distance**2)
    assert own.tolist() == contributions.argmax(axis=1).tolist()
    expected = np.where(contributions.min(axis=1) < 0, contributions.argmin(axis=1), UNASSIGNED)
    assert following.tolist() == expected.tolist()
    assert set(following) > {UNASSIGNED}


def test_the_decisive_features_of_a_customer_between_two_centroids():
    customers = pd.DataFrame({"x": [0.0, 10.0, 3.0, 5.0, np.nan], "y": [0.0, 1.0, 1.0, 0.5, 0.0]})
    preparation = Preparation(("x", "y"), (), {}, False, {}, Pipeline([("as_is", "passthrough")]), None, {})
    centroids = np.array([[0.0, 0.0], [10.0, 1.0]])
    own, following = decisive_features(customers, preparation, centroids, assign(customers, preparation, centroids))
    # The third is nearer to the first centroid because of x, and would be nearer to the second because of y.
    assert own.tolist() == [0, 0, 0, UNASSIGNED, UNASSIGNED]
    assert following.tolist() == [UNASSIGNED, UNASSIGNED, 1, UNASSIGNED, UNASSIGNED]


def test_the_table_is_left_as_it_was():
    customers = table(group("savers", 5), group("buyers", 5))
    before = customers.copy(deep=True)
    preparation = fit_preparation(customers, FEATURES)
    assign(customers, preparation, preparation.transform(customers)[[0, 9]])
    pd.testing.assert_frame_equal(customers, before)


def test_confidence_is_1_on_a_centroid_and_0_half_way_between_two():
    np.testing.assert_allclose(confidence(made([0, 1, 1, 0], [4, 1, 4, 0])), [1, 0, 0.75, 0])


def test_an_outlier_lies_more_than_three_interquartile_ranges_above_the_third_quartile():
    distances = [1, 2, 3, 4, 5, 11, 11.1]  # quartiles 2.5 and 8, so the fence is at 24.5
    cluster = np.zeros(9, dtype=np.int16)
    fences = outlier_distances(
        [(cluster[:4], np.array(distances[:4])), (cluster[4:], np.array([*distances[4:], 24.4, 24.6]))], 2
    )
    first, third = np.quantile([*distances, 24.4, 24.6], (0.25, 0.75))
    assert fences.tolist() == [third + 3 * (third - first), np.inf]
    assert is_outlier(made([fences[0], fences[0] + 0.01, np.nan], [99, 99, np.nan], [0, 0, UNASSIGNED]), fences).tolist() == [
        False,
        True,
        False,
    ]


def test_a_preparation_needs_its_columns_as_numbers():
    customers = table(group("savers", 5), group("buyers", 5))
    preparation = fit_preparation(customers, FEATURES)
    assert find_missing_columns(preparation, customers) == ()
    assert find_missing_columns(preparation, customers.drop(columns="BALANCE")) == ("BALANCE",)
    assert find_missing_columns(preparation, customers.astype({"BALANCE": "str"})) == ("BALANCE",)


def test_no_customer_within_the_distance_of_equal_centroids_is_an_outlier():
    one_customer = np.array([0.0])  # a segment of one: all its distances are 0
    near_and_far = made([0.0006, MAX_CENTROID_DISTANCE, MAX_CENTROID_DISTANCE + 0.01], [9, 9, 9])
    assert is_outlier(near_and_far, one_customer).tolist() == [False, False, True]
