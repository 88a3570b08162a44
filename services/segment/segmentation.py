"""From clusters to segments: ids, names, descriptions, changes, and whether they may be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from services.contract.preparation import Preparation, top_reasons
from services.contract.results import MIGRATION_COLUMNS, Candidate, Comparison, Evaluation, Segment, Segmentation
from services.contract.segment_registry import PublicationMetadata, RegisteredSegment, SegmentRegistry
from services.segment import groups
from services.segment.assignment import Segmenter, outlier_distances
from services.segment.clusters import ClusterResult, PreviousRun
from services.segment.comparison import (
    compare,
    count_moves,
    find_identity_warnings,
    find_warnings,
    make_migration,
    population_stability_index,
)
from services.segment.customer_statistics import collect_statistics, draw_sample, find_deciles, find_edges, find_shares
from services.segment.gate import Gate, find_failed_checks, find_unassessed
from services.segment.history import newer_active_run
from services.segment.matching import assign_segment_ids, centroid_similarity
from services.segment.names import make_names, name_warnings, rename_notes
from services.segment.part_tasks import take_distances
from services.segment.profiles import Profile, make_profiles, profile_table
from services.segment.projection import draw_points, project_points


class RunInputs(NamedTuple):
    """What a run has before its segments are made, besides the customers."""

    run: str
    preparation: Preparation
    evaluation: Evaluation
    """Of the trained clusters."""
    previous: PreviousRun | None
    """The run to compare with."""
    registry: SegmentRegistry
    """Without this run."""
    user_names: Mapping[int, str]
    """Names that the user gives, by segment id."""
    has_ids: bool
    """Whether the customers have a CUST_ID."""


class SegmentationOutput(NamedTuple):
    """What the stage writes, besides the rows of segments.csv."""

    segmenter: Segmenter
    profile: pd.DataFrame
    migration: pd.DataFrame
    points: pd.DataFrame
    segmentation: Segmentation
    metadata: PublicationMetadata
    registry: SegmentRegistry
    """With this run and the ids that it gave."""


def segment_customers(inputs: RunInputs, clusters: ClusterResult, gate: Gate) -> SegmentationOutput:
    """Turn clusters into segments with ids, names and descriptions, and decide whether they may be published."""
    preparation, previous, registry = inputs.preparation, inputs.previous, inputs.registry
    features = preparation.feature_columns
    statistics = collect_statistics(clusters.parts, preparation, len(clusters.centroids))
    sample = draw_sample(clusters.parts, len(clusters.centroids))
    profiles = make_profiles(statistics, sample, features)
    deviations = dict(zip(features, statistics.raw.deviation.tolist(), strict=True))
    ids = _identify(inputs, profiles, deviations, clusters.continues)

    known_names = {segment.segment_id: segment.name for segment in registry.segments}
    our_names = make_names(profiles, ids, known_names, {})
    current_names = dict(zip(ids, our_names, strict=True))
    names = dict(zip(ids, make_names(profiles, ids, known_names | current_names, inputs.user_names), strict=True))
    new_segments = tuple(
        RegisteredSegment(segment_id=segment_id, name=name, run=inputs.run, centroid=profile.centroid)
        for segment_id, name, profile in zip(ids, our_names, profiles, strict=True)
        if segment_id not in known_names
    )
    renamed = tuple(
        segment.model_copy(update={"name": current_names[segment.segment_id]})
        for segment in registry.segments
        if current_names.get(segment.segment_id, segment.name) != segment.name
    )

    n_unassigned = statistics.reasons.total()
    n_customers = int(statistics.sizes.sum()) + n_unassigned
    candidate = next(candidate for candidate in inputs.evaluation.candidates if candidate.k == inputs.evaluation.chosen_k)
    segments = _describe(profiles, names, candidate, previous)
    comparison, migration = _compare(inputs, clusters, names, n_customers)
    ungrouped = groups.group_reasons(preparation, statistics.groups)
    newer = newer_active_run(registry, inputs.run)
    failed_checks = tuple(
        find_failed_checks(candidate.failed_checks, segments, n_unassigned, n_customers, newer, gate.max_unassigned)
    )
    is_published = gate.is_open(failed_checks)
    warnings = [
        *clusters.notes,
        *find_unassessed(segments),
        *filter(None, [groups.find_warning(ungrouped, n_customers)]),
        *rename_notes(names, previous.publication.segments if previous else {}, inputs.user_names),
        *name_warnings(inputs.user_names, dict(zip(ids, profiles, strict=True)), {*known_names, *ids}),
        *(find_identity_warnings(previous.run, previous.membership) if previous and previous.membership else ()),
        *(find_warnings(comparison, segments) if comparison else ()),
    ]
    deciles = find_deciles(clusters.parts, find_edges(sample, features), n_customers)
    fences = outlier_distances(clusters.parts.map(take_distances), len(ids))
    point_features, point_clusters = draw_points(clusters.parts, preparation)
    return SegmentationOutput(
        segmenter=Segmenter(preparation, clusters.centroids, fences, np.array(ids), tuple(names.values()), inputs.has_ids),
        profile=profile_table(profiles, ids, list(names.values())),
        migration=migration,
        points=project_points(point_features, np.array(ids)[point_clusters]),
        segmentation=Segmentation(
            run=inputs.run,
            k=len(ids),
            published=is_published,
            experimental=gate.publish == "never",
            held_back=failed_checks,
            warnings=tuple(warnings),
            rows=n_customers,
            unassigned=top_reasons(statistics.reasons),
            ungrouped=ungrouped,
            segments=segments,
            silhouette=candidate.silhouette,
            comparison=comparison,
            warm_start_sse_ratio=clusters.warm_start_sse_ratio,
        ),
        metadata=PublicationMetadata(segments=names, deciles=deciles),
        registry=registry.with_run(inputs.run).with_segments((*new_segments, *(renamed if is_published else ()))),
    )


def _identify(
    inputs: RunInputs, profiles: Sequence[Profile], deviations: Mapping[str, float], continues: Mapping[int, int]
) -> list[int]:
    """Give each cluster its segment id."""
    registry = inputs.registry
    own_segments = [segment for segment in registry.segments if segment.run == inputs.run]
    similarity = centroid_similarity([profile.centroid for profile in profiles], own_segments, deviations)
    next_id = 1 + max((segment.segment_id for segment in registry.segments), default=0)
    return assign_segment_ids(continues, similarity, own_segments, [profile.n_customers for profile in profiles], next_id)


def _compare(
    inputs: RunInputs, clusters: ClusterResult, names: Mapping[int, str], n_customers: int
) -> tuple[Comparison | None, pd.DataFrame]:
    """Compare with the previous run; without ids there is no migration, since no customer can be recognised."""
    no_migration, previous = pd.DataFrame(columns=list(MIGRATION_COLUMNS)), inputs.previous
    if previous is None:
        return None, no_migration
    publication = previous.publication
    features = inputs.preparation.feature_columns
    edges = {name: np.array(deciles.edges) for name, deciles in publication.deciles.items() if name in features}
    shares = find_shares(clusters.parts, edges, n_customers)
    psi = {name: population_stability_index(publication.deciles[name], share) for name, share in shares.items()}
    if previous.membership is None:
        return compare(previous.run, Counter(), publication.segments, list(names), psi), no_migration
    moves = count_moves(clusters.parts, previous.membership, list(names))
    migration = make_migration(moves, previous.membership.departed, publication.segments, names)
    return compare(previous.run, moves, publication.segments, list(names), psi), migration


def _describe(
    profiles: Sequence[Profile], names: Mapping[int, str], candidate: Candidate, previous: PreviousRun | None
) -> tuple[Segment, ...]:
    """Describe the segments, the largest first."""
    total = sum(profile.n_customers for profile in profiles)
    errors = candidate.jaccard_se or (None,) * len(candidate.jaccard)  # older runs have none
    previous_sizes = previous.membership.sizes if previous and previous.membership else {}
    segments = [
        Segment(
            segment_id=segment_id,
            name=name,
            customers=profile.n_customers,
            share=profile.n_customers / total,
            centroid=profile.centroid,
            distinguishing_features=profile.distinguishing_features,
            jaccard=jaccard,
            jaccard_se=error,
            is_new=previous is not None and segment_id not in previous.publication.segments,
            previous_customers=previous_sizes.get(segment_id),
        )
        for (segment_id, name), profile, jaccard, error in zip(names.items(), profiles, candidate.jaccard, errors, strict=True)
    ]
    return tuple(sorted(segments, key=lambda segment: (-segment.customers, segment.segment_id)))
