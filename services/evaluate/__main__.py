from services.contract.stage import start

start("evaluate")
