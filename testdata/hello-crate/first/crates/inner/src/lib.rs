//! A crate below the root of its repository.

/// The answer.
pub const ANSWER: u32 = 42;
