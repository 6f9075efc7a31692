//! A function ends well when Lambda tells it to, whether the runtime knows extensions or not.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long the whole of a test may take.
const END_MAX: Duration = Duration::from_secs(20);

/// Serves a runtime API that has one invocation and then nothing; says what it was asked.
fn runtime(extensions: bool) -> (String, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || serve(stream, extensions, &told));
        }
    });
    (address, asked)
}

fn serve(mut stream: TcpStream, extensions: bool, told: &Sender<String>) {
    let mut head = [0; 4096];
    let Ok(read) = stream.read(&mut head) else { return };
    let line = String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned();
    let answer = match line.split(' ').nth(1).unwrap_or_default() {
        "/2020-01-01/extension/register" if extensions => {
            "HTTP/1.1 200 OK\r\nlambda-extension-identifier: one\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        }
        "/2018-06-01/runtime/invocation/next" => {
            "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: 1\r\nlambda-runtime-deadline-ms: 9999999999999\r\n\
             lambda-runtime-invoked-function-arn: arn\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        }
        "/2020-01-01/extension/event/next" => "",
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    };
    let _ = told.send(line);
    let _ = stream.write_all(answer.as_bytes());
    // Kept open: whoever waits for the next event waits for ever.
    let _ = stream.read(&mut head);
}

fn stops(extensions: bool) -> (Vec<String>, Vec<Value>) {
    let (runtime, asked) = runtime(extensions);
    // A store that never answers: the work hangs, with a call that was made.
    let store = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let environment = [
        ("AWS_LAMBDA_RUNTIME_API", runtime),
        ("AWS_LAMBDA_FUNCTION_NAME", "sweep".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{}", store.local_addr().unwrap())),
        ("KIVEN_TABLE", "kiven".to_owned()),
        ("KIVEN_PAYLOAD_BUCKET", "kiven".to_owned()),
        ("KIVEN_DOORBELL_URL", "http://127.0.0.1:9/q".to_owned()),
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_lambda-sweep"))
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The function has asked its store: it is at work.
    let held = store.accept().unwrap();
    let began = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < END_MAX, "it does not end");
        std::thread::yield_now();
    };
    drop(held);
    assert_eq!(status.code(), Some(0), "{status}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (asked.try_iter().collect(), lines)
}

#[test]
fn a_function_that_is_stopped_tells_what_it_had_begun() {
    for extensions in [true, false] {
        let (asked, said) = stops(extensions);
        assert!(asked[0].starts_with("POST /2020-01-01/extension/register"), "before it asks for work: {asked:?}");
        assert_eq!(asked.iter().any(|line| line.contains("/extension/event/next")), extensions, "{asked:?}");
        let last = said.iter().find(|line| line["event"] == "stopped").unwrap_or_else(|| panic!("{said:#?}"));
        assert!(last["AwsCalls"].as_f64().is_some_and(|calls| calls >= 1.0), "{last}");
    }
}
