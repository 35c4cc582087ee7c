//! Scenarios on a real Envoy.
