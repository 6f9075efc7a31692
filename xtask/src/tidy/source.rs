//! Rust files: first line, length of files and functions, what is never written, and what operations' bodies never name.
use super::{File, Violation};

/// A file has fewer lines.
const FILE_LINES_MAX: usize = 500;
/// A function has fewer lines.
const FUNCTION_LINES_MAX: usize = 70;
/// Macros that are for the desk only.
const NEVER_CALLED: [&str; 3] = ["dbg!", "todo!", "unimplemented!"];
/// What a body's replay could not repeat.
const NEVER_IN_BODIES: [&str; 11] =
    ["tokio", "select", "Clock", "clock", "Timestamp", "Instant", "SystemTime", "sleep", "spawn", "getrandom", "HashMap"];

pub(super) fn check(file: &File) -> Vec<Violation> {
    if file.path.contains("/generated/") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let mut add = |line, message: String| violations.push(Violation::new(&file.path, line, message));
    if !file.text.starts_with("//!") {
        add(1, "the first line is `//!` and says what the file is".to_owned());
    }
    let lines = file.text.lines().count();
    if lines >= FILE_LINES_MAX {
        add(lines, format!("{lines} lines: split it, a file has fewer than {FILE_LINES_MAX}"));
    }
    let code = code_of(&file.text);
    for (line, name, length) in functions(&code) {
        if length >= FUNCTION_LINES_MAX {
            add(line, format!("`{name}` has {length} lines: split it, a function has fewer than {FUNCTION_LINES_MAX}"));
        }
    }
    for (number, line) in code.lines().enumerate() {
        for call in NEVER_CALLED.iter().filter(|call| has_word(line, call)) {
            add(number + 1, format!("`{call}` is for the desk only"));
        }
    }
    if file.path.starts_with("crates/operations/src/") && code.contains("Body<P> for") {
        for (number, line) in code.lines().enumerate() {
            for word in NEVER_IN_BODIES.iter().filter(|word| has_word(line, word)) {
                add(number + 1, format!("an operation's body names `{word}`: what can differ between two replays belongs into a step"));
            }
        }
    }
    violations
}

/// Whether a line has this word with nothing of a name before it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !line[..at].chars().next_back().is_some_and(of_name) && (word.ends_with('!') || !after.is_some_and(of_name))
    })
}

/// The text with comments and literals blanked out, line by line as it was.
fn code_of(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(&bytes, at).unwrap_or(at);
        if end == at {
            code.push(bytes[at]);
            at += 1;
        } else {
            code.extend(bytes[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins here ends.
fn literal_end(text: &[char], at: usize) -> Option<usize> {
    let next = |offset: usize| text.get(at + offset).copied().unwrap_or('\0');
    let until = |from: usize, end: &dyn Fn(usize) -> bool| (from..text.len()).find(|i| end(*i)).unwrap_or(text.len());
    let named = at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_');
    match (text[at], next(1)) {
        ('/', '/') => Some(until(at, &|i| text[i] == '\n')),
        ('/', '*') => Some((until(at + 2, &|i| text[i] == '/' && text[i - 1] == '*') + 1).min(text.len())),
        ('"', _) => Some(string_end(text, at + 1)),
        ('r', '"' | '#') if !named => raw_end(text, at),
        ('\'', '\\') => Some((until(at + 3, &|i| text[i] == '\'') + 1).min(text.len())),
        // Not a lifetime: one character and a closing quote.
        ('\'', _) if next(2) == '\'' => Some(at + 3),
        _ => None,
    }
}

fn string_end(text: &[char], from: usize) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

fn raw_end(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| text[*i] == '"' && text[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    Some((open + 1..text.len()).find(closes).map_or(text.len(), |i| i + 1 + hashes))
}

/// First line, name and length of each function with a body.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(at) = line.find("fn ").filter(|_| has_word(line, "fn")) else { continue };
        let name: String = line[at + 3..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !name.is_empty()
            && let Some(last) = last_line(&lines, first, at)
        {
            found.push((first + 1, name, last - first + 1));
        }
    }
    found
}

/// The line of the brace that closes the body which opens after this place; none for a declaration.
fn last_line(lines: &[&str], first: usize, column: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (number, line) in lines.iter().enumerate().skip(first) {
        for c in line.chars().skip(if number == first { column } else { 0 }) {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if braces == 0 && brackets == 0 => return None,
                '{' => braces += 1,
                '}' if braces <= 1 => return (braces == 1).then_some(number),
                '}' => braces -= 1,
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str) -> Vec<String> {
        check(&File { path: path.to_owned(), text: text.to_owned() }).into_iter().map(|v| format!("{}: {}", v.line, v.message)).collect()
    }

    #[test]
    fn a_tidy_file_is_left_alone() {
        let text = "//! A file.\nfn f<'a>(x: &'a str) -> char {\n    // a todo! in a comment, { unbalanced\n    let _ = (x, \"dbg!( {\", r#\"fn \"g() {\"#, '{', '\\'');\n    'x'\n}\n";
        assert_eq!(check_text("a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn first_line_length_and_macros_are_seen() {
        let long = format!("fn long() {{\n{}}}\n", "    g();\n".repeat(68));
        assert!(check_text("a.rs", &format!("use x;\n{long}"))[0].contains("first line"));
        assert!(check_text("a.rs", &format!("//! A.\n{long}"))[0].starts_with("2: `long` has 70 lines"));
        assert!(check_text("a.rs", &format!("//! A.\n{}", "\n".repeat(499)))[0].contains("500 lines"));
        assert!(check_text("a.rs", "//! A.\nfn f() { dbg!(1); }\n")[0].contains("desk"));
        assert!(check_text("proto/src/generated/a.rs", "use x;").is_empty());
    }

    #[test]
    fn a_body_names_nothing_that_replays_differ_in() {
        let body = "//! A.\nimpl<P: Ports> Body<P> for X {\n    async fn run() { tokio::join!(a, b); cx.selected(); }\n}\n";
        assert_eq!(check_text("crates/operations/src/x.rs", body).len(), 1);
        assert!(check_text("crates/durable/src/x.rs", body).is_empty());
    }

    #[test]
    fn declarations_have_no_body() {
        assert_eq!(functions("trait T {\n    fn a(&self, x: [u8; 4]);\n    fn b(&self) {\n    }\n}\n"), [(3, "b".to_owned(), 2)]);
    }
}
