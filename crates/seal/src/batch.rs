//! What is inside of a seal: a header, and lines with the pod that wrote them. One line of text each.
use crate::SealError;
use kiven_model::logs::BatchHeader;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The instance that wrote it.
    pub pod: String,
    /// As it was written, without its end.
    pub text: String,
}

impl Line {
    /// Bytes that it takes in a batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pod.len() + self.text.len() + 2
    }
}

/// What is sealed at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// What to know of the lines.
    pub header: BatchHeader,
    /// The lines, in the order in which they were read.
    pub lines: Vec<Line>,
}

impl Batch {
    pub(crate) fn text(&self) -> String {
        // A header is numbers and a sentence of Kiven's own: it always has a JSON form.
        let mut text = serde_json::to_string(&self.header).unwrap_or_else(|_| "{\"previous\":0}".to_owned());
        for line in &self.lines {
            text.push('\n');
            text.push_str(&line.pod);
            text.push('\t');
            text.push_str(&line.text);
        }
        text
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, SealError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SealError::Content)?;
        let mut parts = text.split('\n');
        let header = parts.next().and_then(|header| serde_json::from_str(header).ok()).ok_or(SealError::Content)?;
        let line = |part: &str| part.split_once('\t').map(|(pod, text)| Line { pod: pod.to_owned(), text: text.to_owned() });
        let lines: Option<Vec<Line>> = parts.map(line).collect();
        Ok(Self { header, lines: lines.ok_or(SealError::Content)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_its_text() {
        let line = |text: &str| Line { pod: "shop-1".to_owned(), text: text.to_owned() };
        for lines in [vec![], vec![line("{\"a\": \"b\\tc\"}"), line("with\ta tab"), line("")]] {
            let batch = Batch { header: BatchHeader { previous: 1, dropped: 0, ended: Some("paused".to_owned()) }, lines };
            assert_eq!(Batch::read(batch.text().as_bytes()).unwrap(), batch);
        }
        for wrong in ["", "{}\nno tab", "{\"previous\":1}\n"] {
            assert!(Batch::read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
