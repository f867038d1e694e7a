"""trimtab.registry.v1.RegistryService: decode, call, encode."""
