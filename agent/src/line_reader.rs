//! Lines of a log stream in bounded memory, whatever a pod writes.
use futures_util::{AsyncBufRead, AsyncBufReadExt};

/// Longest line that is read, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// A stream, line by line.
pub(crate) struct LineReader<R> {
    stream: R,
    line: Vec<u8>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// A line without its end.
    Line(&'a [u8]),
    /// One that is longer than is read.
    TooLong,
}

impl<R: AsyncBufRead + Unpin> LineReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, line: Vec::new() }
    }

    /// The next line; `None` at the end of the stream, whose last line counts only when it has ended.
    pub(crate) async fn next(&mut self) -> Option<Read<'_>> {
        self.line.clear();
        let mut too_long = false;
        loop {
            let (taken, ended) = match self.stream.fill_buf().await {
                Ok([]) | Err(_) => return None,
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                    too_long |= self.line.len() + part.len() > LINE_BYTES_MAX;
                    if !too_long {
                        self.line.extend_from_slice(part);
                    }
                    (part.len() + usize::from(end.is_some()), end.is_some())
                }
            };
            self.stream.consume_unpin(taken);
            if ended {
                return Some(if too_long { Read::TooLong } else { Read::Line(&self.line) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_a_long_one_takes_no_memory() {
        let text = format!("one\n\n{}\nlast\nunfinished", "x".repeat(LINE_BYTES_MAX + 1));
        let mut lines = LineReader::new(futures_util::io::BufReader::with_capacity(7, text.as_bytes()));
        assert_eq!(lines.next().await, Some(Read::Line(b"one")));
        assert_eq!(lines.next().await, Some(Read::Line(b"")));
        assert_eq!(lines.next().await, Some(Read::TooLong));
        assert_eq!(lines.next().await, Some(Read::Line(b"last")));
        assert_eq!(lines.next().await, None);
        assert!(lines.line.capacity() <= 2 * LINE_BYTES_MAX);
    }
}
