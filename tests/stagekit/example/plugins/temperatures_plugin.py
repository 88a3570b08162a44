from stagekit.airflow import plugin


class TemperaturesPlugin(plugin.PipelinePlugin):
    name = "temperatures"
