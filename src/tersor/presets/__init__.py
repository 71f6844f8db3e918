"""The recipes that ship, one TOML file per flavour."""
