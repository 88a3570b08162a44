from stagekit.stage.run import start

start("train")
