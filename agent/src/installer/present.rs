//! What is done about an operator or a plugin that is in the cluster already: a pure decision.
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::operators::{Component, Release, Standing, newest, order, standing};
use kiven_model::{Code, Problem};

/// A Deployment that runs one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) component: Component,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The version in its image; `None` where it cannot be told.
    pub(crate) version: Option<String>,
}

/// What becomes of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rollout {
    /// The newest release, whole.
    Whole,
    /// What a release stands on; the Deployment stays at its good version until a maintenance window.
    Keep(String),
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Kiven's own are installed, or brought to what is listed.
    Install { operator: Rollout, plugin: Rollout },
    /// The customer's own are used; nothing is changed.
    Use { namespace: String, operator: String, plugin: String },
}

/// Decides. `named` is the namespace whose operator the customer wants to be used.
pub(crate) fn decide(found: &[Found], named: Option<&str>) -> Result<Decision, Problem> {
    match named.filter(|namespace| *namespace != SYSTEM_NAMESPACE) {
        Some(namespace) => used(found, namespace),
        None => Ok(Decision::Install { operator: own(found, Component::Operator)?, plugin: own(found, Component::Plugin)? }),
    }
}

/// Kiven's own: nobody else's is there, and what runs is never taken back to an older version.
fn own(found: &[Found], component: Component) -> Result<Rollout, Problem> {
    if let Some(foreign) = found.iter().find(|one| one.component == component && one.namespace != SYSTEM_NAMESPACE) {
        return Err(in_the_way(foreign));
    }
    let Some(running) = found.iter().find(|one| one.component == component) else { return Ok(Rollout::Whole) };
    let latest = newest(component).map_or("", |release| release.version);
    let version = running.version.as_deref().unwrap_or_default();
    match standing(component, version) {
        Standing::Listed(Release { version, .. }) if *version == latest => Ok(Rollout::Whole),
        Standing::Listed(Release { version, .. }) => Ok(Rollout::Keep((*version).to_owned())),
        // An operator is never taken back: newer ones may have written what an older one does not understand.
        Standing::KnownBad(_) | Standing::Unlisted if order(version).is_none_or(|running| Some(running) > order(latest)) => {
            let problem = refused(format!("{component} in {SYSTEM_NAMESPACE} is {}", at(running)));
            let hint =
                format!("Kiven would install {latest}, which is older, and an operator is never taken back. Remove it, or turn the installer off.");
            Err(why(problem, component, version).hint(hint))
        }
        Standing::KnownBad(_) | Standing::Unlisted => Ok(Rollout::Whole),
    }
}

/// The customer's own: operator and plugin in the named namespace, of versions that Kiven knows, and none elsewhere.
fn used(found: &[Found], namespace: &str) -> Result<Decision, Problem> {
    if let Some(second) = found.iter().find(|one| one.component == Component::Operator && one.namespace != namespace) {
        let problem = refused(format!("there is an operator in {}, and another one is to be used in {namespace}", second.namespace));
        return Err(problem.hint("Two operators would fight over every database: remove one of them."));
    }
    let version = |component: Component| {
        let Some(one) = found.iter().find(|one| one.component == component && one.namespace == namespace) else {
            let problem = refused(format!("there is no {component} in {namespace}"));
            return Err(
                problem.hint("The plugin runs beside its operator. Install it there, or leave `operatorNamespace` empty and remove the operator.")
            );
        };
        let version = one.version.as_deref().unwrap_or_default();
        match standing(component, version) {
            Standing::Listed(release) => Ok(release.version.to_owned()),
            Standing::KnownBad(_) | Standing::Unlisted => {
                let problem = why(refused(format!("{component} in {namespace} is {}", at(one))), component, version);
                Err(problem.hint(format!("Kiven runs with {}: bring yours to one of them.", listed(component))))
            }
        }
    };
    Ok(Decision::Use { namespace: namespace.to_owned(), operator: version(Component::Operator)?, plugin: version(Component::Plugin)? })
}

fn in_the_way(foreign: &Found) -> Problem {
    let (component, namespace) = (foreign.component, &foreign.namespace);
    let version = foreign.version.as_deref().unwrap_or_default();
    let problem = refused(format!("{component} {} is in {namespace} already", at(foreign)));
    match standing(component, version) {
        Standing::Listed(_) => problem.hint(format!("Two would fight over every database. Set `operatorNamespace: {namespace}` to use this one.")),
        Standing::KnownBad(_) | Standing::Unlisted => why(problem, component, version).hint(format!(
            "Bring it to one of {} and set `operatorNamespace: {namespace}`, or remove it and let Kiven install its own.",
            listed(component)
        )),
    }
}

