"""From clusters to segments: ids, names, descriptions, changes, and whether they may be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract import artifacts
from services.contract.preparation import Preparation, top_reasons
from services.contract.results import (
    MIGRATION_COLUMNS,
    Candidate,
    Comparison,
    Description,
    Evaluation,
    Rules,
    Segment,
    Segmentation,
)
from services.contract.segment_registry import Deciles, PublicationMetadata, RegisteredSegment, SegmentRegistry
from services.segment.across_k import compare_across_k, neighbouring_k
from services.segment.assignment import Segmenter, assign, outlier_distances
from services.segment.clusters import ClusterResult
from services.segment.comparison import (
    compare,
    count_moves,
    find_identity_warnings,
    find_warnings,
    make_migration,
    population_stability_index,
)
from services.segment.customer_statistics import collect_statistics, draw_sample, find_edges, find_shares
from services.segment.description import describe, share_totals
from services.segment.gate import Gate, find_failed_checks, find_group_warning, find_unassessed, group_reasons
from services.segment.matching import assign_segment_ids, centroid_similarity
from services.segment.names import make_names, name_warnings, rename_notes
from services.segment.previous import PreviousRun, newer_active_run
from services.segment.profiles import Profile, make_profiles, profile_table
from services.segment.projection import draw_points, project_points
from services.segment.rules import find_rules
from services.segment.sampling import Sample, join_samples
from stagekit.errors import DataError
from stagekit.volume.artifact import Artifact


class RunInputs(NamedTuple):
    """What a run has before its segments are made, besides the customers."""

    run: str
    preparation: Preparation
    centroids: Mapping[int, NDArray[np.float64]]
    """The trained clusters of every k that was fitted, standardised."""
    evaluation: Evaluation
    """Of the trained clusters."""
    previous: PreviousRun | None
    """The run to compare with."""
    registry: SegmentRegistry
    """Without this run."""
    user_names: Mapping[int, str]
    """Names that the user gives, by segment id."""
    decimal: str
    """Decimal mark of the table, in which texts may be numbers."""


class SegmentationOutput(NamedTuple):
    """What the stage writes, besides the rows of segments.csv."""

    segmenter: Segmenter
    tables: dict[Artifact, pd.DataFrame]
    rules: Rules
    segmentation: Segmentation
    metadata: PublicationMetadata
    registry: SegmentRegistry
    """With this run and the ids that it gave."""


def segment_customers(inputs: RunInputs, clusters: ClusterResult, gate: Gate) -> SegmentationOutput:
    """Turn clusters into segments with ids, names and descriptions, and decide whether they may be published."""
    preparation, previous, registry = inputs.preparation, inputs.previous, inputs.registry
    features = preparation.feature_columns
    statistics = collect_statistics(clusters.parts, preparation, len(clusters.centroids))
    _check_features(inputs.evaluation.customers, int(statistics.sizes.sum()))
    sample = draw_sample(clusters.parts, len(clusters.centroids))
    profiles = make_profiles(statistics, sample, features)
    deviations = dict(zip(features, statistics.raw.deviation.tolist(), strict=True))
    ids = _identify(inputs, profiles, deviations, clusters.continues)

    names, new_segments, renamed = _name_segments(inputs, profiles, ids)

    n_unassigned = statistics.reasons.total()
    n_customers = int(statistics.sizes.sum()) + n_unassigned
    candidate = next(candidate for candidate in inputs.evaluation.candidates if candidate.k == inputs.evaluation.chosen_k)
    segments = _describe(profiles, names, candidate, previous)
    comparison, migration = _compare(inputs, clusters, names, n_customers)
    ungrouped = group_reasons(preparation, statistics.groups)
    newer = newer_active_run(registry, inputs.run)
    failed_checks = tuple(
        find_failed_checks(candidate.failed_checks, segments, n_unassigned, n_customers, newer, gate.max_unassigned)
    )
    is_published = gate.is_open(failed_checks)
    warnings = [
        *clusters.notes,
        *find_unassessed(segments),
        *filter(None, [find_group_warning(ungrouped, n_customers)]),
        *_find_name_warnings(inputs, names, profiles),
        *(find_identity_warnings(previous.run, previous.membership) if previous and previous.membership else ()),
        *(find_warnings(comparison, segments) if comparison else ()),
    ]
    edges = find_edges(sample, features)
    shares = find_shares(clusters.parts, edges, n_customers)
    deciles = {name: Deciles(edges=tuple(edges[name].tolist()), shares=tuple(shares[name].tolist())) for name in edges}
    fences = outlier_distances(clusters.parts.map(attrgetter("assigned.cluster", "assigned.distance")), len(ids))
    has_ids = clusters.parts.map(attrgetter("ids"))[0] is not None
    segmenter = Segmenter(preparation, clusters.centroids, fences, np.array(ids), tuple(names.values()), has_ids)
    point_features, point_clusters = draw_points(clusters.parts, preparation)
    segmentation = Segmentation(
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
    )
    described = join_samples(clusters.parts.map(attrgetter("sample")), inputs.decimal)
    segmentation, description, rules = _evaluate_sample(described, inputs, segmenter, segmentation)
    return SegmentationOutput(
        segmenter=segmenter,
        tables={
            artifacts.DESCRIPTION: description,
            artifacts.PROFILE: profile_table(profiles, ids, list(names.values())),
            artifacts.MIGRATION: migration,
            artifacts.POINTS: project_points(point_features, np.array(ids)[point_clusters]),
        },
        rules=rules,
        segmentation=segmentation,
        metadata=PublicationMetadata(segments=names, deciles=deciles),
        registry=registry.with_run(inputs.run).with_segments((*new_segments, *(renamed if is_published else ()))),
    )


def _check_features(n_evaluated: int, n_assigned: int) -> None:
    """Raise DataError unless features.pkl, which was evaluated, is made from the same customers."""
    if n_evaluated != n_assigned:
        raise DataError(
            f"features.pkl holds {n_evaluated} customers, of those in customers.pkl it should hold {n_assigned}: "
            "run all stages from transform on again"
        )


def _evaluate_sample(
    sample: Sample, inputs: RunInputs, segmenter: Segmenter, segmentation: Segmentation
) -> tuple[Segmentation, pd.DataFrame, Rules]:
    """Describe the segments by all columns, by their value, by rules, and by what becomes of them with other k."""
    preparation = segmenter.preparation
    segment_ids = segmenter.segment_ids[assign(sample.prepared, preparation, segmenter.centroids).cluster]
    sizes = {segment.segment_id: segment.customers for segment in segmentation.segments}
    value, not_amounts = share_totals(sample.customers, segment_ids, sizes)
    neighbours = {k: inputs.centroids[k] for k in neighbouring_k(inputs.centroids, inputs.evaluation.chosen_k)}
    updates = {
        "description": Description(
            customers=len(segment_ids), is_sample=sample.is_sample, left_out=dict(sorted(sample.left_out.items()))
        ),
        "value": value,
        "not_amounts": not_amounts,
        "across_k": compare_across_k(preparation.transform(sample.prepared), segment_ids, neighbours),
    }
    description = describe(sample.customers, segment_ids, sizes, preparation.feature_columns)
    rules = find_rules(sample.prepared[list(preparation.feature_columns)], segment_ids, sizes)
    return segmentation.model_copy(update=updates), description, rules


def _identify(
    inputs: RunInputs, profiles: Sequence[Profile], deviations: Mapping[str, float], continues: Mapping[int, int]
) -> list[int]:
    """Give each cluster its segment id."""
    registry = inputs.registry
    own_segments = [segment for segment in registry.segments if segment.run == inputs.run]
    similarity = centroid_similarity([profile.centroid for profile in profiles], own_segments, deviations)
    next_id = 1 + max((segment.segment_id for segment in registry.segments), default=0)
    return assign_segment_ids(continues, similarity, own_segments, [profile.n_customers for profile in profiles], next_id)


def _name_segments(
    inputs: RunInputs, profiles: Sequence[Profile], ids: Sequence[int]
) -> tuple[dict[int, str], list[RegisteredSegment], list[RegisteredSegment]]:
    """Name the segments; returns the names by id, and the segments to add to the registry and to rename in it."""
    registered = {segment.segment_id: segment for segment in inputs.registry.segments}
    known_names = {segment_id: segment.name for segment_id, segment in registered.items()}
    generated = dict(zip(ids, make_names(profiles, ids, known_names, {}), strict=True))
    names = dict(zip(ids, make_names(profiles, ids, known_names | generated, inputs.user_names), strict=True))
    new_segments = [
        RegisteredSegment(segment_id=segment_id, name=generated[segment_id], run=inputs.run, centroid=profile.centroid)
        for segment_id, profile in zip(ids, profiles, strict=True)
        if segment_id not in registered
    ]
    renamed = [
        segment.model_copy(update={"name": generated[segment_id]})
        for segment_id, segment in registered.items()
        if generated.get(segment_id, segment.name) != segment.name
    ]
    return names, new_segments, renamed


def _find_name_warnings(inputs: RunInputs, names: Mapping[int, str], profiles: Sequence[Profile]) -> list[str]:
    """Report changed names, and names of the user that do not fit their segments."""
    previous_names = inputs.previous.publication.segments if inputs.previous else {}
    known_ids = {*names, *(segment.segment_id for segment in inputs.registry.segments)}
    return [
        *rename_notes(names, previous_names, inputs.user_names),
        *name_warnings(inputs.user_names, dict(zip(names, profiles, strict=True)), known_ids),
    ]


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
