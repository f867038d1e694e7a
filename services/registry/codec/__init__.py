"""Domain <-> protobuf."""
