//! What the tests share: the example binaries, and values of their schemas.
use std::path::PathBuf;

/// An example's binary, which Cargo has built beside this test.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run the whole of `cargo test -p kiven-tfplugin`, which builds the examples", path.display());
    path
}
