"""The results of the stages as JSON and CSV: one model per JSON file, one model of a row or tuple of columns per CSV file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from stagekit.volume.history import HistoryEntry

DROPPED_COLUMNS = ("CUST_ID", "reason")

SEGMENTS_COLUMNS = (
    "CUST_ID",
    "segment_id",
    "segment_name",
    "distance",  # to the centroid of its segment, in standard deviations
    "distance_to_next",  # to the nearest other centroid
    "confidence",  # 1 - distance / distance_to_next: 0 half-way between two centroids, 1 on its own
    "is_outlier",  # yes or no: farther from its centroid than 3 interquartile ranges above the third quartile of its segment,
    # and than 0.25 standard deviations
    "next_segment_id",  # segment of that other centroid
    # The contribution of a feature x is (x - next)^2 - (x - own)^2, with the centroids of the next and the own segment, all
    # standardised; the contributions sum to distance_to_next^2 - distance^2.
    "own_feature",  # the feature that contributes most to the own segment
    "next_feature",  # the feature that contributes most towards the next segment: the smallest, if it is negative; else empty
    "previous_segment_id",  # empty if it had no segment, or was not a customer
    "reason",  # why a customer has no segment; empty for all others
)

SCORES_COLUMNS = (
    *SEGMENTS_COLUMNS,
    "outside_training_range",  # features outside the training range, separated by blanks
)

UNASSIGNED_NAME = "(no segment)"
"""The name of a segment beside an empty id."""

# The customers whose entry in the CRM has to change since the previous publication: crm.csv of that publication with these
# changes is crm.csv of this one. An empty id is no segment.
CHANGED_COLUMNS = (
    "CUST_ID",
    "from_segment_id",
    "from_segment_name",  # empty for a new customer, like the id
    "to_segment_id",
    "to_segment_name",  # empty for a departed customer, like the id
    "change",  # new, departed, moved (another segment, or none) or renamed (the same segment under another name)
    "since",  # date of the last change of segment, as in crm.csv; of a departed customer the date of the publication
)

# Every customer of a publication.
CRM_COLUMNS = (
    "CUST_ID",
    "segment_id",  # empty for a customer without a segment
    "segment_name",
    "since",  # date (UTC) of the publication in which the customer came into this segment, or first appeared
)


class ResultModel(BaseModel):
    """Base class of the results: immutable, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class ProfileRow:
    """A row of profile.csv: one clustering feature of one segment."""

    segment_id: int
    segment_name: str | None
    customers: int
    share: float
    feature: str
    median: float | None
    """In the units of the table, like the mean."""
    mean: float | None
    index: float | None
    """100 = the mean of all customers who have a segment; empty if 0 means nothing for the feature (`has_index`)."""
    effect: float | None
    """Of the mean after logarithm and scaling: standard deviations above that of all customers with a segment."""
    feature_rank: int
    """1 = the feature with the largest absolute effect in the segment."""


@dataclass(frozen=True)
class MigrationRow:
    """A row of migration.csv: customers who went from one segment to another.

    Every customer of either run counts once; an empty id is no segment: not assigned, or not a customer in that run.
    """

    from_segment_id: int | None
    from_segment_name: str | None
    to_segment_id: int | None
    to_segment_name: str | None
    customers: int


@dataclass(frozen=True)
class DescriptionRow:
    """A row of description.csv: a numeric column, or one text ("level") of a text column, in one segment; see `Description`."""

    segment_id: int
    column: str
    level: str | None
    """Empty for a numeric column."""
    is_feature: bool
    """yes or no: whether the segments were formed by this column."""
    customers: int
    """Of the segment, with a value in this column."""
    missing_share: float
    """Share of the customers of the segment without a value."""
    median: float | None
    """Numeric columns only, in the units of the table, like the quartiles."""
    q1: float | None
    q3: float | None
    share: float | None
    """Text columns only: share of this level among the customers of the segment with a value."""
    difference: float | None
    """Standardised difference from all other customers; empty if one side has no value."""
    rank: int
    """1 = largest absolute difference within the segment."""


@dataclass(frozen=True)
class SamplePoint:
    """A row of points.csv: one customer of a seeded sample, for the charts."""

    x: float
    y: float
    segment_id: int
    silhouette: float


