//! Where the provider listens, and what it accepts: a private Unix socket, or the loopback interface where there is none.
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;

/// A connection, with or without TLS.
pub(crate) struct Connection(Pin<Box<dyn Io>>);

/// What a connection is made of.
trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

impl Connection {
    pub(crate) fn new(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(io))
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.as_mut().poll_write(context, buffer)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_shutdown(context)
    }
}

/// Where the provider listens.
pub(crate) enum Listener {
    /// In a directory that only this user can enter; it goes with the listener.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, unix::PrivateDirectory),
    /// On the loopback interface. Others on the machine can reach it, so that here mutual TLS alone keeps them out.
    #[cfg_attr(all(unix, not(test)), expect(dead_code, reason = "chosen on Windows, tested everywhere"))]
    Tcp(TcpListener, String),
}

impl Listener {
    /// A private Unix socket, or where there are none, the first free one of the ports.
    pub(crate) async fn bind(ports: (u16, u16)) -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            let _ = ports;
            let directory = unix::PrivateDirectory::make()?;
            Ok(Self::Unix(tokio::net::UnixListener::bind(directory.socket())?, directory))
        }
        #[cfg(not(unix))]
        Self::loopback(ports).await
    }

    /// The first free port of the loopback interface within these.
    #[cfg(any(not(unix), test))]
    pub(crate) async fn loopback((first, last): (u16, u16)) -> std::io::Result<Self> {
        let mut taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for port in first..=last {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => return Ok(Self::Tcp(listener, format!("127.0.0.1:{port}"))),
                Err(error) => taken = error,
            }
        }
        Err(taken)
    }

    /// The kind of address, as the handshake names it.
    pub(crate) fn network(&self) -> &'static str {
        match self {
            #[cfg(unix)]
            Self::Unix(..) => "unix",
            Self::Tcp(..) => "tcp",
        }
    }

    /// The address, as the handshake names it.
    pub(crate) fn address(&self) -> String {
        match self {
            #[cfg(unix)]
            Self::Unix(_, directory) => directory.socket().display().to_string(),
            Self::Tcp(_, address) => address.clone(),
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> std::io::Result<Connection> {
        match self {
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Connection::new(stream)),
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Without this, each small answer waits for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                Ok(Connection::new(stream))
            }
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::DirBuilderExt;
    use std::path::PathBuf;

    /// Names tried for the socket's directory before giving up.
    const DIRECTORY_ATTEMPTS_MAX: u32 = 100;
    /// What a Unix socket's address holds on every supported system, with the terminating zero: macOS has the least, 104.
    const SOCKET_PATH_BYTES_MAX: usize = 103;

    /// A directory that only this user can enter; it goes when the server ends.
    pub(crate) struct PrivateDirectory(PathBuf);

    impl PrivateDirectory {
        pub(super) fn make() -> std::io::Result<Self> {
            let temp = std::env::temp_dir();
            let base = if temp.as_os_str().len() + 40 > SOCKET_PATH_BYTES_MAX { PathBuf::from("/tmp") } else { temp };
            let mut last = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            for attempt in 0..DIRECTORY_ATTEMPTS_MAX {
                let path = base.join(format!("tfplugin-{}-{attempt}", std::process::id()));
                // Created with its mode in one call: there is no moment in which others could enter, and what exists is never used.
                match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                    Ok(()) => return Ok(Self(path)),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => last = error,
                    Err(error) => return Err(error),
                }
            }
            Err(last)
        }

        /// Where the socket belongs.
        pub(super) fn socket(&self) -> PathBuf {
            self.0.join("s")
        }
    }

    impl Drop for PrivateDirectory {
        fn drop(&mut self) {
            // What cannot be removed is an empty directory in the temporary folder.
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_the_owner_can_enter_the_socket_directory() {
            use std::os::unix::fs::PermissionsExt;
            let (first, second) = (PrivateDirectory::make().unwrap(), PrivateDirectory::make().unwrap());
            assert_ne!(first.0, second.0);
            assert_eq!(std::fs::metadata(&first.0).unwrap().permissions().mode() & 0o777, 0o700);
            let path = first.0.clone();
            drop(first);
            assert!(!path.exists());
        }
    }
}
