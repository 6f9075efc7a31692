//! Build, demo, test, bench, tidy.
mod generate;
mod tidy;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(),
        _ => generate::run(false),
    }
}