PROFILE_COLUMNS = tuple(field.name for field in fields(ProfileRow))
MIGRATION_COLUMNS = tuple(field.name for field in fields(MigrationRow))
DESCRIPTION_COLUMNS = tuple(field.name for field in fields(DescriptionRow))
POINTS_COLUMNS = tuple(field.name for field in fields(SamplePoint))


class NullComparison(ResultModel):
    """A statistic of the data next to its values on data drawn from a null model, which has no clusters."""

    observed: float
    null_draws: tuple[float, ...]
    """One value per draw."""
    null_mean: float
    null_sd: float
    p_value: float
    """(1 + draws with at least the observed value) / (1 + draws)."""
    effect: float
    """Effect size, in the unit that the field with the comparison states."""


class FeatureDip(ResultModel):
    """Hartigan's dip of one feature: 0 for one mode; for two, up to half the share of the smaller group, 0.15 of it at 6 sd.

    Customers without such an amount (zero, if many have it) are left out.
    """

    dip: float
    null_mean: float
    """Mean dip of the feature in the draws of the null model. It is not 0 if very many customers share a value."""


class Structure(ResultModel):
    """Whether the data has more cluster structure than its margins and correlations explain, for one k."""

    k: int
    n_customers: int
    """Number of customers sampled with the seed."""
    separation: NullComparison
    """The deepest gap that divides the segments into two groups, as a scaled dip. Effect: observed / null mean."""
    silhouette: NullComparison
    """Mean simplified silhouette, from 0 to 1. Effect: observed - null mean."""
    feature_dips: tuple[FeatureDip, ...]
    """One per feature, in the order of the features."""
    is_structured: bool
    """Whether the data has separate groups, by the separation or the dip of a feature."""


WEAKEST_SEGMENT = "the weakest segment"
"""Placeholder in a failed check for the segment with the lowest stability, which has no id yet in evaluate."""


STABLE = 0.75
"""Bootstrap Jaccard similarity from which Hennig (2007) calls a cluster stable."""
CERTAINTY = 3.0
"""Standard errors beyond which a screening estimate of the stability decides a check without a full one."""


class Candidate(ResultModel):
    """One k of the sweep."""

    k: int
    sse: float
    silhouette: float
    """Mean over the sampled customers, from -1 to 1."""
    davies_bouldin: float
    """Lower is better."""
    calinski_harabasz: float
    """Higher is better."""
    smallest_share: float
    jaccard: tuple[float | None, ...]
    """Mean bootstrap Jaccard similarity of each cluster, in the order of the labels (Hennig's clusterboot); None for a cluster
    that is too small to assess."""
    jaccard_se: tuple[float | None, ...] = ()
    """Standard error of each of them; empty in older runs."""
    ari: float
    """Mean adjusted Rand index between the clusters and those of a bootstrap sample."""
    ari_se: float | None = None
    """Its standard error; None in older runs."""
    n_resamples: int | None = None
    """The number of bootstrap samples behind these estimates; None in older runs, see `Evaluation.resamples`."""
    failed_checks: tuple[str, ...] = ()
    """One sentence for each check that it fails for certain, with the value and the threshold."""
    structure: Structure | None = None
    """The test for cluster structure; None if it was not made, because another k was chosen before or a check had failed."""
    classification: Literal["natural", "reproducible", "constructive"] | None = None
    """The kind of segmentation (Dolnicar, Grün and Leisch 2018); None without `structure`."""

    @property
    def weakest(self) -> float | None:
        """The lowest stability of its clusters; None if all are too small to assess."""
        return min((jaccard for jaccard in self.jaccard if jaccard is not None), default=None)

    @property
    def weakest_se(self) -> float | None:
        """The standard error of `weakest`; None if it is not known."""
        return self.jaccard_se[self.jaccard.index(self.weakest)] if self.jaccard_se and self.weakest is not None else None

    @property
    def passes(self) -> bool | None:
        """Whether it passes every check; None if only the structure test could decide, and it was not made."""
        if self.failed_checks:
            return False
        if self.structure is not None:
            return True
        # Segments that are certainly stable are at least reproducible, with any result of the structure test.
        lowest = [
            None if jaccard is None else jaccard - CERTAINTY * (error or 0.0)
            for jaccard, error in zip(self.jaccard, self.jaccard_se, strict=False)
        ]
        is_stable = bool(lowest) and all(value is not None and value >= STABLE for value in lowest)
        return True if is_stable else None


