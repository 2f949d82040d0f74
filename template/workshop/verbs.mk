# The verbs of the workshop, which the Makefile includes.
LAB =

##@ Workshop

.PHONY: workshop workshop-check workshop-reset workshop-setup workshop-board
workshop: $(READY) ## Show the labs and what is done, or the page of one (LAB=3)
	@$(PYTHON) -m tools.workshop --lab "$(LAB)"

workshop-check: $(READY) ## Is the lab done? If not, what is missing, and one hint more each time (LAB= or the next; URL=)
	@$(PYTHON) -m tools.workshop_check --lab "$(LAB)" --url "$(URL)"

workshop-reset: $(READY) ## Begin a lab again; what you did is kept on a branch (LAB=3)
	@$(PYTHON) -m tools.workshop_reset --lab "$(LAB)"

workshop-setup: $(READY) ## Fetch what the labs need, so that they run without network
	@$(PYTHON) -m tools.workshop_setup

workshop-board: $(READY) ## Show a room who is where, as a page (PORT=8200)
	@$(PYTHON) -m tools.workshop_board $(if $(filter command%,$(origin PORT)),--port "$(PORT)")
