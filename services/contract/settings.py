"""Every setting of every stage: one typed model per stage.

Each field is a flag (`--k-values`), an environment variable (`SEGMENTATION_K_VALUES`), a line of `--help` and a field of
Airflow's trigger form; its description, default and bounds stand here and nowhere else. `stagekit/stage/command_line.py`
reads flags and environment, `stagekit/serialization.py` converts values to text and back, and
`stagekit/airflow/trigger_form.py` builds the form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.contract.columns import CUSTOMER_COLUMNS, CUSTOMER_ID
from stagekit.serialization import VOLUME_PATH, parse_mapping, split
from stagekit.tables.table_schema import TableFormat

ENVIRONMENT_PREFIX = "SEGMENTATION_"
MAX_NAME_BYTES = 255  # what ext4, XFS and NTFS take for a file name
MAX_PATH_BYTES = 1024  # with the volume's own path well below the 4,096 of Linux


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
    try:
        names = path.encode().split(b"/")
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    length, longest = sum(map(len, names)) + len(names) - 1, max(map(len, names))
    if length > MAX_PATH_BYTES:
        raise ValueError(f"must be a path of at most {MAX_PATH_BYTES:,} bytes, has {length:,}")
    if longest > MAX_NAME_BYTES:
        raise ValueError(f"must consist of names of at most {MAX_NAME_BYTES} bytes, one has {longest:,}")
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
VolumePath = Annotated[
    str, AfterValidator(_inside_volume), Field(json_schema_extra={"pattern": VOLUME_PATH, "maxLength": MAX_PATH_BYTES})
]
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
    upstream: Annotated[dict[str, Sha256], NoDecode, BeforeValidator(parse_mapping)] = Field(
        default={},
        title="Upstream manifests",
        description="stage=sha256 of the manifests to rely on, comma-separated. A stage that is named here is "
        "believed only if its manifest has that digest; Airflow fills this in.",
    )


class PartitionedStageSettings(StageSettings):
    """What the stages that work on parts of the customers have in common."""

    dask_scheduler: Annotated[str, AfterValidator(_address), Field(json_schema_extra={"pattern": _ADDRESS})] = Field(
        default="",
        title="Dask scheduler",
        description="Address of a Dask scheduler like tcp://dask-scheduler:8786 whose workers do the work on parts; they need "
        "the same image and the same volume. Empty for the stage itself.",
    )


class FeatureSettings(PartitionedStageSettings):
    """What the stages that look at the features have in common."""

    feature_columns: ColumnNames = Field(
        default=("BALANCE", "PURCHASES", "CREDIT_LIMIT"),
        min_length=1,
        title="Feature columns",
        description="Numeric columns that the customers are grouped by.",
    )
    group_column: str = Field(
        default="",
        pattern=r"^[^\x00]*$",
        title="Scale within",
        description="Column whose groups are standardised each by itself, for example a region or a tenure; empty for none.",
    )

    @field_validator("feature_columns")
    @classmethod
    def _reject_id_column(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if CUSTOMER_ID in value:
            raise ValueError(f"names {CUSTOMER_ID}, which tells customers apart and is no feature: leave it out")
        return value


class TestFileSettings(StageSettings):
    """What the stage that labels new customers and the one that looks for their file have in common."""

    test_file: VolumePath = Field(
        default="data/test.csv",
        title="New customers",
        description="CSV file with customers to label, as a path inside the volume. The default one need not be there.",
    )

    @property
    def is_test_file_required(self) -> bool:
        """Whether the user named the file: then it has to be there, with the columns that the features need."""
        return bool(self.test_file != type(self).model_fields["test_file"].default)


class ReaderSettings(StageSettings):
    """How customer tables are written."""

    id_column: ColumnName = Field(
        default=CUSTOMER_ID,
        title="Column of ids",
        description="Column that identifies customers; of several rows with the same id the last one counts. All results call "
        "it CUST_ID. Only CUST_ID may be missing from a table: then each row is a customer, and its number the id.",
    )
    delimiter: Literal[",", ";", "tab", "|"] = Field(
        default=",",
        title="Delimiter",
        description="What separates the columns of a CSV file: one of , ; | or the word tab.",
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
        return TableFormat(self.id_column, self.delimiter, self.decimal, CUSTOMER_COLUMNS)


class ExtractSettings(FeatureSettings, ReaderSettings, TestFileSettings):
    data_file: VolumePath = Field(
        default="data/file.csv",
        title="Customer table",
        description="CSV or Parquet file with one row per customer, as a path inside the volume; or a folder of such files, or "
        "a pattern like data/2026-*.csv.gz. Several files are one table, in the order of their names.",
    )
    keep_columns: Literal["all", "used"] = Field(
        default="all",
        title="Columns to keep",
        description="Whether to keep all columns, or those alone that later stages use: the ids, the feature columns and the "
        "one to scale within. The others are then not looked at.",
    )
    rows_per_part: int = Field(
        default=250_000,
        ge=1,
        le=100_000_000,
        title="Rows per part",
        description="About how many customers a part has. A table of more is kept in several parts, which are worked on side "
        "by side and never in memory all at once.",
    )

    @field_validator("id_column", "feature_columns", "group_column")
    @classmethod
    def _use_ids_as_ids_alone(cls, value: Any, info: ValidationInfo) -> Any:
        known = {**info.data, str(info.field_name): value}  # those that were validated before; the last one sees all
        ids = known.get("id_column")
        if ids and ids in (*known.get("feature_columns", ()), known.get("group_column")):
            raise ValueError(f"names {ids}, which tells customers apart, as something else too: leave it out")
        return value


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
    min_group_size: int = Field(
        default=30,
        ge=2,
        title="Smallest group",
        description="Groups with fewer customers than this are standardised like all customers together.",
    )

    @field_validator("log_columns", "group_column")
    @classmethod
    def _validate_columns(cls, value: Any, info: ValidationInfo) -> Any:
        if "feature_columns" not in info.data:  # it has an error of its own
            return value
        features = info.data["feature_columns"]
        if info.field_name == "log_columns" and (others := [name for name in value if name not in features]):
            raise ValueError(f"column {others[0]} is not among the feature columns {', '.join(features)}")
        if info.field_name == "group_column" and value in features:
            raise ValueError("is a feature column too, and the same for everybody within its groups: leave it out of one")
        return value


class TrainSettings(PartitionedStageSettings):
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


class EvaluateSettings(PartitionedStageSettings, ReaderSettings, TestFileSettings):
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


class SegmentSettings(PartitionedStageSettings):
    """With --score a file of customers is put into the segments in force, without a run: see --score x --help."""

    names_file: VolumePath = Field(
        default="data/segment_names.csv",
        title="Segment names",
        description="CSV file with columns segment_id and name, as a path inside the volume; its names go before ours. "
        "The default file need not be there, another one has to be.",
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
    publish: Literal["if-passed", "never", "always"] = Field(
        default="if-passed",
        title="Publish",
        description="if-passed publishes the segments if every check passes; never is for experiments: everything is computed "
        "and reported, and model/ on the volume stays as it is; always publishes even if a check fails. In Airflow, a run "
        "for a past date, like that of a backfill, publishes nothing unless this is always.",
    )


class ScoreSettings(ReaderSettings):
    """Put the customers of a file into the segments in force; writes scores/<name>/segments.csv on the volume."""

    score: VolumePath = Field(
        title="Customers to score",
        description="CSV or Parquet file with the feature columns and the ids, as a path inside the volume; or a folder of "
        "such files, or a pattern.",
    )
    run: str = Field(
        default="",
        max_length=250,
        title="Name",
        description="Name of the folder in scores/; a folder of that name is replaced. Left out, it is that of the file: s for "
        "data/s.csv, and one made of the whole path for a file anywhere else.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("run"):
            return values
        path = PurePosixPath(str(values.get("score", "")))
        # No stem has a slash, so no two files share a name.
        return {**values, "run": path.stem if path == PurePosixPath("data", f"{path.stem}.csv") else f"/{path}"}


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


def settings_model(stage: str) -> type[StageSettings]:
    return SETTINGS.get(stage, StageSettings)
