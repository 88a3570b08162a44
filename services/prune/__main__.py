from services.contract.settings import PruneSettings
from services.contract.stage import start, work_alone

start("prune", PruneSettings, work=work_alone)
