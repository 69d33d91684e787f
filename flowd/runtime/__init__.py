"""What parts run on: queues between stages, tasks, protocols of the parts, and the process itself.

Sources put batches into a `queue`, `tasks` move them on, an `exporter` takes them; `parts` has the
protocols of all of them. `process`, `privileges` and `memory` are about the process as a whole.
Imports the model only, so that every room may import this one.
"""
