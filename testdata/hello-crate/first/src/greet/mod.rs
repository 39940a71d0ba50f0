//! How to greet.

/// Returns the greeting.
pub fn hello() -> String {
    let end = if cfg!(feature = "loud") { "!" } else { "." };
    format!("hello, world{end}")
}
