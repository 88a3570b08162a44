# Every image of the project, in one command: `make images`, or by hand
#
#   STAGES=extract,transform,train,evaluate docker buildx bake -f docker/docker-bake.hcl

# The folders of services/ that hold a main.py; the Makefile lists them, so that a new stage is not named here.
variable "STAGES" { default = "" }

variable "BASE_IMAGE" { default = "python:3.13-slim-trixie" }
variable "TAG" { default = "latest" }
# Where to push to, with the slash at its end, and where layers are kept for the next build; the processors to build for.
variable "REGISTRY" { default = "" }
variable "PLATFORMS" { default = "" }

function "cache" {
  params = [name]
  result = REGISTRY == "" ? [] : ["type=registry,ref=${REGISTRY}customer-segmentation/${name}:cache,mode=max"]
}

variable "VERSION" { default = "unknown" }
variable "REVISION" { default = "unknown" }

# SBOM and provenance need a builder of the containerd kind; `ATTESTATIONS=true` where images are published.
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
    VERSION    = VERSION
    REVISION   = REVISION
  }
}

target "stage" {
  inherits   = ["common"]
  matrix     = { stage = split(",", STAGES) }
  name       = stage
  dockerfile = "docker/stage.Dockerfile"
  args = {
    STAGE = stage
    # What a stage never imports stays out of its image; one that is not named here starts from the layer with scikit-learn.
    FOUNDATION = lookup({ extract = "table", report = "bare", changes = "bare", prune = "bare" }, stage, "learning")
  }
  tags       = ["${REGISTRY}customer-segmentation/${stage}:${TAG}"]
  cache-from = cache(stage)
  cache-to   = cache(stage)
}

# Only for those who have a Dask cluster: COMPOSE_PROFILES=cluster make images.
target "cluster" {
  inherits   = ["common"]
  dockerfile = "docker/stage.Dockerfile"
  target     = "cluster"
  tags       = ["${REGISTRY}customer-segmentation/cluster:${TAG}"]
  cache-from = cache("cluster")
  cache-to   = cache("cluster")
}

target "airflow" {
  inherits   = ["common"]
  dockerfile = "docker/airflow.Dockerfile"
  tags       = ["${REGISTRY}customer-segmentation/airflow:${TAG}"]
  cache-from = cache("airflow")
  cache-to   = cache("airflow")
}
