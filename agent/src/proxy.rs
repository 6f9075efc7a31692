//! The way out through a proxy that knows CONNECT, where there is no other: for the relay and the API, never for the API server.
use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Uri;

/// The longest answer to a CONNECT, its headers with it.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// A proxy, and who is reached without it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// `host:port`.
    address: String,
    /// User name and password, where it asks for them.
    credentials: Option<(String, String)>,
    /// Hosts and domains, without a leading dot.
    except: Vec<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).field("except", &self.except).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Reads it from the variables that the chart sets; `None` where there is none.
    pub(crate) fn parse(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let value = |names: &[&str]| names.iter().find_map(|name| lookup(name).filter(|value| !value.is_empty()));
        let Some(url) = value(&["HTTPS_PROXY", "https_proxy"]) else { return Ok(None) };
        let uri: Uri = url.parse().context("HTTPS_PROXY is not a URL")?;
        let (Some("http"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16()) else {
            bail!("HTTPS_PROXY must be http://host:port; what goes through it is encrypted by itself");
        };
        // Written before the host they would be in the pod's specification, for everybody to read.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            bail!("HTTPS_PROXY must not hold credentials: give the chart a `proxySecret`");
        }
        let credentials = value(&["KIVEN_PROXY_USERNAME"]).map(|name| (name, value(&["KIVEN_PROXY_PASSWORD"]).unwrap_or_default()));
        let except = value(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let except = except.split(',').map(|one| one.trim().trim_start_matches('.').to_ascii_lowercase()).filter(|one| !one.is_empty());
        Ok(Some(Self { address: format!("{host}:{port}"), credentials, except: except.collect() }))
    }

    /// Whether a host is reached through it: not one of the exceptions, nor below one of them.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        !self.except.iter().any(|domain| domain == "*" || below(domain))
    }

    /// The same for the HTTP client.
    pub(crate) fn for_https(&self) -> anyhow::Result<reqwest::Proxy> {
        let proxy = reqwest::Proxy::https(format!("http://{}", self.address)).context("the proxy cannot be used")?;
        Ok(match &self.credentials {
            Some((name, password)) => proxy.basic_auth(name, password),
            None => proxy,
        })
    }

    /// A connection to `host:port` through it.
    pub(crate) async fn connect(&self, target: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some((name, password)) = &self.credentials {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", base64(&format!("{name}:{password}"))));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        judge(&answer(&mut stream).await?)?;
        Ok(stream)
    }
}

/// What the agent's stream is carried by: a connection through the proxy.
pub(crate) async fn tunnel(proxy: Proxy, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let target = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
    proxy.connect(&target).await.map(TokioIo::new)
}

/// Reads to the end of the headers and not a byte further: what follows is the target's.
async fn answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() >= ANSWER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer has no end"));
        }
        bytes.push(stream.read_u8().await?);
    }
    Ok(bytes)
}

/// Whether an answer opens the way.
fn judge(answer: &[u8]) -> io::Result<()> {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    match words.next() {
        Some(status) if is_http && status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy answered `{line}`"))),
    }
}

fn base64(text: &str) -> String {
    let encoded = serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    encoded.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Option<Proxy>> {
        Proxy::parse(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_nothing_secret() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("HTTPS_PROXY", "")]).unwrap(), None);
        let proxy =
            read(&[("https_proxy", "http://proxy:3128"), ("KIVEN_PROXY_USERNAME", "u"), ("KIVEN_PROXY_PASSWORD", "s3cret")]).unwrap().unwrap();
        assert_eq!(proxy.address, "proxy:3128");
        assert!(!format!("{proxy:?}").contains("s3cret"));
        for (wrong, why) in
            [("https://proxy:3128", "http://host:port"), ("http://proxy", "http://host:port"), ("http://u:p@proxy:3128", "credentials")]
        {
            assert!(read(&[("HTTPS_PROXY", wrong)]).unwrap_err().to_string().contains(why), "{wrong}");
        }
    }

    #[test]
    fn exceptions_are_hosts_and_whole_domains() {
        let proxy = |except| read(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", except)]).unwrap().unwrap();
        for (except, host, through) in [
            ("", "relay.kiven.example", true),
            ("kiven.example", "relay.kiven.example", false),
            (" .kiven.example ,x", "Relay.Kiven.example", false),
            ("relay.kiven.example", "relay.kiven.example", false),
            ("iven.example", "relay.kiven.example", true),
            ("*", "relay.kiven.example", false),
        ] {
            assert_eq!(proxy(except).is_for(host), through, "{except}: {host}");
        }
    }

    /// What a proxy that answers this was asked, and what the caller got.
    async fn asked(answer: &'static [u8]) -> (String, io::Result<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = read(&[("HTTPS_PROXY", &url), ("KIVEN_PROXY_USERNAME", "u"), ("KIVEN_PROXY_PASSWORD", "p")]).unwrap().unwrap();
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = super::answer(&mut stream).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request).unwrap()
        };
        let got = async { proxy.connect("relay:443").await?.read_u8().await };
        tokio::join!(served, got)
    }

    #[tokio::test]
    async fn the_way_is_open_after_a_good_answer_and_no_byte_is_lost() {
        let (request, got) = asked(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nT").await;
        assert_eq!(request, "CONNECT relay:443 HTTP/1.1\r\nHost: relay:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
        assert_eq!(got.unwrap(), b'T');
    }

    #[tokio::test]
    async fn everything_else_is_refused_with_the_proxys_words() {
        for answer in
            [&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 2000 no\r\n\r\n"]
        {
            let error = asked(answer).await.1.unwrap_err().to_string();
            let line = String::from_utf8_lossy(answer);
            assert!(error.contains(line.trim()), "{error}");
        }
        assert_eq!(asked(&[b'x'; 2 * ANSWER_BYTES_MAX]).await.1.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(asked(b"HTTP/1.1 200").await.1.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
