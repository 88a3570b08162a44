# Every command for users, contributors and the CI. Plain `make` lists them.
# Variables are set as in `make run RUN=demo VOLUME=/data/bank`. Those with := ignore the environment, which may contain the
# same names.

# The name of the pipeline, as in services/pipeline.py: names images, labels, the stack and the DAG that `make trigger` starts.
PIPELINE := customer-segmentation

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The volume that the stages use, the run, and further arguments of the command.
VOLUME := shared_volume
RUN := local
STAGE :=
USER_NAME :=
SERVICE :=
ROLE := Viewer
ARGS :=
CUSTOMERS := 5000000
KEEP :=
DAYS :=
DRY_RUN :=
WORKERS := 2
# The tag of every image. The base images come from the environment: BASE_IMAGE, POSTGRES_IMAGE.
TAG := latest
# Options of the build, the registry, and the processor architectures.
BAKE := --load
REGISTRY :=
PLATFORMS :=
# Limits of one container of a stage, as in a run of Airflow.
MEMORY := 4g
CPUS = $(shell cpus=$$(getconf _NPROCESSORS_ONLN); echo $$((cpus < 2 ? cpus : 2)))
# The file with the secrets of Airflow.
ENV_FILE := .env

# One image per folder of services/ that can be run, each as stage:layer, the layer of libraries that it starts from.
STAGES = $(shell $(PYTHON) docker/list_stages.py)
UV_VERSION := $(shell sed -n 's/^required-version = "==\(.*\)"$$/\1/p' pyproject.toml)
# The name of the stack; a second one on the same engine needs another name.
COMPOSE_PROJECT_NAME ?= $(PIPELINE)
export PIPELINE TAG REGISTRY PLATFORMS COMPOSE_PROJECT_NAME
# With this variable, every start of a stage would compile all libraries again, which takes several seconds.
unexport PYTHONDONTWRITEBYTECODE
# The former prefix of environment variables, accepted until version 0.2.
$(foreach former,$(filter SEGMENTATION_%,$(.VARIABLES)),$(foreach name,$(former:SEGMENTATION_%=PIPELINE_%),$(warning \
	$(former) is now called $(name))$(eval export $(name) ?= $$($(former)))))

# The first suitable Python, searched only when it is needed.
PYTHON = $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& echo $$python && break; done),$(error Python 3.11 to 3.14 with venv is needed and not found))
COMPOSE = docker compose --env-file $(ENV_FILE)
# By the name of the project, without compose.yaml, so that it also works if the file with the secrets is gone.
COMPOSE_DOWN = cd / && env -u COMPOSE_FILE docker compose down
# Points docker at the engine of the stages, if it is not Airflow's.
ON_STAGE_ENGINE = test ! -f "$(ENV_FILE)" || . "$(abspath $(ENV_FILE))"; \
	test -z "$$STAGE_DOCKER_HOST" || export DOCKER_HOST="$$STAGE_DOCKER_HOST"; \
	test -z "$$STAGE_DOCKER_CERT_PATH" || export DOCKER_CERT_PATH="$$STAGE_DOCKER_CERT_PATH" DOCKER_TLS_VERIFY=1
# On any volume, since each container has a label with the name of the stack.
STOP_STAGES = $(ON_STAGE_ENGINE); \
	left=$$(docker ps --all --quiet --filter label=$(PIPELINE).project=$(COMPOSE_PROJECT_NAME)); \
	test -z "$$left" || docker rm --force $$left
ABSOLUTE_VOLUME = $$(cd "$(VOLUME)" && pwd -P)
# Empty unless set on the command line: `make up` keeps its previous volume.
GIVEN_VOLUME = $(if $(filter command,$(origin VOLUME)),$(VOLUME))

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-13s %s\n' "$$name" "$$text"; done

# --- without Docker

.PHONY: run
run: .venv/.has-local ## Run every stage on the sample data, as local processes (RUN=local VOLUME=shared_volume)
	.venv/bin/python -m services --volume "$(VOLUME)" --run "$(RUN)" $(ARGS)

.PHONY: test
test: .venv/.has-dev ## Run the tests, including those on a Docker engine if one answers (ARGS="-m 'not needs_docker'")
	.venv/bin/python -m pytest --numprocesses 2 $(ARGS)

.PHONY: coverage
coverage: .venv/.has-dev ## Measure the coverage of the fast tests; fails below 95 %
	.venv/bin/python -m pytest --numprocesses 2 -m 'not needs_docker' --ignore tests/chaos --ignore tests/bench --cov $(ARGS)

.PHONY: mutation-test
mutation-test: .venv/.has-dev ## Run mutation tests and list the surviving mutants (ARGS="--max-mutants 40 evaluate")
	.venv/bin/python -m tests.mutation_testing $(ARGS)

