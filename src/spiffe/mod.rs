//! SPIFFE: the identity of a workload (SPIFFE-ID), and the header by which a proxy tells of a client's
//! certificate that it has verified (Envoy's `x-forwarded-client-cert`).
//!
//! Nothing is verified here: whose word counts is the business of those who ask.

mod id;
mod xfcc;

pub use id::SpiffeId;
pub use xfcc::{Malformed, XFCC, forwarded_uri};
