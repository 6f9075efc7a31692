//! Aligned text: tables with a header, and lists of fields.

/// Columns as wide as their widest cell, two spaces between them, nothing behind the last.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).map_or(0, |text| text.chars().count());
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0).max(title.chars().count()))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// One field a line, empty values left out.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let rows = vec![vec!["shop".to_owned(), "paused".to_owned()], vec!["büro-zwei".to_owned(), "ok".to_owned()]];
        expect_test::expect![[r#"
            NAME       STATUS
            shop       paused
            büro-zwei  ok
        "#]]
        .assert_eq(&table(&["NAME", "STATUS"], &rows));
    }

    #[test]
    fn empty_fields_are_left_out() {
        assert_eq!(fields(&[("name", "shop".to_owned()), ("problem", String::new()), ("id", "x".to_owned())]), "name     shop\nid       x\n");
    }
}
