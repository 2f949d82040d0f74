# The verbs of delivery, which the Makefile includes. Managed: your own targets go to project.mk.
SINCE =
MEND =
PROMOTE =
VERBS = check test

##@ Delivery: what GitHub's workflows do, and you can

.PHONY: login deliver released-since propose-release propose-update scan newest
login: $(READY) ## Log in to an environment's registry and cluster (ENV=dev ENGINE=; PROMOTE=1: also where a release is from)
	@$(PYTHON) -m tools.login --env "$(ENV)" --engine "$(ENGINE)" $(if $(filter-out 0,$(PROMOTE)),--promote)

deliver: $(READY) ## Deploy what is released; if it does not serve, what was before (ENV=dev URL= WAIT=600 SINCE=)
	@$(PYTHON) -m tools.deliver --env "$(ENV)" --url "$(URL)" --since "$(SINCE)" \
		$(if $(WAIT),--wait "$(WAIT)")

released-since: $(READY) ## In which environments has a release changed? (SINCE= a commit; JSON=1)
	@$(PYTHON) -m tools.released_since --commit "$(SINCE)" $(if $(filter-out 0,$(JSON)),--json)

propose-release: export REASON := $(REASON)
propose-release: $(READY) ## Prepare the pull request that releases (ENV=staging RUN= SINCE= REASON=)
	@$(PYTHON) -m tools.propose_release --env "$(ENV)" --run "$(RUN)" --since "$(SINCE)"

propose-update: $(READY) ## Prepare the pull request that updates the template (TO= QUICK=1)
	@$(PYTHON) -m tools.propose_update --to "$(TO)" $(if $(filter-out 0,$(QUICK)),--quick)

scan: $(READY) ## Look for known vulnerabilities (ENV=dev; MEND=1 raises what mends them)
	@$(PYTHON) -m tools.scan --env "$(ENV)" $(if $(filter-out 0,$(MEND)),--mend)

newest: $(READY) ## Check and test with the newest packages there are, in a copy (VERBS=)
	@$(PYTHON) -m tools.newest --verbs "$(VERBS)"
