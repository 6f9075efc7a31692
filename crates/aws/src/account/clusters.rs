//! EKS clusters and the IAM OIDC provider of their issuer.

use aws_sdk_iam::types::Tag;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use kiven_ports::account::{Access, ClusterFacts, ownership_tags};

use crate::Sdk;
use crate::error::{is, port_error};

/// The audience of tokens that IAM accepts.
pub(super) const AUDIENCE: &str = "sts.amazonaws.com";

/// An issuer's host and path: how IAM names its provider.
pub(super) fn host_of(issuer: &str) -> &str {
    issuer.split_once("://").map_or(issuer, |(_, host)| host).trim_end_matches('/')
}

pub(super) async fn get(sdk: &Sdk, name: &str) -> Result<ClusterFacts, PortError> {
    let described = sdk.eks().describe_cluster().name(name).send().await;
    let cluster = match described {
        Ok(answer) => answer.cluster,
        Err(error) if is(&error, &["ResourceNotFoundException"]) => None,
        Err(error) => return Err(port_error("eks:DescribeCluster", error)),
    };
    let Some(cluster) = cluster else {
        return Err(PortError::Refused(
            Problem::new(Code::NOT_FOUND, format!("There is no EKS cluster {name} in this account and region."))
                .hint("Check eks_cluster_name, aws_account_id and aws_region."),
        ));
    };
    let issuer = cluster.identity().and_then(|identity| identity.oidc()).and_then(|oidc| oidc.issuer());
    let (Some(arn), Some(version), Some(issuer)) = (cluster.arn(), cluster.version(), issuer) else {
        // A cluster that is being created has neither.
        return Err(PortError::retry("eks:DescribeCluster", "the cluster is not ready"));
    };
    Ok(ClusterFacts { arn: arn.to_owned(), version: version.to_owned(), oidc_issuer: issuer.to_owned() })
}

pub(super) async fn oidc_provider_ensure(sdk: &Sdk, access: &Access, issuer: &str) -> Result<String, PortError> {
    let iam = sdk.iam();
    let host = host_of(issuer);
    let arn = format!("arn:aws:iam::{}:oidc-provider/{host}", access.account_id);
    match iam.get_open_id_connect_provider().open_id_connect_provider_arn(&arn).send().await {
        Ok(provider) => {
            if provider.client_id_list().iter().any(|audience| audience == AUDIENCE) {
                return Ok(arn);
            }
            // Somebody else's provider: used as it is or not at all.
            return Err(PortError::Refused(
                Problem::new(Code::FOREIGN_RESOURCE, "The cluster's OIDC provider does not accept IAM's audience.")
                    .detail(arn)
                    .hint(format!("Add the client id {AUDIENCE} to it.")),
            ));
        }
        Err(error) if is(&error, &["NoSuchEntity"]) => {}
        Err(error) => return Err(port_error("iam:GetOpenIDConnectProvider", error)),
    }
    let mut create = iam.create_open_id_connect_provider().url(issuer).client_id_list(AUDIENCE);
    for (key, value) in ownership_tags(access, None) {
        let tag = Tag::builder().key(key).value(value).build();
        create = create.tags(tag.map_err(|error| PortError::retry("iam:CreateOpenIDConnectProvider", error.to_string()))?);
    }
    match create.send().await {
        Ok(_) => Ok(arn),
        Err(error) if is(&error, &["EntityAlreadyExists"]) => Ok(arn),
        Err(error) => Err(port_error("iam:CreateOpenIDConnectProvider", error)),
    }
}
