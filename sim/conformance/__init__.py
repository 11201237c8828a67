"""What must hold of every algorithm, environment and scorer, in words: `iapo check` and the project's own tests."""
