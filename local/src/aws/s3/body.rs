//! Upload bodies: plain, or in the `aws-chunked` framing that SDKs use for streams with a trailing checksum.

use axum::http::{HeaderMap, StatusCode};

use super::super::query::Fault;
use super::fault;

/// Longest chunk header or trailer line.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// Whether the body is framed.
pub(super) fn is_chunked(headers: &HeaderMap) -> bool {
    let says = |name: &str, what: &str| headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(what));
    says("content-encoding", "aws-chunked") || says("x-amz-content-sha256", "STREAMING-")
}

/// Decodes a whole body at once.
pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut decoder = Decoder::default();
    let mut out = Vec::with_capacity(bytes.len());
    decoder.push(bytes, &mut out)?;
    decoder.finish()?;
    Ok(out)
}

#[derive(Default)]
enum Place {
    #[default]
    Header,
    Data(u64),
    /// The line end after a chunk.
    Gap,
    Trailer,
}

/// Takes the framing off, piece by piece.
#[derive(Default)]
pub(super) struct Decoder {
    place: Place,
    line: Vec<u8>,
}

impl Decoder {
    pub(super) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        while !input.is_empty() {
            match self.place {
                Place::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    out.extend_from_slice(&input[..take]);
                    input = &input[take..];
                    let left = left - take as u64;
                    self.place = if left == 0 { Place::Gap } else { Place::Data(left) };
                }
                Place::Header | Place::Gap | Place::Trailer => {
                    let end = input.iter().position(|byte| *byte == b'\n');
                    let take = end.map_or(input.len(), |at| at + 1);
                    self.line.extend_from_slice(&input[..take]);
                    input = &input[take..];
                    if self.line.len() > LINE_BYTES_MAX {
                        return Err(broken());
                    }
                    if end.is_some() {
                        self.line_ends()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses a body that ended in the middle.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.place {
            Place::Trailer => Ok(()),
            Place::Header | Place::Data(_) | Place::Gap => Err(broken()),
        }
    }

    fn line_ends(&mut self) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).map_err(|_| broken())?.trim_end();
        self.place = match self.place {
            Place::Header => {
                let size = text.split(';').next().unwrap_or_default();
                match u64::from_str_radix(size, 16).map_err(|_| broken())? {
                    0 => Place::Trailer,
                    size => Place::Data(size),
                }
            }
            Place::Gap if text.is_empty() => Place::Header,
            Place::Gap | Place::Data(_) => return Err(broken()),
            Place::Trailer => Place::Trailer,
        };
        Ok(())
    }
}

fn broken() -> Fault {
    fault(StatusCode::BAD_REQUEST, "IncompleteBody", "the aws-chunked framing is broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_comes_off_whatever_the_pieces() {
        let framed = b"5\r\nhello\r\n6;chunk-signature=00\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        assert_eq!(decode_all(framed).unwrap(), b"hello world");
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for byte in framed {
            decoder.push(&[*byte], &mut out).unwrap();
        }
        decoder.finish().unwrap();
        assert_eq!(out, b"hello world");
        assert!(decode_all(b"5\r\nhel").is_err());
        assert!(decode_all(b"zz\r\n").is_err());
    }
}
