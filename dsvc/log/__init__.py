"""The log: every change of a store as one numbered entry, and the state that the entries add up to."""
