//! The provider's documents in the registry's layout, made from its schema and its examples; guides are written by hand.
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGE: &str = "terraform-provider";
const ADDRESS: &str = "registry.terraform.io/kiven/kiven";
/// The provider's name, as its resources begin.
const NAME: &str = "kiven";
/// What is made here, and nothing else may stand there.
const FOLDERS: [&str; 4] = ["resources", "data-sources", "ephemeral-resources", "functions"];
/// The registry takes no larger page.
const PAGE_BYTES_MAX: usize = 500_000;
/// HashiCorp's own checker of documents.
const CHECKER: &str = "github.com/hashicorp/terraform-plugin-docs/cmd/tfplugindocs";
const CHECKER_VERSION: &str = "v0.25.0";

/// Makes schema and documents, or compares them with what is committed.
pub(crate) fn generate(check: bool) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "-p", "kiven-terraform-provider", "--bin", "terraform-provider-kiven", "golden"]).current_dir(crate::root());
    if !check {
        cargo.env("UPDATE_GOLDEN", "1");
    }
    ensure!(cargo.stdout(Stdio::null()).status()?.success(), "{PACKAGE}/schema.json is not what the provider offers: run `cargo xtask gen`");
    let docs = crate::root().join(PACKAGE).join("docs");
    let pages = pages(&schema()?)?;
    for folder in FOLDERS {
        let Ok(entries) = std::fs::read_dir(docs.join(folder)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !pages.keys().any(|page| docs.join(page) == *path)) {
            ensure!(!check, "{} is about nothing that the provider offers: run `cargo xtask gen`", path.display());
            std::fs::remove_file(&path)?;
        }
    }
    for (page, text) in pages {
        ensure!(text.len() < PAGE_BYTES_MAX, "{} is too large for the registry", page.display());
        crate::generate::settle(check, &Path::new(PACKAGE).join("docs").join(&page), &text, "the provider's schema")?;
    }
    Ok(())
}

/// Checks the documents with HashiCorp's tool; an answer says why it cannot.
pub(crate) fn validate() -> Result<Result<(), String>> {
    let Some(checker) = checker()? else { return Ok(Err("tfplugindocs: there is no Go".to_owned())) };
    // The tool looks for the bare name.
    let named = serde_json::json!({ "format_version": "1.0", "provider_schemas": { NAME: schema()? } });
    let file = std::env::temp_dir().join(format!("kiven-schema-{}.json", std::process::id()));
    std::fs::write(&file, named.to_string())?;
    let mut command = Command::new(checker);
    command.args(["validate", "--provider-name", NAME, "--provider-dir"]).arg(crate::root().join(PACKAGE)).arg("--providers-schema").arg(&file);
    let output = command.output().context("tfplugindocs cannot be started")?;
    std::fs::remove_file(&file)?;
    ensure!(output.status.success(), "tfplugindocs does not take the documents: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Ok(()))
}

/// The tool, installed once by Go into the cache.
fn checker() -> Result<Option<PathBuf>> {
    let folder = crate::install::cache().join(format!("tfplugindocs-{CHECKER_VERSION}"));
    let program = folder.join("tfplugindocs");
    if program.exists() {
        return Ok(Some(program));
    }
    if !crate::install::has_go() {
        return Ok(None);
    }
    println!("installing tfplugindocs {CHECKER_VERSION} with Go");
    let status = Command::new("go")
        .args(["install", &format!("{CHECKER}@{CHECKER_VERSION}")])
        .env("GOBIN", &folder)
        .current_dir(std::env::temp_dir())
        .status()?;
    ensure!(status.success(), "tfplugindocs cannot be installed");
    Ok(Some(program))
}

fn schema() -> Result<Json> {
    let text = std::fs::read_to_string(crate::root().join(PACKAGE).join("schema.json")).context("the provider's schema is missing")?;
    let mut json: Json = serde_json::from_str(&text)?;
    Ok(json["provider_schemas"][ADDRESS].take())
}

/// Every page by its path.
fn pages(schema: &Json) -> Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    pages.insert(PathBuf::from("index.md"), index(&schema["provider"])?);
    let kinds = [
        ("resource_schemas", "resources", "Resource", "resource.tf"),
        ("data_source_schemas", "data-sources", "Data Source", "data-source.tf"),
        ("ephemeral_resource_schemas", "ephemeral-resources", "Ephemeral Resource", "ephemeral-resource.tf"),
    ];
    for (part, folder, kind, example) in kinds {
        for (name, of) in members(&schema[part]) {
            let text = of_schema(name, kind, &of["block"], &Path::new(folder).join(name), example)?;
            let short = name.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name);
            pages.insert(Path::new(folder).join(format!("{short}.md")), text);
        }
    }
    for (name, of) in members(&schema["functions"]) {
        pages.insert(Path::new("functions").join(format!("{name}.md")), function(name, of)?);
    }
    Ok(pages)
}

