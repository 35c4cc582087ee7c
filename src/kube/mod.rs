//! Kubernetes as a judge of tokens: TokenReview (authentication.k8s.io/v1), its question and its answer.
//!
//! The answer repeats the token that was asked about, so nothing of it is kept but what is read here.

mod token_review;

pub use token_review::{CREATED, PATH, Review, ReviewError, User, question, read_answer};
