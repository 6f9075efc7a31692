//! SQL text without what was in it: the same statement with `$n` for every literal. When in doubt nothing is left of the text.
//!
//! A statement is shown only where it reads, writes or merges rows, and only as far as every token of it is understood. Of utility
//! statements, in which a password or a line of data may stand anywhere, the first word is told and nothing else.

/// Longest text that is shown, in bytes; a longer one ends with `…`.
pub const STATEMENT_BYTES_MAX: usize = 1024;
/// Most tokens that are looked at; a statement with more is in doubt.
const TOKENS_MAX: usize = 8192;
/// PostgreSQL's own limit of parameters.
const PARAMETERS_MAX: u32 = 65_535;
/// Longest tag of a dollar-quoted string that is looked for: an identifier's length.
const TAG_BYTES_MAX: usize = 63;

/// Words that statements begin with (the manual's list of SQL commands). Any other first word is not told.
const FIRST_WORDS: [&str; 54] = [
    "ABORT",
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "GRANT",
    "IMPORT",
    "INSERT",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "PREPARE",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "REPACK",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SECURITY",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "VACUUM",
    "VALUES",
    "WAIT",
    "WITH",
];
/// Those whose text is shown.
const SHOWN: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES"];

/// What may be told of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalised {
    /// Its first word, in capitals, if it is one that statements begin with.
    pub keyword: Option<&'static str>,
    /// Its text with `$n` for every literal; `None` when in doubt.
    pub text: Option<String>,
}

/// The word that a statement may begin with, in capitals.
#[must_use]
pub fn keyword(word: &str) -> Option<&'static str> {
    FIRST_WORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word))
}

/// Takes every literal out of a statement. `cut` says that its end is missing.
#[must_use]
pub fn normalise(sql: &str, cut: bool) -> Normalised {
    let keyword = first_word(sql);
    let shown = keyword.is_some_and(|keyword| SHOWN.contains(&keyword));
    let text = if shown { tokens(sql).and_then(|tokens| write(&collapsed(tokens), cut)) } else { None };
    Normalised { keyword, text }
}

/// The first word after comments, blanks and opening brackets.
fn first_word(sql: &str) -> Option<&'static str> {
    let mut rest = sql;
    loop {
        rest = match rest.chars().next()? {
            '(' => rest.get(1..)?,
            _ => match blank(rest)? {
                0 => break,
                length => rest.get(length..)?,
            },
        };
    }
    keyword(rest.get(..rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()))?)
}

/// One token, as PostgreSQL's scanner reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword or a plain identifier.
    Word(&'a str),
    /// A quoted identifier, without its quotes.
    Quoted(&'a str),
    /// Any constant.
    Literal,
    /// `$n`.
    Parameter(u32),
    /// A character of an operator, or a bracket.
    Sign(char),
}

/// A token, and whether something blank stood before it.
#[derive(Debug, Clone, Copy)]
struct Spaced<'a> {
    apart: bool,
    token: Token<'a>,
}

/// Every token; `None` when one is not understood.
fn tokens(sql: &str) -> Option<Vec<Spaced<'_>>> {
    let (mut rest, mut apart, mut ended) = (sql, false, false);
    let mut all: Vec<Spaced<'_>> = Vec::new();
    while !rest.is_empty() {
        let length = blank(rest)?;
        if length > 0 {
            (rest, apart) = (rest.get(length..)?, true);
            continue;
        }
        if rest.starts_with(';') {
            (rest, ended) = (rest.get(1..)?, true);
            continue;
        }
        let (mut token, length) = token(rest)?;
        // A second statement in the text is not what the numbers are of.
        if ended || all.len() >= TOKENS_MAX {
            return None;
        }
        if let Token::Word(word) = token {
            let after = all.last().map(|last| last.token);
            // `IS NULL` and `IS NOT TRUE` are operators; elsewhere these words are values.
            let tests = matches!(after, Some(Token::Word(word)) if ["is", "not"].iter().any(|known| known.eq_ignore_ascii_case(word)));
            if !tests && ["null", "true", "false"].iter().any(|known| known.eq_ignore_ascii_case(word)) {
                token = Token::Literal;
            }
        }
        all.push(Spaced { apart, token });
        (rest, apart) = (rest.get(length..)?, false);
    }
    Some(all)
}

