//! EKS: the clusters of the local account and their node groups, changing in the background like the real ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use kiven_sim::nodegroups::{Delays, GroupChange, GroupSpec, LaunchTemplate, NodeGroup, NodeGroups, Refusal, Scaling, Taint, Update};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{Access, Caller};
use super::policy::Context;
use super::query::Fault;
use super::state::{State, StateError};

const GROUPS_KEY: &str = "eks/groups";

/// An EKS cluster of the local account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Cluster name.
    pub name: String,
    /// Kubernetes version.
    pub version: String,
    /// The API server's URL.
    pub endpoint: String,
    /// The API server's CA, base64 of PEM.
    pub ca_data: String,
    /// The ServiceAccount token issuer's URL.
    pub oidc_issuer: String,
    /// Subnets by zone name.
    pub subnets: BTreeMap<String, String>,
}

/// Clusters and groups; clones share the state.
#[derive(Clone)]
pub(crate) struct Eks {
    access: Access,
    groups: Arc<Mutex<NodeGroups>>,
}

impl Eks {
    pub(crate) fn open(access: Access, delays: Delays, clusters: &[Cluster]) -> Result<Self, StateError> {
        for cluster in clusters {
            access.state.put(&cluster_key(&cluster.name), cluster)?;
        }
        let mut groups: NodeGroups = access.state.get(GROUPS_KEY)?.unwrap_or_else(|| NodeGroups::new(delays));
        groups.delays_set(delays);
        Ok(Self { access, groups: Arc::new(Mutex::new(groups)) })
    }

    pub(crate) fn router(self) -> Router {
        Router::new().fallback(handle).with_state(self)
    }

    /// The cluster's node groups as they are now.
    pub(crate) fn node_groups(&self, cluster: &str) -> Vec<NodeGroup> {
        self.lock().list((self.access.now_ms)(), cluster)
    }

    pub(crate) fn capacity_set(&self, subnet: &str, available: bool) -> Result<(), StateError> {
        self.change(|groups, _| groups.capacity_set(subnet, available))
    }

    pub(crate) fn cluster_put(&self, cluster: &Cluster) -> Result<(), StateError> {
        self.access.state.put(&cluster_key(&cluster.name), cluster)
    }

    /// Changes the groups and writes them down before anyone is answered.
    fn change<T>(&self, act: impl FnOnce(&mut NodeGroups, i64) -> T) -> Result<T, StateError> {
        let mut groups = self.lock();
        let answer = act(&mut groups, (self.access.now_ms)());
        let state: &State = &self.access.state;
        state.put(GROUPS_KEY, &*groups)?;
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, NodeGroups> {
        self.groups.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn call(&self, caller: &Caller, method: &Method, uri: &Uri, body: &[u8]) -> Result<Value, Fault> {
        let segments: Vec<String> =
            uri.path().split('/').filter(|part| !part.is_empty()).map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let request = Request { eks: self, caller, query: uri.query().unwrap_or_default(), body };
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["clusters", cluster]) => request.describe_cluster(cluster),
            ("POST", ["clusters", cluster, "node-groups"]) => request.create(cluster),
            ("GET", ["clusters", cluster, "node-groups"]) => request.list(cluster),
            ("GET", ["clusters", cluster, "node-groups", name]) => request.describe(cluster, name),
            ("DELETE", ["clusters", cluster, "node-groups", name]) => request.delete(cluster, name),
            ("POST", ["clusters", cluster, "node-groups", name, "update-config"]) => request.update(cluster, name),
            ("POST", ["clusters", cluster, "node-groups", name, "update-version"]) => request.update_version(cluster, name),
            ("GET", ["clusters", cluster, "updates"]) => request.list_updates(cluster),
            ("GET", ["clusters", cluster, "updates", id]) => request.describe_update(cluster, id),
            ("POST", ["tags", ..]) => request.tag(&segments[1..].join("/")),
            ("GET", ["tags", ..]) => request.tags(&segments[1..].join("/")),
            _ => Err(Fault::new("InvalidRequestException", "this call is not offered locally")),
        }
    }
}

async fn handle(Extract(eks): Extract<Eks>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let result = eks.access.caller(&headers).and_then(|caller| eks.call(&caller, &method, &uri, &body));
    let (status, code, value) = match result {
        Ok(value) => (StatusCode::OK, None, value),
        Err(fault) => (fault.status, Some(rest_code(fault.code)), json!({"message": fault.message})),
    };
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(code) = code {
        headers.insert("x-amzn-errortype", header::HeaderValue::from_static(code));
    }
    response
}

