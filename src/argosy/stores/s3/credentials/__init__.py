"""Where the key of an object store comes from, and how it stays good: the chain of the AWS SDKs."""
