"""The native decoding step: a C++ library (`src/`), its loader, and the backend of the decoding engine over it."""
