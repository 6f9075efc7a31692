//! WAL archiving and the few S3 calls it needs: plain HTTP, path style, unsigned, to the local endpoint only.
//!
//! PostgreSQL calls [`run`] through `archive_command`, so it is synchronous and small: it starts once per WAL file.
use super::error::OperatorError;
use std::fs::File;
use std::io::{Read as _, Write as _, copy};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

/// Name of the hidden subcommand that the binary hands to [`run`].
pub const SUBCOMMAND: &str = "archive-wal";
const IO_SECONDS_MAX: u64 = 30;
const HEAD_BYTES_MAX: u64 = 16 * 1024;

/// The endpoint as `http://host:port`.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
}

impl Bucket {
    /// Reads `s3://bucket/prefix`, to which a server's name is added.
    pub(crate) fn parse(endpoint: &str, destination: &str, server: &str) -> Option<Self> {
        let rest = destination.strip_prefix("s3://")?.trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = [prefix, server].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        (!bucket.is_empty()).then(|| Self { endpoint: endpoint.into(), bucket: bucket.into(), prefix })
    }

    /// The arguments after the subcommand, with PostgreSQL's placeholders.
    pub(crate) fn archive_arguments(&self) -> [&str; 5] {
        [&self.endpoint, &self.bucket, &self.prefix, "%p", "%f"]
    }

    /// Stores a file under the prefix and returns only when the endpoint has said that it did.
    pub(crate) fn put(&self, key: &str, file: &Path) -> Result<(), OperatorError> {
        let body = File::open(file)?;
        let bytes = body.metadata()?.len();
        let authority = self.endpoint.strip_prefix("http://").unwrap_or(&self.endpoint).trim_end_matches('/');
        let address = authority.to_socket_addrs()?.next().ok_or_else(|| OperatorError::Missing("the S3 endpoint's address".into()))?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(IO_SECONDS_MAX))?;
        stream.set_read_timeout(Some(Duration::from_secs(IO_SECONDS_MAX)))?;
        stream.set_write_timeout(Some(Duration::from_secs(IO_SECONDS_MAX)))?;
        let path = [self.bucket.as_str(), self.prefix.as_str(), key].join("/");
        let head = format!(
            "PUT /{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {bytes}\r\nContent-Type: application/octet-stream\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        copy(&mut body.take(bytes), &mut stream)?;
        let mut answer = Vec::new();
        stream.take(HEAD_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let line = answer.lines().next().unwrap_or("nothing");
        match line.split(' ').nth(1) {
            Some(code) if code.starts_with('2') => Ok(()),
            _ => Err(OperatorError::Storage(line.into())),
        }
    }
}

/// Key of a WAL file, in the folder of its time line and log as Barman lays archives out.
fn wal_key(name: &str) -> String {
    let is_segment = name.len() >= 24 && name.as_bytes()[..24].iter().all(u8::is_ascii_hexdigit);
    if is_segment { format!("wals/{}/{name}", &name[..16]) } else { format!("wals/{name}") }
}

/// Archives one WAL file: `endpoint bucket prefix path name`. Zero only when it is stored.
pub fn run(args: &[String]) -> std::process::ExitCode {
    let [endpoint, bucket, prefix, path, name] = args else {
        eprintln!("{SUBCOMMAND} expects: endpoint bucket prefix path name");
        return std::process::ExitCode::from(2);
    };
    let bucket = Bucket { endpoint: endpoint.clone(), bucket: bucket.clone(), prefix: prefix.clone() };
    match bucket.put(&wal_key(name), Path::new(path)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name} was not archived: {}", error.chain());
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_destinations() {
        assert_eq!(wal_key("000000010000000000000003"), "wals/0000000100000000/000000010000000000000003");
        assert_eq!(wal_key("00000002.history"), "wals/00000002.history");
        let bucket = Bucket::parse("http://127.0.0.1:1", "s3://b/p/q/", "server-1").unwrap();
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), ("b", "p/q/server-1"));
        assert_eq!(Bucket::parse("e", "s3://b", "s").unwrap().prefix, "s");
        assert!(Bucket::parse("e", "file:///b", "s").is_none());
    }
}
