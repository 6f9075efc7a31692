//! The rights that the chart gives beside those that the agent used, by the API server's audit log.
use crate::cluster::variable;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

const AGENT: &str = "kiven-agent";
/// What the names of ServiceAccounts begin with.
const ACCOUNTS: &str = "system:serviceaccount:kiven-system:";

/// The group of roles and their bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

/// One right: a verb on a resource in a namespace or the whole cluster, where `name` is given on that object alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    scope: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        write!(f, "{:<16} {:<44} {}", self.scope, format!("{}{name}", self.resource), self.verb)
    }
}

/// A resource as `plural[/subresource].group`.
fn named(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// Every right that a chart's objects give to the agent.
pub(crate) fn given(objects: &[Value]) -> BTreeSet<Right> {
    given_to(objects, AGENT)
}

/// Every right that a chart's objects give to a ServiceAccount.
pub(crate) fn given_to(objects: &[Value], account: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let bindings = objects.iter().filter(|object| matches!(object["kind"].as_str(), Some("RoleBinding" | "ClusterRoleBinding")));
    for binding in bindings.filter(|binding| words_of(&binding["subjects"], "name").contains(&account.to_owned())) {
        let reference = &binding["roleRef"];
        let scope = binding["metadata"]["namespace"].as_str();
        let of_kind = |object: &&Value| object["kind"] == reference["kind"] && object["metadata"]["name"] == reference["name"];
        let role = objects.iter().filter(of_kind).find(|role| reference["kind"] == "ClusterRole" || role["metadata"]["namespace"].as_str() == scope);
        for rule in role.expect("a binding's role is there")["rules"].as_array().unwrap() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    let names = words(&rule["resourceNames"]);
                    let names: Vec<Option<String>> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
                    for (verb, name) in words(&rule["verbs"]).into_iter().flat_map(|verb| names.iter().map(move |name| (verb.clone(), name.clone())))
                    {
                        assert!(![&group, &resource, &verb].contains(&&"*".to_owned()), "a right to everything");
                        rights.insert(Right { scope: scope.unwrap_or("cluster").to_owned(), resource: named(&group, &resource), name, verb });
                    }
                }
            }
        }
    }
    rights
}

fn words_of(list: &Value, key: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|one| one[key].as_str().map(str::to_owned)).collect()
}

/// The audit log from some moment on.
pub(crate) struct Audit {
    path: String,
    from: u64,
}

/// What was asked for: rights with the number of requests, and what was refused for want of one.
#[derive(Debug, Default)]
pub(crate) struct Used {
    rights: BTreeMap<Right, u32>,
    refused: Vec<String>,
    /// What every account may read: versions, discovery.
    pub(crate) open: BTreeSet<String>,
}

impl Audit {
    /// From now on. `None` where the API server is somebody else's and keeps its log to itself.
    pub(crate) fn begin() -> Option<Self> {
        let path = variable("KIVEN_KUBE_AUDIT")?;
        let from = std::fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
        Some(Self { path, from })
    }

    /// What the agent has asked for since.
    pub(crate) fn used(&self) -> Used {
        self.used_by(AGENT)
    }

    /// What a ServiceAccount has asked for since.
    pub(crate) fn used_by(&self, account: &str) -> Used {
        let mut file = std::fs::File::open(&self.path).expect("the API server writes its audit log");
        file.seek(SeekFrom::Start(self.from)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let mut used = Used::default();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("an audit event is JSON");
            if event["user"]["username"].as_str().and_then(|name| name.strip_prefix(ACCOUNTS)) == Some(account) {
                used.note(&event);
            }
        }
        used
    }
}

