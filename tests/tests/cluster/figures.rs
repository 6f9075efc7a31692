//! What was measured, Kiven's beside that of a Cluster made by hand.
use std::time::Duration;

/// A table of seconds.
#[derive(Debug, Default)]
pub struct Figures {
    rows: Vec<(String, Option<f64>, Option<f64>)>,
}

impl Figures {
    fn row(&mut self, what: &str) -> &mut (String, Option<f64>, Option<f64>) {
        let at = self.rows.iter().position(|row| row.0 == what).unwrap_or_else(|| {
            self.rows.push((what.to_owned(), None, None));
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// Kiven's.
    pub fn kiven(&mut self, what: &str, took: Duration) {
        self.kiven_gap(what, took.as_secs_f64());
    }

    /// Kiven's, in seconds.
    pub fn kiven_gap(&mut self, what: &str, seconds: f64) {
        println!("kiven: {what}: {seconds:.1}");
        self.row(what).1 = Some(seconds);
    }

    /// The other's.
    pub fn plain(&mut self, what: &str, took: Duration) {
        self.plain_gap(what, took.as_secs_f64());
    }

    /// The other's, in seconds.
    pub fn plain_gap(&mut self, what: &str, seconds: f64) {
        println!("plain: {what}: {seconds:.1}");
        self.row(what).2 = Some(seconds);
    }

    /// The table, as docs/cluster-suite.md has it.
    pub fn print(&self) {
        let cell = |value: &Option<f64>| value.map_or_else(String::new, |seconds| format!("{seconds:.1}"));
        println!("\n| | Kiven | plain CloudNativePG |\n|---|---:|---:|");
        self.rows.iter().for_each(|(what, kiven, plain)| println!("| {what} | {} | {} |", cell(kiven), cell(plain)));
    }
}
