from stagekit.stage.run import run_stage

run_stage("evaluate")