/// REST services name the access errors differently from the query services.
fn rest_code(code: &'static str) -> &'static str {
    match code {
        "AccessDenied" => "AccessDeniedException",
        "InvalidClientTokenId" => "UnrecognizedClientException",
        "ExpiredToken" => "ExpiredTokenException",
        "ServiceFailure" => "ServerException",
        other => other,
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (code, message) = match refusal {
            Refusal::NotFound(message) => ("ResourceNotFoundException", message),
            Refusal::InUse(message) => ("ResourceInUseException", message),
            Refusal::Invalid(message) => ("InvalidParameterException", message),
            Refusal::Limit(message) => ("ResourceLimitExceededException", message),
        };
        Self::new(code, message)
    }
}

struct Request<'a> {
    eks: &'a Eks,
    caller: &'a Caller,
    query: &'a str,
    body: &'a [u8],
}

impl Request<'_> {
    fn check(&self, action: &str, arn: &str, context: &Context) -> Result<(), Fault> {
        self.eks.access.check(self.caller, &format!("eks:{action}"), arn, context)
    }

    fn cluster_arn(&self, cluster: &str) -> String {
        format!("arn:aws:eks:{}:{}:cluster/{cluster}", self.eks.access.region, self.eks.access.account)
    }

    fn group_arn(&self, group: &NodeGroup) -> String {
        let (region, account) = (&self.eks.access.region, &self.eks.access.account);
        let (cluster, name, serial) = (&group.cluster, &group.spec.name, group.serial);
        format!("arn:aws:eks:{region}:{account}:nodegroup/{cluster}/{name}/00000000-0000-4000-8000-{serial:012x}")
    }

    fn groups_arn(&self, cluster: &str, name: &str) -> String {
        let (region, account) = (&self.eks.access.region, &self.eks.access.account);
        format!("arn:aws:eks:{region}:{account}:nodegroup/{cluster}/{name}/local")
    }

    /// The cluster, for a caller that may act on its groups.
    fn cluster(&self, name: &str) -> Result<Cluster, Fault> {
        self.eks
            .access
            .state
            .get(&cluster_key(name))?
            .ok_or_else(|| Fault::new("ResourceNotFoundException", format!("No cluster found for name: {name}.")))
    }

    /// Checks the action on a group; the group's tags are in the context when it exists.
    fn allowed(&self, action: &str, cluster: &str, name: &str) -> Result<(), Fault> {
        let group = self.eks.lock().describe((self.eks.access.now_ms)(), cluster, name);
        let (arn, context) = match &group {
            Ok(group) => (self.group_arn(group), tag_context("aws:resourcetag/", &group.spec.tags)),
            Err(_) => (self.groups_arn(cluster, name), Context::new()),
        };
        self.check(action, &arn, &context)?;
        self.cluster(cluster).map(|_| ())
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(self.body).map_err(|error| Fault::new("InvalidParameterException", error.to_string()))
    }

    fn describe_cluster(&self, name: &str) -> Result<Value, Fault> {
        let arn = self.cluster_arn(name);
        self.check("DescribeCluster", &arn, &Context::new())?;
        let cluster = self.cluster(name)?;
        let subnets: Vec<&String> = cluster.subnets.values().collect();
        Ok(json!({"cluster": {
            "name": cluster.name, "arn": arn, "version": cluster.version, "endpoint": cluster.endpoint,
            "status": "ACTIVE", "platformVersion": "eks.1",
            "certificateAuthority": {"data": cluster.ca_data},
            "identity": {"oidc": {"issuer": cluster.oidc_issuer}},
            "resourcesVpcConfig": {"subnetIds": subnets, "vpcId": "vpc-local", "endpointPublicAccess": true,
                "endpointPrivateAccess": true},
            "computeConfig": {"enabled": false},
            "tags": {},
        }}))
    }

    fn create(&self, cluster: &str) -> Result<Value, Fault> {
        let mut body: Value = self.parsed()?;
        if body.get("scalingConfig").is_none() {
            body["scalingConfig"] = json!({"minSize": 1, "maxSize": 2, "desiredSize": 2});
        }
        let token = body["clientRequestToken"].as_str().map(str::to_owned);
        let spec: GroupSpec = serde_json::from_value(body).map_err(|error| Fault::new("InvalidParameterException", error.to_string()))?;
        let mut context = tag_context("aws:requesttag/", &spec.tags);
        if !spec.tags.is_empty() {
            context.insert("aws:tagkeys".into(), spec.tags.keys().cloned().collect());
        }
        // AWS checks the creation on the cluster, and tagging on the new group.
        self.check("CreateNodegroup", &self.cluster_arn(cluster), &context)?;
        if !spec.tags.is_empty() {
            self.check("TagResource", &self.groups_arn(cluster, &spec.name), &context)?;
        }
        let mut role = Context::new();
        role.insert("iam:passedtoservice".into(), vec!["eks.amazonaws.com".into()]);
        self.eks.access.check(self.caller, "iam:PassRole", &spec.node_role, &role)?;
        let known = self.cluster(cluster)?;
        if let Some(foreign) = spec.subnets.iter().find(|subnet| !known.subnets.values().any(|own| own == *subnet)) {
            return Err(Fault::new("InvalidParameterException", format!("The subnet ID '{foreign}' does not exist")));
        }
        let group = self.eks.change(|groups, now| groups.create(now, cluster, spec, token))??;
        Ok(json!({"nodegroup": self.group_json(&group)}))
    }

    fn list(&self, cluster: &str) -> Result<Value, Fault> {
        self.check("ListNodegroups", &self.cluster_arn(cluster), &Context::new())?;
        self.cluster(cluster)?;
        let names: Vec<String> = self.eks.node_groups(cluster).into_iter().map(|group| group.spec.name).collect();
        Ok(json!({"nodegroups": names}))
    }

    fn describe(&self, cluster: &str, name: &str) -> Result<Value, Fault> {
        self.allowed("DescribeNodegroup", cluster, name)?;
        let group = self.eks.lock().describe((self.eks.access.now_ms)(), cluster, name)?;
        Ok(json!({"nodegroup": self.group_json(&group)}))
    }

    fn delete(&self, cluster: &str, name: &str) -> Result<Value, Fault> {
        self.allowed("DeleteNodegroup", cluster, name)?;
        let group = self.eks.change(|groups, now| groups.delete(now, cluster, name))??;
        Ok(json!({"nodegroup": self.group_json(&group)}))
    }

    fn update(&self, cluster: &str, name: &str) -> Result<Value, Fault> {
        self.allowed("UpdateNodegroupConfig", cluster, name)?;
        let body: UpdateBody = self.parsed()?;
        let current = self.eks.lock().describe((self.eks.access.now_ms)(), cluster, name)?.spec.scaling_config;
        let scaling = body.scaling_config.map(|wanted| Scaling {
            min_size: wanted.min_size.unwrap_or(current.min_size),
            max_size: wanted.max_size.unwrap_or(current.max_size),
            desired_size: wanted.desired_size.unwrap_or(current.desired_size),
        });
        let labels = body.labels.unwrap_or_default();
        let taints = body.taints.unwrap_or_default();
        let change = GroupChange {
            scaling,
            labels_set: labels.add_or_update_labels,
            labels_removed: labels.remove_labels,
            taints_set: taints.add_or_update_taints,
            taints_removed: taints.remove_taints,
        };
        let token = body.client_request_token;
        let update = self.eks.change(|groups, now| groups.update(now, cluster, name, change, token))??;
        Ok(json!({"update": update_json(&update)}))
    }

    fn update_version(&self, cluster: &str, name: &str) -> Result<Value, Fault> {
        self.allowed("UpdateNodegroupVersion", cluster, name)?;
        let body: VersionBody = self.parsed()?;
        let group = self.eks.lock().describe((self.eks.access.now_ms)(), cluster, name)?;
        body.check(&self.cluster(cluster)?.version, &group)?;
        let update = self.eks.change(|groups, now| groups.patch(now, cluster, name, body.client_request_token))??;
        Ok(json!({"update": update_json(&update)}))
    }

    fn list_updates(&self, cluster: &str) -> Result<Value, Fault> {
        let form = super::query::Form::parse(self.query);
        let name = form.get("nodegroupName").unwrap_or_default();
        self.allowed("ListUpdates", cluster, name)?;
        let updates = self.eks.lock().updates((self.eks.access.now_ms)(), cluster, name)?;
        let ids: Vec<&str> = updates.iter().rev().map(|update| update.id.as_str()).collect();
        Ok(json!({"updateIds": ids}))
    }

    fn describe_update(&self, cluster: &str, id: &str) -> Result<Value, Fault> {
        let form = super::query::Form::parse(self.query);
        let Some(name) = form.get("nodegroupName") else {
            return Err(Fault::new("ResourceNotFoundException", format!("No update found for ID: {id}.")));
        };
        self.allowed("DescribeUpdate", cluster, name)?;
        let update = self.eks.lock().update_describe((self.eks.access.now_ms)(), cluster, name, id)?;
        Ok(json!({"update": update_json(&update)}))
    }

    fn group_of_arn(&self, arn: &str) -> Result<NodeGroup, Fault> {
        let mut parts = arn.rsplit('/').skip(1);
        let (name, cluster) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Ok(self.eks.lock().describe((self.eks.access.now_ms)(), cluster, name)?)
    }

    fn tag(&self, arn: &str) -> Result<Value, Fault> {
        let body: Value = self.parsed()?;
        let tags: BTreeMap<String, String> =
            serde_json::from_value(body["tags"].clone()).map_err(|error| Fault::new("BadRequestException", error.to_string()))?;
        let group = self.group_of_arn(arn)?;
        let mut context = tag_context("aws:resourcetag/", &group.spec.tags);
        context.extend(tag_context("aws:requesttag/", &tags));
        self.check("TagResource", arn, &context)?;
        self.eks.change(|groups, _| groups.tag(&group.cluster, &group.spec.name, tags))??;
        Ok(json!({}))
    }

    fn tags(&self, arn: &str) -> Result<Value, Fault> {
        let group = self.group_of_arn(arn)?;
        self.check("ListTagsForResource", arn, &tag_context("aws:resourcetag/", &group.spec.tags))?;
        Ok(json!({"tags": group.spec.tags}))
    }

    fn group_json(&self, group: &NodeGroup) -> Value {
        let spec = &group.spec;
        let arn = self.group_arn(group);
        let issues: Vec<Value> =
            group.health.iter().map(|issue| json!({"code": issue.code, "message": issue.message, "resourceIds": [spec.name]})).collect();
        let mut value = json!({
            "nodegroupName": spec.name, "nodegroupArn": arn, "clusterName": group.cluster,
            "createdAt": seconds(group.created_ms), "modifiedAt": seconds(group.modified_ms),
            "status": group.status.as_str(), "releaseVersion": group.release, "scalingConfig": spec.scaling_config,
            "instanceTypes": spec.instance_types, "subnets": spec.subnets, "nodeRole": spec.node_role,
            "amiType": spec.ami_type.as_deref().unwrap_or("AL2023_ARM_64_STANDARD"),
            "capacityType": spec.capacity_type.as_deref().unwrap_or("ON_DEMAND"),
            "labels": spec.labels, "taints": spec.taints, "tags": spec.tags,
            "health": {"issues": issues},
        });
        if let Some(template) = &spec.launch_template {
            value["launchTemplate"] = json!(template);
        }
        value
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateBody {
    scaling_config: Option<PartialScaling>,
    labels: Option<Labels>,
    taints: Option<Taints>,
    client_request_token: Option<String>,
}

/// Releases that are asked for by name are not offered here: it is the newest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VersionBody {
    version: Option<String>,
    launch_template: Option<LaunchTemplate>,
    client_request_token: Option<String>,
}

