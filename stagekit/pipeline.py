"""The declaration of a pipeline: its name and its stages.

The command lines, the local runner, the trigger form, the images, the operators' mounts and the documentation derive from it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stagekit.settings import StageSettings
from stagekit.volume.artifact import Artifact

if TYPE_CHECKING:
    from stagekit.volume.registry import Registry


@dataclass(frozen=True)
class Stage:
    """One stage: a folder of `services/`, an image, a task in Airflow, a folder of the run."""

    name: str
    settings: type[StageSettings] = StageSettings
    reads: tuple[Artifact, ...] = ()
    """Artifacts of earlier stages of the run, and published artifacts."""
    writes: tuple[Artifact, ...] = ()
    publishes: tuple[Artifact, ...] = ()
    """Artifacts, its own and those of earlier stages, that it may copy to `model/`."""
    folder: str = "runs/{run}/{stage}"
    """Where its artifacts are, inside the volume. Empty for a stage that works on the volume as a whole: its
    `main(settings, pipeline)` gets no workspace and writes no manifest."""
    image: str = ""
    """The image and the folder of `services/` that contain it; its name if empty."""
    module: str = ""
    """Module with `main`; `services.<name>.main` if empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", self.image or self.name)
        object.__setattr__(self, "module", self.module or f"services.{self.name}.main")


@dataclass(frozen=True)
class Pipeline:
    """A name, and stages in the order in which they run."""

    name: str
    """Prefix of images and labels, for example `customer-segmentation`."""
    stages: tuple[Stage, ...]
    others: tuple[Stage, ...] = ()
    """Stages that are not part of every run: they work on what runs have written or published."""
    libraries: tuple[str, ...] = ()
    """Libraries whose versions the manifests record."""
    settings: type[StageSettings] = StageSettings
    """All settings of all stages in one model, which may validate them together; derived from the stages by default."""
    registry: str = "stagekit.volume.registry:Registry"
    """Model of the registry in `model/`, as module:class, so that it is imported only by the stages that use it."""
    dag_id: str = ""
    """Id of the DAG that runs the stages; the name with underscores if empty."""
    former_environment_prefix: str = ""
    """Environment variables with this prefix are accepted with a warning."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dag_id", self.dag_id or self.identifier)
        if self.settings is StageSettings:
            models = dict.fromkeys(stage.settings for stage in self.stages if stage.settings is not StageSettings)
            combined = type("PipelineSettings", tuple(models) or (StageSettings,), {"__doc__": f"Settings of {self.name}."})
            object.__setattr__(self, "settings", combined)

    def __str__(self) -> str:
        """Return the name: Airflow stores the text with the DAG, and takes another text for another version of the DAG."""
        return self.name

    def __iter__(self) -> Iterator[Stage]:
        return iter((*self.stages, *self.others))

    def __getitem__(self, name: str) -> Stage:
        """Return a stage by its name; KeyError if the pipeline has none of this name."""
        for stage in self:
            if stage.name == name:
                return stage
        raise KeyError(f"{self.name} has no stage {name!r}: expected one of {', '.join(stage.name for stage in self)}")

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages of a run, in their order."""
        return tuple(stage.name for stage in self.stages)

    @property
    def identifier(self) -> str:
        """The name with underscores, for Airflow's Variables and Connections."""
        return self.name.replace("-", "_")

    def load_registry_model(self) -> type[Registry[Any]]:
        """Import the model of the registry."""
        module, _, name = self.registry.partition(":")
        model: type[Registry[Any]] = getattr(importlib.import_module(module), name)
        return model
