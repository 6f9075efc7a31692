//! Who may depend on whom.
use super::Violation;
use cargo_metadata::{DependencyKind, Metadata, Package};

/// Every package with the packages of the workspace that it may use. What is not listed here does not exist yet: a new
/// package states its arrows before it has any.
const ARROWS: &[(&str, &[&str])] = &[
    ("kiven-model", &[]),
    ("kiven-failpoint", &[]),
    ("kiven-ports", &["kiven-model"]),
    ("kiven-durable", &["kiven-model", "kiven-ports"]),
    ("kiven-data-services", &["kiven-model", "kiven-ports"]),
    ("kiven-operations", &["kiven-model", "kiven-ports", "kiven-durable", "kiven-data-services"]),
    ("kiven-aws", &["kiven-model", "kiven-ports"]),
    ("kiven-sim", &["kiven-model", "kiven-ports", "kiven-data-services"]),
    ("kiven-api", &["kiven-model", "kiven-ports", "kiven-operations"]),
    ("kiven-client", &["kiven-model"]),
    ("kiven-tfplugin", &[]),
    ("kiven-fake-kube", &[]),
    ("kiven-seal", &["kiven-model"]),
    ("kiven-proto", &[]),
    ("kiven-terraform-provider", &["kiven-model", "kiven-client", "kiven-tfplugin", "kiven-failpoint"]),
    (
        "kiven-lambdas",
        &["kiven-model", "kiven-ports", "kiven-durable", "kiven-data-services", "kiven-operations", "kiven-aws", "kiven-api", "kiven-failpoint"],
    ),
    ("kiven-relay", &["kiven-model", "kiven-ports", "kiven-aws", "kiven-proto", "kiven-failpoint"]),
    ("kiven-agent", &["kiven-model", "kiven-data-services", "kiven-proto", "kiven-failpoint", "kiven-seal"]),
    ("kiven-cli", &["kiven-model", "kiven-client", "kiven-seal"]),
    ("kiven-local", &["kiven-model", "kiven-ports", "kiven-aws", "kiven-sim", "kiven-fake-kube", "kiven-failpoint"]),
    (
        "kiven-tests",
        &[
            "kiven-model",
            "kiven-ports",
            "kiven-durable",
            "kiven-data-services",
            "kiven-operations",
            "kiven-aws",
            "kiven-sim",
            "kiven-api",
            "kiven-client",
            "kiven-fake-kube",
            "kiven-local",
        ],
    ),
    ("xtask", &["kiven-model", "kiven-client"]),
];

/// Packages that are binaries: nothing is built on them. The local stack's library is there for tests.
const BINARIES: [&str; 6] = ["kiven-terraform-provider", "kiven-lambdas", "kiven-relay", "kiven-agent", "kiven-cli", "xtask"];

/// Dependencies from outside that only some packages may name: by prefix, or whole.
const GUARDED: &[(&str, &[&str])] = &[
    ("aws-", &["kiven-aws"]),
    ("kube", &["kiven-agent", "kiven-tests"]),
    ("k8s-openapi", &["kiven-agent", "kiven-tests"]),
    ("lambda_http", &["kiven-lambdas"]),
];

/// Packages that think and therefore never wait: no runtime, no HTTP.
const PURE: [&str; 5] = ["kiven-model", "kiven-ports", "kiven-data-services", "kiven-operations", "kiven-durable"];
const RUNTIMES: [&str; 5] = ["tokio", "reqwest", "hyper", "axum", "tonic"];

pub(super) fn check(metadata: &Metadata) -> Vec<Violation> {
    let root = metadata.workspace_root.as_str();
    metadata.workspace_packages().into_iter().flat_map(|package| check_package(package, root)).collect()
}

fn check_package(package: &Package, root: &str) -> Vec<Violation> {
    let manifest = package.manifest_path.as_str().trim_start_matches(root).trim_start_matches('/');
    let edges = package.dependencies.iter().map(|d| (d.name.as_str(), d.kind));
    edges
        .filter_map(|(to, kind)| judge(package.name.as_str(), to, kind))
        .chain(unlisted(package.name.as_str()))
        .map(|message| Violation::new(manifest, 1, message))
        .collect()
}

fn unlisted(from: &str) -> Option<String> {
    let known = ARROWS.iter().any(|(name, _)| *name == from);
    (!known).then(|| format!("{from} has no arrows yet: state them in xtask/src/tidy/arrows.rs"))
}

/// Why a package may not have a dependency.
fn judge(from: &str, to: &str, kind: DependencyKind) -> Option<String> {
    let for_tests = kind == DependencyKind::Development;
    if BINARIES.contains(&to) {
        return Some(format!("{from} depends on {to}, which is a binary"));
    }
    if let Some((_, allowed)) = GUARDED.iter().find(|(name, _)| to == *name || (name.ends_with('-') && to.starts_with(name)))
        && !allowed.contains(&from)
        // The local endpoints are tested with the shipped SDKs, and the suites change an emulated account behind Kiven's back.
        && !(for_tests && ["kiven-local", "kiven-tests"].contains(&from))
    {
        return Some(format!("{from} names {to}; only {} may", allowed.join(", ")));
    }
    if !for_tests && PURE.contains(&from) && RUNTIMES.contains(&to) {
        return Some(format!("{from} names {to}: it thinks and never waits"));
    }
    let ours = to.starts_with("kiven-");
    let allowed = ARROWS.iter().find(|(name, _)| *name == from).is_some_and(|(_, allowed)| allowed.contains(&to));
    match () {
        () if !ours || allowed => None,
        () if to == "kiven-proto" => Some(format!("{from} names {to}; only kiven-relay, kiven-agent may")),
        // Tests may look further, but at libraries only, and at the local stack only from `tests`.
        () if for_tests && to != "kiven-local" => None,
        () => Some(format!("{from} depends on {to}: that arrow is not in the design")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_one_way() {
        use DependencyKind::{Development, Normal};
        for (from, to, kind, good) in [
            ("kiven-operations", "kiven-ports", Normal, true),
            ("kiven-model", "kiven-ports", Normal, false),
            ("kiven-operations", "tokio", Normal, false),
            ("kiven-operations", "tokio", Development, true),
            ("kiven-durable", "kiven-sim", Development, true),
            ("kiven-durable", "kiven-sim", Normal, false),
            ("kiven-lambdas", "aws-sdk-s3", Normal, false),
            ("kiven-local", "aws-sdk-s3", Development, true),
            ("kiven-tests", "aws-sdk-s3", Development, true),
            ("kiven-tests", "aws-sdk-s3", Normal, false),
            ("kiven-operations", "kube", Development, false),
            ("kiven-cli", "kiven-proto", Normal, false),
            ("kiven-tests", "kiven-lambdas", Development, false),
            ("kiven-tests", "kiven-local", Normal, true),
            ("kiven-api", "kiven-local", Development, false),
            ("kiven-api", "serde", Normal, true),
        ] {
            assert_eq!(judge(from, to, kind).is_none(), good, "{from} → {to} ({kind:?})");
        }
    }

    #[test]
    fn the_arrows_have_no_circle() {
        // Listed in an order in which each package comes after all that it uses.
        let mut known: Vec<&str> = Vec::new();
        for (name, allowed) in ARROWS {
            assert!(allowed.iter().all(|to| known.contains(to)), "{name} comes too early");
            known.push(name);
        }
    }
}
