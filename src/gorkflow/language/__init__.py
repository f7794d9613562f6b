"""How steps and workflows are written and checked: what ``step.py`` and ``workflow.py`` rest on."""