fn refused(message: String) -> Problem {
    Problem::new(Code::OPERATOR_IN_THE_WAY, message)
}

/// Adds what is wrong with a version.
fn why(problem: Problem, component: Component, version: &str) -> Problem {
    match standing(component, version) {
        Standing::Listed(_) => problem,
        Standing::KnownBad(reason) => problem.detail(format!("This version is known to hurt databases: {reason}.")),
        Standing::Unlisted => problem.detail(format!("Kiven runs with {} of {component}.", listed(component))),
    }
}

fn at(found: &Found) -> &str {
    found.version.as_deref().unwrap_or("of a version that its image does not tell")
}

fn listed(component: Component) -> String {
    let versions: Vec<&str> = kiven_model::operators::RELEASES.iter().filter(|one| one.component == component).map(|one| one.version).collect();
    versions.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `operator@namespace:version` and `plugin@…`, separated by spaces; `?` is a version that cannot be told.
    fn found(text: &str) -> Vec<Found> {
        let one = |word: &str| {
            let (component, rest) = word.split_once('@').unwrap();
            let (namespace, version) = rest.split_once(':').unwrap();
            Found {
                component: if component == "operator" { Component::Operator } else { Component::Plugin },
                namespace: namespace.to_owned(),
                name: component.to_owned(),
                version: (version != "?").then(|| version.to_owned()),
            }
        };
        text.split_whitespace().map(one).collect()
    }

    fn check(there: &str, named: Option<&str>, expected: &str) {
        let said = match decide(&found(there), named) {
            Ok(Decision::Install { operator, plugin }) => format!("install {operator:?} {plugin:?}"),
            Ok(Decision::Use { namespace, operator, plugin }) => format!("use {namespace} {operator} {plugin}"),
            Err(problem) => {
                assert_eq!(problem.code, Code::OPERATOR_IN_THE_WAY);
                assert!(!problem.hint.is_empty(), "{problem}");
                problem.message
            }
        };
        assert_eq!(said, expected, "{there} {named:?}");
    }

    #[test]
    fn what_is_there_already() {
        let whole = "install Whole Whole";
        check("", None, whole);
        check("", Some("kiven-system"), whole);
        check("operator@kiven-system:1.29.2 plugin@kiven-system:0.14.0", None, whole);
        check("operator@kiven-system:1.29.1 plugin@kiven-system:0.14.0", None, "install Keep(\"1.29.1\") Whole");
        check("operator@kiven-system:1.28.3", None, whole);
        check("operator@kiven-system:1.30.0", None, "CloudNativePG in kiven-system is 1.30.0");
        check("operator@kiven-system:1.31.0", None, "CloudNativePG in kiven-system is 1.31.0");
        check("operator@kiven-system:?", None, "CloudNativePG in kiven-system is of a version that its image does not tell");
        check("operator@cnpg-system:1.29.2", None, "CloudNativePG 1.29.2 is in cnpg-system already");
        check("operator@cnpg-system:1.30.0", None, "CloudNativePG 1.30.0 is in cnpg-system already");
        check("plugin@cnpg-system:0.14.0", None, "Barman Cloud plugin 0.14.0 is in cnpg-system already");
        let both = "operator@cnpg-system:1.29.1 plugin@cnpg-system:0.14.0";
        check(both, Some("cnpg-system"), "use cnpg-system 1.29.1 0.14.0");
        check(both, Some("other"), "there is an operator in cnpg-system, and another one is to be used in other");
        check("operator@cnpg-system:1.29.1", Some("cnpg-system"), "there is no Barman Cloud plugin in cnpg-system");
        check("operator@cnpg-system:1.30.0 plugin@cnpg-system:0.14.0", Some("cnpg-system"), "CloudNativePG in cnpg-system is 1.30.0");
        check("operator@cnpg-system:1.29.1 plugin@cnpg-system:0.9.0", Some("cnpg-system"), "Barman Cloud plugin in cnpg-system is 0.9.0");
        check("", Some("cnpg-system"), "there is no CloudNativePG in cnpg-system");
    }

    #[test]
    fn a_known_bad_version_is_told_with_its_reason() {
        let problem = decide(&found("operator@cnpg-system:1.30.0"), None).unwrap_err();
        assert!(problem.detail.contains("11202") && problem.hint.contains("operatorNamespace: cnpg-system"), "{problem:?}");
    }
}
