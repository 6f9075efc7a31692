//! `kiven`: databases, operations and the local stack from the command line.
//!
//! Invariants of this package:
//! - it never prints a key or a password, and never puts one on a command line: psql gets the name of a password file;
//! - with `--json` standard output holds exactly one JSON value (of `kiven logs` one a line); everything for people goes to standard error;
//! - whatever it waits for has a bound, and giving up changes nothing: operations go on by themselves.
mod args;
mod commands;
mod dev;
mod fail;
mod local_state;
mod log_chain;
mod logs;
mod manifest;
mod psql;
mod runbook;
mod show;
mod show_schedules;
mod table;

use clap::{CommandFactory, Parser};
use fail::Fail;
use kiven_client::{Client, Credentials};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    let json = arguments.json;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            eprintln!("{}", if json { fail.to_json() } else { fail.to_text() });
            ExitCode::from(fail.exit_code())
        }
    }
}

fn run(arguments: args::Arguments) -> Result<(), Fail> {
    match arguments.command {
        args::Command::Dev { arguments } => Err(dev::replace_process(&arguments)),
        args::Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::Arguments::command(), "kiven", &mut script);
            say(&String::from_utf8_lossy(&script))
        }
        args::Command::Agent(args::Agent::Manifest(values)) => {
            let text = manifest::text(&values)?;
            say(&if arguments.json { format!("{}\n", serde_json::json!({ "manifest": text })) } else { text })
        }
        args::Command::Api(command) => {
            let credentials = Credentials::find(None, None, environment)?;
            let client = Client::new(credentials, concat!("kiven-cli/", env!("CARGO_PKG_VERSION")))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Fail::Runtime)?;
            runtime.block_on(commands::run(&client, command, arguments.json))
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of this binary that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Writes to standard output. A reader that has heard enough (`kiven … | head`) is no error.
fn say(text: &str) -> Result<(), Fail> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Fail::Output(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
