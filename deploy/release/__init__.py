"""What `make release` needs beside the build: the version, the section of the changelog, the list of components."""
