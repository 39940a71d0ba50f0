//! How to greet.

/// Returns the greeting.
pub fn hello() -> String {
    hello_to("world")
}

/// Returns the greeting for somebody.
pub fn hello_to(name: &str) -> String {
    let end = if cfg!(feature = "loud") { "!" } else { "." };
    format!("hello, {name}{end}")
}
