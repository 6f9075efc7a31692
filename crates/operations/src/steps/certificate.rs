//! The server certificate: read, and replaced by another from the same authority.
use super::{Target, ask, withdraw};
use crate::input::DatabaseInput;
use jiff::Timestamp;
use kiven_durable::{At, Progress, Step, StepError};
use kiven_model::command::{CommandBody, CommandOutput};
use kiven_model::{Code, Problem};
use kiven_ports::Ports;
use serde::{Deserialize, Serialize};

/// A server certificate, as far as it may be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCertificate {
    /// Its Secret's UID.
    pub uid: String,
    /// When it ends, as far as the operator says.
    pub ends_at: Option<Timestamp>,
}

fn answered(progress: Progress<CommandOutput>) -> Result<Progress<ServerCertificate>, StepError> {
    match progress {
        Progress::Done(CommandOutput::Certificate { uid, ends_at }) => Ok(Progress::Done(ServerCertificate { uid, ends_at })),
        Progress::Done(_) => Err(StepError::Failed(Problem::new(Code::AGENT_FAILED, "the agent answered another question"))),
        Progress::Pending { after, on } => Ok(Progress::Pending { after, on }),
    }
}

/// Which certificate there is.
#[derive(Debug, Clone, Serialize)]
pub struct ReadCertificate {
    target: Target,
}

impl ReadCertificate {
    pub(crate) fn of(input: &DatabaseInput) -> Self {
        Self { target: Target::of(input) }
    }
}

impl<P: Ports> Step<P> for ReadCertificate {
    const NAME: &'static str = "read_certificate";
    type Output = ServerCertificate;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<ServerCertificate>, StepError> {
        let body = CommandBody::ReadCertificate { cluster: self.target.cluster.clone() };
        answered(ask(ports, at, at.token(), &self.target, body).await?)
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<ServerCertificate>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}

/// Another certificate, which PostgreSQL shows.
#[derive(Debug, Clone, Serialize)]
pub struct RenewCertificate {
    target: Target,
    replaces: String,
}

impl RenewCertificate {
    pub(crate) fn of(input: &DatabaseInput, old: &ServerCertificate) -> Self {
        Self { target: Target::of(input), replaces: old.uid.clone() }
    }
}

impl<P: Ports> Step<P> for RenewCertificate {
    const NAME: &'static str = "renew_certificate";
    /// Kubernetes brings a changed Secret to the pods within two minutes; pauses grow to a minute.
    const ATTEMPTS_MAX: u32 = 30;
    type Output = ServerCertificate;
    async fn run(&self, ports: &P, at: &At) -> Result<Progress<ServerCertificate>, StepError> {
        let body = CommandBody::RenewCertificate { cluster: self.target.cluster.clone(), replaces: self.replaces.clone() };
        answered(ask(ports, at, at.token(), &self.target, body).await?)
    }
    async fn undo(&self, ports: &P, at: &At, _: Option<ServerCertificate>) -> Result<Progress<()>, StepError> {
        withdraw(ports, at).await
    }
}
