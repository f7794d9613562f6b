"""The demo: a store full of runs, made by five workflows that are examples as well."""