fn members(json: &Json) -> impl Iterator<Item = (&String, &Json)> {
    json.as_object().into_iter().flatten()
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_default()
}

/// The head of a page, as the registry wants it.
fn head(title: &str, description: &str) -> String {
    format!("---\npage_title: \"{title}\"\nsubcategory: \"\"\ndescription: |-\n  {description}\n---\n\n")
}

fn example(file: &Path) -> Result<Option<String>> {
    let path = crate::root().join(PACKAGE).join("examples").join(file);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?.trim_end().to_owned()))
}

/// An example that must be there.
fn usage(file: &Path) -> Result<String> {
    let found = example(file)?.with_context(|| format!("{PACKAGE}/examples/{} is missing", file.display()))?;
    Ok(format!("## Example Usage\n\n```terraform\n{found}\n```\n\n"))
}

fn index(provider: &Json) -> Result<String> {
    let description = text(&provider["block"], "description");
    // The first page has no category.
    let mut page = head("Provider: Kiven", description).replace("subcategory: \"\"\n", "");
    page.push_str(&format!("# Kiven Provider\n\n{description}\n\n{}", usage(Path::new("provider/provider.tf"))?));
    page.push_str(&schema_of(&provider["block"]));
    Ok(page)
}

fn of_schema(name: &str, kind: &str, block: &Json, folder: &Path, file: &str) -> Result<String> {
    let description = text(block, "description");
    let mut page = head(&format!("{name} {kind} - {NAME}"), description);
    page.push_str(&format!("# {name} ({kind})\n\n{description}\n\n{}", usage(&Path::new("").join(folder).join(file))?));
    page.push_str(&schema_of(block));
    if kind == "Resource" {
        let command = example(&folder.join("import.sh"))?.with_context(|| format!("{name} has no example of an import"))?;
        page.push_str(&format!("\n## Import\n\nImport is supported using the following syntax:\n\n```shell\n{command}\n```\n"));
    }
    Ok(page)
}

fn function(name: &str, of: &Json) -> Result<String> {
    let mut page = head(&format!("{name} function - {NAME}"), text(of, "summary"));
    page.push_str(&format!(
        "# function: {name}\n\n{}\n\n{}",
        text(of, "description"),
        usage(&Path::new("functions").join(name).join("function.tf"))?
    ));
    let all = of["parameters"].as_array().into_iter().flatten();
    let variadic = of.get("variadic_parameter");
    let words = |one: &Json| format!("{} {}", text(one, "name"), words_of(&one["type"]).to_lowercase());
    let mut taken: Vec<String> = all.clone().map(words).collect();
    taken.extend(variadic.map(|one| format!("{}...", words(one))));
    page.push_str(&format!(
        "## Signature\n\n```text\n{name}({}) {}\n```\n\n## Arguments\n\n",
        taken.join(", "),
        words_of(&of["return_type"]).to_lowercase()
    ));
    let count = all.clone().count();
    for (number, one) in all.enumerate() {
        page.push_str(&format!("{}. `{}` ({}) {}\n", number + 1, text(one, "name"), words_of(&one["type"]), text(one, "description")));
    }
    if let Some(one) = variadic {
        page.push_str(&format!("{}. `{}` (Variadic, {}) {}\n", count + 1, text(one, "name"), words_of(&one["type"]), text(one, "description")));
    }
    Ok(page)
}

/// A type as people say it.
fn words_of(of: &Json) -> String {
    let Some(parts) = of.as_array() else {
        return match of.as_str() {
            Some("string") => "String",
            Some("number") => "Number",
            Some("bool") => "Boolean",
            _ => "Dynamic",
        }
        .to_owned();
    };
    let inner = |part: usize| parts.get(part).map(words_of).unwrap_or_default();
    match parts.first().and_then(Json::as_str) {
        Some("list") => format!("List of {}", inner(1)),
        Some("set") => format!("Set of {}", inner(1)),
        Some("map") => format!("Map of {}", inner(1)),
        _ => "Object".to_owned(),
    }
}

