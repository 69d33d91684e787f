"""Parsers of the small languages in filter values: patterns, label selectors, CEL, JSON filters.

Each parser checks a value and returns a predicate, or raises an error of `errors` that names the
value. Values come from flowd.filter.wanted and the command line. Imports flowd.errors, flowd.wire,
and re2 or cel-expr-python where needed; knows neither rows nor messages' columns.
"""
