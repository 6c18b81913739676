//! Tests of the watch against a real API server.