/// The length of one blank or comment at the beginning; 0 for none, `None` for a comment without an end.
fn blank(text: &str) -> Option<usize> {
    if let Some(after) = text.strip_prefix("--") {
        return Some(2 + after.find(['\n', '\r']).unwrap_or(after.len()));
    }
    if !text.starts_with("/*") {
        return Some(text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)).count());
    }
    let (bytes, mut at, mut depth) = (text.as_bytes(), 0, 0_u32);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn is_first(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_further(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The token at the beginning and its length.
fn token(text: &str) -> Option<(Token<'_>, usize)> {
    let first = text.chars().next()?;
    if let Some(length) = string(text)? {
        return Some((Token::Literal, length));
    }
    if first == '"' {
        let (content, length) = quoted(text)?;
        return Some((Token::Quoted(content), length));
    }
    let second = text.chars().nth(1);
    if first == '$' {
        return dollar(text);
    }
    if first.is_ascii_digit() || (first == '.' && second.is_some_and(|c| c.is_ascii_digit())) {
        return Some((Token::Literal, number(text)?));
    }
    if is_first(first) {
        let length = text.find(|c| !is_further(c)).unwrap_or(text.len());
        let word = text.get(..length)?;
        // `a$b$` is a name for PostgreSQL and looks like the beginning of a string.
        return (!word.contains('$')).then_some((Token::Word(word), length));
    }
    "+-*/<>=~!@#%^&|`?:,.()[]".contains(first).then_some((Token::Sign(first), 1))
}

/// The length of the string constant at the beginning; `Some(None)` where none begins.
#[expect(clippy::option_option, reason = "in doubt, none, or so long")]
fn string(text: &str) -> Option<Option<usize>> {
    let lower = |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if lower("u&\"") {
        // An identifier written by code points.
        return None;
    }
    let (prefix, escapes) = match ["u&'", "e'", "b'", "x'", "n'", "'"].into_iter().find(|prefix| lower(prefix)) {
        Some(prefix) => (prefix.len(), prefix == "e'"),
        None => return Some(None),
    };
    let (bytes, mut at) = (text.as_bytes(), prefix);
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'\\', Some(_)) if escapes => at += 2,
            // Where this ends depends on a setting of the session, `standard_conforming_strings`.
            (b'\\', Some(b'\'')) => return None,
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => break,
            _ => at += 1,
        }
    }
    // What sticks to a string is where quotes have been read wrongly.
    let sticks = text.get(at + 1..)?.chars().next().is_some_and(is_further);
    if sticks { None } else { Some(Some(at + 1)) }
}

/// A quoted identifier's content, and its length with the quotes.
fn quoted(text: &str) -> Option<(&str, usize)> {
    let (bytes, mut at) = (text.as_bytes(), 1);
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return Some((text.get(1..at)?, at + 1)),
            _ => at += 1,
        }
    }
}

/// A parameter, or a dollar-quoted string.
fn dollar(text: &str) -> Option<(Token<'_>, usize)> {
    let after = text.get(1..)?;
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        let number: u32 = after.get(..digits)?.parse().ok()?;
        let sticks = after.get(digits..)?.chars().next().is_some_and(is_further);
        return (!sticks && (1..=PARAMETERS_MAX).contains(&number)).then_some((Token::Parameter(number), digits + 1));
    }
    let tag = after.find('$').filter(|length| *length <= TAG_BYTES_MAX)?;
    let name = after.get(..tag)?;
    let named = name.starts_with(is_first) && name.chars().all(is_further);
    if !named && !name.is_empty() {
        return None;
    }
    let delimiter = text.get(..tag + 2)?;
    let length = 2 * delimiter.len() + text.get(delimiter.len()..)?.find(delimiter)?;
    let sticks = text.get(length..)?.chars().next().is_some_and(is_further);
    (!sticks).then_some((Token::Literal, length))
}

/// The length of a numeric constant; `None` for what only begins like one.
fn number(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let run = |from: usize, good: fn(&u8) -> bool| bytes.get(from..).map_or(0, |rest| rest.iter().take_while(|byte| good(byte)).count());
    let decimal = |byte: &u8| byte.is_ascii_digit() || *byte == b'_';
    let mut at = if bytes.first() == Some(&b'0') && bytes.get(1).is_some_and(|byte| b"xXoObB".contains(byte)) {
        2 + run(2, |byte| byte.is_ascii_hexdigit() || *byte == b'_')
    } else {
        let mut at = run(0, decimal);
        if bytes.get(at) == Some(&b'.') {
            at += 1 + run(at + 1, decimal);
        }
        at
    };
    if bytes.get(at).is_some_and(|byte| b"eE".contains(byte)) {
        let sign = usize::from(bytes.get(at + 1).is_some_and(|byte| b"+-".contains(byte)));
        let digits = run(at + 1 + sign, decimal);
        at += if digits > 0 { 1 + sign + digits } else { 0 };
    }
    let sticks = text.get(at..)?.chars().next().is_some_and(|c| is_further(c) || ".'\"".contains(c));
    (!sticks).then_some(at)
}