class LabelledCustomer(ResultModel):
    """A row of the test file, labelled by the lab's model; the last one may represent the rows that cannot be read."""

    customer: str | None
    label: int | None
    reason: str = ""
    """Why there is no label; empty if there is one."""
    outside_training_range: tuple[str, ...]


class Evaluation(ResultModel):
    """Content of evaluation.json."""

    elbow: int | None
    chosen_k: int
    rule: Literal["elbow", "fallback", "forced", "only"]
    """How k was chosen: the elbow, the largest silhouette, on request, or without a choice because a single k was fitted."""
    reason: str
    """One sentence for people."""
    customers: int
    silhouette_customers: int
    """Number of customers, sampled with the seed, for the silhouette."""
    stability_customers: int | None = None
    """Number of customers, sampled with the seed, from which the bootstrap resamples were drawn."""
    resamples: int
    candidates: tuple[Candidate, ...]
    lab_k: int
    """The k of kmeans_custom.sav, the model that labels the new customers."""
    new_customers: tuple[LabelledCustomer, ...]
    new_customers_problem: str = ""
    """Why there are no new customers; empty if there are some."""


class Description(ResultModel):
    """How description.csv was made.

    The standardised difference of a numeric column is (mean of the segment - mean of all other customers) / standard deviation
    of all customers; of a level (share in the segment - share among all other customers) / sqrt(p (1 - p)), p the share among
    all customers. A level counts like a numeric column that is 1 for it and 0 otherwise. Only customers who have a segment and
    a value count.
    """

    customers: int
    """Number of customers that quartiles and levels were computed on; means and standard deviations use all customers."""
    is_sample: bool
    """Whether they are a random sample with a fixed seed."""
    left_out: dict[str, str] = {}
    """Columns that are not described, with the reason."""


class ColumnValue(ResultModel):
    """How the total of an amount is distributed over the segments."""

    column: str
    total: float
    """Sum over all customers who have a segment, in the units of the table."""
    shares: dict[int, float]
    """Segment id to its share of the total, from 0 to 1."""


class ClusterFlow(ResultModel):
    """How many customers of a cluster of another solution are in a segment."""

    cluster: int
    """Position of the cluster in the other solution, from 0."""
    segment_id: int
    customers: int


class SegmentAcrossK(ResultModel):
    """How a segment appears in another solution."""

    segment_id: int
    best_cluster: int
    """The most similar cluster of the other solution."""
    best_jaccard: float
    """Jaccard similarity with it: customers in both / customers in either."""
    slsa: float
    """Segment level stability across solutions: 1 - entropy of the distribution of the segment's customers over the clusters of
    the other solution / log(number of these clusters). 1 if all are in one cluster, 0 if they are spread evenly (Dolnicar and
    Leisch 2017, Using segment level stability to select target segments in data-driven market segmentation studies, for the
    next smaller k; the same formula for the next larger k)."""


class AcrossK(ResultModel):
    """The segments in the solution with the next smaller or next larger number of clusters that was fitted."""

    k: int
    customers: int
    """Number of customers that were compared: all, or a random sample with a fixed seed."""
    flows: tuple[ClusterFlow, ...]
    segments: tuple[SegmentAcrossK, ...]


class Segment(ResultModel):
    """One segment; `segment_id` and `name` survive retraining."""

    segment_id: int
    name: str
    customers: int
    share: float
    centroid: dict[str, float]
    """In the units of the table."""
    distinguishing_features: tuple[str, ...] = Field(validation_alias=AliasChoices("distinguishing_features", "sets_apart"))
    """Phrases like "high balance (index 312)", the largest effect first. Former name: sets_apart."""
    jaccard: float | None
    """Stability: mean bootstrap Jaccard similarity; None if the segment is too small to assess."""
    jaccard_se: float | None = None
    """Standard error of `jaccard`."""
    is_new: bool
    """Whether no previously active segment matched it; false if there was none."""
    previous_customers: int | None