.PHONY: chaos
chaos: .venv/.has-dev ## Inject every fault of docs/fault-injection.md and print the outcome (ARGS="-m 'not needs_docker'")
	CHAOS=full .venv/bin/python -m pytest tests/chaos $(ARGS)

.PHONY: bench
bench: .venv/.has-dev ## Measure beside the literal lab and write docs/performance.md; takes an hour (ARGS="--sizes 10k --sections stages")
	.venv/bin/python -m bench $(ARGS)

.PHONY: trust
trust: .venv/.has-dev ## Measure the accuracy of stability and cluster structure, and write docs/trust.md (ARGS="--lab-data FILE")
	OMP_NUM_THREADS=1 .venv/bin/python -m bench.trust $(ARGS)

.PHONY: cluster-demo
cluster-demo: .venv/.has-dev ## Compare the DAG on a Dask cluster and on one machine (CUSTOMERS=5000000 WORKERS=2)
	.venv/bin/python -m bench.cluster --customers $(CUSTOMERS) --workers $(WORKERS) $(ARGS)

.PHONY: check
check: .venv/.has-dev ## Check style, types, wording, import rules, Dockerfiles, scripts, workflows, secrets
	.venv/bin/pre-commit run --all-files --show-diff-on-failure

.PHONY: docs
docs: .venv/.has-dev ## Write docs/settings.md from the settings models
	.venv/bin/python -m docs.write_settings

.PHONY: fix
fix: .venv/.has-dev ## Fix lint and formatting automatically
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.PHONY: hooks
hooks: .venv/.has-dev ## Install a git hook that checks each commit as `make check` does
	.venv/bin/pre-commit install

.PHONY: shell
shell: .venv/.has-dev ## Open a shell with the project's python, pytest and airflow
	@PATH="$(CURDIR)/.venv/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv" exec "$${SHELL:-sh}"

.PHONY: lock
lock: .uv/$(UV_VERSION) ## Update uv.lock after a change in pyproject.toml (ARGS=--upgrade)
	.uv/bin/uv lock $(ARGS)

.PHONY: audit
audit: .uv/$(UV_VERSION) ## Query osv.dev for known vulnerabilities of the libraries in uv.lock
	@.uv/bin/uv audit --preview-features audit-command --frozen $(ARGS) || { code=$$?; \
		test $$code = 1 || echo 'osv.dev cannot be reached: vulnerabilities are unknown' >&2; exit $$code; }

# --- images

# The inputs of the images. Their revision is the last commit that changed one of them, so that `make up` does not restart
# Airflow after a change in the README.
INPUTS := pyproject.toml uv.lock docker stagekit services dags plugins
DIRTY = $$(git status --porcelain -- $(INPUTS) 2>/dev/null | grep -q . && echo -dirty)

.PHONY: images
images: ## Build every image (TAG=latest)
	@STAGES="$(STAGES)" \
	VERSION="$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)" \
	REVISION="$$(git log -1 --format=%H -- $(INPUTS) 2>/dev/null | grep . || echo unknown)$(DIRTY)" \
	docker buildx bake --file docker/docker-bake.hcl $(BAKE) default $(filter cluster,$(COMPOSE_PROFILES))

.PHONY: push
push: ## Build every image with SBOM and provenance, and push it (REGISTRY=ghcr.io/me/ TAG=1.0.0)
	@test -n "$(REGISTRY)" || { echo 'REGISTRY is not set, expected a registry: make push REGISTRY=ghcr.io/me/ TAG=1.0.0' >&2; exit 64; }
	@ATTESTATIONS=true $(MAKE) images BAKE='--push $(ARGS)'

.PHONY: run-stage
run-stage: ## Run one stage of a run as a hardened container (STAGE=train RUN=demo ARGS="--k-values 2,3")
	@test -n "$(STAGE)" || { echo 'STAGE is not set, expected the name of a stage: make run-stage STAGE=train RUN=demo' >&2; exit 64; }
	@test -d "$(VOLUME)" || { echo 'there is no folder $(VOLUME): name the volume, make run-stage VOLUME=...' >&2; exit 78; }
	@docker image inspect $(PIPELINE)/$(STAGE):$(TAG) >/dev/null 2>&1 || $(MAKE) images
	@user="$$(id -u):$$(id -g)"; volume="$(ABSOLUTE_VOLUME)"; set -x; \
	docker run --rm --init --pull never --network none --read-only --tmpfs /tmp:size=64m --cap-drop ALL \
		--security-opt no-new-privileges --pids-limit 512 --memory $(MEMORY) --memory-swap $(MEMORY) --cpus $(CPUS) \
		--user "$$user" --volume "$$volume:/shared" $(PIPELINE)/$(STAGE):$(TAG) --run "$(RUN)" $(ARGS)

