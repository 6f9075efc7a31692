//! Documents: links that lead somewhere, one page for each error code, and the lifecycle as the model draws it.
use super::{File, Violation};
use kiven_model::{Code, lifecycle};
use std::path::{Component, Path};

const PAGES: &str = "docs/errors/";
const INDEX: &str = "docs/errors/README.md";
const CODES: &str = "crates/model/src/problem.rs";
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const MARKER: &str = "<!-- lifecycle -->";

/// Links to files that are not there. `exists` is asked with a path from the workspace's root.
pub(super) fn links(file: &File, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut violations = Vec::new();
    let mut fenced = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        for target in targets(line).filter(|_| !fenced) {
            let path = target.split(['#', ' ']).next().unwrap_or_default();
            let outside = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if outside {
                continue;
            }
            match normal(&folder.join(path)) {
                Some(path) if exists(&path) => {}
                _ => violations.push(Violation::new(&file.path, number + 1, format!("the link `{target}` leads nowhere"))),
            }
        }
    }
    violations
}

/// What stands in `](…)`, outside of `code`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](")
        .filter(|(at, _)| line[..*at].matches('`').count().is_multiple_of(2))
        .filter_map(|(at, _)| line[at + 2..].split(')').next())
}

/// The path without `.` and `..`; none when it leaves the workspace.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Every code has its page with its title, the index names it, and no page is left over.
pub(super) fn error_pages(files: &[File]) -> Vec<Violation> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let index = find(INDEX).map_or("", |file| file.text.as_str());
    let mut violations = Vec::new();
    for (code, title) in Code::ALL {
        let path = format!("{PAGES}{code}.md");
        let heading = format!("# {code}: {title}");
        match find(&path) {
            None => violations.push(Violation::new(CODES, line_of(files, title), format!("{code} has no page {path}"))),
            Some(page) if page.text.lines().next() != Some(heading.as_str()) => {
                violations.push(Violation::new(&path, 1, format!("the first line is `{heading}`")));
            }
            Some(_) => {}
        }
        if !index.contains(&format!("[{code}]({code}.md)")) {
            violations.push(Violation::new(INDEX, 1, format!("{code} is not in the index")));
        }
    }
    let known = |path: &str| path == INDEX || Code::ALL.iter().any(|(code, _)| path == format!("{PAGES}{code}.md"));
    let left_over = files.iter().filter(|file| file.path.starts_with(PAGES) && !known(&file.path));
    violations.extend(left_over.map(|file| Violation::new(&file.path, 1, "there is no such code")));
    violations
}

fn line_of(files: &[File], text: &str) -> usize {
    let codes = files.iter().find(|file| file.path == CODES);
    codes.and_then(|file| file.text.lines().position(|line| line.contains(text))).map_or(1, |line| line + 1)
}

/// The diagram between the two markers is the model's.
pub(super) fn lifecycle(files: &[File]) -> Vec<Violation> {
    let Some(file) = files.iter().find(|file| file.path == ARCHITECTURE) else {
        return vec![Violation::new(ARCHITECTURE, 1, "it is missing")];
    };
    let wanted = format!("```mermaid\n{}\n```", lifecycle::diagram());
    let lines: Vec<&str> = file.text.lines().collect();
    let marked: Vec<usize> = (0..lines.len()).filter(|line| lines[*line] == MARKER).collect();
    let [from, to] = marked.as_slice() else {
        return vec![Violation::new(ARCHITECTURE, 1, format!("the lifecycle stands between two lines `{MARKER}`"))];
    };
    let found = &lines[from + 1..*to];
    let wanted: Vec<&str> = wanted.lines().collect();
    let place = (0..found.len().max(wanted.len())).find(|line| found.get(*line) != wanted.get(*line));
    let told = |line: usize| wanted.get(line).map_or("nothing more".to_owned(), |text| format!("`{}`", text.trim()));
    place.map(|line| Violation::new(ARCHITECTURE, from + 2 + line, format!("the model's lifecycle has {} here", told(line)))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn links_are_followed_from_their_file() {
        let text =
            "[a](../README.md) [b](b.md#part) [c](https://x.org) [d](#here) `[e](no.md)`\n```\n[f](no.md)\n```\n[g](no.md) [h](../../out.md)\n";
        let there = |path: &str| ["README.md", "docs/b.md"].contains(&path);
        let found: Vec<_> = links(&file("docs/a.md", text), there).into_iter().map(|v| (v.line, v.message)).collect();
        assert_eq!(found, [(5, "the link `no.md` leads nowhere".to_owned()), (5, "the link `../../out.md` leads nowhere".to_owned())]);
    }

    #[test]
    fn codes_and_pages_belong_together() {
        let page = |code: &Code, title: &str| file(&format!("{PAGES}{code}.md"), &format!("# {code}: {title}\n"));
        let mut files: Vec<File> = Code::ALL.iter().map(|(code, title)| page(code, title)).collect();
        let index: String = Code::ALL.iter().map(|(code, _)| format!("[{code}]({code}.md)\n")).collect();
        files.push(file(INDEX, &index));
        assert!(error_pages(&files).is_empty());
        files[0] = page(&Code::ALL[0].0, "Another title");
        files.push(file("docs/errors/KV-999.md", ""));
        assert_eq!(error_pages(&files).len(), 2);
        files.remove(0);
        assert!(error_pages(&files).iter().any(|v| v.message.contains("has no page")));
    }

    #[test]
    fn the_diagram_is_the_models() {
        let text = |diagram: &str| format!("# A\n{MARKER}\n```mermaid\n{diagram}\n```\n{MARKER}\n");
        assert!(lifecycle(&[file(ARCHITECTURE, &text(&lifecycle::diagram()))]).is_empty());
        let old = lifecycle::diagram().replace("[*] --> provisioning", "[*] --> made");
        let found = lifecycle(&[file(ARCHITECTURE, &text(&old))]);
        assert_eq!((found.len(), found[0].line), (1, 5));
        assert_eq!(lifecycle(&[file(ARCHITECTURE, "# A\n")]).len(), 1);
    }
}
