//! A store that is further away than this machine: what is sent to it arrives late.
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How much is sent on at once: more than a request of the store has, so that each is late once.
const BYTES_MAX: usize = 1024 * 1024;

/// Starts a listener whose connections lead to `url`, each request `latency` late, and answers its URL. It lives as long as the
/// process.
///
/// # Errors
/// When `url` has no address, or no port is free.
pub(crate) async fn behind(url: &str, latency: Duration) -> anyhow::Result<String> {
    let target: SocketAddr = url.trim_start_matches("http://").parse()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let here = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Either side may go at any time; the other then finds its connection closed.
                let _ = carry(near, target, latency).await;
            });
        }
    });
    Ok(here)
}

async fn carry(near: TcpStream, target: SocketAddr, latency: Duration) -> std::io::Result<()> {
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let there = async {
        let mut buffer = vec![0; BYTES_MAX];
        loop {
            let read = from_near.read(&mut buffer).await?;
            if read == 0 {
                return to_far.shutdown().await;
            }
            tokio::time::sleep(latency).await;
            to_far.write_all(buffer.get(..read).unwrap_or_default()).await?;
        }
    };
    let back = async { tokio::io::copy(&mut from_far, &mut to_near).await.map(drop) };
    tokio::try_join!(there, back).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn what_is_sent_arrives_late_and_whole() {
        let far = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = behind(&format!("http://{}", far.local_addr().unwrap()), Duration::from_millis(20)).await.unwrap();
        let mut near = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let began = Instant::now();
        near.write_all(b"ping").await.unwrap();
        let (mut there, _) = far.accept().await.unwrap();
        let mut said = [0; 4];
        there.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"ping");
        assert!(began.elapsed() >= Duration::from_millis(20));
        there.write_all(b"pong").await.unwrap();
        near.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"pong");
    }
}
