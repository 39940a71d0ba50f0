//! A crate that says hello.

pub mod greet;

pub use greet::{hello, hello_to};
