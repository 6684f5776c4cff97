"""The parts of `make release` beside the build: version, section of the changelog, list of components."""
