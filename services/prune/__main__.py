from services.contract.settings import PruneSettings
from stagekit.stage.run import start, work_alone

start("prune", PruneSettings, work=work_alone)
