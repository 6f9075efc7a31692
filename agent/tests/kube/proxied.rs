//! A network with one way out: a proxy that asks for a password, and Kiven behind an authority of the customer's own.
use crate::cluster::Admin;
use crate::database::Database;
use crate::installed;
use crate::process::Agent;
use crate::relay::{Kiven, authority};
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// `agent:s3cret`, as HTTP writes it.
const CREDENTIALS: &str = "Proxy-Authorization: Basic YWdlbnQ6czNjcmV0";

/// A proxy that knows CONNECT; who was asked for, and with what answer.
async fn proxy() -> (SocketAddr, Arc<Mutex<Vec<(String, bool)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass(stream, Arc::clone(&seen)));
        }
    });
    (address, asked)
}

async fn pass(mut stream: TcpStream, asked: Arc<Mutex<Vec<(String, bool)>>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let target = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or(&request).to_owned();
    let good = request.lines().any(|line| line.eq_ignore_ascii_case(CREDENTIALS));
    asked.lock().unwrap().push((target.clone(), good));
    if !good {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
        return;
    }
    let mut onward = TcpStream::connect(&target).await.unwrap();
    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

#[tokio::test]
async fn it_goes_through_a_proxy_and_trusts_a_private_authority() {
    let admin = Admin::connect().await;
    let corporate = authority("corporate");
    let kiven = Kiven::start_behind(&admin, "", Some(&corporate)).await;
    installed::install(&installed::values(&kiven));
    let (address, asked) = proxy().await;
    let authorities = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authorities.path(), corporate.pem()).unwrap();
    let api = format!("localhost:{}", kiven.api.port());
    let url = ("KIVEN_API_URL", format!("https://{api}"));
    let ca = ("KIVEN_CA_PATH", authorities.path().display().to_string());
    let way = ("HTTPS_PROXY", format!("http://{address}"));
    let credentials = [("KIVEN_PROXY_USERNAME", "agent".to_owned()), ("KIVEN_PROXY_PASSWORD", "s3cret".to_owned())];
    // Without the authority nobody is believed, without the password nobody is reached.
    let whole = [url.clone(), way.clone(), credentials[0].clone(), credentials[1].clone()];
    for (variables, why) in [(&whole[..], "certificate"), (&[url.clone(), way.clone(), ca.clone()][..], "407")] {
        let agent = Agent::start(&admin, &kiven, variables).await;
        let said = crate::cluster::until("the agent says why", async || {
            let log = agent.log();
            log.lines().find(|line| line.contains("session ended")).map(str::to_owned)
        })
        .await;
        assert!(said.to_lowercase().contains(why) || why == "407" && said.contains("proxy"), "{said}");
        assert!(!agent.log().contains("s3cret"));
    }
    asked.lock().unwrap().clear();
    let agent = Agent::start(&admin, &kiven, &[&whole[..], &[ca]].concat()).await;
    let inspect = Command { database_id: None, ..Database::new(&kiven.environment, "none", 9).command("inspect", CommandBody::Inspect) };
    assert!(matches!(kiven.ask(&inspect).await, CommandOutcome::Done(CommandOutput::Facts(_))));
    let relay = format!("localhost:{}", kiven.relay.port());
    // Both, and never the cluster's own API server.
    assert_eq!(*asked.lock().unwrap(), [(api, true), (relay, true)]);
    drop(agent);
    installed::uninstall(&admin).await;
}
