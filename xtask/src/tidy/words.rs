//! Words that are in no file: notes to oneself, paths of one machine, hosts of package registries, marks of a merge.
use super::source::has_word;
use super::{File, Violation};

// Each is put together here, so that this file does not hold what it looks for.
const NOTES: [[&str; 2]; 2] = [["TO", "DO"], ["FIX", "ME"]];
const MACHINE_FOLDERS: [&str; 3] = ["home", "root", "work"];
const REGISTRY_HOSTS: [(&str, &str); 12] = [
    ("index.crates", "io"),
    ("static.crates", "io"),
    ("pypi", "org"),
    ("files.pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("registry.yarnpkg", "com"),
    ("repo1.maven", "org"),
    ("repo.maven.apache", "org"),
    ("proxy.golang", "org"),
    ("sum.golang", "org"),
    ("deb.debian", "org"),
    ("security.debian", "org"),
];

pub(super) fn check(file: &File) -> Vec<Violation> {
    // The lock file names the default registry by cargo's own rule.
    if file.path == "Cargo.lock" {
        return Vec::new();
    }
    let notes: Vec<String> = NOTES.iter().map(|halves| halves.concat()).collect();
    let folders: Vec<String> = MACHINE_FOLDERS.iter().map(|name| format!("/{name}")).collect();
    let hosts: Vec<String> = REGISTRY_HOSTS.iter().map(|(name, domain)| format!("{name}.{domain}")).collect();
    let mut violations = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let mut add = |message: String| violations.push(Violation::new(&file.path, number + 1, message));
        for note in notes.iter().filter(|note| has_word(line, note)) {
            add(format!("`{note}`: do it, or write an issue"));
        }
        for folder in folders.iter().filter(|folder| has_path(line, folder)) {
            add(format!("`{folder}` is a folder of one machine"));
        }
        for host in hosts.iter().filter(|host| line.contains(host.as_str())) {
            add(format!("`{host}` is a package registry's host: each machine configures its own"));
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            add("a merge was not finished".to_owned());
        }
    }
    violations
}

/// Whether a line has this absolute path, as a whole or as a beginning; not as a part of another path or of a URL.
fn has_path(line: &str, path: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let belongs = |c: char| c.is_alphanumeric() || "_-./~}$:*)".contains(c);
    line.match_indices(path).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + path.len()..].chars().next());
        !before.is_some_and(belongs) && !after.is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> usize {
        check(&File { path: "docs/x.md".to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn what_is_not_for_others_is_seen() {
        let root = ["/", "root"].concat();
        for (text, count) in [
            (format!("cd {root}"), 1),
            (format!("\"{root}/x\""), 1),
            (format!("target{root}/x"), 0),
            (format!("https://example.org{root}"), 0),
            (format!("{root}less"), 0),
            (format!("// {}: later", NOTES[0].concat()), 1),
            (format!("https://{}.{}/simple", REGISTRY_HOSTS[2].0, REGISTRY_HOSTS[2].1), 1),
            ("a quiet line".to_owned(), 0),
        ] {
            assert_eq!(complaints(&text), count, "{text}");
        }
    }
}