/// A nested attribute's own section: anchor, path, its attributes.
type Section<'a> = (String, String, &'a Map<String, Json>);

fn schema_of(block: &Json) -> String {
    let mut page = "## Schema\n".to_owned();
    let mut sections = Vec::new();
    if let Some(attributes) = block["attributes"].as_object() {
        listed(attributes, "", "### ", &mut page, &mut sections);
    }
    // Grows while sections name further ones; as deep as the schema nests.
    let mut at = 0;
    while let Some((anchor, path, attributes)) = sections.get(at).cloned() {
        page.push_str(&format!("\n<a id=\"{anchor}\"></a>\n### Nested Schema for `{path}`\n"));
        listed(attributes, &path, "", &mut page, &mut sections);
        at += 1;
    }
    page
}

/// Required, optional and read-only attributes, each under its title.
fn listed<'a>(attributes: &'a Map<String, Json>, inside: &str, mark: &str, page: &mut String, sections: &mut Vec<Section<'a>>) {
    let flag = |of: &Json, name: &str| of[name].as_bool() == Some(true);
    type Belongs = fn(bool, bool) -> bool;
    let groups: [(&str, Belongs); 3] = [
        ("Required", |required, _| required),
        ("Optional", |required, optional| !required && optional),
        ("Read-Only", |required, optional| !required && !optional),
    ];
    for (title, belongs) in groups {
        let these: Vec<(&String, &Json)> = attributes.iter().filter(|(_, of)| belongs(flag(of, "required"), flag(of, "optional"))).collect();
        if these.is_empty() {
            continue;
        }
        page.push_str(&if mark.is_empty() { format!("\n{title}:\n\n") } else { format!("\n{mark}{title}\n\n") });
        for (name, of) in these {
            let path = if inside.is_empty() { name.clone() } else { format!("{inside}.{name}") };
            let mut words = words_of(&of["type"]);
            let mut link = String::new();
            if let Some(nested) = of["nested_type"]["attributes"].as_object() {
                let several = match text(&of["nested_type"], "nesting_mode") {
                    "list" => " List",
                    "set" => " Set",
                    "map" => " Map",
                    _ => "",
                };
                let anchor = format!("nestedatt--{}", path.replace('.', "--"));
                link = format!(" (see [below for nested schema](#{anchor}))");
                words = format!("Attributes{several}");
                sections.push((anchor, path, nested));
            }
            for (member, word) in [("sensitive", ", Sensitive"), ("deprecated", ", Deprecated"), ("write_only", ", Write-only")] {
                if flag(of, member) {
                    words.push_str(word);
                }
            }
            page.push_str(&format!("- `{name}` ({words}) {}{link}\n", text(of, "description")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attributes_stand_under_their_title_and_nested_ones_have_a_section() {
        let of = |flag: &str| json!({ "type": "string", "description": "Text.", flag: true });
        let inner = json!({ "attributes": { "size": of("required") }, "nesting_mode": "single" });
        let pooler = json!({ "nested_type": { "attributes": { "deep": { "nested_type": inner, "optional": true, "description": "D." } }, "nesting_mode": "list" }, "optional": true, "description": "P." });
        let mut secret = of("computed");
        secret["sensitive"] = true.into();
        let page = schema_of(&json!({ "attributes": { "name": of("required"), "pooler": pooler, "secret": secret } }));
        let expected = "## Schema\n\n### Required\n\n- `name` (String) Text.\n\n### Optional\n\n\
            - `pooler` (Attributes List) P. (see [below for nested schema](#nestedatt--pooler))\n\n### Read-Only\n\n- `secret` (String, Sensitive) Text.\n\
            \n<a id=\"nestedatt--pooler\"></a>\n### Nested Schema for `pooler`\n\nOptional:\n\n\
            - `deep` (Attributes) D. (see [below for nested schema](#nestedatt--pooler--deep))\n\
            \n<a id=\"nestedatt--pooler--deep\"></a>\n### Nested Schema for `pooler.deep`\n\nRequired:\n\n- `size` (String) Text.\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn types_are_said_in_words() {
        for (of, words) in [
            (json!("bool"), "Boolean"),
            (json!(["set", "string"]), "Set of String"),
            (json!(["list", ["object", {}]]), "List of Object"),
            (json!("dynamic"), "Dynamic"),
        ] {
            assert_eq!(words_of(&of), words);
        }
    }
}