impl VersionBody {
    /// Nodes have the control plane's version or an older one, and keep the template that they were made with.
    fn check(&self, cluster: &str, group: &NodeGroup) -> Result<(), Fault> {
        if self.version.as_deref().is_some_and(|version| version != cluster) {
            return Err(Fault::new("InvalidParameterException", format!("The version of the cluster is {cluster}.")));
        }
        let template = |of: &LaunchTemplate| (of.id.clone(), of.name.clone());
        if self.launch_template.as_ref().is_some_and(|wanted| group.spec.launch_template.as_ref().map(template) != Some(template(wanted))) {
            return Err(Fault::new("InvalidParameterException", "You cannot use another launch template than the node group's own."));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialScaling {
    min_size: Option<u32>,
    max_size: Option<u32>,
    desired_size: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Labels {
    add_or_update_labels: BTreeMap<String, String>,
    remove_labels: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Taints {
    add_or_update_taints: Vec<Taint>,
    remove_taints: Vec<Taint>,
}

fn update_json(update: &Update) -> Value {
    json!({"id": update.id, "status": update.status.as_str(), "type": update.kind.as_str(),
        "createdAt": seconds(update.created_ms), "params": [], "errors": []})
}

fn tag_context(prefix: &str, tags: &BTreeMap<String, String>) -> Context {
    tags.iter().map(|(key, value)| (format!("{prefix}{}", key.to_ascii_lowercase()), vec![value.clone()])).collect()
}

fn cluster_key(name: &str) -> String {
    format!("eks/cluster/{name}")
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}
