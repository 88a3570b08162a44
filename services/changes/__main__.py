from services.contract.stage import start

start("changes")
