from services.contract.settings import PruneSettings
from stagekit.stage.run import run_stage, work_alone

run_stage("prune", PruneSettings, work=work_alone)