class Comparison(ResultModel):
    """What changed since the previously active segmentation."""

    run: str
    """The previously active run."""
    common_customers: int
    """Customers with a segment in both runs."""
    same_segment: int
    """How many of them are in the segment with the same id."""
    ari: float
    """Adjusted Rand index between the segments of both runs, on the common customers; 0 if there are none."""
    psi: dict[str, float]
    """Population stability index of each feature that both runs have: the sum over the deciles of the previous run, and
    over missing values, of (current share - previous share) * ln(current share / previous share)."""
    vanished: dict[int, str]
    """Previous segments that matched no current one: id and name."""


class Segmentation(ResultModel):
    """Content of segmentation.json."""

    run: str
    k: int
    published: bool
    experimental: bool = False
    """Whether the run was not to be published, whatever its checks (publish=never)."""
    held_back: tuple[str, ...]
    """The checks that failed: why it was not published, or would not have been."""
    warnings: tuple[str, ...]
    rows: int
    unassigned: dict[str, int]
    """How many customers have no segment, by reason."""
    ungrouped: dict[str, int] = {}
    """How many customers with a segment have no group that the preparation knows, by reason."""
    segments: tuple[Segment, ...]
    silhouette: float
    """Mean silhouette of the trained clusters; the stability of the segments is also that of the trained clusters."""
    comparison: Comparison | None
    warm_start_sse_ratio: float | None = Field(
        default=None, validation_alias=AliasChoices("warm_start_sse_ratio", "continued_sse")
    )
    """If the active segments were kept, fitted to the current customers, instead of the trained clusters: their sum of squared
    distances divided by that of the trained clusters. Former name: continued_sse."""
    description: Description | None = None
    """None in older runs."""
    value: tuple[ColumnValue, ...] = ()
    """The numeric columns that are amounts, in the order of the table."""
    not_amounts: dict[str, str] = {}
    """The other numeric columns, with the reason why a share of their total is not reported."""
    across_k: tuple[AcrossK, ...] = ()
    """The next smaller and the next larger k that were fitted; empty in older runs."""


class Condition(ResultModel):
    """A threshold on a clustering feature, in the units of the table."""

    column: str
    operator: Literal[">", "<="]
    value: float


class Rule(ResultModel):
    """Conditions that all have to hold, from one leaf of the decision tree."""

    text: str
    """The conditions for people: `CREDIT_LIMIT above 7,500 and BALANCE at most 1,900`."""
    conditions: tuple[Condition, ...]
    share_of_segment: float
    """Share of the segment's customers that meet the conditions."""
    precision: float | None
    """Share of the customers that meet the conditions who are in the segment; None if no evaluated customer meets them."""


class SegmentRules(ResultModel):
    """How to recognise the members of a segment: a customer who meets any of the rules."""

    segment_id: int
    precision: float | None
    """Share of the customers that meet a rule who are in the segment; None if no evaluated customer meets one."""
    recall: float | None
    """Share of the segment's customers that meet a rule; None if none of them was evaluated."""
    rules: tuple[Rule, ...]
    """Those that find most customers of the segment first."""
    reason: str = ""
    """Why the segment has no rule; empty if it has one."""


class Rules(ResultModel):
    """rules.json: a decision tree on the clustering features, evaluated on customers that it was not fitted to.

    All figures are those of the conditions as written, with rounded thresholds.
    """

    accuracy: float | None
    """Share of the evaluated customers for whom the rules name their segment; None without evaluated customers."""
    leaves: int
    customers_fitted: int
    customers_evaluated: int
    segments: tuple[SegmentRules, ...]


class SegmentSummary(ResultModel):
    """A segment in the history."""

    segment_id: int
    name: str
    customers: int
    jaccard: float | None
    """See `Segment`."""


class RunSummary(HistoryEntry):
    """The key figures of one run, an entry of history/runs.json; `started` is the start of its first stage."""

    status: Literal["published", "not published", "experimental"]
    k: int
    customers: int
    """All customers of the table, with and without a segment."""
    unassigned: int
    """Customers without a segment."""
    silhouette: float
    verdict: Literal["natural", "reproducible", "constructive"] | None
    """See `Candidate.classification`."""
    failed_checks: tuple[str, ...] = ()
    max_psi: float | None
    """Drift: the largest population stability index of a feature since the run compared with; None without one."""
    segments: tuple[SegmentSummary, ...]
