# Your own targets. A line "name: ## What it does" shows it in `make help`.
