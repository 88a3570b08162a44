"""From clusters to segments: who is in which, what each is like, what has changed, whether that may come into force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.preparation import Preparation
from services.contract.results import MIGRATION_COLUMNS, Candidate, Comparison, Evaluation, Segment, Segmentation
from services.contract.segment_registry import PublicationMetadata, RegisteredSegment, SegmentRegistry
from services.segment import groups
from services.segment.assignment import Segmenter, outlier_distances
from services.segment.clusters import Clusters, Earlier
from services.segment.comparison import (
    compare,
    find_deciles,
    find_identity_warnings,
    find_warnings,
    make_migration,
    population_stability_index,
)
from services.segment.gate import Gate, find_failed_checks, find_unassessed
from services.segment.history import newer_active_run
from services.segment.matching import assign_segment_ids, closeness
from services.segment.names import make_names, name_warnings
from services.segment.profiles import Profile, find_deviations, make_profiles, profile_table
from services.segment.projection import project_sample
from services.segment.segments_csv import NO_SEGMENT, NOT_IN_TABLE, Members, count_reasons


class Outcome(NamedTuple):
    """What the stage writes, besides the rows of segments.csv."""

    segmenter: Segmenter
    profile: pd.DataFrame
    migration: pd.DataFrame
    points: pd.DataFrame
    segmentation: Segmentation
    contents: PublicationMetadata
    register: SegmentRegistry
    """With this run and the ids that it gave."""


def segment_customers(
    run: str,
    customers: pd.DataFrame,
    preparation: Preparation,
    clusters: Clusters,
    effects: NDArray[np.float64],
    evaluation: Evaluation,
    earlier: Earlier | None,
    register: SegmentRegistry,
    has_ids: bool,
    chosen_names: Mapping[int, str],
    gate: Gate,
) -> Outcome:
    """Make segments of clusters: with an identity, a name, a description, and the decision whether they may come into force.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns), in the units of the table, with what `preparation` needs
    effects : see `find_effects`
    evaluation : of the trained clusters
    earlier : the run to compare with
    register : what there was before this run
    has_ids : whether the customers have a CUST_ID
    chosen_names : names by segment id that the user gives
    """
    features, assignment = customers[list(preparation.feature_columns)], clusters.assignment
    profiles = make_profiles(features, assignment.cluster, effects)
    ids = _identify(run, profiles, find_deviations(features, assignment.cluster), clusters.continues, register)
    known = {segment.segment_id: segment.name for segment in register.segments}
    our_names = make_names(profiles, ids, known, {})
    named = dict(zip(ids, make_names(profiles, ids, known | dict(zip(ids, our_names, strict=True)), chosen_names), strict=True))
    given = tuple(
        RegisteredSegment(segment_id=segment_id, name=name, run=run, centroid=profile.centroid)
        for segment_id, name, profile in zip(ids, our_names, profiles, strict=True)
        if segment_id not in known
    )

    by_customer = np.array([*ids, NO_SEGMENT])[assignment.cluster]  # position -1, nobody, takes the last
    comparison, migration = _compare(features, by_customer, named, earlier)
    candidate = next(candidate for candidate in evaluation.candidates if candidate.k == evaluation.chosen_k)
    segments = _describe(profiles, named, candidate, earlier)
    unassigned = count_reasons(preparation.complaints(customers[~assignment.assigned]))
    n_unassigned, n_customers = sum(unassigned.values()), len(customers)
    assert sum(profile.customers for profile in profiles) + n_unassigned == n_customers, "a customer counts twice or never"
    ungrouped = groups.reasons(preparation, preparation.count_groups(customers))
    newer = newer_active_run(register, run)
    failed_checks = tuple(
        find_failed_checks(candidate.failed_checks, segments, n_unassigned, n_customers, newer, gate.max_unassigned)
    )
    warnings = [
        *clusters.notes,
        *find_unassessed(segments),
        *filter(None, [groups.find_warning(ungrouped, n_customers)]),
        *name_warnings(chosen_names, {*known, *ids}),
        *(find_identity_warnings(earlier.run, earlier.members) if earlier and earlier.members else ()),
        *(find_warnings(comparison, segments) if comparison else ()),
    ]
    reach = outlier_distances(assignment, len(ids))
    return Outcome(
        segmenter=Segmenter(preparation, clusters.centroids, reach, np.array(ids), tuple(named.values()), has_ids),
        profile=profile_table(profiles, ids, list(named.values())),
        migration=migration,
        points=project_sample(customers, preparation, by_customer),
        segmentation=Segmentation(
            run=run,
            k=len(ids),
            published=gate.is_open(failed_checks),
            experimental=gate.publish == "never",
            held_back=failed_checks,
            warnings=tuple(warnings),
            rows=n_customers,
            unassigned=unassigned,
            ungrouped=ungrouped,
            segments=segments,
            silhouette=candidate.silhouette,
            comparison=comparison,
            continued_sse=clusters.continued_sse,
        ),
        contents=PublicationMetadata(segments=named, deciles=find_deciles(features)),
        register=register.with_run(run).with_segments(given),
    )


def _identify(
    run: str,
    profiles: Sequence[Profile],
    deviations: Mapping[str, float],
    continues: Mapping[int, int],
    register: SegmentRegistry,
) -> list[int]:
    """Give each cluster its segment id."""
    own = [segment for segment in register.segments if segment.run == run]
    close = closeness([profile.centroid for profile in profiles], own, deviations)
    next_id = 1 + max((segment.segment_id for segment in register.segments), default=0)
    return assign_segment_ids(continues, close, own, [profile.customers for profile in profiles], next_id)


def _compare(
    features: pd.DataFrame, by_customer: NDArray[np.int64], named: Mapping[int, str], earlier: Earlier | None
) -> tuple[Comparison | None, pd.DataFrame]:
    """Compare with the run before; without ids there is no migration, since nobody can be recognised."""
    nothing = pd.DataFrame(columns=list(MIGRATION_COLUMNS))
    if earlier is None:
        return None, nothing
    before = earlier.publication
    psi = {name: population_stability_index(then, features[name]) for name, then in before.deciles.items() if name in features}
    members = earlier.members or Members(np.full(len(by_customer), NOT_IN_TABLE), {})
    comparison = compare(earlier.run, members, by_customer, before.segments, list(named), psi)
    return comparison, make_migration(members, by_customer, before.segments, named) if earlier.members else nothing


def _describe(
    profiles: Sequence[Profile], named: Mapping[int, str], candidate: Candidate, earlier: Earlier | None
) -> tuple[Segment, ...]:
    """Describe the segments, the largest first."""
    total = sum(profile.customers for profile in profiles)
    errors = candidate.jaccard_se or (None,) * len(candidate.jaccard)  # older runs have none
    before = earlier.members.sizes if earlier and earlier.members else {}
    segments = [
        Segment(
            segment_id=segment_id,
            name=name,
            customers=profile.customers,
            share=profile.customers / total,
            centroid=profile.centroid,
            sets_apart=profile.sets_apart,
            jaccard=jaccard,
            jaccard_se=error,
            is_new=earlier is not None and segment_id not in earlier.publication.segments,
            previous_customers=before.get(segment_id),
        )
        for (segment_id, name), profile, jaccard, error in zip(named.items(), profiles, candidate.jaccard, errors, strict=True)
    ]
    return tuple(sorted(segments, key=lambda segment: (-segment.customers, segment.segment_id)))
