"""The comparison: inputs to requests, two sides to outcomes, differences to causes and a summary.

`inputs` reads requests and logs, `sides` builds both simulations, `differences` compares two outcomes,
`causes` names the cause, `comparison` runs over all requests. Imports the parity rooms below it.
"""
