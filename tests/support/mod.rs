//! What tests share. Each test binary uses a part of it.

pub mod issuer;