impl Used {
    fn note(&mut self, event: &Value) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (object, code) = (&event["objectRef"], event["responseStatus"]["code"].as_u64().unwrap_or(0));
        let verb = word(&event["verb"]);
        // A watch counts when it begins: its end may never come.
        if (verb == "watch") != (event["stage"] == "ResponseStarted") {
            return;
        }
        if object.is_null() {
            self.open.insert(format!("{verb} {}", word(&event["requestURI"]).split('?').next().unwrap_or_default()));
            return;
        }
        let resource = match object["subresource"].as_str() {
            Some(sub) => format!("{}/{sub}", word(&object["resource"])),
            None => word(&object["resource"]),
        };
        let scope = object["namespace"].as_str().unwrap_or("cluster").to_owned();
        let right = |verb: &str, name: Option<String>| Right {
            scope: scope.clone(),
            resource: named(&word(&object["apiGroup"]), &resource),
            name,
            verb: verb.to_owned(),
        };
        let name = object["name"].as_str().map(str::to_owned);
        if event["annotations"]["authorization.k8s.io/decision"] == "forbid" {
            self.refused.push(right(&verb, name.clone()).to_string());
            return;
        }
        // Two rights are asked for within a request: to write a role with more than its writer has, and to bind it to somebody.
        if ["patch", "create"].contains(&verb.as_str()) && right(&verb, None).resource.ends_with(RBAC) {
            let (plural, bound) = (word(&object["resource"]), &event["requestObject"]["roleRef"]);
            let asked = match plural.strip_suffix("bindings") {
                Some(kind) => Right { resource: named(RBAC, &format!("{kind}s")), ..right("bind", bound["name"].as_str().map(str::to_owned)) },
                None => right("escalate", name.clone()),
            };
            // A namespace's binding may bind a role of the whole cluster.
            let asked = if bound["kind"] == "ClusterRole" {
                Right { scope: "cluster".to_owned(), resource: named(RBAC, "clusterroles"), ..asked }
            } else {
                asked
            };
            *self.rights.entry(asked).or_default() += 1;
        }
        // An apply that makes its object is asked for the right to create too, which cannot be limited by name.
        if verb == "patch" && code == 201 {
            *self.rights.entry(right("create", None)).or_default() += 1;
        }
        let name = name.filter(|_| verb != "create");
        *self.rights.entry(right(&verb, name)).or_default() += 1;
    }

    /// What these rights do not cover.
    pub(crate) fn beyond(mut self, given: &BTreeSet<Right>) -> Self {
        self.rights.retain(|right, _| !given.contains(right) && !given.contains(&Right { name: None, ..right.clone() }));
        self
    }

    /// What was used of what is given: the given rights with how often, and the uses that no given right covers.
    fn beside(&self, given: &BTreeSet<Right>) -> (BTreeMap<Right, u32>, BTreeSet<Right>) {
        let mut counted: BTreeMap<Right, u32> = given.iter().map(|right| (right.clone(), 0)).collect();
        let mut uncovered = BTreeSet::new();
        for (used, times) in &self.rights {
            let whole = Right { name: None, ..used.clone() };
            match counted.get_mut(used) {
                Some(count) => *count += times,
                None => match counted.get_mut(&whole) {
                    Some(count) => *count += times,
                    None => drop(uncovered.insert(used.clone())),
                },
            }
        }
        (counted, uncovered)
    }
}

/// Prints both, and fails unless they are equal.
pub(crate) fn equal(given: &BTreeSet<Right>, used: &Used) {
    let (counted, uncovered) = used.beside(given);
    println!("{:<16} {:<44} {:<8} requests", "where", "what", "right");
    for (right, times) in &counted {
        println!("{:<70} {times:>6}", right.to_string());
    }
    for open in &used.open {
        println!("everybody's right: {open}");
    }
    let unused: Vec<String> = counted.iter().filter(|(_, times)| **times == 0).map(|(right, _)| right.to_string()).collect();
    let lacking: Vec<String> = uncovered.iter().map(ToString::to_string).chain(used.refused.iter().cloned()).collect();
    println!("{} rights given, {} used, {} used and not given", counted.len(), counted.len() - unused.len(), lacking.len());
    assert!(lacking.is_empty(), "used and not given:\n{}", lacking.join("\n"));
    assert!(unused.is_empty(), "given and not used:\n{}", unused.join("\n"));
}
