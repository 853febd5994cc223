"""The science as Ray actors: where it runs. One file a role."""
