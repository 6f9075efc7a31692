//! Disconnect: the environment's databases are released or destroyed, then its agent, its account and its EKS cluster.
use crate::input::DisconnectInput;
use crate::settle;
use crate::steps::{AwaitGone, BeginDelete, ReadDatabases, ReleaseAgent, ReleaseDatabase};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::environment::Farewell;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Disconnect;

impl<P: Ports> Body<P> for Disconnect {
    const KIND: OperationKind = OperationKind::Disconnect;
    const VERSION: u32 = 1;
    type Input = DisconnectInput;
    type Output = bool;

    /// Answers whether the agent was told.
    async fn run(cx: Cx<P>, input: DisconnectInput) -> Result<bool, Stop> {
        let databases = cx.step(ReadDatabases::of(&input)).await?;
        cx.no_way_back().await?;
        match input.farewell {
            Farewell::Release => {
                cx.each(ReleaseDatabase::each(&databases)).await?;
            }
            Farewell::Destroy => {
                cx.each(BeginDelete::each(&input, &databases)).await?;
                // Until then the connection stays: what a grace keeps is removed by the agent and the role.
                cx.each(AwaitGone::each(&databases)).await?;
            }
        }
        cx.step(ReleaseAgent::of(&input)).await
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::disconnected(ports, operation, outcome).await
    }
}
