"""The spine: one module per stage, each a verb, from frozen values to a frozen value."""
