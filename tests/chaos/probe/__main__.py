from services.contract.settings import StageSettings
from services.contract.stage import start

start("probe", StageSettings)