# --- Airflow

.PHONY: requirements
requirements: ## Check that the Docker engine can run the stack; `make up` does so first
	@$(PYTHON) docker/check_requirements.py $(ENV_FILE)

.PHONY: up
up: requirements images ## Start Airflow, wait until it is healthy, print its address (AIRFLOW_PORT=8080 VOLUME=/data/bank, both are kept)
	@$(PYTHON) docker/write_env.py $(ENV_FILE) shared_volume "$(GIVEN_VOLUME)"
	$(COMPOSE) up --detach --wait --wait-timeout 300
	@port=$$(sed -n "s/^AIRFLOW_PORT='\(.*\)'$$/\1/p" $(ENV_FILE)); \
	volume=$$(sed -n "s/^PIPELINE_HOST_VOLUME='\(.*\)'$$/\1/p" $(ENV_FILE)); \
	echo "Airflow: http://127.0.0.1:$$port  user: admin  password: AIRFLOW_ADMIN_PASSWORD in $(ENV_FILE)  volume: $$volume"

.PHONY: trigger
trigger: ## Start a run of the DAG and follow it to its end (CONF='{"k_values": [2, 3]}')
	@$(PYTHON) docker/trigger_run.py $(ENV_FILE)

comma := ,
.PHONY: prune
prune: ## Remove old runs, logs and database rows, through Airflow (KEEP=10 DAYS=90 DRY_RUN=1)
	@DAG=housekeeping SHOW_LOGS=yes CONF='{"dry_run": $(if $(filter-out 0,$(DRY_RUN)),true,false)$(if \
		$(KEEP),$(comma) "keep_runs": $(KEEP))$(if $(DAYS),$(comma) "keep_days": $(DAYS))}' \
		$(PYTHON) docker/trigger_run.py $(ENV_FILE)

.PHONY: add-user
add-user: ## Add a user who may sign in to Airflow; asks for the password (USER_NAME=ana ROLE=Viewer)
	@test -n "$(USER_NAME)" || { echo 'USER_NAME is not set, expected the name of the new user: make add-user USER_NAME=ana ROLE=Viewer' >&2; exit 64; }
	@$(PYTHON) docker/create_user.py $(ENV_FILE) "$(USER_NAME)" "$(ROLE)"

.PHONY: screenshots
screenshots: .venv/.has-dev ## Take the pictures of the README again, from a running stack with a finished run
	.venv/bin/python -m tests.browser.take_screenshots $(ENV_FILE) docs/images

.PHONY: logs
logs: ## Follow the Airflow logs (SERVICE=scheduler for one service)
	$(COMPOSE) logs --follow --tail 100 $(SERVICE)

# Airflow first, so that it does not restart a stage; then the containers that its tasks have left on the engine.
.PHONY: down
down: ## Stop Airflow and every running stage; the database is kept
	$(COMPOSE_DOWN)
	@$(STOP_STAGES)

# Without $(MAKE), because `make --dry-run` executes lines that contain it. By the tag: other stacks on this engine keep theirs.
.PHONY: clean
clean: ## Remove everything generated: results, database, secrets, images of TAG, environments
	@if docker info >/dev/null 2>&1; then \
		($(COMPOSE_DOWN) --volumes); \
		($(STOP_STAGES)); \
		docker image ls --format '{{.Repository}}:{{.Tag}}' --filter 'reference=$(PIPELINE)/*:$(TAG)' \
		| xargs -r docker image rm; \
	fi
	@kept=$$(sed -n "s/^PIPELINE_HOST_VOLUME='\(.*\)'$$/\1/p" $(ENV_FILE) 2>/dev/null); \
	test -z "$$kept" || test "$$kept" = "$(ABSOLUTE_VOLUME)" || \
		echo "The results on $$kept are kept: remove its folders runs, model, history and scores yourself if they are not needed"
	rm -rf .uv .venv $(ENV_FILE) "$(VOLUME)/runs" "$(VOLUME)/model" "$(VOLUME)/history" "$(VOLUME)/scores"
	find . -type d -name '__pycache__' -prune -exec rm -r {} +
	rm -rf .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache mutants

# --- uv and the environment

.uv/$(UV_VERSION):
	@echo "Installing uv $(UV_VERSION) into .uv/"
	@rm -rf .uv && $(PYTHON) -m venv .uv && .uv/bin/python -m pip install -qq --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.has-%: uv.lock | .uv/$(UV_VERSION)
	@echo "Installing the libraries of the group '$*' into .venv/, as uv.lock pins them"
	@UV_PYTHON_DOWNLOADS=never .uv/bin/uv sync --quiet --frozen --inexact --only-group $* --python $(PYTHON)
	@touch $@
