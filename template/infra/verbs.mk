# The verbs of Terraform, which the Makefile includes.
CLOUD =
ALLOW =
YES =

##@ Infrastructure

.PHONY: infra-check infra-plan infra-apply infra-destroy infra-config
infra-%: CLUSTER = $(if $(filter file,$(origin ENV)),nonprod,$(ENV))
infra-check: $(READY) ## Check the style of infra, whether it is valid, and what it refuses
	@$(PYTHON) -m tools.infra_check

infra-plan: $(READY) ## Show what Terraform would change (ENV=nonprod|prod|bootstrap CLOUD= ALLOW='addresses')
	@$(PYTHON) -m tools.infra_plan --env "$(CLUSTER)" --cloud "$(CLOUD)" --allow '$(ALLOW)'

infra-apply: $(READY) ## Have Terraform do it (ENV= CLOUD= ALLOW= YES=1 does not ask)
	@$(PYTHON) -m tools.infra_apply --env "$(CLUSTER)" --cloud "$(CLOUD)" --allow '$(ALLOW)' $(if $(filter-out 0,$(YES)),--yes)

infra-destroy: $(READY) ## Take it down; prod asks for the project's name (ENV= CLOUD= NAME= YES=1)
	@$(PYTHON) -m tools.infra_destroy --env "$(CLUSTER)" --cloud "$(CLOUD)" --name "$(NAME)" $(if $(filter-out 0,$(YES)),--yes)

infra-config: $(READY) ## Bring what Terraform made into config/environments (ENV= CLOUD=)
	@$(PYTHON) -m tools.infra_config --env "$(CLUSTER)" --cloud "$(CLOUD)"
