"""Every setting of every stage: one typed model per stage.

Each field is a flag (`--k-values`), an environment variable (`SEGMENTATION_K_VALUES`), a line of `--help` and a field of
Airflow's trigger form; its description, default and bounds stand here and nowhere else. `command_line.py` reads flags and
environment, `spelling.py` knows how values are written there, `dags/trigger_form.py` makes the form of these models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.contract.spelling import VOLUME_PATH, split, split_pairs
from services.contract.tables import CUSTOMER_ID

ENVIRONMENT_PREFIX = "SEGMENTATION_"


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a number twice")
    return tuple(sorted(values))


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a column twice")
    return values


def _inside_volume(path: str) -> str:
    if not re.search(VOLUME_PATH, path):
        raise ValueError("must be a path inside the volume like data/file.csv, without '..'")
    return path


# Not $, which Python takes for the place before a last line end too.
_ADDRESS = r"^((tcp|tls)://[A-Za-z0-9._-]+:[0-9]{1,5})?(?![\s\S])"


def _address(text: str) -> str:
    if not re.search(_ADDRESS, text):
        raise ValueError("must be an address like tcp://dask-scheduler:8786, or empty")
    return text


K = Annotated[int, Field(ge=2, le=100)]
ColumnName = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]  # no environment variable can hold a NUL
# What a validator checks stands in the JSON schema once more, for those who check with that.
ColumnNames = Annotated[
    tuple[ColumnName, ...],
    NoDecode,
    BeforeValidator(split),
    AfterValidator(_distinct),
    Field(json_schema_extra={"uniqueItems": True}),
]
VolumePath = Annotated[str, AfterValidator(_inside_volume), Field(json_schema_extra={"pattern": VOLUME_PATH})]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class StageSettings(BaseSettings):
    """What every stage is told."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        frozen=True,
    )

    volume: Path = Field(
        default=Path("shared_volume"),
        title="Volume",
        description="Folder that holds data/, runs/ and model/.",
    )
    run: str = Field(
        min_length=1,
        max_length=250,
        title="Run",
        description="Which run this is: Airflow's run id, or any name of your own.",
    )
    upstream: Annotated[dict[str, Sha256], NoDecode, BeforeValidator(split_pairs)] = Field(
        default={},
        title="Upstream manifests",
        description="stage=sha256 of the manifests to rely on, comma-separated. A stage that is named here is "
        "believed only if its manifest has that digest; Airflow fills this in.",
    )


class PartsSettings(StageSettings):
    """What the stages that work on parts of the customers have in common."""

    dask_scheduler: Annotated[str, AfterValidator(_address), Field(json_schema_extra={"pattern": _ADDRESS})] = Field(
        default="",
        title="Dask scheduler",
        description="Address of a Dask scheduler like tcp://dask-scheduler:8786 whose workers do the work on parts; they need "
        "the same image and the same volume. Empty for the stage itself.",
    )


class PublishSettings(PartsSettings):
    """Settings of the stages that publish: train the lab's model, segment the segments."""

    publish: Literal["if-passed", "never", "always"] = Field(
        default="if-passed",
        title="Publish",
        description="if-passed publishes the segments if every check passes; never is for experiments: everything is computed "
        "and reported, and model/ on the volume stays as it is; always publishes even if a check fails. In Airflow, a run "
        "for a past date, like that of a backfill, publishes nothing unless this is always.",
    )


class FeatureSettings(PartsSettings):
    """What the stages that look at the features have in common."""

    feature_columns: ColumnNames = Field(
        default=("BALANCE", "PURCHASES", "CREDIT_LIMIT"),
        min_length=1,
        title="Feature columns",
        description="Numeric columns that the customers are grouped by.",
    )
    scale_by: str = Field(
        default="",
        pattern=r"^[^\x00]*$",
        title="Scale within",
        description="Column whose groups are standardised each by itself, for example a region or a tenure; empty for none.",
    )

    @field_validator("feature_columns")
    @classmethod
    def _leave_out_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if CUSTOMER_ID in value:
            raise ValueError(f"names {CUSTOMER_ID}, which tells customers apart and is no feature: leave it out")
        return value


