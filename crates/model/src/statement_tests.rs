//! No literal leaves: statements of every shape, and of any text at all.
use super::*;
use proptest::prelude::*;

fn shown(sql: &str) -> String {
    let normalised = normalise(sql, false);
    normalised.text.unwrap_or_else(|| format!("[{}]", normalised.keyword.unwrap_or("?")))
}

#[test]
fn literals_become_numbers_and_the_rest_stays() {
    for (sql, expected) in [
        ("SELECT * FROM t WHERE a = 'x' AND b = 3", "SELECT * FROM t WHERE a = $1 AND b = $2"),
        ("select name from people where id=$1 and born > DATE '1980-01-01'", "select name from people where id=$1 and born > DATE $2"),
        ("SELECT 1.5e-3, .5, 0x1F, 1_000, -7", "SELECT $1, $2, $3, $4, -$5"),
        ("SELECT E'it\\'s', U&'d\\0061t', B'01', X'ff', N'n', 'o''clock'", "SELECT $1, $2, $3, $4, $5, $6"),
        ("SELECT $$a 'b' c$$, $tag$ $$ $tag$", "SELECT $1, $2"),
        ("SELECT 'a'\n 'b'", "SELECT $1 $2"),
        ("SELECT /* a /* nested */ 'x' */ a -- 'y'\nFROM t;", "SELECT a FROM t"),
        ("-- by whom\n/* of what */ (SELECT 1) UNION SELECT 2", "(SELECT $1) UNION SELECT $2"),
        ("SELECT a FROM t WHERE b IN (1, 2, -3) OR c = ANY(ARRAY['x', 'y'])", "SELECT a FROM t WHERE b IN ($1) OR c = ANY(ARRAY[$2])"),
        ("INSERT INTO t (a, b) VALUES (1, 'x'), (2, DEFAULT), (3, 'z') RETURNING a", "INSERT INTO t (a, b) VALUES ($1, $2) RETURNING a"),
        ("INSERT INTO t VALUES ($1, $2), ($3, now())", "INSERT INTO t VALUES ($1, $2), ($3, now())"),
        ("SELECT a IS NOT NULL, b IS TRUE, NULL, true FROM t", "SELECT a IS NOT NULL, b IS TRUE, $1, $2 FROM t"),
        ("SELECT j->>'k', a::text, t.\"Name\", \"Bob's house\" FROM t", "SELECT j->>$1, a::text, t.\"Name\", \"?\" FROM t"),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x", "WITH x AS (UPDATE t SET a = $1 RETURNING *) SELECT * FROM x"),
        ("SELECT prix FROM données WHERE à = 'é'", "SELECT prix FROM données WHERE à = $1"),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn in_doubt_only_the_first_word_is_told() {
    for (sql, expected) in [
        ("CREATE ROLE bob PASSWORD 'x'", "[CREATE]"),
        ("alter role bob password 'x'", "[ALTER]"),
        ("COPY t FROM STDIN", "[COPY]"),
        ("SET my.secret = hunter2", "[SET]"),
        ("DO $$ begin end $$", "[DO]"),
        ("PREPARE p AS SELECT 'x'", "[PREPARE]"),
        ("EXPLAIN SELECT 'x'", "[EXPLAIN]"),
        ("SELECT 'no end", "[SELECT]"),
        ("SELECT \"no end", "[SELECT]"),
        ("SELECT 1 /* no end", "[SELECT]"),
        ("SELECT $a$ no end $b$", "[SELECT]"),
        ("SELECT 'it\\'s secret', 'x'", "[SELECT]"),
        ("SELECT 'a'secret", "[SELECT]"),
        ("SELECT 12secret", "[SELECT]"),
        ("SELECT 1; SELECT 2", "[SELECT]"),
        ("SELECT ‘curly’", "[SELECT]"),
        ("SELECT a$b$c", "[SELECT]"),
        ("SELECT U&\"d\\0061t\"", "[SELECT]"),
        ("SELECT $99999", "[SELECT]"),
        ("hunter2", "[?]"),
        ("<insufficient privilege>", "[?]"),
        ("", "[?]"),
        ("/* only", "[?]"),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn long_statements_are_shortened_between_tokens() {
    let long = format!("SELECT {} FROM t", (0..500).map(|n| format!("column_{n}")).collect::<Vec<_>>().join(", "));
    let text = shown(&long);
    assert!(text.len() <= STATEMENT_BYTES_MAX && text.ends_with('…') && text.len() > STATEMENT_BYTES_MAX - 20, "{}", text.len());
    assert_eq!(normalise("SELECT a FROM", true).text.as_deref(), Some("SELECT a FROM…"));
    assert_eq!(shown(&format!("SELECT {}1", "1+".repeat(TOKENS_MAX))), "[SELECT]");
}

#[test]
fn every_shown_word_is_a_first_word() {
    assert!(SHOWN.iter().all(|word| keyword(word) == Some(word)));
    assert_eq!((keyword("select"), keyword("hunter2")), (Some("SELECT"), None));
}

/// What no output may hold, in capitals or not.
const CANARY: &str = "hunter";

/// A literal in any form, with the canary in it wherever it is text.
fn literal() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just(CANARY.to_owned()),
        Just(format!("{CANARY} -- {CANARY}")),
        Just(format!("/* {CANARY}")),
        Just(format!("{CANARY} */ {CANARY}")),
        Just(format!("\"{CANARY}\"")),
        Just(format!("; {CANARY} ($1)")),
        Just(format!("{CANARY}é‘{CANARY}’")),
    ];
    (text, 0..9u8, "[a-z_]{0,3}").prop_map(|(text, form, tag)| match form {
        0 => format!("'{text}'"),
        1 => format!("'{text}''{text}'"),
        2 => format!("E'{text}\\'{text}\\\\'"),
        3 => format!("e'{text}''{text}'"),
        4 => format!("U&'{text}'"),
        5 => format!("N'{text}'"),
        6 => format!("${tag}${text} '$x' {text}${tag}$"),
        7 => format!("'{text}'\n  '{text}'"),
        _ => format!("/* {} */ 7", text.replace("*/", "").replace("/*", "")),
    })
}

/// A statement of known form around literals.
fn statement() -> impl Strategy<Value = String> {
    (prop::collection::vec(literal(), 1..6), 0..9u8).prop_map(|(literals, form)| {
        let list = literals.join(", ");
        let first = literals.first().cloned().unwrap_or_default();
        match form {
            0 => format!("SELECT {list}"),
            1 => format!("SELECT a FROM t WHERE b IN ({list}) AND c = {first}"),
            2 => format!("INSERT INTO t VALUES ({list}), ({list})"),
            3 => format!("UPDATE t SET a={first} WHERE \"B\"@>{first}::jsonb"),
            4 => format!("WITH x AS (SELECT ARRAY[{list}]) DELETE FROM t USING x -- {CANARY}\n WHERE true"),
            5 => format!("MERGE INTO t USING u ON t.a=u.a WHEN MATCHED THEN UPDATE SET b = {first};"),
            6 => format!("ALTER ROLE a PASSWORD {first}"),
            7 => format!("COPY (SELECT {list}) TO PROGRAM {first}"),
            _ => format!("VALUES ({list}) ; "),
        }
    })
}

fn tells(sql: &str) -> bool {
    let normalised = normalise(sql, false);
    let all = format!("{:?} {:?}", normalised.keyword, normalised.text).to_lowercase();
    all.contains(CANARY)
}

proptest! {
    #[test]
    fn no_literal_leaves_a_whole_statement(sql in statement()) {
        prop_assert!(!tells(&sql), "{sql}\n{:?}", normalise(&sql, false));
    }

    #[test]
    fn no_literal_leaves_a_statement_without_its_end(sql in statement(), at in 0usize..400) {
        let cut: String = sql.chars().take(at).collect();
        prop_assert!(!tells(&cut), "{cut}\n{:?}", normalise(&cut, true));
    }

    /// Backslashes end a string elsewhere when `standard_conforming_strings` is off: either way nothing is told.
    #[test]
    fn no_literal_leaves_whatever_backslashes_mean(parts in prop::collection::vec(prop_oneof![Just("\\"), Just("'"), Just("''"), Just(CANARY), Just(" ")], 0..10)) {
        let inner = parts.concat();
        // The text as PostgreSQL reads it with either setting, so that the canary stands within the string.
        let on = inner.replace('\'', "''");
        let off = inner.replace('\\', "\\\\").replace('\'', "\\'");
        for text in [on, off] {
            let sql = format!("SELECT a FROM t WHERE b = '{text}' AND c = 'x'");
            prop_assert!(!tells(&sql), "{sql}\n{:?}", normalise(&sql, false));
        }
    }

    #[test]
    fn anything_is_read_to_its_end_and_what_is_told_is_understood_again(sql in "(SELECT |with )?[ -~é\n]{0,80}") {
        let normalised = normalise(&sql, false);
        if let Some(text) = normalised.text {
            prop_assert!(text.len() <= STATEMENT_BYTES_MAX);
            prop_assert!(!text.contains(['\'', '\\', ';']));
            prop_assert_eq!(normalise(&text, false).text, Some(text));
        }
    }
}
