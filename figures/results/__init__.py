"""Pictures of results that commands write: drawn only, nothing is computed."""
