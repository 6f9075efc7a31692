//! Disconnect: the environment's databases are released or destroyed, then its agent, its account and its EKS cluster.
use crate::input::DisconnectInput;
use crate::settle;
use crate::steps::{AwaitGone, BeginDelete, ReadDatabases, ReleaseAgent, ReleaseDatabase};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::environment::Farewell;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// Most databases at once: the intents of so many steps, with an event each, fit in one transaction.
const TOGETHER_MAX: usize = 40;

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
                for some in databases.chunks(TOGETHER_MAX) {
                    cx.each(ReleaseDatabase::each(some)).await?;
                }
            }
            Farewell::Destroy => {
                for some in databases.chunks(TOGETHER_MAX) {
                    cx.each(BeginDelete::each(&input, some)).await?;
                }
                // Until then the connection stays: what a grace keeps is removed by the agent and the role.
                for some in databases.chunks(TOGETHER_MAX) {
                    cx.each(AwaitGone::each(some)).await?;
                }
            }
        }
        cx.step(ReleaseAgent::of(&input)).await
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::disconnected(ports, operation, outcome).await
    }
}
