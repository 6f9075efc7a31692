//! The chart's templates without Helm: their expressions are looked up by their text, and none is worked out.
//!
//! A line `{{- if C }}` opens a part that ends with `{{- end }}`, a line `{{- E | nindent N }}` becomes lines, and `{{ E }}` within
//! a line becomes a word. What is not known by its text is an error.

/// What expressions come to.
pub(super) trait Known {
    /// A word within a line.
    fn value(&self, expression: &str) -> Option<String>;
    /// Lines, without their indentation.
    fn lines(&self, expression: &str) -> Option<Vec<String>>;
    /// Whether a condition holds.
    fn holds(&self, condition: &str) -> Option<bool>;
}

/// A template that this program cannot print.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    #[error("`{0}` is not known")]
    Unknown(String),
    #[error("its conditions do not end where they should")]
    Unbalanced,
}

/// One line of a template.
enum Line<'a> {
    If(&'a str),
    End,
    Block(&'a str, usize),
    Text(&'a str),
}

fn read(line: &str) -> Line<'_> {
    let directive = line.trim().strip_prefix("{{-").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
    match directive {
        Some("end") => Line::End,
        Some(text) => match (text.strip_prefix("if "), text.rsplit_once(" | nindent ")) {
            (Some(condition), _) => Line::If(condition),
            (None, Some((expression, indent))) => indent.parse().map_or(Line::Text(line), |indent| Line::Block(expression, indent)),
            (None, None) => Line::Text(line),
        },
        None => Line::Text(line),
    }
}

/// The template with every expression replaced, and the parts whose condition does not hold left out.
pub(super) fn render(template: &str, known: &impl Known) -> Result<String, RenderError> {
    let unknown = |expression: &str| RenderError::Unknown(expression.to_owned());
    let mut text = String::new();
    let mut open: Vec<bool> = Vec::new();
    for line in template.lines() {
        let shown = open.iter().all(|holds| *holds);
        match read(line) {
            Line::If(condition) => open.push(known.holds(condition).ok_or_else(|| unknown(condition))?),
            Line::End => drop(open.pop().ok_or(RenderError::Unbalanced)?),
            Line::Block(expression, indent) => {
                let lines = known.lines(expression).ok_or_else(|| unknown(expression))?;
                lines.iter().filter(|_| shown).for_each(|line| text.push_str(&format!("{:indent$}{line}\n", "")));
            }
            Line::Text(line) => {
                let words = words(line, known)?;
                if shown {
                    text.push_str(&words);
                    text.push('\n');
                }
            }
        }
    }
    if open.is_empty() { Ok(text) } else { Err(RenderError::Unbalanced) }
}

/// A line with the expressions within it replaced.
fn words(line: &str, known: &impl Known) -> Result<String, RenderError> {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once("{{") {
        let (expression, behind) = after.split_once("}}").ok_or(RenderError::Unbalanced)?;
        let expression = expression.trim();
        text.push_str(before);
        text.push_str(&known.value(expression).ok_or_else(|| RenderError::Unknown(expression.to_owned()))?);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

/// Every line of a template that holds an expression nobody knows.
#[cfg(test)]
pub(super) fn unknown(template: &str, known: &impl Known) -> Vec<String> {
    let is_unknown = |line: &&str| match read(line) {
        Line::If(condition) => known.holds(condition).is_none(),
        Line::End => false,
        Line::Block(expression, _) => known.lines(expression).is_none(),
        Line::Text(line) => words(line, known).is_err(),
    };
    template.lines().filter(is_unknown).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Known for Two {
        fn value(&self, expression: &str) -> Option<String> {
            (expression == ".a | quote").then(|| "\"A\"".to_owned())
        }
        fn lines(&self, expression: &str) -> Option<Vec<String>> {
            (expression == "include \"b\" .").then(|| vec!["one: 1".to_owned(), "two: 2".to_owned()])
        }
        fn holds(&self, condition: &str) -> Option<bool> {
            match condition {
                ".yes" => Some(true),
                ".no" => Some(false),
                _ => None,
            }
        }
    }

    #[test]
    fn conditions_blocks_and_words() {
        let template = "x: {{ .a | quote }} y\nm:\n  {{- include \"b\" . | nindent 2 }}\n{{- if .yes }}\ny\n{{- if .no }}\nn {{ .a | quote }}\n{{- end }}\n{{- end }}\nz\n";
        assert_eq!(render(template, &Two).unwrap(), "x: \"A\" y\nm:\n  one: 1\n  two: 2\ny\nz\n");
    }

    #[test]
    fn what_is_not_known_is_an_error_even_where_it_would_not_show() {
        let unknown = |text: &str| Err(RenderError::Unknown(text.to_owned()));
        assert_eq!(render("{{- if .no }}\n{{ .c }}\n{{- end }}", &Two), unknown(".c"));
        assert_eq!(render("{{- if .maybe }}\n{{- end }}", &Two), unknown(".maybe"));
        assert_eq!(render("{{- else }}", &Two), unknown("- else"));
        for odd in ["{{- end }}", "{{- if .yes }}", "{{ .a | quote"] {
            assert_eq!(render(odd, &Two), Err(RenderError::Unbalanced), "{odd}");
        }
    }
}
