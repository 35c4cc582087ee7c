//! What several tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod attacks;
pub mod data;
pub mod flow;
pub mod forgery;
pub mod issuer;
