//! Connect: prove the way into an account, look at the cluster, hear the agent.
use crate::input::ConnectInput;
use crate::settle;
use crate::steps::{CheckAccount, ClaimEksCluster, EnsureOidcProvider, HearAgent, ProveAccess, ReadEksCluster};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::environment::Connected;
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Connect;

impl<P: Ports> Body<P> for Connect {
    const KIND: OperationKind = OperationKind::Connect;
    const VERSION: u32 = 1;
    type Input = ConnectInput;
    type Output = Connected;

    async fn run(cx: Cx<P>, input: ConnectInput) -> Result<Connected, Stop> {
        let claim = ClaimEksCluster::of(&input);
        cx.step(ProveAccess { access: input.access.clone() }).await?;
        let cluster = cx.step(ReadEksCluster { access: input.access.clone(), cluster: input.environment.eks_cluster_name.clone() }).await?;
        let check = CheckAccount::of(&input, &cluster.oidc_issuer);
        cx.step(claim).await?;
        cx.step(check).await?;
        let provider = cx.step(EnsureOidcProvider { access: input.access.clone(), issuer: cluster.oidc_issuer.clone() }).await?;
        let agent = cx.step(HearAgent { environment_id: input.access.environment_id }).await?;
        Ok(Connected { cluster_arn: cluster.arn, oidc_issuer: cluster.oidc_issuer, oidc_provider_arn: provider, agent })
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::environment(ports, operation, outcome).await
    }
}
