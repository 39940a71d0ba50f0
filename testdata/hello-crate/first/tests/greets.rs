//! The greeting reaches the world.

#[test]
fn greets_the_world() {
    assert!(hello_proof::hello().starts_with("hello, world"));
}
