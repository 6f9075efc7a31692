//! Build, demo, test, bench, tidy.
mod generate;

fn main() -> anyhow::Result<()> {
    generate::run(false)
}