class ExtractSettings(FeatureSettings):
    data_file: VolumePath = Field(
        default="data/file.csv",
        title="Customer table",
        description="CSV file with one row per customer, as a path inside the volume; or a folder of such files, or a pattern "
        "like data/2026-*.csv.gz. Several files are one table, in the order of their names.",
    )
    keep_columns: Literal["all", "used"] = Field(
        default="all",
        title="Columns to keep",
        description="Whether to keep all columns, or those alone that later stages use: CUST_ID, the feature columns and the "
        "one to scale within. The others are then not looked at.",
    )
    part_rows: int = Field(
        default=250_000,
        ge=1,
        le=100_000_000,
        title="Rows per part",
        description="About how many customers a part has. A table of more is kept in several parts, which are worked on side "
        "by side and never in memory all at once.",
    )


class TransformSettings(FeatureSettings):
    log_columns: ColumnNames = Field(
        default=(),
        title="Logarithm of",
        description="Feature columns to replace by log(1 + value): for amounts with a few very large values.",
    )
    outliers: Literal["keep", "clip", "drop"] = Field(
        default="keep",
        title="Outliers",
        description="What to do with values beyond the outlier fence: keep them, clip them to it, or drop the customer.",
    )
    outlier_fence: float = Field(
        default=3.0,
        gt=0,
        le=100,
        title="Outlier fence",
        description="Where outliers begin: this many interquartile ranges below the first or above the third quartile, "
        "after the logarithm (Tukey's outer fence is 3). A column whose quartiles are equal has no fence.",
    )
    smallest_group: int = Field(
        default=30,
        ge=2,
        title="Smallest group",
        description="Groups with fewer customers than this are standardised like all customers together.",
    )

    @field_validator("log_columns", "scale_by")
    @classmethod
    def _agree_with_features(cls, value: Any, info: ValidationInfo) -> Any:
        if "feature_columns" not in info.data:  # it has an error of its own
            return value
        features = info.data["feature_columns"]
        if info.field_name == "log_columns" and (others := [name for name in value if name not in features]):
            raise ValueError(f"column {others[0]} is not among the feature columns {', '.join(features)}")
        if info.field_name == "scale_by" and value in features:
            raise ValueError("is a feature column too, and the same for everybody within its groups: leave it out of one")
        return value


class TrainSettings(PublishSettings):
    k_values: Annotated[tuple[K, ...], NoDecode, BeforeValidator(split), AfterValidator(_ascending)] = Field(
        default=tuple(range(2, 11)),
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        title="Numbers of clusters",
        description="Every k to fit; fitted in ascending order.",
    )
    n_init: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="Initialisations",
        description="K-Means runs per k, each from other starting centroids; the best is kept.",
    )
    max_iter: int = Field(
        default=300,
        ge=1,
        le=100_000,
        title="Iterations",
        description="Most iterations of one K-Means run.",
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
        description="exact fits every k to all customers from all starts; sample looks for the best starts on a sample and "
        "finishes them on all customers, much faster and within 0.1 % of the SSE; auto is exact up to 100,000 customers.",
    )


class EvaluateSettings(PartsSettings):
    test_file: VolumePath = Field(
        default="data/test.csv",
        title="New customers",
        description="CSV file with customers to label, as a path inside the volume.",
    )
    n_clusters: int | None = Field(
        default=None,
        ge=2,
        le=100,
        title="Number of segments",
        description="How many segments to have; one of the numbers of clusters. Leave empty to take the elbow of the SSE curve "
        "if it passes every check, else the number with the largest silhouette of those that do.",
    )
    n_resamples: int = Field(
        default=150,
        ge=2,
        le=1000,
        title="Bootstrap resamples",
        description="Number of bootstrap resamples from which the stability of the segments is estimated, for every number of "
        "segments that may be chosen; the others get at most 10.",
    )
    min_silhouette: float = Field(
        default=0.25,
        ge=-1,
        le=1,
        title="Minimum silhouette",
        description="A number of segments whose mean silhouette is below this fails the check.",
    )
    min_stability: float = Field(
        default=0.6,
        ge=0,
        le=1,
        title="Minimum stability",
        description="A number of segments fails the check if one of them has a bootstrap Jaccard similarity below this.",
    )


