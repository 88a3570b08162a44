"""Every setting of every stage: one typed model per stage (`stagekit/settings.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from services.contract.columns import CUSTOMER_COLUMNS, CUSTOMER_ID
from stagekit.serialization import parse_integers
from stagekit.settings import ColumnName, ColumnNames, PartitionedStageSettings, StageSettings, VolumePath
from stagekit.tables.table_schema import TableFormat


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a number twice")
    return tuple(sorted(values))


K = Annotated[int, Field(ge=2, le=100)]


class FeatureSettings(PartitionedStageSettings):
    """Settings of the stages that use the features."""

    feature_columns: ColumnNames = Field(
        default=("BALANCE", "PURCHASES", "CREDIT_LIMIT"),
        min_length=1,
        title="Feature columns",
        description="Numeric columns that the clusters are formed by, separated by commas.",
    )
    group_column: str = Field(
        default="",
        pattern=r"^[^\x00]*$",
        title="Standardise within groups of",
        description="Categorical column, for example region. Features are standardised separately in each group. Leave empty "
        "to standardise all customers together.",
    )

    @field_validator("feature_columns")
    @classmethod
    def _reject_id_column(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if CUSTOMER_ID in value:
            raise ValueError(f"names {CUSTOMER_ID}, which identifies customers and is not a feature: leave it out")
        return value

    @property
    def used_columns(self) -> list[str]:
        """The columns that the stages use: the feature columns, and the group column if there is one."""
        return [*self.feature_columns, *filter(None, [self.group_column])]


class TestFileSettings(StageSettings):
    """Setting of the stage that labels new customers and of the one that checks their file."""

    test_file: VolumePath = Field(
        default="data/test.csv",
        title="New customers",
        description="CSV file with customers to label, as a path inside the volume. The default file is optional, any other "
        "one is required.",
    )

    @property
    def is_test_file_required(self) -> bool:
        """Whether the user named the file: then it must exist, with the columns that the features need."""
        return bool(self.test_file != type(self).model_fields["test_file"].default)


class ReaderSettings(StageSettings):
    """Settings of the format of customer tables."""

    id_column: ColumnName = Field(
        default=CUSTOMER_ID,
        title="Id column",
        description="Column that identifies customers; of several rows with the same id, the last one is kept. All results "
        "call it CUST_ID. Only CUST_ID may be missing from a table: then each row is a customer, and its number the id.",
    )
    delimiter: Literal[",", ";", "tab", "|"] = Field(
        default=",",
        title="Delimiter",
        description="Separator of the columns of a CSV file: one of , ; | or the word tab.",
    )
    decimal: Literal[".", ","] = Field(
        default=".",
        title="Decimal mark",
        description="Decimal mark of the numbers in a CSV file: . or a comma.",
    )

    @field_validator("decimal")
    @classmethod
    def _differ_from_delimiter(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("delimiter"):
            raise ValueError("is the delimiter too: choose another delimiter, for example ;")
        return value

    @property
    def table_format(self) -> TableFormat:
        """The three settings together, and the known columns."""
        return TableFormat(self.id_column, self.delimiter, self.decimal, CUSTOMER_COLUMNS)


class ExtractSettings(FeatureSettings, ReaderSettings, TestFileSettings):
    """Settings of extract."""

    data_file: VolumePath = Field(
        default="data/file.csv",
        title="Customer table",
        description="CSV or Parquet file with one row per customer, as a path inside the volume; or a folder of such files, or "
        "a pattern like data/2026-*.csv.gz. Several files are one table, in the order of their names.",
    )
    keep_columns: Literal["all", "used"] = Field(
        default="all",
        title="Columns to keep",
        description="all keeps every column; used keeps only the columns that later stages need: the ids, the feature columns "
        "and the group column. The others are not parsed.",
    )
    rows_per_part: int = Field(
        default=250_000,
        ge=1,
        le=100_000_000,
        title="Rows per part",
        description="Number of rows of a part. A larger table is stored in several parts, which are processed concurrently and "
        "never in memory all at once.",
    )

    @field_validator("id_column", "feature_columns", "group_column")
    @classmethod
    def _use_ids_as_ids_alone(cls, value: Any, info: ValidationInfo) -> Any:
        known = {**info.data, str(info.field_name): value}  # those that were validated before; the last one sees all
        ids = known.get("id_column")
        if ids and ids in (*known.get("feature_columns", ()), known.get("group_column")):
            raise ValueError(f"names {ids}, which identifies customers, for another purpose too: leave it out")
        return value


class TransformSettings(FeatureSettings):
    """Settings of transform."""

    log_columns: ColumnNames = Field(
        default=(),
        title="Log-transformed columns",
        description="Feature columns to replace by log(1 + value), separated by commas, or empty: for amounts with a few very "
        "large values.",
    )
    outliers: Literal["keep", "clip", "drop"] = Field(
        default="keep",
        title="Outliers",
        description="Treatment of values beyond the outlier fence: keep them, clip them to it, or drop the customer.",
    )
    outlier_fence: float = Field(
        default=3.0,
        gt=0,
        le=100,
        title="Outlier fence",
        description="Distance of the fence below the first and above the third quartile, in interquartile ranges, after the "
        "logarithm (Tukey's outer fence is 3). A column with equal quartiles has no fence.",
    )
    min_group_size: int = Field(
        default=30,
        ge=2,
        title="Minimum group size",
        description="Groups with fewer customers than this are standardised like all customers together.",
    )

    @field_validator("log_columns", "group_column")
    @classmethod
    def _validate_columns(cls, value: Any, info: ValidationInfo) -> Any:
        if "feature_columns" not in info.data:  # it is invalid and has its error already
            return value
        features = info.data["feature_columns"]
        if info.field_name == "log_columns" and (others := [name for name in value if name not in features]):
            raise ValueError(f"column {others[0]} is not among the feature columns {', '.join(features)}")
        if info.field_name == "group_column" and value in features:
            raise ValueError("is a feature column too, and constant within its groups: leave it out of one")
        return value


class TrainSettings(PartitionedStageSettings):
    """Settings of train."""

    k_values: Annotated[tuple[K, ...], NoDecode, BeforeValidator(parse_integers), AfterValidator(_ascending)] = Field(
        default=tuple(range(2, 11)),
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        title="Values of k to try",
        description="K-Means is fitted for each of these numbers of clusters, in ascending order: a range like 2-10, or "
        "numbers like 2,3,5.",
    )
    n_init: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="Initialisations",
        description="Number of K-Means runs per k, each with different initial centroids; the best one is kept.",
    )
    max_iter: int = Field(
        default=300,
        ge=1,
        le=100_000,
        title="Maximum iterations",
        description="Maximum number of iterations of one K-Means run.",
    )
    random_state: int = Field(
        default=7,
        ge=0,
        le=2**32 - 1,
        title="Seed",
        description="Seed of K-Means: the same data and seed give the same clusters.",
    )
    strategy: Literal["auto", "exact", "sample"] = Field(
        default="auto",
        title="Strategy",
        description="exact fits every k to all customers with all initialisations; sample searches for optima on a sample and "
        "refines them on all customers, much faster and within 0.1 % of the SSE; auto is exact up to 100,000 customers.",
    )


class EvaluateSettings(PartitionedStageSettings, ReaderSettings, TestFileSettings):
    """Settings of evaluate."""

    n_clusters: int | None = Field(
        default=None,
        ge=2,
        le=100,
        title="Fixed number of segments",
        description="Optional; must be one of the values of k. Leave empty to choose it automatically: the elbow of the SSE "
        "curve if it passes every check, else the k with the largest silhouette of those that do.",
    )
    n_resamples: int = Field(
        default=150,
        ge=2,
        le=1000,
        title="Bootstrap resamples",
        description="Number of bootstrap resamples used to estimate the stability of the segments, for every k that may be "
        "chosen; the others get at most 10.",
    )
    min_silhouette: float = Field(
        default=0.25,
        ge=-1,
        le=1,
        title="Minimum silhouette",
        description="A k whose mean silhouette is below this fails the check.",
    )
    min_stability: float = Field(
        default=0.6,
        ge=0,
        le=1,
        title="Minimum stability",
        description="A k fails the check if one of its segments has a bootstrap Jaccard similarity below this.",
    )


class SegmentSettings(PartitionedStageSettings):
    """With --score, the customers of a file are assigned to the active segments, without a run: see --score x --help."""

    names_file: VolumePath = Field(
        default="data/segment_names.csv",
        title="Segment names",
        description="CSV file with columns segment_id and name, as a path inside the volume; its names replace the "
        "generated ones. The default file is optional, any other is required.",
    )
    continuity_tolerance: float = Field(
        default=0.005,
        ge=0,
        le=1,
        title="Continuity tolerance",
        description="Keep the active segments if their SSE is at most this fraction above that of the newly trained clusters "
        "(0.005 = 0.5 %). 0 always takes the lower SSE.",
    )
    max_unassigned: float = Field(
        default=0.05,
        ge=0,
        le=1,
        title="Maximum unassigned share",
        description="Not published if more than this share of the customers has no segment.",
    )
    publish: Literal["if-passed", "never", "always"] = Field(
        default="if-passed",
        title="Publish",
        description="if-passed publishes the segments if every check passes; never is for experiments: everything is computed "
        "and reported, and model/ on the volume is not changed; always publishes even if a check fails. In Airflow, a run "
        "for a past date, like that of a backfill, publishes nothing unless this is always.",
    )
    parquet: bool = Field(
        default=False,
        title="Parquet",
        description="Write segments.parquet in addition to segments.csv: the same columns, numbers typed, texts not escaped.",
    )


class ScoreSettings(ReaderSettings):
    """Assign the customers of a file to the active segments; writes scores/<name>/segments.csv on the volume."""

    score: VolumePath = Field(
        title="Customers to score",
        description="CSV or Parquet file with the feature columns and the ids, as a path inside the volume; or a folder of "
        "such files, or a pattern.",
    )
    run: str = Field(
        default="",
        max_length=250,
        title="Name",
        description="Name of the folder in scores/; a folder of that name is replaced. Leave empty to derive it from the file: "
        "s for data/s.csv, and a name made from the whole path for a file elsewhere.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("run"):
            return values
        path = PurePosixPath(str(values.get("score", "")))
        # No stem has a slash, so no two files share a name.
        return {**values, "run": path.stem if path == PurePosixPath("data", f"{path.stem}.csv") else f"/{path}"}


class ReportSettings(StageSettings):
    """Settings of report."""


class PipelineSettings(ExtractSettings, TransformSettings, TrainSettings, EvaluateSettings, SegmentSettings, ReportSettings):
    """Every setting of every stage, for callers that start all of them: no setting may contradict another one."""

    @model_validator(mode="after")
    def _agree_across_stages(self) -> Self:
        if self.n_clusters is not None:
            require_fitted(self.n_clusters, self.k_values)
        return self


def require_fitted(n_clusters: int, k_values: Sequence[int]) -> None:
    """Raise ValueError unless the requested number of segments is among the numbers of clusters that are fitted."""
    if n_clusters not in k_values:
        raise ValueError(
            f"n_clusters is {n_clusters}, expected one of k_values ({', '.join(map(str, k_values))}): "
            f"request one of these, or add {n_clusters} to k_values"
        )