/// Lists of values become one value: how many there were changes from call to call.
fn collapsed(all: Vec<Spaced<'_>>) -> Vec<Spaced<'_>> {
    let mut kept: Vec<Spaced<'_>> = Vec::with_capacity(all.len());
    let mut rows = false;
    let mut at = 0;
    while let Some(one) = all.get(at) {
        let after = |word: &str| matches!(kept.last(), Some(Spaced { token: Token::Word(last), .. }) if last.eq_ignore_ascii_case(word));
        let list = match one.token {
            Token::Sign('(') if after("in") || after("values") => values(&all, at, ')'),
            Token::Sign('[') if after("array") => values(&all, at, ']'),
            _ => None,
        };
        if let Some(list) = list {
            rows = after("values");
            // A row keeps its columns.
            let (first, last) = (list.first, list.last);
            kept.extend(all.get(at..if rows { last } else { first }).unwrap_or_default());
            kept.extend(all.get(last));
            at = last + 1;
            continue;
        }
        // Further rows of the same VALUES.
        if rows && one.token == Token::Sign(',') {
            let opened = all.get(at + 1).is_some_and(|next| next.token == Token::Sign('('));
            if let Some(list) = opened.then(|| values(&all, at + 1, ')')).flatten() {
                at = list.last + 1;
                continue;
            }
        }
        rows = false;
        kept.push(*one);
        at += 1;
    }
    kept
}

/// A list of values and nothing else.
struct List {
    /// After the first value.
    first: usize,
    /// The closing bracket.
    last: usize,
}

/// The list that the bracket at `open` begins, if only values are in it.
fn values(all: &[Spaced<'_>], open: usize, close: char) -> Option<List> {
    let (mut at, mut first) = (open + 1, None);
    loop {
        if matches!(all.get(at)?.token, Token::Sign('-' | '+')) {
            at += 1;
        }
        let value = match all.get(at)?.token {
            Token::Literal | Token::Parameter(_) => true,
            Token::Word(word) => word.eq_ignore_ascii_case("default"),
            Token::Quoted(_) | Token::Sign(_) => false,
        };
        if !value {
            return None;
        }
        at += 1;
        first.get_or_insert(at);
        match all.get(at)?.token {
            Token::Sign(',') => at += 1,
            Token::Sign(sign) if sign == close => return Some(List { first: first?, last: at }),
            _ => return None,
        }
    }
}

/// The text: parameters keep their numbers, literals get the next ones.
fn write(all: &[Spaced<'_>], cut: bool) -> Option<String> {
    let mut next = all.iter().filter_map(|one| if let Token::Parameter(number) = one.token { Some(number) } else { None }).max().unwrap_or(0);
    let mut text = String::new();
    for one in all {
        let before = text.len();
        let value = matches!(one.token, Token::Literal | Token::Parameter(_));
        // `date'…'` must not become the name `date$1`.
        if (one.apart && !text.is_empty()) || (value && text.ends_with(is_further)) {
            text.push(' ');
        }
        match one.token {
            Token::Word(word) => text.push_str(word),
            Token::Quoted(name) => {
                // A name of an unusual form may be a value in the wrong quotes.
                let usual = name.starts_with(is_first) && name.chars().all(|c| c.is_alphanumeric() || c == '_');
                text.push('"');
                text.push_str(if usual { name } else { "?" });
                text.push('"');
            }
            Token::Literal => {
                next += 1;
                text.push('$');
                text.push_str(&next.to_string());
            }
            Token::Parameter(number) => {
                text.push('$');
                text.push_str(&number.to_string());
            }
            Token::Sign(sign) => text.push(sign),
        }
        if text.len() > STATEMENT_BYTES_MAX - '…'.len_utf8() {
            text.truncate(before);
            text.push('…');
            return Some(text);
        }
    }
    if cut {
        text.push('…');
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