class SegmentSettings(PublishSettings):
    """With --score a file of customers is put into the segments in force, without a run: see --score x --help."""

    names_file: VolumePath = Field(
        default="data/segment_names.csv",
        title="Segment names",
        description="CSV file with columns segment_id and name, as a path inside the volume; its names go before ours. "
        "It need not be there.",
    )
    continuity: float = Field(
        default=0.005,
        ge=0,
        le=1,
        title="Continuity",
        description="By what share the sum of squared distances may be larger than that of the trained clusters so that "
        "customers stay in their segments. 0 takes the trained clusters whenever they are the better ones.",
    )
    max_unassigned: float = Field(
        default=0.05,
        ge=0,
        le=1,
        title="Maximum share unassigned",
        description="Not published if more than this share of the customers has no segment.",
    )


class ScoreSettings(StageSettings):
    """Put the customers of a file into the segments in force; writes scores/<name>/segments.csv on the volume."""

    score: VolumePath = Field(
        title="Customers to score",
        description="CSV file with the feature columns and CUST_ID, as a path inside the volume.",
    )
    run: str = Field(
        default="",
        max_length=250,
        title="Name",
        description="Name of the folder in scores/; left out, it is that of the file.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_name_of_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values if values.get("run") else {**values, "run": PurePosixPath(str(values.get("score", ""))).stem}


class PruneSettings(StageSettings):
    """Remove the folders of old runs from the volume; published runs and those of which a stage is at work are kept."""

    run: str = Field(default="", max_length=250, title="Run", description="Not used: this works on all runs.")
    keep_runs: int = Field(
        default=10,
        ge=1,
        title="Runs to keep",
        description="How many runs to keep, the latest first.",
    )
    keep: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)] = Field(
        default=(),
        title="Folders to keep",
        description="Folders in runs/ to keep however old they are, comma-separated; Airflow names those in progress.",
    )
    warn_share: float = Field(
        default=0.85,
        gt=0,
        le=1,
        title="Warn above",
        description="Share of the volume in use above which a warning is raised.",
    )
    dry_run: bool = Field(
        default=False,
        title="Dry run",
        description="List what would be removed, and remove nothing.",
    )


class ReportSettings(StageSettings):
    pass


class PipelineSettings(ExtractSettings, TransformSettings, TrainSettings, EvaluateSettings, SegmentSettings, ReportSettings):
    """Every setting of every stage, for the callers that start all of them: no setting may contradict another one."""

    @model_validator(mode="after")
    def _agree_across_stages(self) -> Self:
        if self.n_clusters is not None:
            require_fitted(self.n_clusters, self.k_values)
        return self


SETTINGS: dict[str, type[StageSettings]] = {
    "extract": ExtractSettings,
    "transform": TransformSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "segment": SegmentSettings,
    "report": ReportSettings,
}
"""The stages that can be told something, in the order in which they run; a stage that is not named here runs after them."""


CONSUMERS = frozenset({"changes", "prune"})
"""Folders of services/ that are no stage of a run: they work on what runs have left, in DAGs of their own."""


def require_fitted(n_clusters: int, k_values: Sequence[int]) -> None:
    """Raise ValueError unless the requested number of segments is among the numbers of clusters that are fitted."""
    if n_clusters not in k_values:
        raise ValueError(
            f"n_clusters is {n_clusters}, expected one of k_values ({', '.join(map(str, k_values))}): "
            f"request one of these, or add {n_clusters} to k_values"
        )


def settings_of(stage: str) -> type[StageSettings]:
    return SETTINGS.get(stage, StageSettings)
