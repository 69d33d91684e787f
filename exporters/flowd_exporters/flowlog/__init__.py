"""Flow logs: flows as JSON lines in rotating files, as Hubble's exporter writes them.

`config` has the settings of a log and parses the file of dynamic logs, `exporter` filters, encodes
and writes flow rows from its queue, `aggregate` counts flows by fields, `rotate` is the file.
Imports flowd's model, filter and wire, `base` and hubble.encode; no other exporter.
"""
