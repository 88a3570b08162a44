# Every image of the project, in one command: `make images`, or by hand
#
#   PIPELINE=customer-segmentation STAGES=$(python3 docker/list_stages.py) docker buildx bake -f docker/docker-bake.hcl

variable "PIPELINE" { default = "" }
# Each as stage:layer, the layer of stage.Dockerfile that its image starts from.
variable "STAGES" { default = "" }

variable "BASE_IMAGE" { default = "python:3.13-slim-trixie" }
variable "TAG" { default = "latest" }
# The registry to push to, with the slash at its end, which also caches layers for the next build; the processors to build for.
variable "REGISTRY" { default = "" }
variable "PLATFORMS" { default = "" }

function "cache" {
  params = [name]
  result = REGISTRY == "" ? [] : ["type=registry,ref=${REGISTRY}${PIPELINE}/${name}:cache,mode=max"]
}

variable "VERSION" { default = "unknown" }
variable "REVISION" { default = "unknown" }

# SBOM and provenance need a builder of the containerd kind; `make push` sets it to true.
variable "ATTESTATIONS" { default = false }

group "default" {
  targets = ["stage", "airflow"]
}

target "common" {
  context   = "."
  platforms = PLATFORMS == "" ? [] : split(",", PLATFORMS)
  attest    = ATTESTATIONS ? ["type=sbom", "type=provenance,mode=max"] : []
  args = {
    BASE_IMAGE = BASE_IMAGE
    PIPELINE   = PIPELINE
    VERSION    = VERSION
    REVISION   = REVISION
  }
}

target "stage" {
  inherits   = ["common"]
  matrix     = { stage = split(",", STAGES) }
  name       = split(":", stage)[0]
  dockerfile = "docker/stage.Dockerfile"
  args = {
    STAGE      = split(":", stage)[0]
    FOUNDATION = split(":", stage)[1]
  }
  tags       = ["${REGISTRY}${PIPELINE}/${split(":", stage)[0]}:${TAG}"]
  cache-from = cache(split(":", stage)[0])
  cache-to   = cache(split(":", stage)[0])
}

# Only for a Dask cluster: COMPOSE_PROFILES=cluster make images.
target "cluster" {
  inherits   = ["common"]
  dockerfile = "docker/stage.Dockerfile"
  target     = "cluster"
  tags       = ["${REGISTRY}${PIPELINE}/cluster:${TAG}"]
  cache-from = cache("cluster")
  cache-to   = cache("cluster")
}

target "airflow" {
  inherits   = ["common"]
  dockerfile = "docker/airflow.Dockerfile"
  tags       = ["${REGISTRY}${PIPELINE}/airflow:${TAG}"]
  cache-from = cache("airflow")
  cache-to   = cache("airflow")
}
