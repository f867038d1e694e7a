"""Domain values <-> protobuf: turns and feedback, OTLP."""
