from services.contract.settings import StageSettings
from stagekit.stage.run import run_stage

run_stage("probe", StageSettings)
