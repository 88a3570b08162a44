from services.contract.settings import StageSettings
from stagekit.stage.run import start

start("probe", StageSettings)
